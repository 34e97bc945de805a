"""The leaderboard: from records alone, the same bytes every time, never mixing what is not comparable."""

import json
import math
import re
import shutil

import matplotlib
import PIL
import pytest

from benchmarks.analysis.table import build_table
from benchmarks.api import InvalidRecordError, UsageError
from benchmarks.leaderboard import build
from benchmarks.leaderboard.site import data_files, run_files
from benchmarks.records import store
from benchmarks.report.plots import gallery, pareto, style
from tests.fake_records import fake, many, study


def contents(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture(autouse=True)
def quick_plots(monkeypatch):
    """Real figures have tests of their own; here only their names and bytes matter."""
    drawn = {f"pareto.{kind}": b"<g> Matplotlib v3.11.2, </g>" for kind in ("svg", "png")}
    monkeypatch.setattr(gallery, "images", lambda *_: dict(drawn))


@pytest.fixture
def results(tmp_path):
    for record in [*study(("hat", "mos-neuron"), 1), fake("hat", profile="nvidia-h200.v1")]:
        store.write(tmp_path / "records", record)
    return tmp_path


def test_without_records_the_board_is_refused(tmp_path):
    paths = build.build(tmp_path)
    site = {"site/index.html", "site/records.parquet"}
    assert set(paths) == {"leaderboard.json", "LEADERBOARD.md", "CLAIMS.md", *site}
    assert "no result records yet" in paths["LEADERBOARD.md"].read_text()
    assert json.loads(paths["leaderboard.json"].read_text())["groups"] == []
    assert build.check(tmp_path) == []


def test_a_second_build_is_equal_and_check_agrees(results, tmp_path_factory):
    build.build(results)
    first = contents(results)
    assert build.check(results) == []
    build.require_current(results)
    build.build(results)
    assert contents(results) == first
    other = tmp_path_factory.mktemp("other")
    for record in reversed(store.load_all(results / "records")):
        store.write(other / "records", record)
    build.build(other)
    assert contents(other) == first


def test_profiles_tasks_and_allowances_have_tables_of_their_own(results):
    store.write(results / "records", fake("hat", tokens=9_000_000))
    board = json.loads(build.build(results)["leaderboard.json"].read_text())
    assert board["records"] == 4 and len(board["groups"]) == 3
    assert sorted(len(group["records"]) for group in board["groups"]) == [1, 1, 2]
    assert {group["shared"]["profile"] for group in board["groups"]} == {
        "cpu-2core-avx512.v1",
        "nvidia-h200.v1",
    }
    text = (results / "LEADERBOARD.md").read_text()
    for group in board["groups"]:
        assert len({r["method"] for r in group["rows"]}) == len(group["records"])
    for name in board["files"]:
        assert (results / name).is_file()
        assert name.endswith((".json", ".md")) or f"]({name})" in text
    # Contents lead to each table.
    links = re.findall(r"^- \[(.*?)\]\(#([\w-]+)\): (.+)$", text, re.MULTILINE)
    headings = re.findall(r"^## (.+)$", text, re.MULTILINE)
    assert sorted(heading for heading, *_ in links) == sorted(headings) and len(headings) == 3
    assert len({anchor for _, anchor, _ in links}) == 3
    assert ("mt-multi30k-en-de, small, nvidia-h200.v1", "mt-multi30k-en-de-small-nvidia-h200v1") in [
        (heading, anchor) for heading, anchor, _ in links
    ]
    # The larger group keeps the plain name.
    assert "plots/mt-multi30k-en-de-small-cpu-2core-avx512.v1-pareto.png" in board["files"]
    assert not list((results / "plots").glob("*.svg")), "only the pictures that the page shows are kept"


def test_check_names_every_difference_and_the_command(results):
    build.build(results)
    (results / "LEADERBOARD.md").write_text("edited by hand")
    plot = results / "plots" / "mt-multi30k-en-de-small-nvidia-h200.v1-pareto.png"
    plot.unlink()
    assert build.check(results) == ["LEADERBOARD.md", f"plots/{plot.name}"]
    with pytest.raises(UsageError, match="LEADERBOARD.md(.|\n)*rebuild it: supernet-bench leaderboard"):
        build.require_current(results)


def test_a_plot_of_another_matplotlib_is_not_a_difference(results):
    build.build(results)
    for plot in (results / "plots").iterdir():
        plot.write_bytes(plot.read_bytes().replace(b"3.11.2", b"3.12.0"))
    assert build.check(results) == []
    plot = next((results / "plots").glob("*.png"))
    plot.write_bytes(plot.read_bytes().replace(b"3.12.0", b"3.11.2").replace(b"<g", b"<h"))
    assert build.check(results) == [f"plots/{plot.name}"]


@pytest.mark.parametrize("kind", ["svg", "png"])
def test_real_plots_name_the_matplotlib_that_drew_them(kind):
    found = [fake(limits=(0.5,))]
    drawn = style.image_bytes(pareto.draw(build_table(found)), kind)
    assert not build._other_release(drawn, drawn)
    for version in (matplotlib.__version__, PIL.__version__)[: 2 if kind == "png" else 1]:
        assert version.encode() in drawn
        assert build._other_release(drawn, drawn.replace(version.encode(), b"0.9"))


def test_plots_left_over_are_removed_but_only_its_own(results):
    build.build(results)
    mine = results / "plots" / "drawn-by-hand.svg"
    mine.write_text("<svg/>")
    outside = results.parent / f"{results.name}-outside.svg"
    outside.write_text("<svg/>")
    board = json.loads((results / "leaderboard.json").read_text())
    board["files"].append(f"plots/../../{outside.name}")
    (results / "leaderboard.json").write_text(json.dumps(board))
    for path in (results / "records").rglob("nvidia-h200.v1/*/*.json"):
        path.unlink()
    build.build(results)
    assert not list((results / "plots").glob("*h200*"))
    assert mine.exists() and outside.exists()


def test_a_tampered_record_stops_the_build_before_anything_is_written(results):
    path = next((results / "records").rglob("*.json"))
    path.write_text(path.read_text().replace('"status": "done"', '"status": "budget"'))
    with pytest.raises(InvalidRecordError, match="changed after writing"):
        build.build(results)
    assert not (results / "leaderboard.json").exists()


def test_a_broken_board_is_rebuilt(results):
    (results / "leaderboard.json").write_text("{ truncated")
    build.build(results)
    assert build.check(results) == []


def test_the_site_is_replaced_as_a_whole_and_holds_no_record_in_a_page(results):
    site = build.build(results)["site/index.html"].parent
    (site / "left-over.html").write_text("old")
    build.build(results)
    assert not (site / "left-over.html").exists()
    names = {path.name for path in site.rglob("*") if path.is_file()}
    assert {"index.html", "row.html", "claims.html", "plain.html", "trace.js", "index.js"} <= names
    scripted = [page for page in site.glob("*.html") if page.name != "plain.html"]
    assert "mos-neuron" not in "".join(page.read_text() for page in scripted)
    assert "mos-neuron" in (site / "plain.html").read_text()
    assert not re.search(r"<script|javascript:|\son\w+\s*=", (site / "plain.html").read_text(), re.I)
    assert not [path.name for path in results.iterdir() if path.name.startswith(".site")]


def test_check_names_the_files_that_a_second_build_of_the_site_changes(results, monkeypatch):
    build.build(results)
    texts = iter(range(100))
    monkeypatch.setattr("benchmarks.report.latex.latex", lambda *_: str(next(texts)))
    assert {name[-4:] for name in build.check(results)} == {".tex"}


def test_a_record_in_another_folder_is_refused(results):
    path = next((results / "records").rglob("nvidia-h200.v1/*/*.json"))
    astray = results / "records" / "elsewhere" / path.name
    astray.parent.mkdir()
    path.rename(astray)
    with pytest.raises(InvalidRecordError, match="belongs in .*nvidia-h200.v1"):
        build.build(results)
    assert not (results / "site").exists()


def test_a_large_board_is_brief_and_the_same_on_several_cores(results, monkeypatch):
    whole = json.loads(build.build(results)["leaderboard.json"].read_text())
    monkeypatch.setattr(build, "DETAILED", 2)
    first = contents(results) if build.build(results) else {}
    build.build(results)
    assert contents(results) == first
    brief = json.loads((results / "leaderboard.json").read_text())
    assert [group["rows"] for group in brief["groups"]] == [group["rows"] for group in whole["groups"]]
    assert not any("plots" in name for name in first)
    assert b"best rows of each table" in first["LEADERBOARD.md"]


def test_a_large_board_needs_no_affinity_of_the_system(results, monkeypatch):
    monkeypatch.setattr(build, "DETAILED", 2)
    build.build(results)
    first = contents(results)
    monkeypatch.delattr("os.sched_getaffinity")  # as on macOS
    build.build(results)
    assert contents(results) == first


def data(path):
    """Return the content of a data file of the site."""
    return json.loads(re.fullmatch(r"supernetBench\.\w+\((.*)\);\n", path.read_text(), re.DOTALL)[1])


def test_a_large_board_read_by_many_processes_is_that_of_one_and_its_rows_find_their_runs(
    tmp_path, monkeypatch
):
    many(tmp_path / "records", 120, methods=6, seeds=10, sentences=60)
    store.write(tmp_path / "records", fake("hat", tier="small"))  # one that claims look at
    monkeypatch.setattr(build, "DETAILED", 100)
    monkeypatch.setattr(build, "AT_ONCE", run_files.RUNS_A_FILE)
    monkeypatch.setattr(build, "usable_cpus", lambda: 2)
    build.build(tmp_path)
    found = contents(tmp_path)
    shutil.rmtree(tmp_path / "local")  # so that all is made again
    monkeypatch.setattr(build, "usable_cpus", lambda: 1)
    build.build(tmp_path)
    assert contents(tmp_path) == found and len(found["CLAIMS.md"]) > 1000
    folder, seen = tmp_path / "site" / "data", set()
    for entry in data(folder / "index.js")["tables"]:
        table = data(folder / f"{entry['id']}.js")
        core, rest = table["core"], data(folder / f"{entry['id']}-more-0.js")["rows"]
        for method, row in zip(core["columns"]["method"], rest, strict=True):
            for place in row["runs"]:
                run = data(folder / f"runs-{place // 100}.js")["runs"][place % 100]
                assert run["spec"]["method"] == core["strings"]["method"][method]
                assert run["spec"]["task"] == entry["task"]
                seen.add(run["id"])
    assert seen == {path.stem for path in store.paths(tmp_path / "records")}


@pytest.mark.parametrize("value", ["a\u202eb", "\x7f", 'a"b', "tab\t", [[[[1.0]]]], "é", "<b>", "x"])
def test_data_files_written_quickly_hold_the_texts_of_those_that_are_cleaned(tmp_path, value):
    data_files.write(tmp_path / "slow.js", "runs", {"of": {"k": [value]}})
    data_files.write(tmp_path / "quick.js", "runs", {"of": data_files.exact({"k": [value]})})
    assert (tmp_path / "slow.js").read_bytes() == (tmp_path / "quick.js").read_bytes()


@pytest.mark.parametrize("beside", ["Lena", "Léna", "a\u202eb", 'a"b', "x" * 70_000])
def test_figures_of_runs_have_all_digits_beside_any_text(tmp_path, beside):
    data_files.write(tmp_path / "x.js", "runs", data_files.exact({"by": beside, "x": 1.23456789, "n": 2**70}))
    run = data(tmp_path / "x.js")
    assert run["x"] == 1.23456789 and run["n"] == 2.0**70


def test_data_files_cut_deep_nesting_and_keep_figures(tmp_path):
    deep = 1.23456789
    for _ in range(400):
        deep = [deep]
    value = {
        "deep": data_files.exact(deep),
        "x": 1.23456789,
        "exact": data_files.exact([1.23456789, math.nan]),
    }
    data_files.write(tmp_path / "x.js", "runs", value)
    found = data(tmp_path / "x.js")
    assert found["x"] == 1.23457 and found["exact"] == [1.23456789, None]
    assert '"..."' in json.dumps(found["deep"])
