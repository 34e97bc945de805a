"""The canonical byte string of a JSON value, over which ids, digests and seals are taken."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
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


_EXPONENT = re.compile(rb"e-\d+[,\]}]")
_TEXT_OR_SMALL = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|(?<![\d.e+-])-?(?:0\.0000\d+|\d[\d.]*e-\d+)')
"""A text, or a number below 1e-4."""


def sorted_text(value: object) -> bytes:
    """Return ``canonical`` of what orjson has parsed, several times faster, but for numbers below 1e-4."""
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)


def has_small(text: bytes) -> bool:
    """Return whether a text may have a number below 1e-4, which orjson writes unlike Python."""
    return b"0.0000" in text or _EXPONENT.search(text) is not None


def as_python(text: bytes) -> bytes:
    """Return a text of ``sorted_text`` with all numbers as Python writes them."""
    return _TEXT_OR_SMALL.sub(_token_as_python, text) if has_small(text) else text


def _token_as_python(token: re.Match[bytes]) -> bytes:
    text = token.group()
    return text if text.startswith(b'"') else repr(float(text)).encode()
