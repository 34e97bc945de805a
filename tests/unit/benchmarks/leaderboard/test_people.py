"""People behind rows: who ran them, which implementations authors have verified, and what is refused."""

import pytest

from benchmarks.analysis.table import build_from_runs
from benchmarks.api import InvalidRecordError
from benchmarks.comparability import run_summary
from benchmarks.leaderboard import people
from tests import ROOT
from tests.fake_records import fake

RECORDS = [fake("hat", 1), fake("hat", 2), fake("scratch", 1)]
DIGEST = RECORDS[0]["spec"]["method_sha256"]
GOOD = f"""
[[run]]
by = "Lab <b>"
records = ["{RECORDS[0]["id"]}"]

[[verified]]
method = "hat"
method_sha256 = "{DIGEST}"
by = "An Author"
statement = "https://example.org/issue/1"
on = "2026-01-31"
"""


def rows(tmp_path, text):
    (tmp_path / people.FILE).write_text(text)
    table = build_from_runs([run_summary.summarize(record, keep=True) for record in RECORDS])
    return dict(zip(table.rows["method"], people.load(tmp_path).of_rows(table), strict=True))


def test_a_row_names_its_runner_and_the_authors_that_verified_its_implementation(tmp_path):
    shown = rows(tmp_path, GOOD)
    assert shown["hat"] == ("An Author, 2026-01-31", "Lab <b>, not stated")
    assert shown["scratch"] == ("no", "not stated")


def test_an_implementation_that_has_changed_is_not_verified(tmp_path):
    assert rows(tmp_path, GOOD.replace(DIGEST, "0" * 64))["hat"][0] == "no"


def test_without_the_file_no_person_is_stated(tmp_path):
    assert people.load(tmp_path) == people.People()


@pytest.mark.parametrize(
    "before, after, said",
    [
        ('by = "An Author"', "", "[[verified]] 1: field by: missing"),
        (DIGEST, "abc", "field method_sha256: abc: write 64 hex digits"),
        ("https://", "javascript:", "an https:// address"),
        ("2026-01-31", "yesterday", "field on: yesterday: write a day as 2026-01-31"),
        (RECORDS[0]["id"], "../x", "an id has 16 hex digits"),
        ("[[run]]", "[[ran]]", "ran: write [[run]] or [[verified]]"),
        ('by = "Lab', 'extra = 1\nby = "Lab', "field extra: unknown; allowed: by records"),
        ("[[run]]", "[[run", "people.toml"),
    ],
)
def test_an_invalid_people_file_is_refused_with_its_field(tmp_path, before, after, said):
    (tmp_path / people.FILE).write_text(GOOD.replace(before, after))
    with pytest.raises(InvalidRecordError) as caught:
        people.load(tmp_path)
    assert said in str(caught.value)


def test_a_record_is_run_by_one(tmp_path):
    text = GOOD + f'[[run]]\nby = "Other"\nrecords = ["{RECORDS[0]["id"]}"]\n'
    (tmp_path / people.FILE).write_text(text)
    with pytest.raises(InvalidRecordError, match="run by two"):
        people.load(tmp_path)


def test_ours_names_every_published_record_once():
    shipped = people.load(ROOT / "results")
    assert shipped.runs and set(shipped.runs.values()) == {"the project"}
