"""Texts of intervals for the tables of studies: a mean over replicates, and the verdict on a ratio."""

from __future__ import annotations

import math
from collections.abc import Sequence

from benchmarks.stats.intervals import t_interval


def interval_text(
    values: Sequence[float], form: str = ".2f", low: float = -math.inf, high: float = math.inf
) -> str:
    """Return mean and 95 % t-interval, such as ``0.41 [0.33, 0.49]``; a dash without finite values.

    No interval is shown for one value, or where all are the same.

    Args:
        low, high: range of the statistic, beyond which no interval is shown.
    """
    if not values or not all(map(math.isfinite, values)):
        return "–"
    interval = t_interval(values)
    if interval.low is None or interval.high is None or interval.low == interval.high:
        return f"{interval.mean:{form}}"
    return f"{interval.mean:{form}} [{max(low, interval.low):{form}}, {min(high, interval.high):{form}}]"


def ratio_verdict(low: float, high: float) -> str:
    """Return ``faster`` where the interval of a ratio of latencies lies below 1, ``slower`` above, else
    ``undecided``."""
    if high < 1:
        return "faster"
    return "slower" if low > 1 else "undecided"
