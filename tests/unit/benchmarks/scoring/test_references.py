"""Digest of the test files: any others than those that were prepared are refused."""

from __future__ import annotations

import pytest

from benchmarks.api import UsageError
from benchmarks.scoring.references import check_references, references_digest
from benchmarks.tasks import Prepared


def test_any_change_of_the_test_files_changes_their_digest(tmp_path):
    (tmp_path / "below").mkdir()
    (tmp_path / "a.txt").write_text("one")
    (tmp_path / "below" / "b.txt").write_text("two")
    before = references_digest(tmp_path)
    check_references(tmp_path, before)
    check_references(tmp_path, "")
    for change in (
        lambda: (tmp_path / "a.txt").write_text("One"),
        lambda: (tmp_path / "c.txt").write_text(""),
        lambda: (tmp_path / "below" / "b.txt").rename(tmp_path / "b.txt"),
        lambda: (tmp_path / "a.txt").unlink(),
    ):
        change()
        now = references_digest(tmp_path)
        assert now != before
        with pytest.raises(UsageError, match="changed after they were prepared"):
            check_references(tmp_path, before)
        before = now


def test_a_task_without_a_test_split_has_no_digest():
    assert references_digest(None) == ""
    check_references(None, "")


def test_references_that_change_while_scores_are_made_are_refused(tmp_path, monkeypatch):
    from benchmarks.scoring import revalidation

    sealed, run = tmp_path / "sealed", tmp_path / "run"
    sealed.mkdir()
    run.mkdir()
    (sealed / "test.reference.txt").write_text("a reference\n")
    prepared = Prepared(tmp_path, sealed, {}, 5, 5)

    def swap(folder, **_):
        (sealed / "test.reference.txt").write_text("what the network says\n")

    monkeypatch.setattr(revalidation, "score_run", swap)
    declared = references_digest(sealed)
    with pytest.raises(UsageError, match="were changed after they were prepared"):
        revalidation.score_checked(run, prepared, "cpu", 1, declared)
    monkeypatch.setattr(revalidation, "score_run", lambda *_, **__: pytest.fail("changed before: not scored"))
    with pytest.raises(UsageError, match="were changed after they were prepared"):
        revalidation.score_checked(run, prepared, "cpu", 1, declared)
