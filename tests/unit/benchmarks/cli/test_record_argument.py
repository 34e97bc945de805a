"""Look-up of the record that a command names."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.api import UsageError
from benchmarks.cli.main import main
from benchmarks.cli.record_argument import find_record, store_of
from benchmarks.records import store
from tests.fake_records import fake


@pytest.mark.parametrize("where", ["records", "local/mt-small/records", "mt-small/records"])
def test_an_id_leads_to_published_records_and_to_those_of_runs_of_the_folder(
    tmp_path: Path, where: str
) -> None:
    path = store.write(tmp_path / where, fake(seed=1))
    other = store.write(tmp_path / where, fake(seed=2))
    for word in (path.stem, path.stem[:6], str(path)):
        assert find_record(word, tmp_path) == path
    ids = {record["id"] for record in store_of(path, store.load(path))}
    assert ids == {path.stem, other.stem}


def test_a_published_record_counts_before_a_copy_of_it(tmp_path: Path) -> None:
    published = store.write(tmp_path / "records", fake())
    store.write(tmp_path / "mt-small" / "records", fake())
    assert find_record(published.stem, tmp_path) == published


def test_an_ambiguous_id_lists_its_records_and_a_wrong_one_states_the_choice(tmp_path: Path) -> None:
    for name in ("abcd" + "0" * 12, "abcd" + "1" * 12):
        file = tmp_path / "records" / "task" / "profile" / "hat" / f"{name}.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    with pytest.raises(UsageError, match="several records start with abcd(?s:.*)task/profile/hat/abcd1"):
        find_record("abcd", tmp_path)
    with pytest.raises(UsageError, match="no record starts with abce"):
        find_record("abce", tmp_path)
    for word in ("no-id", "../x", "abc"):
        with pytest.raises(UsageError, match="give a file, or the id of one"):
            find_record(word, tmp_path)


def test_a_method_of_records_is_named_by_its_file(tmp_path, capsys):
    record = fake("good", 1, tier="smoke", task="mt-synthetic-en-de")
    provenance = {**record["provenance"], "method": {"word": "./good.py:Good"}}
    store.write(tmp_path / "mt-smoke" / "records", {**record, "provenance": provenance})
    results = ["--results", str(tmp_path)]
    for words in (
        ["compare", "good", "scratch"],
        ["compare", "good", "scratch", "--published", str(tmp_path)],
        ["plan", "mt", "--methods", "hat,good", "--profile", "undeclared"],
        ["run", "mt", "--methods", "good", "--profile", "undeclared"],
    ):
        assert main([*words, *results]) == 2
        error = capsys.readouterr().err
        assert error.startswith("error: no method 'good' is installed; the 'good' of the records in")
        assert "is ./good.py:Good\ntype the path of that file" in error
    assert main(["compare", "god", *results]) == 2
    assert capsys.readouterr().err.startswith("error: no method 'god'.")
