"""Look-up of records: the one that a command names, and those of a suite in any folder of results."""

from __future__ import annotations

import re
from pathlib import Path

from benchmarks import registry
from benchmarks.api import UsageError
from benchmarks.records import store
from benchmarks.records.folders import local_results, readable
from benchmarks.records.record import Record
from benchmarks.records.text import sanitize
from benchmarks.registry import MethodRef
from benchmarks.runs.plan import Folders
from benchmarks.runs.repeat import method_word

LISTED = 9
"""Records listed when an id is ambiguous."""


def find_record(word: str, results: Path) -> Path:
    """Return the file of the record that ``word`` names.

    Args:
        word: path of a record's file, or the first 4 to 16 digits of a record's id.
        results: folder in which an id is looked up: among its published records, then among those of this
            machine that belong to it, then among those of suites that ran there.

    Raises:
        UsageError: no record, or several, have that name.
    """
    path, folder = Path(word), readable(results)
    if path.is_file():
        return path
    if not re.fullmatch(r"[0-9a-f]{4,16}", word):
        raise UsageError(
            f"no record '{sanitize(word, 200)}': give a file, or the id of one under {folder}\n"
            "list the published ones: results/LEADERBOARD.md"
        )
    places = (folder / "records", local_results(results), *sorted(results.glob("*/records")))
    matching: dict[str, Path] = {}
    for file in (file for place in places for file in store.paths(place)):
        if file.stem.startswith(word):
            matching.setdefault(file.stem, file)
    if len(matching) == 1:
        return next(iter(matching.values()))
    what = "several records start" if matching else "no record starts"
    first = sorted(matching.items())[:LISTED]
    listed = "".join(f"\n  {name}  {Path(*file.parts[-4:])}" for name, file in first)
    raise UsageError(f"{what} with {word} in {folder}{listed}\ngive a file or its id")


def find_method(word: str, folders: Folders) -> MethodRef:
    """Return the method of a word of the command line.

    Raises:
        UsageError: there is none; where it names a method of records, the message has the file that it is in.
    """
    try:
        return registry.find(word)
    except UsageError:
        named = [record for record in suite_records(folders, []) if record["spec"]["method"] == word]
        files = {method_word(record["spec"], record["provenance"]) for record in named} - {word}
        if not files:
            raise
        shown = " or ".join(sanitize(file, 80) for file in sorted(files))
        raise UsageError(
            f"no method '{word}' is installed; the '{word}' of the records in {folders.results} is {shown}\n"
            f"type the path of that file, and its class, in place of '{word}'"
        ) from None


def store_of(path: Path, record: Record) -> list[Record]:
    """Return the records of the store that a record's file lies in; none if it lies in no store."""
    place = path.absolute()
    beside = place.parts[-4:] == store.relative_path(record).parts
    return store.load_all(place.parents[3], []) if beside else []


def records_folder(folders: Folders) -> Path:
    """Return the folder of a suite's records in any folder of results.

    They lie in ``DIR/<suite>-<tier>/records``, as runs write them, else in ``DIR/records``, as they are
    published, else in ``DIR`` itself.
    """
    places = (folders.store, folders.results / "records", folders.results)
    return next((place for place in places if place.is_dir() and store.paths(place)), folders.store)


def suite_records(folders: Folders, problems: list[str] | None = None) -> list[Record]:
    """Return the records of a suite and tier in any folder of results (``records_folder``).

    Args:
        folders: of the results.
        problems: gets a message for each file that is no record.

    Raises:
        InvalidRecordError: for the first bad file, unless ``problems`` is given.
    """
    wanted = folders.suite, folders.tier
    records = store.load_all(records_folder(folders), problems)
    return [record for record in records if (record["spec"]["suite"], record["spec"]["tier"]) == wanted]
