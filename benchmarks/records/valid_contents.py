"""Contents of record files that this version of the checks has found valid, kept between commands.

Parsing a record takes a quarter of the time of checking it. What is kept is the sha256 of a file's bytes: a
file that changes by one byte is checked again, and so is every file under other rules. Seals have no key:
anybody who can write this list could seal a record of their own as well.
"""

from __future__ import annotations

import atexit
import hashlib
import os
from contextlib import suppress
from functools import cache, lru_cache
from pathlib import Path

from benchmarks.records.folders import cache_folder

LARGEST = 2**25
"""Bytes above which the list is begun anew; half a million records have so many."""
AT_ONCE = 200
"""Contents that are appended together."""
_RULES = ("integrity.py", "canonical.py", "spec.py", "text.py", "schema/record-1.json")
"""Files of this package that decide whether a record is valid."""


class CheckedContents:
    """List of the sha256 of valid files, of all commands of this user.

    Args:
        file: one hexadecimal digest a line, appended to by any number of processes.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._new: list[bytes] = []
        self._known = self._read()

    def _read(self) -> set[bytes]:
        with suppress(OSError):
            if self._file.stat().st_size <= LARGEST:
                return set(self._file.read_bytes().split(b"\n"))
            self._file.unlink()
        return set()

    def __contains__(self, digest: bytes) -> bool:
        """Return whether a file of this ``content_digest`` was found valid before."""
        return digest in self._known

    def add(self, digest: bytes) -> None:
        """Note that a file of this ``content_digest`` is valid; it is written later, with others."""
        self._known.add(digest)
        self._new.append(digest)
        if len(self._new) >= AT_ONCE:
            self.flush()

    def flush(self) -> None:
        """Append the new entries. A list that cannot be written costs time and nothing else."""
        if not self._new:
            return
        lines, self._new = b"\n".join([*self._new, b""]), []
        with suppress(OSError):
            self._file.parent.mkdir(parents=True, exist_ok=True)
            handle = os.open(self._file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            try:
                os.write(handle, lines)
            finally:
                os.close(handle)


def content_digest(data: bytes) -> bytes:
    """Return the line of the list for a file of this content."""
    return hashlib.sha256(data).hexdigest().encode()


@cache
def rules() -> str:
    """Return 16 hex digits of the files that decide whether a record is valid."""
    here = Path(__file__).parent
    return hashlib.sha256(b"".join((here / name).read_bytes() for name in _RULES)).hexdigest()[:16]


def list_file() -> Path:
    """Return the file of the list for this version of the rules."""
    return _list_file(cache_folder(), rules())


@lru_cache(maxsize=4)
def _list_file(folder: Path, rules: str) -> Path:
    """Return ``list_file`` under some rules in a cache folder, which every record that is read asks for."""
    return folder / f"valid-records-{rules}.txt"


_OPEN: dict[Path, CheckedContents] = {}


def contents() -> CheckedContents:
    """Return the list of valid records of this process, read at the first call."""
    return _opened(list_file())


def own_indices() -> CheckedContents:
    """Return the list of index files (``leaderboard.known_records``) that commands of this user wrote."""
    return _opened(cache_folder() / "own-indices.txt")


def _opened(file: Path) -> CheckedContents:
    if file not in _OPEN:
        _OPEN[file] = CheckedContents(file)
        atexit.register(_OPEN[file].flush)
    return _OPEN[file]
