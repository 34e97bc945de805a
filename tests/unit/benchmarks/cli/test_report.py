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
