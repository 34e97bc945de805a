"""The canonical byte string of a JSON value, over which ids, digests and seals are taken."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

import orjson

JsonObject = dict[str, Any]
"""An object of parsed JSON whose fields have not been checked."""
JsonView = Mapping[str, Any]
"""The same, read only."""


def canonical(value: object) -> bytes:
    """Return the one byte string of a JSON value: sorted keys, no spaces, UTF-8.

    Raises:
        ValueError: a figure is not finite or a text has no UTF-8 form.
    """
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    ).encode()


# A rare character leads each pattern, and the one before it is looked at afterwards: this halves the time.
_DECIMAL = re.compile(rb"\.(?<=0\.)0000")
_EXPONENT = re.compile(rb"-(?<=e-)\d+[,\]}]")
_HUGE = re.compile(rb"\+(?<=e\+)3\d\d[,\]}]")
_TEXT_OR_SMALL = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|(?<![\d.e+-])-?(?:0\.0000\d+|\d[\d.]*e-\d+)')
"""A text, or a number below 1e-4."""


def sorted_text(value: object) -> bytes:
    """Return ``canonical`` of what orjson has parsed, several times faster, but for numbers below 1e-4."""
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)


_LONG = 1000
"""Characters of a text in base64 from which it pays to leave it out of searches for numbers."""


def without_base64(text: bytes, encoded: Iterable[str]) -> bytes:
    """Return JSON without long texts in base64, in the order in which it has them; some may stay.

    No number has so many such characters in a row. They are most of a record.
    """
    parts, start = [], 0
    for long in encoded:
        if len(long) < _LONG:
            continue
        data = long.encode()
        at = text.find(data[:50], start)
        if at >= 0 and text.startswith(data, at):
            parts.append(text[start:at])
            start = at + len(data)
    return b"".join([*parts, text[start:]])


def has_small(text: bytes) -> bool:
    """Return whether a text may have a number below 1e-4, which orjson writes unlike Python."""
    return _DECIMAL.search(text) is not None or _EXPONENT.search(text) is not None


def has_huge(text: bytes) -> bool:
    """Return whether a text may have a number of 1e300 or more."""
    return b"+" in text and _HUGE.search(text) is not None


def as_python(text: bytes) -> bytes:
    """Return a text of ``sorted_text`` with all numbers as Python writes them."""
    return _TEXT_OR_SMALL.sub(_token_as_python, text)


def _token_as_python(token: re.Match[bytes]) -> bytes:
    text = token.group()
    return text if text.startswith(b'"') else repr(float(text)).encode()
