"""Look-up of the record that a command names by its file or its id."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from benchmarks.api import UsageError
from benchmarks.records import store
from benchmarks.records.record import Record
from benchmarks.records.text import sanitize

LISTED = 9
"""Records listed when an id is ambiguous."""


def find_record(word: str, published: Sequence[Record], folder: Path) -> tuple[Record, Sequence[Record]]:
    """Return the record that ``word`` names, and the records of the store that its file is in.

    Args:
        word: path of a record's file, or the first 4 to 16 digits of a record's id.
        published: records among which an id is looked up.
        folder: folder of ``published``, for messages.

    Raises:
        UsageError: no record, or several, have that name.
    """
    path = Path(word)
    if path.is_file():
        record, place = store.load(path), path.absolute()
        root = place.parents[3] if place.parts[-4:] == store.relative_path(record).parts else None
        return record, store.load_all(root, []) if root else []
    if re.fullmatch(r"[0-9a-f]{4,16}", word):
        matching = [record for record in published if record["id"].startswith(word)]
        if len(matching) == 1:
            return matching[0], []
        what = "several records start" if matching else "no record starts"
        listed = "".join(f"\n  {r['id']}  {store.relative_path(r)}" for r in matching[:LISTED])
        raise UsageError(f"{what} with {word} in {folder}{listed}\ngive a file or its id")
    raise UsageError(
        f"no record '{sanitize(word, 200)}': give a file, or the id of one under {folder}\n"
        "list the published ones: results/LEADERBOARD.md"
    )
