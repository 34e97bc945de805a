"""The site of local records: one table a group, every run's page, replaced as a whole."""

import json
import re

from benchmarks.analysis.table import build_from_runs
from benchmarks.comparability import grouping, run_summary
from benchmarks.leaderboard.local_site import ShownTable, write_site
from tests.fake_records import fake, study

SVG = b"<svg xmlns='http://www.w3.org/2000/svg'/>"


def data(path):
    """The value that a data file hands to the pages."""
    return json.loads(re.fullmatch(r"supernetBench\.\w+\((.*)\);\n", path.read_text(), re.DOTALL)[1])


def test_a_local_site_has_a_table_for_each_group_and_a_page_for_each_run(tmp_path):
    records = [*study(("hat", "scratch"), 2), fake("hat", 1, tier="smoke"), fake("hat", 9, status="failed")]
    runs = [run_summary.summarize(record, keep=True, place=i) for i, record in enumerate(records)]
    groups = grouping.groups(runs)
    comparisons = [ShownTable(group, build_from_runs(group), {"budget.svg": SVG}) for group in groups]
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "left-over.js").write_text("of an earlier site")
    page = write_site(tmp_path / "site", runs, comparisons, "store/records")
    assert page.is_file() and not (page.parent / "left-over.js").exists()
    index = data(page.parent / "data" / "index.js")
    assert {entry["tier"] for entry in index["tables"]} == {"small", "smoke"}
    assert index["records"] == len(records)
    written = data(page.parent / "data" / "runs-0.js")["runs"]
    assert [run["id"] for run in written] == [record["id"] for record in records]
    assert all(run["path"].startswith("store/records/") for run in written)
    for entry in index["tables"]:
        table = data(page.parent / "data" / f"{entry['id']}.js")
        picture = data(page.parent / "data" / f"{entry['id']}-below.js")["pictures"]["budget"]
        assert (page.parent / picture["path"]).read_bytes() == SVG and len(picture["alternative"]) > 40
        more = data(page.parent / "data" / f"{entry['id']}-more-0.js")["rows"]
        assert table["core"]["n"] == len(more) == entry["rows"]
        places = {place for row in more for place in row["runs"]}
        assert {records[place]["spec"]["tier"] for place in places} == {entry["tier"]}
