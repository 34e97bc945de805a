"""Figures of files: six significant digits, as the last bits depend on the linear algebra library; no NaN.

And p values as texts: none of them is 0.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any


def six_digits(value: float) -> float:
    """Round to six significant digits."""
    return float(f"{value:.6g}")


def p_text(p: float | None) -> str:
    """Return a p value as text; a dash without one."""
    if p is None or math.isnan(p):
        return "-"
    return f"{p:.4f}" if p >= 0.00005 else "< 0.0001"


def six_digits_within(value: object) -> Any:
    """Return plain data with every float rounded to six significant digits; tuples become lists."""
    if isinstance(value, float):
        return six_digits(value)
    if isinstance(value, Mapping):
        return {key: six_digits_within(inner) for key, inner in value.items()}
    return [six_digits_within(inner) for inner in value] if isinstance(value, list | tuple) else value


def finite_within(value: object) -> object:
    """Return plain data with None in place of each NaN and infinity, and with texts as keys."""
    if isinstance(value, Mapping):
        return {str(key): finite_within(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [finite_within(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
