"""Figures as text: rounded, with their interval, and a mark for the interval's kind."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

NONE = "-"
OVER = {"sentences": " s", "timings": " t", "fine-tunings": " f"}
"""Kind of an interval that is not over seeds -> mark behind it."""
DEEPER = 3
"""Decimals that may be added for the ends of an interval to differ."""
Row = Mapping[Any, Any]
"""A row of a table, as pandas gives it."""


def number(value: float, form: str = ".1f", scale: float = 1.0) -> str:
    """Return a figure for people; a dash for NaN."""
    return NONE if value is None or math.isnan(value) else format(value * scale, form)


def sig(value: float) -> str:
    """Return a figure to three significant digits, trailing zeros kept; a dash for NaN."""
    if value is None or math.isnan(value):
        return NONE
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:#.3g}"


def unmarked(text: str) -> str:
    """Return a figure without the mark of ``OVER``: in a sentence it would read as a unit."""
    return next((text.removesuffix(mark) for mark in OVER.values() if text.endswith("]" + mark)), text)


def ranged(value: float, low: float, high: float, form: str, over: str = "seeds", scale: float = 1.0) -> str:
    """Return ``34.2 [33.8, 34.6]``, with a mark of ``OVER`` if the interval is not over seeds.

    Args:
        value: the figure; a dash where it is NaN.
        low, high: of its 95 % interval; none is written where they are NaN.
        form: of all three, a format specification, or ``sig`` for three significant digits.
        over: ``seeds``, ``sentences``, ``timings`` or ``fine-tunings``.
        scale: factor of all three.
    """
    if form == "sig":
        # Ends to as many decimals as the figure has, so that the three can be compared.
        text = sig(value * scale)
        form = f",.{len(text.partition('.')[2])}f"
    text = number(value, form, scale)
    if text == NONE or math.isnan(low) or math.isnan(high):
        return text
    for _ in range(DEEPER):
        if number(low, form, scale) != number(high, form, scale):
            break
        digits = int(form.rpartition(".")[2].rstrip("f"))
        form = form.rpartition(".")[0] + f".{digits + 1}f"
    ends = number(low, form, scale), number(high, form, scale)
    if ends[0] == ends[1]:  # narrower than anybody reads
        return text
    return f"{number(value, form, scale)} [{ends[0]}, {ends[1]}]{OVER.get(over, '')}"


def measured(row: Row, name: str, form: str, scale: float = 1.0) -> str:
    """Return a figure of a table's row (``row_intervals``) with its interval."""
    over = row.get(f"{name}_interval", "seeds")
    return ranged(row[name], row[f"{name}_low"], row[f"{name}_high"], form, over, scale)


def interval(row: Row, digits: str = ".1f") -> str:
    """Return the deciding figure or a difference with its interval, or why there is none."""
    key = "quality" if "quality" in row else "difference"
    sign = "" if key == "quality" else "+"
    text = ranged(row[key], row["low"], row["high"], sign + digits, row.get("interval", "seeds"))
    if text != NONE and not text.endswith(("]", *OVER.values())):
        single = sign and row.get("pairs") == 1
        text += " (one pair: no interval)" if single else " (no interval)"
    return text
