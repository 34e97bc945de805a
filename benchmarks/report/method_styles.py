"""Colour, marker, fill and line of each method: the same in every figure and on every page of the site."""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#b3478f", "#555555", "#8a6a00", "#2a8fd0", "#000000")
"""Okabe and Ito's colours, darkened until each has three times the contrast of white; as in ``style.css``."""
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*", "<", ">")
FILLS = ("full", "none", "left", "top", "right")
"""Filled sides of a marker; all but the first mark variants of a method, such as other options."""
Line = str | tuple[int, tuple[int, ...]]
"""Line style of matplotlib: a name, or an offset and the lengths of dashes and gaps."""
_LINES: tuple[Line, ...] = (
    "-", "--", (0, (1, 1)), "-.", (0, (5, 1, 1, 1, 1, 1)), (0, (8, 3)), (0, (3, 3)),
)  # fmt: skip
_KNOWN = (
    "mos-neuron", "hat", "mos-layer", "scratch", "hat-sandwich", "random-search", "supershaper",
    "nas-bert", "shrinking", "linas", "uniform-int8", "joint-supernet", "hand-designed-kd",
    "nsga2-joint", "random-joint", "uniform-fp32", "int8-uniform", "arch-then-quant", "simq",
    "linas-as-published", "uniform-w4", "uniform-bf16", "quant-then-arch", "lts", "fairseq-transformer",
    "teacher", "bayes-joint", "minitron", "hand-designed", "bignas", "dynabert", "matformer",
    "uniform-int8-fallback", "autodistil", "standard-transformer",
)  # fmt: skip
"""Methods whose colour and marker are their place here; append, never reorder.

But where a board's best and worst would have one colour: a test names them; exchange one with ``simq`` or
``shrinking``, which no method is called.
"""
_PLACES = len(COLOURS) * len(MARKERS) // 2
"""Places with different pairs of colour and marker: the least common multiple of their numbers."""
MOST_APART = 200
"""Methods of one figure whose styles are kept apart; more are alike to the eye."""
_DEFAULT = " (default options)"


@dataclass(frozen=True)
class MethodStyle:
    """Colour, marker, fill and line of one method in every figure and on every page."""

    colour_number: int
    marker_number: int
    fill: str

    @property
    def colour(self) -> str:
        """Colour of lines and edges."""
        return COLOURS[self.colour_number]

    @property
    def marker(self) -> str:
        """Marker of matplotlib."""
        return MARKERS[self.marker_number]

    @property
    def line(self) -> Line:
        """Line style of matplotlib."""
        return _LINES[(self.marker_number + FILLS.index(self.fill)) % len(_LINES)]

    @property
    def mark(self) -> dict[str, Any]:
        """Arguments of matplotlib for the marker with its fill."""
        hollow = self.fill == "none"
        return {
            "marker": self.marker, "fillstyle": "full" if hollow else self.fill,
            "markerfacecolor": "white" if hollow else self.colour, "markerfacecoloralt": "white",
        }  # fmt: skip


def _digest(text: str) -> int:
    return zlib.crc32(text.encode())


def _parts(label: str) -> tuple[str, str]:
    """Return a method's name and what makes it a variant; empty for the method with its default options."""
    plain = label.removesuffix(_DEFAULT)
    ends = [at for mark in (" (", ",", "+") if (at := plain.find(mark)) > 0]
    end = min(ends, default=len(plain))
    return plain[:end], plain[end:]


def method_styles(methods: Iterable[str]) -> dict[str, MethodStyle]:
    """Return a style for each method, the same in whatever company it is drawn.

    A known method's style is its place in a list, another's is drawn by its name. Variants of a method have
    its colour and marker with another fill. Where two of ``methods`` would look alike, the later in the
    alphabet takes the next free style.
    """
    styles: dict[str, MethodStyle] = {}
    taken: dict[tuple[int, str], str] = {}
    parts = {label: _parts(label) for label in set(methods)}
    ordered = sorted(parts, key=lambda label: (parts[label][0] not in _KNOWN, bool(parts[label][1]), label))
    for label in ordered:
        base, variant = parts[label]
        known = base in _KNOWN
        free = range(len(_KNOWN), 2 * _PLACES)
        place = _KNOWN.index(base) if known else free[_digest(base) % len(free)]
        fill = FILLS[1 + _digest(variant) % (len(FILLS) - 1)] if variant else FILLS[0]
        for step in range(len(free) * len(FILLS) if len(ordered) <= MOST_APART else 1):
            if taken.get((place, fill), label.removesuffix(_DEFAULT)) == label.removesuffix(_DEFAULT):
                break
            if variant and step < len(FILLS):
                fill = FILLS[1 + FILLS.index(fill) % (len(FILLS) - 1)]
                continue
            place = free[(place - free[0] + 1) % len(free)]
            if step % len(free) == len(free) - 1:
                fill = FILLS[(FILLS.index(fill) + 1) % len(FILLS)]
        taken[place, fill] = label.removesuffix(_DEFAULT)
        shift = place // _PLACES * 3
        styles[label] = MethodStyle((place + shift) % len(COLOURS), place % len(MARKERS), fill)
    return {label: styles[label] for label in sorted(styles, key=lambda x: (ordered.index(x), x))}
