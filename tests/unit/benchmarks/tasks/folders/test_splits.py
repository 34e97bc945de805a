"""Splits of a folder by the names of its sets, and by the user's table."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.api import UsageError
from benchmarks.tasks.folders.lines import Report
from benchmarks.tasks.folders.splits import assign


@pytest.mark.parametrize(
    ("known", "splits", "several", "train"),
    [
        ("train train-2 news", {}, False, "train train-2"),
        ("news valid test", {}, False, "news"),
        ("news test", {"test": 5}, False, "news"),
        ("news sport valid", {}, True, "news sport"),
        ("news sport test", {"test": 5}, True, "news sport"),
        ("news sport held", {"valid": "held"}, True, "news sport"),
        ("news train", {"valid": "train"}, True, "news"),
    ],
)
def test_training_has_no_set_that_another_split_claims(
    known: str, splits: dict[str, object], several: bool, train: str
) -> None:
    chosen = assign(Path("f"), splits, known.split(), Report(), several=several)
    assert sorted(chosen.train) == sorted(train.split())
    assert not {*chosen.train} & {*chosen.valid, *chosen.tests.values()}


@pytest.mark.parametrize(
    ("known", "splits", "several"),
    [("news sport", {}, False), ("valid test", {}, True), ("test", {"test": 5}, True)],
)
def test_sets_without_training_data_are_refused(known: str, splits: dict[str, object], several: bool) -> None:
    with pytest.raises(UsageError, match=r"'f' has no training data: .*\n.*\[splits\] train = "):
        assign(Path("f"), splits, known.split(), Report(), several=several)
