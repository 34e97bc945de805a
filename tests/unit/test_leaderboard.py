"""The leaderboard: from records alone, the same bytes every time, never mixing what is not comparable."""

import json
import math
import re

import matplotlib
import pytest

from benchmarks import records
from benchmarks.api import InvalidRecord, UsageError
from benchmarks.report import leaderboard, plots, site_data, site_runs, tables
from tests.fake_records import fake, many, study


def contents(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture(autouse=True)
def quick_plots(monkeypatch):
    """Real figures have tests of their own; here only their names and bytes matter."""
    drawn = {f"pareto.{kind}": b"<g> Matplotlib v3.11.2, </g>" for kind in ("svg", "png")}
    monkeypatch.setattr(plots, "images", lambda *_: dict(drawn))


@pytest.fixture
def results(tmp_path):
    for record in [*study(("hat", "mos-neuron"), 1), fake("hat", profile="nvidia-h200.v1")]:
        records.write(tmp_path / "records", record)
    return tmp_path


def test_without_records_it_says_so(tmp_path):
    paths = leaderboard.build(tmp_path)
    assert set(paths) == {"leaderboard.json", "LEADERBOARD.md", "CLAIMS.md", "site/index.html"}
    assert "no result records yet" in paths["LEADERBOARD.md"].read_text()
    assert json.loads(paths["leaderboard.json"].read_text())["groups"] == []
    assert leaderboard.check(tmp_path) == []


def test_built_twice_it_is_the_same_and_check_agrees(results, tmp_path_factory):
    leaderboard.build(results)
    first = contents(results)
    assert leaderboard.check(results) == []
    leaderboard.require_current(results)
    leaderboard.build(results)
    assert contents(results) == first
    other = tmp_path_factory.mktemp("other")
    for record in reversed(records.load_all(results / "records")):
        records.write(other / "records", record)
    leaderboard.build(other)
    assert contents(other) == first


def test_profiles_tasks_and_allowances_have_tables_of_their_own(results):
    records.write(results / "records", fake("hat", tokens=9_000_000))
    board = json.loads(leaderboard.build(results)["leaderboard.json"].read_text())
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
        assert name.endswith((".json", ".md", ".png")) or f"]({name})" in text
    # The larger group keeps the plain name.
    assert "plots/mt-multi30k-en-de-small-cpu-2core-avx512.v1-pareto.svg" in board["files"]


def test_check_names_what_differs_and_the_command(results):
    leaderboard.build(results)
    (results / "LEADERBOARD.md").write_text("edited by hand")
    plot = results / "plots" / "mt-multi30k-en-de-small-nvidia-h200.v1-pareto.svg"
    plot.unlink()
    assert leaderboard.check(results) == ["LEADERBOARD.md", f"plots/{plot.name}"]
    with pytest.raises(UsageError, match="LEADERBOARD.md(.|\n)*rebuild it: supernet-bench leaderboard"):
        leaderboard.require_current(results)


def test_a_plot_of_another_matplotlib_is_not_a_difference(results):
    leaderboard.build(results)
    for plot in (results / "plots").iterdir():
        plot.write_bytes(plot.read_bytes().replace(b"3.11.2", b"3.12.0"))
    assert leaderboard.check(results) == []
    svg = next((results / "plots").glob("*.svg"))
    svg.write_bytes(svg.read_bytes().replace(b"3.12.0", b"3.11.2").replace(b"<g", b"<h"))
    assert leaderboard.check(results) == [f"plots/{svg.name}"]


@pytest.mark.parametrize("kind", ["svg", "png"])
def test_real_plots_name_the_matplotlib_that_drew_them(kind):
    found = [fake(limits=(0.5,))]
    drawn = plots.image(plots.pareto(found, tables.build(found)), kind)
    version = matplotlib.__version__.encode()
    assert version in drawn
    other = drawn.replace(version, b"0.9")
    assert leaderboard._other_release(drawn, other) and not leaderboard._other_release(drawn, drawn)


def test_plots_left_over_are_removed_but_only_its_own(results):
    leaderboard.build(results)
    mine = results / "plots" / "drawn-by-hand.svg"
    mine.write_text("<svg/>")
    outside = results.parent / f"{results.name}-outside.svg"
    outside.write_text("<svg/>")
    board = json.loads((results / "leaderboard.json").read_text())
    board["files"].append(f"plots/../../{outside.name}")
    (results / "leaderboard.json").write_text(json.dumps(board))
    for path in (results / "records").rglob("nvidia-h200.v1/*/*.json"):
        path.unlink()
    leaderboard.build(results)
    assert not list((results / "plots").glob("*h200*"))
    assert mine.exists() and outside.exists()


def test_a_tampered_record_stops_the_build_before_anything_is_written(results):
    path = next((results / "records").rglob("*.json"))
    path.write_text(path.read_text().replace('"status": "done"', '"status": "budget"'))
    with pytest.raises(InvalidRecord, match="changed after writing"):
        leaderboard.build(results)
    assert not (results / "leaderboard.json").exists()


def test_a_broken_board_is_rebuilt(results):
    (results / "leaderboard.json").write_text("{ truncated")
    leaderboard.build(results)
    assert leaderboard.check(results) == []


def test_the_site_is_replaced_as_a_whole_and_holds_no_record_in_a_page(results):
    site = leaderboard.build(results)["site/index.html"].parent
    (site / "left-over.html").write_text("old")
    leaderboard.build(results)
    assert not (site / "left-over.html").exists()
    names = {path.name for path in site.rglob("*") if path.is_file()}
    assert {"index.html", "row.html", "claims.html", "d3.v5.min.js", "D3-LICENSE.txt", "index.js"} <= names
    assert "mos-neuron" not in "".join(page.read_text() for page in site.glob("*.html"))
    assert not [path.name for path in results.iterdir() if path.name.startswith(".site")]


def test_check_names_what_a_second_build_of_the_site_does_otherwise(results, monkeypatch):
    leaderboard.build(results)
    texts = iter(range(100))
    monkeypatch.setattr("benchmarks.report.formats.latex", lambda *_: str(next(texts)))
    assert {name[-4:] for name in leaderboard.check(results)} == {".tex"}


def test_a_record_in_another_folder_is_refused(results):
    path = next((results / "records").rglob("nvidia-h200.v1/*/*.json"))
    astray = results / "records" / "elsewhere" / path.name
    astray.parent.mkdir()
    path.rename(astray)
    with pytest.raises(InvalidRecord, match="belongs in .*nvidia-h200.v1"):
        leaderboard.build(results)
    assert not (results / "site").exists()


def test_a_large_board_is_brief_and_the_same_on_several_cores(results, monkeypatch):
    whole = json.loads(leaderboard.build(results)["leaderboard.json"].read_text())
    monkeypatch.setattr(leaderboard, "DETAILED", 2)
    first = contents(results) if leaderboard.build(results) else {}
    leaderboard.build(results)
    assert contents(results) == first
    brief = json.loads((results / "leaderboard.json").read_text())
    assert [group["rows"] for group in brief["groups"]] == [group["rows"] for group in whole["groups"]]
    assert not any("plots" in name for name in first)
    assert b"best rows of each table" in first["LEADERBOARD.md"]


def data(path):
    """What a data file of the site hands to the page."""
    return json.loads(re.fullmatch(r"supernetBench\.\w+\((.*)\);\n", path.read_text(), re.DOTALL)[1])


def test_a_large_board_read_by_many_processes_is_that_of_one_and_its_rows_find_their_runs(
    tmp_path, monkeypatch
):
    many(tmp_path / "records", 230, methods=6, seeds=20, sentences=60)
    records.write(tmp_path / "records", fake("hat", tier="small"))  # one that claims look at
    monkeypatch.setattr(leaderboard, "DETAILED", 100)
    monkeypatch.setattr(leaderboard, "AT_ONCE", site_runs.RUNS_A_FILE)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1})
    leaderboard.build(tmp_path)
    found = contents(tmp_path)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0})
    leaderboard.build(tmp_path)
    assert contents(tmp_path) == found and len(found["CLAIMS.md"]) > 1000
    folder, seen = tmp_path / "site" / "data", set()
    for entry in data(folder / "index.js")["tables"]:
        table = data(folder / f"{entry['id']}.js")
        for row in table["rows"]:
            for place in row["runs"]:
                run = data(folder / f"runs-{place // 100}.js")["runs"][place % 100]
                assert run["spec"]["method"] == row["method"] and run["spec"]["task"] == entry["task"]
                seen.add(run["id"])
    assert seen == {path.stem for path in records.paths(tmp_path / "records")}


@pytest.mark.parametrize("value", ["a\u202eb", "\x7f", 'a"b', "tab\t", 2**70, [[[[1.0]]]], "é", "<b>", "x"])
def test_data_files_written_quickly_hold_the_texts_of_those_that_are_cleaned(tmp_path, value):
    site_data.write(tmp_path / "slow.js", "runs", {"of": {"k": [value]}})
    site_data.write(tmp_path / "quick.js", "runs", {"of": site_data.exact({"k": [value]})})
    assert (tmp_path / "slow.js").read_bytes() == (tmp_path / "quick.js").read_bytes()


def test_data_files_bear_what_is_nested_beyond_reason_and_keep_figures(tmp_path):
    deep = 1.23456789
    for _ in range(400):
        deep = [deep]
    value = {"deep": site_data.exact(deep), "x": 1.23456789, "exact": site_data.exact([1.23456789, math.nan])}
    site_data.write(tmp_path / "x.js", "runs", value)
    found = data(tmp_path / "x.js")
    assert found["x"] == 1.23457 and found["exact"] == [1.23456789, None]
    assert '"..."' in json.dumps(found["deep"])
