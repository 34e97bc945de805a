"""``supernet-bench report``: the golden table of fixed records, and the paths that it prints."""

import json
import shlex
from pathlib import Path

import pytest

from benchmarks.cli.main import main
from benchmarks.records import store
from tests.fake_records import fake, study, with_counts
from tests.golden_files import require_golden


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """A folder of results with seven records: two methods on three seeds, and a failed run."""
    records = [*map(with_counts, study(("hat", "mos-neuron"), 3, limits=(0.4, 0.8)))]
    for record in [*records, fake("scratch", 1, status="failed")]:
        store.write(tmp_path / "mt-small" / "records", record)
    return tmp_path


def test_the_table_of_a_report_is_the_golden_one(results, capsys):
    assert main(["report", "mt", "--tier", "small", "--results", str(results)]) == 0
    require_golden("table.md", (results / "mt-small" / "table.md").read_text())
    printed = capsys.readouterr().out
    for name in ("table.md", "table.csv", "pareto.png", "site/index.html"):
        assert f"mt-small/{name}" in printed, name
    assert (results / "mt-small" / "site" / "index.html").is_file()


def test_json_names_the_files_of_the_report(results, capsys):
    assert main(["report", "mt", "--tier", "small", "--results", str(results), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert set(document["paths"]) >= {"table.md", "table.json", "index.html"}
    table = json.loads((results / "mt-small" / "table.json").read_text())
    assert {name: document[name] for name in table} == table


def test_json_is_printed_alone_where_a_record_is_left_out(results, capsys):
    (broken,) = list((results / "mt-small").rglob("records/*/*/scratch/*.json"))
    broken.write_text("{")
    assert main(["report", "mt", "--tier", "small", "--results", str(results), "--json"]) == 0
    shown = capsys.readouterr()
    assert {row["method"] for row in json.loads(shown.out)["rows"]} == {"hat", "mos-neuron"}
    assert shown.err.startswith(f"left out: {broken}: ")


def test_emissions_are_declared_and_stand_apart_from_joules(results, capsys):
    words = ["report", "mt", "--tier", "small", "--results", str(results)]
    assert main([*words, "--carbon-intensity", "360", "--pue", "1.5"]) == 0
    printed, text = capsys.readouterr().out, (results / "mt-small" / "table.md").read_text()
    for shown in (printed, text):
        assert "as declared" in shown and "Not measured" in shown and "CO2e" in shown
    table = json.loads((results / "mt-small" / "table.json").read_text())
    lines = {line["method"]: line for line in table["emissions"]["rows"]}
    rows = {row["method"]: row for row in table["rows"] if row["joules"] is not None}
    assert set(lines) == set(rows) and "scratch" in lines  # a failed run has emitted too
    for name, line in lines.items():
        assert line["joules"] == rows[name]["joules"]
        assert line["joules_with_pue"] == pytest.approx(1.5 * line["joules"], rel=1e-5)
        assert line["grams_co2e"] == pytest.approx(line["joules"] * 1.5 / 3.6e6 * 360, rel=1e-5)
    assert main(words) == 0  # no declaration, no emissions
    assert "CO2" not in (results / "mt-small" / "table.md").read_text() + capsys.readouterr().out
    assert "emissions" not in json.loads((results / "mt-small" / "table.json").read_text())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--pue", "1.2"], "need the grid's --carbon-intensity"),
        (["--carbon-intensity", "-1"], "0 to 2000"),
        (["--carbon-intensity", "nan"], "0 to 2000"),
        (["--carbon-intensity", "380000"], "0 to 2000"),
        (["--carbon-intensity", "380", "--pue", "0.9"], "1 to 10"),
        (["--carbon-intensity", "380", "--pue", "inf"], "1 to 10"),
    ],
)
def test_an_impossible_declaration_is_refused(tmp_path, words, message, capsys):
    for command in ("report", "run"):
        assert main([command, "mt", "--tier", "small", "--results", str(tmp_path), *words]) == 2
        assert message in capsys.readouterr().err


@pytest.mark.parametrize("place", ["results/mt-small/records", "results/records", "results"])
def test_commands_of_a_run_page_name_the_record_where_it_was_read(tmp_path, monkeypatch, place):
    store.write(tmp_path / place, fake("hat", 1))
    monkeypatch.chdir(tmp_path)
    for out in ([], ["--out", "elsewhere"]):
        assert main(["report", "mt", "--tier", "small", "--results", "results", *out]) == 0
        text = Path(*out[1:] or ["results"], "mt-small", "site", "data", "runs-0.js").read_text()
        (page,) = json.loads(text.partition("(")[2].rpartition(")")[0])["runs"]
        *command, path = shlex.split(page["verify"])
        assert command == ["supernet-bench", "verify"] and path == page["path"]
        assert store.load(Path(path))["id"] == page["id"]


def test_an_unknown_baseline_names_the_labels_and_leaves_no_file(results, capsys):
    words = ["report", "mt", "--tier", "small", "--results", str(results), "--out", str(results / "out")]
    assert main([*words, "--baseline", "mos-neurn"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: --baseline 'mos-neurn': no such method is compared in the table of mt-")
    assert "Did you mean 'mos-neuron'?\nits labels: hat, mos-neuron\n" in error
    assert not (results / "out").exists()
    assert main([*words, "--baseline", "mos-neuron", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["baseline"] == "mos-neuron"


def test_a_table_without_the_baseline_has_a_note_beside_one_that_has_it(results, capsys):
    other = study(("hat", "scratch"), 2, task="mt-tatoeba-en-de")
    for record in other:
        store.write(results / "mt-small" / "records", record)
    words = ["report", "mt", "--tier", "small", "--results", str(results), "--json", "--baseline"]
    assert main([*words, "mos-neuron"]) == 0
    tables = {table["shared"]["task"]: table for table in json.loads(capsys.readouterr().out)}
    note = "mos-neuron is not compared in this table: hat stands in its place"
    assert tables["mt-multi30k-en-de"]["baseline"] == "mos-neuron"
    assert note not in tables["mt-multi30k-en-de"]["notes"]
    assert tables["mt-tatoeba-en-de"]["baseline"] == "hat"
    assert note in tables["mt-tatoeba-en-de"]["notes"]
    assert main([*words, "lts"]) == 2
    error = capsys.readouterr().err
    assert error.count("its labels: hat, mos-neuron") == error.count("its labels: hat, scratch") == 1
