"""``supernet-bench report``: the golden table of fixed records, and the paths that it prints."""

import json
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
