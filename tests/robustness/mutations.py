"""Mutations of bytes, texts and JSON, drawn from a seeded generator."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from typing import Any

ODD_VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 0.5, -0.0, 1e308, 10**400, 2**63, -(2**31), float("nan"), float("inf")),
    *(
        "",
        " ",
        "\ud800",
        "\x00",
        "\x1b[31m",
        "../../etc/passwd",
        "/etc/passwd",
        "<script>",
        "1e999",
        "é" * 99,
    ),
    *([], {}, [[]], [None], {"": None}, "x" * 5000, [0] * 2000, {"a": {"b": {"c": []}}}),
)
"""Values that a careless reader trips over."""
ODD_BYTES = (
    *(
        b"",
        b"\x00",
        b"\xff",
        b"\xff\xff\xff\xff",
        b"\x00" * 8,
        b"\x7f\xff\xff\xff\xff\xff\xff\xff",
        b"\x80\x02",
    ),
    *(
        b"\r\n",
        b"\n",
        b"\t",
        b"\xed\xa0\x80",
        b"\xef\xbb\xbf",
        b"\xff\xfe",
        b"PK\x03\x04",
        b"\x1f\x8b",
        b"..",
        b"/",
    ),
    *(
        b"(" * 300,
        b"[" * 5000,
        b"{" * 300,
        b"9" * 400,
        b"1e999",
        b"NaN",
        b"-1",
        b"-",
        b"'''",
        b'"""',
        b"\\u0000",
    ),
)
"""Bytes to put in anywhere."""


def nested(rng: random.Random) -> Any:
    """Return a list or an object nested deeper than recursion goes, as raw JSON text."""
    depth = rng.choice((50, 500, 990, 5000, 100_000))
    return ("[" * depth + "]" * depth) if rng.random() < 0.5 else ('{"a":' * depth + "1" + "}" * depth)


def mutate_bytes(rng: random.Random, data: bytes, others: Sequence[bytes] = ()) -> bytes:
    """Return changed bytes: bits turned, parts cut out, repeated, moved, replaced or taken from elsewhere."""
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 8))):
        at = rng.randrange(len(out) + 1)
        # Heads hold sizes, offsets and kinds: half of all changes are there.
        at = min(at, rng.randrange(257)) if rng.random() < 0.5 else at
        length = rng.choice((1, 1, 2, 4, 8, 64, 1024))
        what = rng.randrange(8)
        if what == 0 and out:
            at = min(at, len(out) - 1)
            out[at] ^= 1 << rng.randrange(8)
        elif what == 1:
            out[at : at + length] = rng.randbytes(length)
        elif what == 2:
            del out[at : at + length]
        elif what == 3:
            out[at:at] = out[at : at + length] * rng.choice((1, 2, 50))
        elif what == 4:
            out[at:at] = rng.choice(ODD_BYTES)
        elif what == 5:
            odd = rng.choice(ODD_BYTES)
            out[at : at + len(odd)] = odd
        elif what == 6:
            del out[at:]
        elif others:
            other = rng.choice(others)
            start = rng.randrange(len(other) + 1)
            out[at : at + length] = other[start : start + length]
    return bytes(out)


def mutate_text(rng: random.Random, data: bytes, words: Sequence[str]) -> bytes:
    """Return changed text: words, numbers and lines replaced, repeated, dropped or moved."""
    lines = data.decode("utf-8", "replace").split("\n")
    for _ in range(rng.choice((1, 1, 2, 4))):
        at = rng.randrange(len(lines))
        what = rng.randrange(6)
        if what == 0:
            lines[at : at + 1] = []
        elif what == 1:
            lines.insert(rng.randrange(len(lines) + 1), lines[at])
        elif what == 2:
            parts = lines[at].split(" ")
            parts[rng.randrange(len(parts))] = str(rng.choice((*words, *ODD_VALUES)))
            lines[at] = " ".join(parts)
        elif what == 3:
            head, equals, _ = lines[at].partition("=" if "=" in lines[at] else ":")
            lines[at] = f"{head}{equals} {rng.choice((*words, *ODD_VALUES))!s}"
        elif what == 4:
            lines[at] = rng.choice(words) + lines[at]
        else:
            cut = rng.randrange(len(lines[at]) + 1)
            lines[at] = lines[at][:cut] + nested(rng)[: rng.choice((10, 3000, 40_000))]
        if not lines:
            lines = [""]
    return "\n".join(lines).encode("utf-8", "surrogatepass")


def mutate_tree(rng: random.Random, value: Any, words: Sequence[str] = ()) -> Any:
    """Return a parsed JSON value with one to three of its parts replaced, dropped, added or renamed."""
    tree = json.loads(json.dumps(value))
    for _ in range(rng.choice((1, 1, 2, 3))):
        node = tree
        while isinstance(node, dict | list) and node:
            key = rng.choice(list(node)) if isinstance(node, dict) else rng.randrange(len(node))
            below = node[key]
            if not isinstance(below, dict | list) or not below or rng.random() < 0.3:
                _change(rng, node, key, words)
                break
            node = below
    return tree


def _change(rng: random.Random, node: Any, key: Any, words: Sequence[str]) -> None:
    what = rng.randrange(6)
    if what == 0:
        del node[key]
    elif what == 1 and isinstance(node, dict):
        node[str(rng.choice((*words, *ODD_VALUES)))[:200]] = node.pop(key)
    elif what == 2 and isinstance(node, list):
        node[key:key] = [node[key]] * rng.choice((1, 300))
    elif what == 3 and isinstance(node[key], int | float):
        node[key] = node[key] * rng.choice((-1, 0, 1e-9, 1e9, 1e30))
    else:
        node[key] = rng.choice((*words, *ODD_VALUES))


def to_json(rng: random.Random, tree: Any) -> bytes:
    """Return a tree as JSON, one in twenty with a part nested too deeply in place of a number."""
    try:
        text = json.dumps(tree)
    except (ValueError, RecursionError):
        text = "{}"
    if rng.random() < 0.05 and ": 1" in text:
        text = text.replace(": 1", f': {nested(rng)}, "x": 1', 1)
    return text.encode("utf-8", "surrogatepass")
