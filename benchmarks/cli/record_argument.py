"""Look-up of records: the one that a command names, and those of a suite in any folder of results."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from benchmarks.api import UsageError
from benchmarks.records import store
from benchmarks.records.record import Record
from benchmarks.records.text import sanitize
from benchmarks.runs.plan import Folders

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


def suite_records(folders: Folders, problems: list[str] | None = None) -> list[Record]:
    """Return the records of a suite and tier in any folder of results.

    They lie in ``DIR/<suite>-<tier>/records``, as runs write them, else in ``DIR/records``, as they are
    published, else in ``DIR`` itself.

    Args:
        folders: of the results.
        problems: gets a message for each file that is no record.

    Raises:
        InvalidRecordError: for the first bad file, unless ``problems`` is given.
    """
    places = (folders.store, folders.results / "records", folders.results)
    chosen = next((place for place in places if place.is_dir() and store.paths(place)), folders.store)
    wanted = folders.suite, folders.tier
    records = store.load_all(chosen, problems)
    return [record for record in records if (record["spec"]["suite"], record["spec"]["tier"]) == wanted]
