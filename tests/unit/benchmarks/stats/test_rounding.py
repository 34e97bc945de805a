"""Six significant digits, alone and within plain data."""

import math

from hypothesis import given
from hypothesis import strategies as st

from benchmarks.stats.rounding import p_text, six_digits, six_digits_within


@given(st.floats(allow_nan=False, allow_infinity=False, min_value=-1e300, max_value=1e300))
def test_six_digits_are_near_and_rounding_is_idempotent(value: float) -> None:
    rounded = six_digits(value)
    assert math.isclose(rounded, value, rel_tol=5.1e-6, abs_tol=1e-300) and six_digits(rounded) == rounded


def test_floats_within_data_are_rounded_and_the_rest_stays() -> None:
    data = {"a": (1 / 3, 1234567), "b": [{"c": 2 / 3}, None, "0.1234567"], "d": True}
    rounded = {"a": [0.333333, 1234567], "b": [{"c": 0.666667}, None, "0.1234567"], "d": True}
    assert six_digits_within(data) == rounded and six_digits_within(data)["d"] is True


@given(st.floats(min_value=0, max_value=1))
def test_no_p_value_reads_as_nothing(p: float) -> None:
    """A test of finitely many draws, or of a finite t, has no p of 0."""
    text = p_text(p)
    assert text == "< 0.0001" if p < 0.00005 else abs(float(text) - p) <= 0.000051 and float(text) > 0


def test_missing_p_values_are_dashes() -> None:
    assert [p_text(p) for p in (None, math.nan)] == ["-", "-"]
