"""Lines of text files as they come: decoded, cleaned, and every irregularity counted with its first place."""

from __future__ import annotations

import gzip
import lzma
import re
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.api import UsageError

PACKED = (".gz", ".xz")
"""Suffixes of packed files."""
MOST_BYTES = 1 << 35
"""Bytes that one file may unpack to."""
BLOCK = 1 << 24
SHOWN = 60
"""Characters of a line in a message."""

_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_NAMES = {"\t": "tabs", "\r": "carriage returns", "\0": "NUL characters", "\u2028": "U+2028 separators"}
_MARKS = {b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16"}
"""First bytes of a file in another encoding -> its name."""


@dataclass
class Report:
    """Irregularities that were handled, and facts about how a folder was read."""

    facts: list[str] = field(default_factory=list)
    counts: dict[str, tuple[int, str]] = field(default_factory=dict)
    """Irregularity -> how often, and the first place."""

    def count(self, irregularity: str, place: str, times: int = 1) -> None:
        """Count an irregularity; the first place is kept."""
        number, first = self.counts.get(irregularity, (0, place))
        self.counts[irregularity] = number + times, first

    def notes(self) -> list[str]:
        """Return one line a fact and an irregularity."""
        return [*self.facts, *(f"{n:,} {what}, first: {first}" for what, (n, first) in self.counts.items())]


def unpacked_name(path: Path) -> str:
    """Return a file's name without the suffix of its packing."""
    return path.name.removesuffix(path.suffix) if path.suffix in PACKED else path.name


def read_bytes(path: Path) -> bytes:
    """Read a file, unpacked.

    Raises:
        UsageError: it cannot be read or unpacked, or unpacks to more than ``MOST_BYTES``.
    """
    parts, room = [], MOST_BYTES
    try:
        packed = {".gz": gzip.GzipFile, ".xz": lzma.LZMAFile}.get(path.suffix)
        with packed(path) if packed else path.open("rb") as file:
            while block := file.read(min(BLOCK, room + 1)):
                room -= len(block)
                if room < 0:
                    raise UsageError(f"'{path}' unpacks to more than {MOST_BYTES:,} bytes: cut it into files")
                parts.append(block)
    except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
        raise UsageError(f"'{path}' cannot be read: {getattr(error, 'strerror', None) or error}") from None
    return b"".join(parts)


def read_lines(path: Path, report: Report, *, tabs: bool = False) -> list[str]:
    """Read the lines of a UTF-8 text; only a line feed ends a line.

    Characters that other programs break lines at, and control characters, become spaces; white space at both
    ends of a line goes. All of it is counted in ``report``.

    Args:
        path: plain text, or packed by gzip or xz.
        report: collects what is handled.
        tabs: keep tabs, which separate the columns of a table.

    Raises:
        UsageError: the file is not UTF-8 text, which names the line, or has no line feeds.
    """
    data = read_bytes(path)
    for mark, encoding in _MARKS.items():
        if data.startswith(mark):
            raise UsageError(
                f"'{path}' is {encoding}, not UTF-8\n"
                f"convert it: iconv -f {encoding} -t UTF-8 {path.name} > {path.name}.utf8"
            )
    if b"\r" in data and b"\n" not in data:
        raise UsageError(
            f"'{path}' ends its lines by carriage returns alone, as old Macs did\n"
            f"convert it: tr '\\r' '\\n' < {path.name} > {path.name}.lf"
        )
    if data.startswith(b"\xef\xbb\xbf"):
        data = data[3:]
        report.count("byte-order marks removed", path.name)
    try:
        lines = data.decode("utf-8").removesuffix("\n").split("\n") if data else []
    except UnicodeDecodeError as error:
        number = data.count(b"\n", 0, error.start) + 1
        raise UsageError(
            f"'{path}', line {number}: byte 0x{data[error.start]:02x} is not UTF-8\n"
            "save the file as UTF-8, or convert it with iconv"
        ) from None
    return [clean(line, path, number, report, tabs=tabs) for number, line in enumerate(lines, 1)]


def clean(line: str, path: Path, number: int, report: Report, *, tabs: bool = False) -> str:
    """Return one line without control characters; count what was replaced."""
    if line.endswith("\r"):
        line = line[:-1]
        report.count("line ends of Windows (CRLF) read as line ends", place(path, number))
    if _CONTROLS.search(line):
        kept = "\t" if tabs else ""
        odd = (character for character in _CONTROLS.findall(line) if character not in kept)
        for name in dict.fromkeys(_NAMES.get(character, "control characters") for character in odd):
            report.count(f"lines with {name} inside, replaced by spaces", place(path, number))
        line = _CONTROLS.sub(lambda match: match[0] if match[0] in kept else " ", line)
    # A space of a table's empty first column is no margin.
    return line.strip(" \u00a0\u3000\ufeff") if tabs else line.strip()


def place(path: Path, number: int) -> str:
    """Return file and line in words."""
    return f"{path.name} line {number}"


def shown(line: str) -> str:
    """Return the start of a line for a message, quoted."""
    return repr(line if len(line) <= SHOWN else line[:SHOWN] + "...")


def evenly(count: int, most: int) -> Iterable[int]:
    """Return at most ``most`` indices below ``count``, evenly spaced."""
    step = max(1, -(-count // most))
    return range(0, count, step)
