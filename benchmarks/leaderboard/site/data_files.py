"""How the site's data files are written: each hands one value to ``common.js``, hostile texts cleaned."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import orjson

from benchmarks.records.text import sanitize

TEXT_LIMIT = 2000
"""Characters of a text that are shown."""
_SOON = 2**16
"""Bytes of a part that is not searched for texts that are too long."""
_DEEPEST = 100
"""Levels of nested data; no method of ours has more than ten."""
_EXACT = 2**53
"""Whole numbers up to here are the same in a browser."""


def write(path: Path, kind: str, value: Any) -> None:
    """Write a data file.

    Args:
        path: of the file.
        kind: what ``common.js`` keeps it as.
        value: plain data, texts may be hostile; in it parts of ``exact``.
    """
    text = orjson.dumps(_clean(value)).replace(b"<", b"\\u003c")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"supernetBench." + kind.encode() + b"(" + text + b");\n")


def exact(value: Any) -> orjson.Fragment:
    """A part of a data file, figures with all their digits where no text has to be cleaned, as in most runs:
    that is soon seen, and takes a tenth of the time."""
    try:
        text = orjson.dumps(value)
    except TypeError:  # numbers of more than 64 bits, data nested too deep
        return orjson.Fragment(orjson.dumps(_clean(value)))
    # What is not printable is escaped or not ASCII, but for the last character of ASCII.
    printable = text.isascii() and b"\\" not in text and b"\x7f" not in text
    return orjson.Fragment(text if printable and len(text) <= _SOON else orjson.dumps(_clean(value)))


@lru_cache(maxsize=4096)
def _name(key: str) -> str:
    return sanitize(key, 200)


def _clean(value: Any, inside: int = 0) -> Any:
    """Hostile texts without control and direction characters, figures to six digits, NaN as null."""
    if isinstance(value, str):
        return sanitize(value, TEXT_LIMIT)
    if isinstance(value, float):
        return float(f"{value:.6g}") if -1e300 < value < 1e300 else None
    if isinstance(value, dict | list | tuple) and inside > _DEEPEST:
        return "..."
    if isinstance(value, dict):
        return {_name(k): _clean(v, inside + 1) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_clean(v, inside + 1) for v in value]
    if isinstance(value, int) and not -_EXACT <= value <= _EXACT:
        return _clean(float(value))
    return value
