"""Latency percentiles with MLPerf's early-stopping estimate, and bootstrap intervals of medians. No torch."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

CONFIDENCE = 0.99
DRAWS = 2000
"""Bootstrap draws of a ratio of medians."""
DISTURBED = 0.2
"""Processors that other programs take during a timing, from which the timing counts as disturbed."""


def allowed_over(n: int, share: float, confidence: float = CONFIDENCE) -> int:
    """Return the number of ``n`` timed inferences that may lie above a bound of the ``share`` quantile.

    MLPerf's early-stopping rule (tolerance 0): the largest t for which t or fewer of n inferences
    lie above the true quantile with probability at most ``1 - confidence``. The (t+1)-th largest is
    then, with that confidence, no less than the quantile. -1: n supports no claim at all.
    """
    if not 0 < share < 1:
        raise ValueError(f"share {share}: a quantile lies between 0 and 1")
    total = 0.0
    for t in range(n + 1):
        ways = math.lgamma(n + 1) - math.lgamma(t + 1) - math.lgamma(n - t + 1)
        total += math.exp(ways + t * math.log(1 - share) + (n - t) * math.log(share))
        if total > 1 - confidence:
            return t - 1
    return n


def needed(share: float, confidence: float = CONFIDENCE) -> int:
    """Return the timed inferences that a claim about the ``share`` quantile takes: one may exceed its bound.

    64 for p90 and 662 for p99 at 99 % confidence.
    """
    n = 1
    while allowed_over(n, share, confidence) < 1:
        n += 1
    return n


def quantile(samples: Sequence[float], share: float) -> float | None:
    """Return the observed ``share`` quantile; None if there are too few samples to claim it."""
    if share > 0.5 and allowed_over(len(samples), share) < 1:
        return None
    return float(np.quantile(np.asarray(samples), share, method="median_unbiased"))


def bound(samples: Sequence[float], share: float) -> float | None:
    """Return a bound of the ``share`` quantile at 99 % confidence; None for too few samples."""
    over = allowed_over(len(samples), share)
    return None if over < 1 else float(sorted(samples, reverse=True)[over])


def median(samples: Sequence[float], seed: int = 0) -> tuple[float, float, float]:
    """Return the median and its 95 % bootstrap interval."""
    times = np.asarray(samples)
    if times.size == 0:
        raise ValueError("no samples")
    drawn = np.random.default_rng(seed).integers(0, times.size, size=(DRAWS, times.size))
    low, high = np.quantile(np.median(times[drawn], axis=1), [0.025, 0.975])
    centre = float(np.median(times))
    return centre, min(float(low), centre), max(float(high), centre)


def ratio(ours: Sequence[float], theirs: Sequence[float], seed: int = 0) -> tuple[float, float, float]:
    """Return the ratio of medians and its 95 % bootstrap interval; rounds are drawn in pairs."""
    pairs = np.stack([np.asarray(ours), np.asarray(theirs)])
    if pairs.shape[1] == 0:
        raise ValueError("no samples")
    drawn = np.random.default_rng(seed).integers(0, pairs.shape[1], size=(DRAWS, pairs.shape[1]))
    a, b = np.median(pairs[:, drawn], axis=2)
    low, high = np.quantile(a / b, [0.025, 0.975])
    centre = float(np.median(pairs[0]) / np.median(pairs[1]))
    return centre, min(float(low), centre), max(float(high), centre)
