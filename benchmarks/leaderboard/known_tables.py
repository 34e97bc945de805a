"""Tables of a large board that were made before, under the digest of all that they follow from."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.leaderboard import index_files

if TYPE_CHECKING:
    from benchmarks.leaderboard.tables import Board, BoardSource

_COLUMNS = {"path": "binary", "data": "binary"}


def key_of(source: BoardSource, contents: Sequence[bytes], first: int) -> str:
    """Return the digest of all that the tables of a folder follow from.

    Args:
        source: of the whole leaderboard.
        contents: digests of the folder's record files, in order; no file lies beside any of them.
        first: number of the first of them among all records of the leaderboard.
    """
    about = index_files.rules(), source.brief, source.people, source.repository, first
    return hashlib.sha256(b"\0".join([repr(about).encode(), *contents])).hexdigest()


@dataclass(frozen=True)
class KnownTables:
    """The tables of one folder of records in a file of the index.

    Args:
        file: of the index; it need not be there.
    """

    file: Path

    def boards(self, source: BoardSource, make: Callable[[BoardSource], list[Board]]) -> list[Board]:
        """Return the tables, their part of the site written: those that are kept, else made and kept.

        Args:
            source: of the whole leaderboard.
            make: the function that makes the tables and writes their part of a site.
        """
        rows = index_files.read(self.file, _COLUMNS)
        if (known := _restored(rows, source.site)) is not None:
            return known
        scratch = source.site / f".{self.file.stem}"
        try:
            boards = make(replace(source, site=scratch))
            files = sorted(path for path in scratch.rglob("*") if path.is_file())
            rows = [{"path": b"", "data": _text(boards)}]
            for path in files:
                name = path.relative_to(scratch)
                rows.append({"path": name.as_posix().encode(), "data": path.read_bytes()})
                (source.site / name).parent.mkdir(parents=True, exist_ok=True)
                os.replace(path, source.site / name)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
        if not any(board.files for board in boards):
            index_files.write(self.file.parent, rows, _COLUMNS, self.file.name)
        return boards


def _text(boards: Sequence[Board]) -> bytes:
    return json.dumps([asdict(replace(board, files={})) for board in boards]).encode()


def _restored(rows: Sequence[dict[str, bytes]], site: Path) -> list[Board] | None:
    """Write the files of tables into a site and return the tables; None if the rows are no tables."""
    from benchmarks.leaderboard.site.pages import SiteTable
    from benchmarks.leaderboard.tables import Board

    if not rows or rows[0]["path"]:
        return None
    top = site.resolve()
    try:
        boards = []
        for entry in json.loads(rows[0]["data"]):
            shown = entry["site"]
            ranks, methods, full = map(int, shown["weight"])
            table = SiteTable(shown["entry"], str(shown["plain"]), (ranks, methods, full))
            text = str(entry["title"]), str(entry["markdown"])
            boards.append(Board(tuple(map(str, entry["order"])), *text, dict(entry["entry"]), table))
        places = [(top / row["path"].decode()).resolve() for row in rows[1:]]
    except (KeyError, RecursionError, TypeError, ValueError):
        return None
    if not all(place.is_relative_to(top) and place != top for place in places):
        return None
    for place, row in zip(places, rows[1:], strict=True):
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(row["data"])
    return boards
