"""Index of records that were checked before: what a large board keeps of each, by the content of its file.

A second rendering hashes every record file and parses none that stands here. The index is a few Parquet files
in the folder of local results, each for a run of neighbouring records, and a catalogue of them. The tables
of each folder stand beside them (``known_tables``). Files of other origin count for nothing
(``index_files``), and the next rendering removes them.
"""

from __future__ import annotations

import importlib
import re
from bisect import bisect_right
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.analysis.run_page import RunPage
from benchmarks.comparability import summary_text
from benchmarks.comparability.run_summary import RunSummary
from benchmarks.comparability.summary_text import SummaryTexts
from benchmarks.identity import OURS
from benchmarks.leaderboard import index_files
from benchmarks.leaderboard.known_tables import KnownTables
from benchmarks.records import valid_contents
from benchmarks.records.folders import local_results
from benchmarks.tasks import GROUP

FOLDER = "index"
"""Folder of the index below that of local results."""
CATALOGUE = "catalogue.parquet"
MOST_FILES = 50
"""Files of the index that are read for one piece of work; there are two if nothing moved."""
_COLUMNS = {name: "binary" for name in ("content", "place", "shared", "own", "origin", "page")}
_NAME = re.compile(r"[0-9a-f]{64}\.parquet")
_REMOVED = re.compile(r"(tables-)?[0-9a-f]{64}\.parquet|\.[\w-]+\.parquet\.\w+\.tmp")
"""Names of files that a rendering wrote or began; nothing else is removed, wherever the folder leads."""


class KnownRecord(NamedTuple):
    """One record: its summary, the provenance that its page shares with others, and its page's own data."""

    run: RunSummary
    origin: bytes
    page: bytes


@cache
def _foreign_tasks() -> frozenset[str]:
    """Return the names of tasks that other packages bring, whose code ``rules`` does not cover."""
    entries = metadata.entry_points(group=GROUP)
    return frozenset(entry.name for entry in entries if entry.value.partition(".")[0] not in OURS)


def is_kept(record: Any) -> bool:
    """Return whether a record may stand in the index: what is kept of it depends on our code alone."""
    return not record.get("declared") and record["spec"]["task"] not in _foreign_tasks()


@dataclass
class KnownPart:
    """The records of one piece of work: those known before, and those that its file of the index will have.

    Args:
        folder: of the index.
        names: files of the index that may have some of its records.
    """

    folder: Path
    names: Sequence[str]
    _before: dict[bytes, dict[str, bytes]] = field(default_factory=dict)
    _rows: list[dict[str, bytes]] = field(default_factory=list)
    _files: dict[str, int] = field(default_factory=dict)
    """Records of each file that counts."""

    def read(self) -> None:
        """Read the files; those that do not count are left out."""
        for name in self.names:
            rows = index_files.read(self.folder / name, _COLUMNS)
            self._files[name] = len(rows)
            self._before |= {row["content"]: row for row in rows}

    def find(self, content: bytes, place: str, number: int) -> KnownRecord | None:
        """Return the record of a file of this content at its place in the store; None if it is not known.

        Args:
            content: digest of the file.
            place: of the file, as ``store.place`` of its record.
            number: of the record among all of the leaderboard.
        """
        row = self._before.get(content)
        if row is None or row["place"] != place.encode():
            return None
        try:
            run = summary_text.decode(SummaryTexts(row["shared"], row["own"]), number)
        except ValueError:
            return None
        self._rows.append(row)
        return KnownRecord(run, row["origin"], row["page"])

    def add(self, content: bytes, place: str, run: RunSummary, page: RunPage) -> None:
        """Keep another record, if JSON can hold all of it."""
        texts = summary_text.encode(run)
        if texts is not None and isinstance(page.fields, bytes):
            values = content, place.encode(), *texts, page.origin, page.fields
            self._rows.append(dict(zip(_COLUMNS, values, strict=True)))

    def write(self) -> str:
        """Return the name of the file that has the part's records; it is written unless it is there."""
        before = self._before
        if len(self._files) == 1 and [row["content"] for row in self._rows] == list(before):
            (name,) = self._files
            return name if self._files[name] == len(self._rows) and self._rows else ""
        return index_files.write(self.folder, self._rows, _COLUMNS) if self._rows else ""


class KnownRecords:
    """The index of a results folder, as the process that plans the work sees it.

    Args:
        results: folder of published results.
    """

    def __init__(self, results: Path) -> None:
        self._folder = local_results(results) / FOLDER
        rows = index_files.read(self._folder / CATALOGUE, {"first": "binary", "file": "binary"})
        listed = sorted((_order(row["first"].decode()), row["file"].decode()) for row in rows)
        self._firsts = [first for first, _ in listed]
        self._names = [name for _, name in listed]
        self._used: dict[str, str] = {}
        self._tables: set[str] = set()

    def part(self, first: str, last: str) -> KnownPart:
        """Return the part of the index for the records from one place to another, not read yet."""
        start = max(bisect_right(self._firsts, _order(first)) - 1, 0)
        end = bisect_right(self._firsts, _order(last))
        names = dict.fromkeys(name for name in self._names[start:end] if _NAME.fullmatch(name))
        return KnownPart(self._folder, [*names][:MOST_FILES])

    def tables(self, key: str) -> KnownTables:
        """Return the tables under a key of ``known_tables.key_of``, not read yet."""
        self._tables.add(name := f"tables-{key}.parquet")
        return KnownTables(self._folder / name)

    def note(self, first: str, name: str) -> None:
        """Note the file of a part, and the place of the part's first record."""
        if name:
            self._used[first] = name

    def write(self) -> None:
        """Write the catalogue of the noted files, and remove what belongs to no part."""
        rows = [{"first": first.encode(), "file": name.encode()} for first, name in self._used.items()]
        with suppress(OSError):
            index_files.write(self._folder, rows, {"first": "binary", "file": "binary"}, CATALOGUE)
            kept = {CATALOGUE, *self._used.values(), *self._tables}
            for path in self._folder.iterdir():
                if path.name not in kept and _REMOVED.fullmatch(path.name):
                    path.unlink(missing_ok=True)
        valid_contents.own_indices().flush()


def known_records(results: Path) -> KnownRecords | None:
    """Return the index of a results folder; None where pyarrow is not installed."""
    try:
        importlib.import_module("pyarrow.parquet")
    except ImportError:
        return None
    return KnownRecords(results)


def _order(place: str) -> tuple[str, ...]:
    """Return the key by which ``store.paths`` orders records."""
    return tuple(place.split("/"))
