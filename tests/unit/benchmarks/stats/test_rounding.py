"""Six significant digits, alone and within plain data."""

import math

from hypothesis import given
from hypothesis import strategies as st

from benchmarks.stats.rounding import six_digits, six_digits_within


@given(st.floats(allow_nan=False, allow_infinity=False, min_value=-1e300, max_value=1e300))
def test_six_digits_are_near_and_rounding_is_idempotent(value: float) -> None:
    rounded = six_digits(value)
    assert math.isclose(rounded, value, rel_tol=5.1e-6, abs_tol=1e-300) and six_digits(rounded) == rounded


def test_floats_within_data_are_rounded_and_the_rest_stays() -> None:
    data = {"a": (1 / 3, 1234567), "b": [{"c": 2 / 3}, None, "0.1234567"], "d": True}
    rounded = {"a": [0.333333, 1234567], "b": [{"c": 0.666667}, None, "0.1234567"], "d": True}
    assert six_digits_within(data) == rounded and six_digits_within(data)["d"] is True
