"""Splits of a folder: which files are training, validation and test data, by name or by the user's table."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from benchmarks.api import UsageError
from benchmarks.suggestions import suggest
from benchmarks.tasks.folders.lines import Report

TRAIN, VALID, TEST = ("train",), ("valid", "val", "dev"), ("test", "eval")
"""Beginnings of the names of files of each split."""
LARGEST_SHARE = 0.1
"""Largest share of training data that is drawn for another split."""


@dataclass(frozen=True)
class Assigned:
    """Names of the sets of each split; ``tests`` by label; ``drawn``: split -> items to draw from train."""

    train: tuple[str, ...]
    valid: tuple[str, ...]
    tests: Mapping[str, str]
    drawn: Mapping[str, int]


def assign(splits: Mapping[str, object], known: Collection[str], report: Report) -> Assigned:
    """Return which sets are which split: as ``splits`` has it, else by the beginnings of their names.

    Args:
        splits: ``train``, ``valid`` and ``test`` -> a name, a list of names, or (not for ``train``) a number
            of items to draw; ``test`` may be a table, label -> name.
        known: names of the sets in the folder.
        report: collects which sets are not used.

    Raises:
        UsageError: a name is not there, or no set is for training.
    """
    for split in splits:
        if split not in ("train", "valid", "test"):
            raise UsageError(
                f"[splits] {split}: it is train, valid or test. {suggest(split, ('train', 'test'))}"
            )
    drawn = {split: n for split, n in splits.items() if isinstance(n, int) and not isinstance(n, bool)}
    if "train" in drawn or any(number < 1 for number in drawn.values()):
        raise UsageError("[splits]: a number of items to draw is for valid and test, and at least 1")
    lists = {split: _named(split, splits[split], known) for split in splits if split not in drawn}
    used = {name for names in lists.values() for name in names.values()}
    free = [name for name in sorted(known) if name not in used]

    def by_name(split: str, beginnings: tuple[str, ...]) -> dict[str, str]:
        if split in splits:
            return lists.get(split, {})
        return {name: name for name in free if name.lower().startswith(beginnings)}

    train, valid, tests = (by_name(*s) for s in (("train", TRAIN), ("valid", VALID), ("test", TEST)))
    others = [name for name in free if name not in {*train, *valid, *tests}]
    if not train and "train" not in splits and len(others) == 1:
        train, others = {others[0]: others[0]}, []
        report.facts.append(f"train: {next(iter(train))}, the only set without the name of a split")
    if not train:
        raise UsageError(
            f"no training data: none of {', '.join(sorted(known))} begins with 'train'\n"
            f'name it in task.toml: [splits] train = "{(others or sorted(known))[0]}"'
        )
    if others:
        report.facts.append(f"not used: {', '.join(others)}")
    for split, names in (("train", train), ("valid", valid)):
        if len(names) > 1:
            report.facts.append(f"{split}: {', '.join(names.values())}, one after the other")
    return Assigned(tuple(train.values()), tuple(valid.values()), tests, drawn)


def _named(split: str, value: object, known: Collection[str]) -> dict[str, str]:
    """Return label -> name of the sets that the user's table gives a split."""
    table: dict[object, object]
    if isinstance(value, Mapping):
        table = dict(value)
    else:
        table = {name: name for name in (value if isinstance(value, list) else [value])}
    for name in table.values():
        if not isinstance(name, str) or name not in known:
            raise UsageError(
                f"[splits] {split}: no '{name}' in the folder. {suggest(str(name), known)}\n"
                f"it has: {', '.join(sorted(known))}"
            )
    return {str(label): str(name) for label, name in table.items()}


def drawn_size(items: int, asked: int) -> int:
    """Return the number of items to draw out of ``items``: ``asked``, at most a tenth, at least 1."""
    return max(1, min(asked, int(items * LARGEST_SHARE)))
