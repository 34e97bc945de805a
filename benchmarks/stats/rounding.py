"""Six significant digits: the last bits of a figure depend on the linear algebra library."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def six_digits(value: float) -> float:
    """Round to six significant digits."""
    return float(f"{value:.6g}")


def six_digits_within(value: object) -> Any:
    """Return plain data with every float rounded to six significant digits; tuples become lists."""
    if isinstance(value, float):
        return six_digits(value)
    if isinstance(value, Mapping):
        return {key: six_digits_within(inner) for key, inner in value.items()}
    return [six_digits_within(inner) for inner in value] if isinstance(value, list | tuple) else value
