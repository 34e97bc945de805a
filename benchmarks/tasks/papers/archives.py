"""Lines of members of archives, read as a stream: nothing is unpacked to disk, no name leads anywhere."""

from __future__ import annotations

import gzip
import lzma
import re
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from typing import IO

from benchmarks.api import UsageError
from benchmarks.tasks.datasets import BLOCK

MOST = 64 << 30
"""Most bytes that one file or member may unpack to."""
LONGEST = 1 << 20
"""Most bytes of a line."""


def member_lines(archive: Path, member: str, most: int = MOST) -> Iterator[str]:
    """Yield the lines of one regular member of a tar or zip archive; a member named ``.gz`` is unpacked.

    Raises:
        UsageError: the archive is damaged, has no such file, or it unpacks to more than ``most`` bytes.
    """
    if archive.suffix == ".zip":
        with _explained(archive), zipfile.ZipFile(archive) as zipped:
            if member in zipped.namelist():
                with zipped.open(member) as file:
                    yield from _lines(file, f"{archive}: {member}", most)
                return
        raise _absent(archive, member)
    with _explained(archive), tarfile.open(archive, mode="r|*") as members:
        for entry in members:
            if entry.name.removeprefix("./") != member:
                continue
            stored = members.extractfile(entry) if entry.isreg() else None
            if stored is None:
                break
            opened = gzip.GzipFile(fileobj=stored) if member.endswith(".gz") else stored
            yield from _lines(opened, f"{archive}: {member}", most)
            return
    raise _absent(archive, member)


def _absent(archive: Path, member: str) -> UsageError:
    return UsageError(f"'{archive}' has no file {member}\nfetch it again: rm '{archive}'")


def packed_lines(path: Path, most: int = MOST) -> Iterator[str]:
    """Yield the lines of a text packed by gzip.

    Raises:
        UsageError: the file is damaged, not UTF-8, or unpacks to more than ``most`` bytes.
    """
    with _explained(path), gzip.open(path) as file:
        yield from _lines(file, str(path), most)


DAMAGED = (
    OSError, EOFError, zlib.error, lzma.LZMAError, tarfile.TarError, zipfile.BadZipFile, UnicodeDecodeError,
    RuntimeError, NotImplementedError,
)  # fmt: skip
"""Errors of reading an archive; the last two are encrypted and unknown forms of zip."""


class _explained:
    """Context that turns errors of damaged archives into messages for users."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> None:
        """Do nothing."""

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        """Raise UsageError for an error of reading."""
        if isinstance(error, DAMAGED):
            raise UsageError(
                f"'{self.path}' cannot be read: {error}\nfetch it again: rm '{self.path}'"
            ) from None


def _lines(file: IO[bytes] | gzip.GzipFile, name: str, most: int) -> Iterator[str]:
    """Yield decoded lines; only a newline ends one."""
    remaining, rest = most, b""
    while block := file.read(BLOCK):
        remaining -= len(block)
        if remaining < 0:
            raise UsageError(f"'{name}' unpacks to more than the {most:,} bytes allowed")
        *ended, rest = (rest + block).split(b"\n")
        if len(rest) > LONGEST:
            raise UsageError(f"'{name}' has a line of more than {LONGEST:,} bytes")
        for line in ended:
            yield line.decode("utf-8").removesuffix("\r")
    if rest:
        yield rest.decode("utf-8").removesuffix("\r")


SEGMENT = re.compile(r'<seg id="?\d+"?>\s*(.*?)\s*</seg>', re.IGNORECASE)


def segments(lines: Iterator[str]) -> list[str]:
    """Return the segments of an SGML or XML test set, in order; entities are text again."""
    return [unescape(match[1]) for line in lines if (match := SEGMENT.search(line))]


UNIT = re.compile(r'<tuv[^>]*xml:lang="(\w+)"')
TEXT = re.compile(r"<seg>(.*?)</seg>")


def memory_pairs(lines: Iterator[str], source: str, target: str) -> Iterator[tuple[str, str]]:
    """Yield the pairs of a translation memory (TMX), one tag a line or several."""
    sides: dict[str, str] = {}
    language = ""
    for line in lines:
        if unit := UNIT.search(line):
            language = unit[1].lower()
        if (text := TEXT.search(line)) and language:
            sides[language] = unescape(text[1])
        if "</tu>" in line:
            if source in sides and target in sides:
                yield sides[source], sides[target]
            sides, language = {}, ""


def paired(source: Iterator[str], target: Iterator[str], name: str) -> Iterator[tuple[str, str]]:
    """Yield pairs of lines.

    Raises:
        UsageError: one side has more lines than the other.
    """
    end = object()
    number = 0
    while True:
        a, b = next(source, end), next(target, end)
        if a is end and b is end:
            return
        if a is end or b is end:
            raise UsageError(f"{name}: a side ends at line {number:,} and the other goes on; fetch it again")
        number += 1
        yield str(a), str(b)
