"""The quick canonical text of parsed JSON is the canonical text, byte for byte."""

import json
from pathlib import Path

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.records import store
from benchmarks.records.canonical import (
    as_python,
    canonical,
    has_huge,
    has_small,
    sorted_text,
    without_base64,
)
from tests import ROOT

NUMBERS = st.floats(allow_nan=False, allow_infinity=False) | st.floats(-1e-3, 1e-3)
TEXTS = st.text() | st.from_regex(r'["\\:,\[\]e\-0.19]{0,12}', fullmatch=True)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | NUMBERS | TEXTS,
    lambda inner: st.lists(inner) | st.dictionaries(TEXTS, inner),
)


@given(st.lists(VALUES, max_size=3))
@settings(max_examples=300)
def test_any_parsed_value_has_its_canonical_text(value):
    parsed = orjson.loads(json.dumps(value))
    assert as_python(sorted_text(parsed)) == canonical(parsed)


@pytest.mark.parametrize(
    "value",
    [
        [0.0001, 0.00001, -0.000012345, 1e-7, -1.5e-300, 5e-324, 1e15, 1e16, 1.5e300, -0.0],
        {"a,1e-7,": 1e-7, "[0.00001]": [0.00001, ":0.00001,"]},
        {'"': 1e-7, "\\": "0.00001", ',1e-7,"': [1e-7]},
        ["0.00001", 0.00001, ",0.00001,", 0.00002],
        ['a"b\\', 1e-7, 'c\n"0.00001', 10.00001, -0.00002, [1.5e-9]],
    ],
)
def test_small_numbers_are_written_as_python_does_and_texts_stay(value):
    parsed = orjson.loads(json.dumps(value))
    assert as_python(sorted_text(parsed)) == canonical(parsed) == canonical(value)


@given(st.floats(allow_nan=False, allow_infinity=False), st.from_regex(r"[0-9e+/]{0,4}", fullmatch=True))
@settings(max_examples=300)
def test_no_number_is_left_out_with_texts_in_base64(number, start):
    encoded = [start + "e+30" * 300, "0e+3" * 300 + "==", "e+300"]
    text = sorted_text({"a": encoded[0], "b": [number, encoded[1]], "c": {"d": encoded[1], "e": number}})
    shown = without_base64(text, encoded)
    assert len(shown) < 1500 and json.loads(shown)["c"]["e"] == json.loads(shown)["b"][0] == number
    assert has_small(shown) == has_small(sorted_text([number]))
    assert has_huge(shown) == (abs(number) >= 1e300)


def test_texts_that_are_not_there_leave_all_of_it():
    text = sorted_text({"a": "A" * 2000, "n": 1e-7})
    assert without_base64(text, ["B" * 2000, "A" * 2001]) == text
    assert without_base64(text, ["A" * 2000]) == b'{"a":"","n":1e-7}'


def test_published_records_need_no_slow_check(monkeypatch):
    monkeypatch.setattr(store.integrity, "validate", lambda _: pytest.fail("took the slow way"))
    files = store.paths(ROOT / "results" / "records")
    assert len([store.load(Path(file)) for file in files]) > 100
