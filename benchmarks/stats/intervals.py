"""Intervals and paired tests. Pure functions over numbers; no torch.

Every random draw comes from a generator that is an argument. Only ``verdict`` returns the word "significant",
and never below ``SIGNIFICANT_FROM`` paired seeds.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from benchmarks.stats.quantities import Quantity

SIGNIFICANT_FROM = 6
"""Paired seeds. On fewer a test that assumes nothing of their distribution cannot reach 5 %."""

LEVEL = 0.95
ALPHA = 0.05
Array = NDArray[np.float64]


@dataclass(frozen=True)
class Interval:
    """A mean with its interval; ``low`` and ``high`` are None where n is too small for one."""

    mean: float
    low: float | None
    high: float | None
    n: int


def _values(values: Sequence[float]) -> Array:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or not len(array) or not np.isfinite(array).all():
        raise ValueError(f"expected one or more finite figures, got {values!r}")
    return array


def t_interval(values: Sequence[float]) -> Interval:
    """Return Student's interval of a mean difference; none for one value. For a quantity: ``interval``."""
    array = _values(values)
    n = len(array)
    mean = float(np.add.reduce(array)) / n
    if n < 2:
        return Interval(mean, None, None, n)
    half = t_quantile(n - 1, (1 + LEVEL) / 2) * _deviation(array, mean) / math.sqrt(n)
    return Interval(mean, mean - half, mean + half, n)


def interval(values: Sequence[float], quantity: Quantity) -> Interval:
    """Return the mean with its 95 % interval on the scale of a quantity: both ends lie within its range.

    A t-interval on the log scale where the range has one bound, on the logit scale where it has two, around
    the mean (delta method): the standard error is multiplied with the scale's slope at the mean. Centre and
    estimand are the arithmetic mean, as in differences between rows; the usual t-interval is its limit
    for a small spread. ``test_stats`` simulates the coverage.

    Raises:
        ValueError: a value lies outside the quantity's range.
    """
    return each_interval([values], quantity)[0]


def each_interval(samples: Sequence[Sequence[float]], quantity: Quantity) -> list[Interval]:
    """Return the ``interval`` of each of some samples of one quantity, all at once.

    Raises:
        ValueError: a value lies outside the quantity's range.
    """
    arrays = [_values(values) for values in samples]
    for array in arrays:
        if problem := quantity.trespass(float(array.min()), float(array.max())):
            raise ValueError(problem)
    means = [float(np.add.reduce(array)) / len(array) for array in arrays]
    numbers = [len(array) for array in arrays]
    if quantity.counted:
        return [Interval(mean, None, None, n) for mean, n in zip(means, numbers, strict=True)]
    deviations = [_deviation(array, mean) for array, mean in zip(arrays, means, strict=True)]
    lows, highs = bounded(means, deviations, numbers, quantity.low, quantity.high)
    return [
        Interval(mean, None, None, n) if math.isnan(low) else Interval(mean, low, high, n)
        for mean, low, high, n in zip(means, lows.tolist(), highs.tolist(), numbers, strict=True)
    ]


def _deviation(array: Array, mean: float) -> float:
    """Return the standard deviation of a sample; NaN of one value."""
    apart = array - mean
    n = len(array)
    return math.sqrt(np.add.reduce(apart * apart) / (n - 1)) if n > 1 else math.nan


def bounded(
    mean: ArrayLike, deviation: ArrayLike, n: ArrayLike, least: float, most: float
) -> tuple[Array, Array]:
    """Compute the ends of ``interval`` from means, standard deviations and numbers, which may be arrays.

    NaN where there is no interval: for fewer than two figures, for figures that do not differ, of which a
    handful shows nothing about the next, and for a mean at a bound.
    """
    from scipy.special import stdtrit

    mean, deviation, n = (np.asarray(x, dtype=np.float64) for x in (mean, deviation, n))
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        error = stdtrit(np.maximum(n - 1, 1), (1 + LEVEL) / 2) * deviation / np.sqrt(n)
        above, below = mean - least, most - mean
        if math.isinf(least):
            low, high = mean - error, mean + error
        elif math.isinf(most):
            factor = np.exp(error / above)
            low, high = least + above / factor, least + above * factor
        else:
            factor = np.exp(error * (1 / above + 1 / below))
            odds = above / below
            low, high = (most - (most - least) / (1 + x) for x in (odds / factor, odds * factor))
        varied = deviation > 1e-12 * np.maximum(np.abs(mean), 1e-300)
        shown = (n > 1) & varied & (above > 0) & (below > 0) & np.isfinite(low) & np.isfinite(high)
    return np.where(shown, low, np.nan), np.where(shown, high, np.nan)


@lru_cache(maxsize=1024)
def t_quantile(freedom: int, at: float) -> float:
    """Return a quantile of Student's distribution."""
    from scipy.special import stdtrit  # what scipy.stats.t.ppf comes to, without its import and its checks

    return float(stdtrit(freedom, at))


def t_test(values: Sequence[float]) -> float | None:
    """Return the two-sided p of Student's t-test that the mean is zero.

    It assumes that the values are about normal. None with fewer than two values, or where they do not vary
    and so show no error to compare the mean with; 1 where all are zero.
    """
    array = _values(values)
    n = len(array)
    if not array.any():
        return 1.0
    deviation = float(array.std(ddof=1)) if n > 1 else 0.0
    if deviation <= 1e-9 * float(np.abs(array).max()):
        return None
    from scipy.special import stdtr

    return float(2 * stdtr(n - 1, -abs(float(array.mean())) * math.sqrt(n) / deviation))


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Return Holm's step-down adjusted p values (family-wise error), by name."""
    ordered = sorted(p_values.items(), key=lambda item: item[1])
    adjusted: dict[str, float] = {}
    running = 0.0
    for rank, (name, p) in enumerate(ordered):
        running = max(running, min(1.0, (len(ordered) - rank) * p))
        adjusted[name] = running
    return {name: adjusted[name] for name in p_values}


def verdict(p_adjusted: float | None, pairs: int) -> str:
    """Return the verdict on a comparison over ``pairs`` paired seeds."""
    if pairs < SIGNIFICANT_FROM:
        return f"not tested: {pairs} of {SIGNIFICANT_FROM} paired seeds"
    if p_adjusted is None:
        return "not tested"
    return "significant" if p_adjusted < ALPHA else "no difference shown"


def kendall(ours: Sequence[float], theirs: Sequence[float]) -> tuple[float, float]:
    """Return Kendall's tau-b of two rankings and its two-sided p.

    Raises:
        ValueError: fewer than two figures, unequal lengths, or one side is constant.
    """
    from scipy import stats

    a, b = _values(ours), _values(theirs)
    if len(a) != len(b) or len(a) < 2:
        raise ValueError(f"expected two equally long series of at least 2, got {len(a)} and {len(b)}")
    if np.ptp(a) == 0 or np.ptp(b) == 0:
        raise ValueError("a constant series has no ranking")
    result = stats.kendalltau(a, b)
    return float(result.statistic), float(result.pvalue)
