"""Data files of the site: each hands one value to ``common.js``, hostile texts cleaned."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import orjson

from benchmarks.analysis.run_page import LONGEST_TEXT
from benchmarks.records.text import sanitize
from benchmarks.stats.rounding import six_digits

_SMALL = 2**16
"""Bytes of a part that is not searched for texts that are too long."""
_DEEPEST = 100
"""Levels of nested data; no method of ours has more than ten."""
_EXACT = 2**53
"""Whole numbers up to here are the same in a browser."""


def write(path: Path, kind: str, value: object) -> None:
    """Write a data file.

    Args:
        path: of the file.
        kind: name under which ``common.js`` keeps the value.
        value: plain data with hostile texts, and parts made by ``exact``.
    """
    text = orjson.dumps(_clean(value)).replace(b"<", b"\\u003c")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"supernetBench." + kind.encode() + b"(" + text + b");\n")


def exact(value: object) -> orjson.Fragment:
    """Return a part of a data file, figures with all their digits.

    Most runs have no text to clean; the test for it is fast, and saves nine tenths of the time.
    """
    try:
        text = orjson.dumps(value)
    except TypeError:  # numbers of more than 64 bits, data nested too deep
        return orjson.Fragment(orjson.dumps(_clean(value, rounded=False)))
    return exact_text(text)


def exact_text(text: bytes) -> orjson.Fragment:
    """Return ``exact`` of a value that orjson has written."""
    # What is not printable is escaped or not ASCII, but for the last character of ASCII.
    printable = text.isascii() and b"\\" not in text and b"\x7f" not in text
    kept = printable and len(text) <= _SMALL
    return orjson.Fragment(text if kept else orjson.dumps(_clean(orjson.loads(text), rounded=False)))


@lru_cache(maxsize=4096)
def _name(key: str) -> str:
    return sanitize(key, 200)


def _clean(value: object, inside: int = 0, *, rounded: bool = True) -> object:
    """Return a value with sanitised texts, figures to six digits if ``rounded``, and null for NaN."""
    if isinstance(value, str):
        return sanitize(value, LONGEST_TEXT)
    if isinstance(value, float):
        if not -1e300 < value < 1e300:
            return None
        return six_digits(value) if rounded else value
    if value is None:
        return None
    if isinstance(value, int):
        return value if -_EXACT <= value <= _EXACT else _clean(float(value), rounded=rounded)
    if isinstance(value, dict | list | tuple) and inside > _DEEPEST:
        return "..."
    if isinstance(value, dict):
        return {_name(k): _clean(v, inside + 1, rounded=rounded) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_clean(v, inside + 1, rounded=rounded) for v in value]
    return value
