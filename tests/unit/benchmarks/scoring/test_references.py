"""Digest of the test files: any others than those that were prepared are refused."""

from __future__ import annotations

import pytest

from benchmarks.api import UsageError
from benchmarks.scoring.references import check_references, references_digest


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
