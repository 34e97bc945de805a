"""Splits of a folder: which files are training, validation and test data, by name or by the user's table."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from benchmarks.api import UsageError
from benchmarks.suggestions import suggest
from benchmarks.tasks.folders.lines import Report

TRAIN, VALID, TEST = ("train",), ("valid", "val", "dev"), ("test", "eval")
"""Beginnings of the names of files of each split."""
NAMES = ("train", "valid", "test")
"""Names of the splits."""
Item = TypeVar("Item")
Draw = Callable[[Sequence[Item], int, int], tuple[list[Item], list[Item]]]
"""Function of items, the most to draw and a seed, which returns the drawn items and the rest."""
LARGEST_SHARE = 0.1
"""Largest share of training data that is drawn for another split."""


@dataclass(frozen=True)
class Assigned:
    """Names of the sets of each split; ``tests`` by label; ``drawn``: split -> items to draw from train."""

    train: tuple[str, ...]
    valid: tuple[str, ...]
    tests: Mapping[str, str]
    drawn: Mapping[str, int]


def assign(
    folder: Path,
    splits: Mapping[str, object],
    known: Collection[str],
    report: Report,
    *,
    several: bool = False,
) -> Assigned:
    """Return which sets are which split: as ``splits`` has it, else by the beginnings of their names.

    Args:
        folder: folder of the sets, for messages.
        splits: as ``check_table`` allows them.
        known: names of the sets in the folder.
        report: collects which sets are not used.
        several: where no set is named for training, take all without the name of a split, not a single one.

    Raises:
        UsageError: a name is not there, or no set is for training.
    """
    drawn = {split: number for split, number in splits.items() if isinstance(number, int)}
    lists = {split: _named(folder, split, splits[split], known) for split in splits if split not in drawn}
    used = {name for names in lists.values() for name in names.values()}
    free = [name for name in sorted(known) if name not in used]

    def by_name(split: str, beginnings: tuple[str, ...]) -> dict[str, str]:
        if split in splits:
            return lists.get(split, {})
        return {name: name for name in free if name.lower().startswith(beginnings)}

    train, valid, tests = (by_name(*s) for s in (("train", TRAIN), ("valid", VALID), ("test", TEST)))
    others = [name for name in free if name not in {*train, *valid, *tests}]
    unnamed = [name for name in others if not name.lower().startswith((*VALID, *TEST))]
    if not train and "train" not in splits and (several or len(unnamed) == 1):
        train = {name: name for name in unnamed}
        others = [name for name in others if name not in train]
        if len(train) == 1:
            report.facts.append(f"train: {unnamed[0]}, the only set without the name of a split")
    if not train:
        raise UsageError(
            f"'{folder}' has no training data: none of {', '.join(sorted(known))} begins with 'train'\n"
            f'name it in task.toml: [splits] train = "{(others or sorted(known))[0]}"'
        )
    if others:
        report.facts.append(f"not used: {', '.join(others)}")
    for split, names in (("train", train), ("valid", valid)):
        if len(names) > 1:
            report.facts.append(f"{split}: {', '.join(names.values())}, one after the other")
    return Assigned(tuple(train.values()), tuple(valid.values()), tests, drawn)


def check_table(table: Mapping[str, object], where: str) -> None:
    """Check the values of ``[splits]``, whatever the folder has.

    Args:
        table: ``train``, ``valid`` and ``test`` -> a name, a list of names, or (not for ``train``) a number
            of items to draw; ``test`` may be a table, label -> name.
        where: file of the table, for messages.

    Raises:
        UsageError: another split or another value; names both.
    """
    for split, value in table.items():
        if split not in NAMES:
            raise UsageError(
                f"{where}: [splits] {split}: it is train, valid or test. {suggest(split, NAMES)}".rstrip()
            )
        if isinstance(value, int) and not isinstance(value, bool):
            fits = split != "train" and value >= 1
        else:
            fits = all(isinstance(name, str) for name in _labelled(value).values())
        if not fits or value in ([], {}) or (isinstance(value, Mapping) and split != "test"):
            number = "" if split == "train" else ", or a number of items to draw from 1 up"
            label = ', or a table such as { news = "test-news" }' if split == "test" else ""
            raise UsageError(
                f"{where}: [splits] {split} = {value!r}: the name of a file without its ending, a list of"
                f" names{label}{number} is needed"
            )


def _labelled(value: object) -> dict[str, object]:
    """Return label -> name of a split's value in the user's table."""
    if isinstance(value, Mapping):
        return dict(value)
    return {str(name): name for name in (value if isinstance(value, list) else [value])}


def _named(folder: Path, split: str, value: object, known: Collection[str]) -> dict[str, str]:
    """Return label -> name of the sets that the user's table gives a split."""
    names = {label: str(name) for label, name in _labelled(value).items()}
    for name in names.values():
        if name not in known:
            raise UsageError(
                f"[splits] {split} = '{name}': no such name in '{folder}'. {suggest(name, known)}\n"
                f"it has: {', '.join(sorted(known))}"
            )
    return names


def draw_split(
    folder: Path,
    split: str,
    pool: Sequence[Item],
    asked: int | None,
    usual: int,
    draw: Draw[Item],
    seed: int,
    noun: str,
) -> tuple[list[Item], list[Item]]:
    """Return the items that are drawn out of training for another split, and the rest.

    Args:
        folder: folder of the data, for messages.
        split: split that is drawn.
        pool: training items.
        asked: number that the user's table asks for, if any.
        usual: number that is drawn at most where the table has none.
        draw: draws them.
        seed: seed of ``draw``.
        noun: word for items.

    Raises:
        UsageError: no item would be drawn, or none would remain.
    """
    if len(pool) < 2 or (asked is not None and asked >= len(pool)):
        number = "" if asked is None else f"[splits] {split} = {asked:,}, and "
        remedy = f"set {split} to {drawn_size(len(pool), usual)}, or" if len(pool) > 1 else "add text, or"
        raise UsageError(
            f"'{folder}': {number}train has {len(pool):,} {noun}: too few to draw {split} from\n"
            f'{remedy} give {split} files of its own: [splits] {split} = "NAME" in task.toml'
        )
    most = asked or drawn_size(len(pool), usual)
    taken, rest = draw(pool, most, seed)
    if not taken:
        raise UsageError(
            f"'{folder}': none of the {len(pool):,} {noun} of train can be drawn for {split}: equal ones stay"
            f" together, and each equals {most:,} others or more\n"
            f"remove the repeats, or give {split} files of its own"
        )
    return taken, rest


def drawn_size(items: int, asked: int) -> int:
    """Return the number of items to draw out of ``items``: ``asked``, at most a tenth, at least 1."""
    return max(1, min(asked, int(items * LARGEST_SHARE)))
