"""Intervals and tests against scipy and against brute force."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from benchmarks.stats import intervals, quantities
from benchmarks.stats.quantities import Quantity


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.mark.parametrize("n", [2, 3, 5, 30])
def test_t_interval_is_scipys(rng, n):
    values = rng.normal(size=n).tolist()
    ours = intervals.t_interval(values)
    low, high = scipy_stats.t.interval(0.95, n - 1, np.mean(values), scipy_stats.sem(values))
    assert (ours.low, ours.high) == pytest.approx((low, high))
    assert ours.mean == pytest.approx(np.mean(values)) and ours.n == n


def test_one_figure_has_no_interval():
    assert intervals.t_interval([3.0]) == intervals.Interval(3.0, None, None, 1)


@pytest.mark.parametrize("values", [[], [1.0, float("nan")], [float("inf")]])
def test_figures_that_are_not_finite_are_refused(values):
    with pytest.raises(ValueError, match="finite figures"):
        intervals.t_interval(values)


def test_the_t_test_is_scipys_and_none_where_nothing_varies(rng):
    for n in (2, 6, 12):
        values = rng.normal(0.3, 1.0, n)
        assert intervals.t_test(values.tolist()) == pytest.approx(scipy_stats.ttest_1samp(values, 0).pvalue)
    assert intervals.t_test([0.0] * 6) == 1.0
    assert intervals.t_test([0.5] * 6) is None and intervals.t_test([0.5]) is None


def test_holm_is_the_textbook_procedure():
    adjusted = intervals.holm({"a": 0.01, "b": 0.04, "c": 0.03, "d": 0.005})
    assert adjusted == pytest.approx({"a": 0.03, "b": 0.06, "c": 0.06, "d": 0.02})
    assert list(adjusted) == ["a", "b", "c", "d"]
    assert intervals.holm({"x": 0.6, "y": 0.9}) == {"x": 1.0, "y": 1.0}
    assert intervals.holm({}) == {}


def test_holm_rejects_as_stepping_down_does(rng):
    for _ in range(100):
        p = {str(i): float(v) for i, v in enumerate(rng.uniform(0, 0.1, 5))}
        rejected = set()
        for rank, name in enumerate(sorted(p, key=p.__getitem__)):
            if p[name] > 0.05 / (len(p) - rank):
                break
            rejected.add(name)
        assert {name for name, adjusted in intervals.holm(p).items() if adjusted <= 0.05} == rejected


@pytest.mark.parametrize("pairs", range(6))
def test_nothing_is_called_significant_below_six_pairs(pairs):
    assert intervals.verdict(1e-9, pairs) == f"not tested: {pairs} of 6 paired seeds"


def test_verdicts_follow_p_and_the_number_of_pairs():
    assert intervals.verdict(0.031, 6) == "significant"
    assert intervals.verdict(0.05, 6) == "no difference shown"
    assert intervals.verdict(0.12, 8) == "no difference shown"
    assert intervals.verdict(None, 25) == "not tested"


def brute_tau_b(a, b):
    pairs = list(itertools.combinations(range(len(a)), 2))
    sign = [np.sign(a[i] - a[j]) * np.sign(b[i] - b[j]) for i, j in pairs]
    untied_a, untied_b = (sum(x[i] != x[j] for i, j in pairs) for x in (a, b))
    return sum(sign) / np.sqrt(untied_a * untied_b)


def test_kendall_against_counting_pairs(rng):
    for _ in range(20):
        a, b = rng.integers(0, 6, 10).tolist(), rng.integers(0, 6, 10).tolist()
        assert intervals.kendall(a, b)[0] == pytest.approx(brute_tau_b(a, b))
    assert intervals.kendall([1, 2, 3, 4], [1, 2, 3, 4])[0] == pytest.approx(1.0)
    with pytest.raises(ValueError, match="no ranking"):
        intervals.kendall([1, 1, 1], [1, 2, 3])
    with pytest.raises(ValueError, match="equally long"):
        intervals.kendall([1, 2], [1, 2, 3])


POSITIVE, PERCENT = quantities.FIGURES["p50"], quantities.of_metric("bleu")


def coverage(draw, centre, quantity, n, times=20_000):
    """Return how often the interval of n figures holds the mean of their distribution."""
    values = draw(np.random.default_rng(n), (times, n))
    mean, deviation = values.mean(axis=1), values.std(axis=1, ddof=1)
    low, high = intervals.bounded(mean, deviation, n, quantity.low, quantity.high)
    assert (low >= quantity.low).all() and (high <= quantity.high).all()
    assert ((low < mean) & (mean < high)).all()
    return float(((low <= centre) & (centre <= high)).mean())


@pytest.mark.parametrize("n", [2, 3, 6])
@pytest.mark.parametrize("sigma", [0.02, 0.1, 0.3, 0.5])
def test_intervals_of_log_normal_times_hold_their_mean_95_times_in_100(n, sigma):
    got = coverage(lambda rng, size: np.exp(rng.normal(0, sigma, size)), math.exp(sigma**2 / 2), POSITIVE, n)
    assert 0.93 <= got <= 0.965, got


@pytest.mark.parametrize("n", [2, 3, 6])
@pytest.mark.parametrize(("a", "b"), [(300, 700), (30, 70), (8, 32), (180, 20), (45, 5)])
def test_intervals_of_percentages_hold_their_mean_95_times_in_100(n, a, b):
    got = coverage(lambda rng, size: 100 * rng.beta(a, b, size), 100 * a / (a + b), PERCENT, n)
    assert 0.93 <= got <= 0.965, got


def test_an_interval_with_hardly_any_spread_is_students():
    for quantity in (POSITIVE, PERCENT):
        values = [30.0, 30.02, 29.99]
        ours, students = intervals.interval(values, quantity), intervals.t_interval(values)
        assert ours.mean == students.mean
        assert (ours.low, ours.high) == pytest.approx((students.low, students.high), abs=2e-4)


@given(st.lists(st.floats(0, 100), min_size=1, max_size=8), st.sampled_from([POSITIVE, PERCENT]))
def test_no_interval_leaves_its_range_and_each_holds_its_mean(values, quantity):
    found = intervals.interval(values, quantity)
    assert (found.low is None) == (found.high is None)
    if found.low is not None:
        assert quantity.low <= found.low <= found.mean <= found.high <= quantity.high
        assert not quantity.trespass(found.low, found.high)


@pytest.mark.parametrize(
    ("values", "quantity"),
    [([3.0], POSITIVE), ([2.0, 2.0, 2.0], POSITIVE), ([0.0, 0.0], PERCENT), ([100.0, 100.0], PERCENT),
     ([0.9, 1.0], quantities.FIGURES["tokens"]), ([1e6, 2e6], quantities.FIGURES["params"])],
    ids=["one", "equal", "all-zero", "all-at-most", "counted-share", "counted"],
)  # fmt: skip
def test_nothing_is_claimed_where_nothing_varies_or_all_is_counted(values, quantity):
    found = intervals.interval(values, quantity)
    assert (found.low, found.high, found.n) == (None, None, len(values))


@pytest.mark.parametrize(
    ("value", "quantity"), [(-0.1, POSITIVE), (101.0, PERCENT), (1.01, quantities.FIGURES["tokens"])]
)
def test_an_impossible_figure_is_refused_by_name(value, quantity):
    with pytest.raises(ValueError, match=f"{value:g}.*impossible: {quantity.name}"):
        intervals.interval([value], quantity)


def test_a_metric_of_a_stranger_may_be_any_number():
    found = intervals.interval([-5.0, 7.0], quantities.of_metric("their-score"))
    students = intervals.t_interval([-5.0, 7.0])
    assert (found.low, found.high) == pytest.approx((students.low, students.high))
    assert Quantity("any").span == "any number"


@given(st.dictionaries(st.text(max_size=3), st.floats(0, 1), max_size=6))
def test_holm_never_lowers_a_p_and_never_passes_one(p_values):
    adjusted = intervals.holm(p_values)
    assert set(adjusted) == set(p_values)
    assert all(p_values[k] <= adjusted[k] <= 1 for k in p_values)


@given(st.lists(st.lists(st.floats(0.5, 99.5), min_size=1, max_size=9), min_size=1, max_size=9))
def test_intervals_of_many_samples_are_those_of_each_alone(samples):
    quantity = Quantity("share", "", 0.0, 100.0)
    together = intervals.each_interval(samples, quantity)
    assert together == [intervals.interval(values, quantity) for values in samples]
    for values, found in zip(samples, together, strict=True):
        assert found.n == len(values) and found.mean == float(np.add.reduce(np.array(values))) / len(values)
        low, high = intervals.bounded(
            found.mean, np.std(values, ddof=1) if found.n > 1 else 0, found.n, 0, 100
        )
        assert (None if low != low else float(low), None if high != high else float(high)) == (
            found.low,
            found.high,
        )
