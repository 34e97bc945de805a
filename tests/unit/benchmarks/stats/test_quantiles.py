"""Latency percentiles, their bounds, and intervals of medians."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from benchmarks.stats.quantiles import allowed_over, bound, median, needed, quantile, ratio


def test_needed_samples_are_those_of_mlperf() -> None:
    assert needed(0.9) == 64
    assert needed(0.99) == 662
    assert allowed_over(63, 0.9) == 0 and allowed_over(64, 0.9) == 1
    assert allowed_over(661, 0.99) == 0 and allowed_over(662, 0.99) == 1
    assert allowed_over(43, 0.9) == -1 and allowed_over(44, 0.9) == 0  # 0.9 ** 44 < 1 %


@settings(max_examples=100)
@given(n=st.integers(1, 30_000), share=st.sampled_from([0.5, 0.9, 0.95, 0.99]))
def test_allowed_over_is_the_binomial_tail(n: int, share: float) -> None:
    t = allowed_over(n, share)
    assert -1 <= t < n
    if t >= 0:
        assert stats.binom.cdf(t, n, 1 - share) <= 0.01 * (1 + 1e-6)
    assert stats.binom.cdf(t + 1, n, 1 - share) > 0.01 * (1 - 1e-6)


def test_a_percentile_with_too_few_samples_is_refused() -> None:
    samples = list(np.arange(64.0))
    assert quantile(samples[:63], 0.9) is None and bound(samples[:63], 0.9) is None
    assert quantile(samples, 0.99) is None
    assert quantile(samples, 0.9) == pytest.approx(57.6, abs=0.8)
    assert bound(samples, 0.9) == 62.0  # one may lie above
    assert quantile(samples[:3], 0.5) == 1.0


def test_the_bound_holds_at_its_confidence() -> None:
    rng = np.random.default_rng(0)
    draws = rng.exponential(size=(4000, 64))
    true = math.log(10)
    held = np.mean([(bound(list(row), 0.9) or 0) >= true for row in draws])
    assert 0.985 < held < 0.995


def test_shares_outside_zero_and_one() -> None:
    for share in (0.0, 1.0, -1.0):
        with pytest.raises(ValueError, match="between 0 and 1"):
            allowed_over(10, share)


def test_ratio_of_medians_and_its_interval() -> None:
    rng = np.random.default_rng(1)
    drift = 1 + rng.random(64)  # a machine that drifts by a factor of two, the same for both
    ours = 10 * drift * (1 + 0.01 * rng.standard_normal(64))
    theirs = 20 * drift * (1 + 0.01 * rng.standard_normal(64))
    centre, low, high = ratio(list(ours), list(theirs))
    assert low < 0.5 < high and 0.48 < centre < 0.52 and high - low < 0.03
    assert ratio([2.0], [4.0]) == (0.5, 0.5, 0.5)
    assert ratio(list(ours), list(theirs)) == (centre, low, high)
    with pytest.raises(ValueError):
        ratio([], [])


def test_a_median_lies_in_its_interval_which_narrows_with_samples() -> None:
    rng = np.random.default_rng(0)
    wide, narrow = (median(list(10 + rng.standard_normal(n))) for n in (20, 2000))
    for centre, low, high in (wide, narrow):
        assert low < centre < high and abs(centre - 10) < 0.6
    assert narrow[2] - narrow[1] < 0.25 * (wide[2] - wide[1])
    assert median([3.0]) == (3.0, 3.0, 3.0) and median([1.0, 9.0])[0] == 5.0
    with pytest.raises(ValueError, match="no samples"):
        median([])


def test_intervals_of_medians_hold_95_of_100_times() -> None:
    rng = np.random.default_rng(3)
    draws = [median(list(rng.standard_normal(31)), seed) for seed in range(400)]
    assert 0.9 < np.mean([low <= 0 <= high for _, low, high in draws]) < 0.99
    pairs = [ratio(list(rng.lognormal(size=31)), [1.0] * 31, seed) for seed in range(400)]
    assert 0.9 < np.mean([low <= 1 <= high for _, low, high in pairs]) < 0.99
