"""The short way to read a record says "in order" of nothing that the long way refuses."""

import copy
import json
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.api import InvalidRecord
from benchmarks.records import quickload, store
from tests.fake_records import fake

RECORD = fake("hat", 1)
WRONG = [
    None, True, -1, 1.5, 1e305, float("nan"), float("inf"), 2**70, "", "x\n", "\ud800", [], {}, ["a", 1],
    "e" * 64,
]  # fmt: skip


def written(record):
    return json.dumps(record, indent=1).encode("utf-8", "surrogatepass")


def paths(value, at=()):
    yield at
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield from paths(item, (*at, key))


def resealed(record):
    """The record with hashes that fit its content, as a careful forger would leave it."""
    try:
        record["id"] = store.spec_id(record["spec"])
        record["digest"] = store.digest(record)
        record["seal"] = store._seal(record)
    except (AttributeError, KeyError, TypeError, ValueError, UnicodeError):
        pass
    return record


def test_what_is_in_order_is_the_same_record():
    for record in (RECORD, fake("scratch", 2, status="budget"), fake(status="failed")):
        assert quickload.in_order(written(record)) == record


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_the_two_ways_agree_on_forged_records(data):
    record = copy.deepcopy(RECORD)
    at = data.draw(st.sampled_from([p for p in paths(record) if p]))
    place = record
    for key in at[:-1]:
        place = place[key]
    if data.draw(st.booleans()) and isinstance(place, dict):
        del place[at[-1]]
    else:
        place[at[-1]] = data.draw(st.sampled_from(WRONG))
    if data.draw(st.booleans()):
        resealed(record)
    text = written(record)
    found = quickload.in_order(text)
    if found is None:
        return  # not sure: the long way decides
    store.validate(json.loads(text))
    assert found == json.loads(text)


@pytest.mark.parametrize("figure", [1e300, -1.5e305])
def test_figures_out_of_range_are_left_to_the_long_way(figure):
    record = copy.deepcopy(RECORD)
    record["candidates"][0]["valid"]["loss"] = figure
    text = written(resealed(record))
    assert quickload.in_order(text) is None
    with pytest.raises(InvalidRecord, match="not a finite number"):
        store.validate(json.loads(text))


def test_pairs_of_the_newer_schema_are_checked():
    record = copy.deepcopy(RECORD)
    record["candidates"][0]["sentences"] = {"sets": [[1, "pooled"]], "bleu": "AAAA"}
    text = written(resealed(record))
    assert quickload.in_order(text) is None
    with pytest.raises(InvalidRecord, match="sentences"):
        store.validate(json.loads(text))


def test_small_figures_that_are_written_otherwise_are_still_read(tmp_path):
    record = copy.deepcopy(RECORD)
    record["candidates"][0]["valid"]["loss"] = 1.5e-07
    path = tmp_path / f"{record['id']}.json"
    path.write_bytes(written(store.seal(record)))
    assert store.load(path)["candidates"][0]["valid"]["loss"] == 1.5e-07


@given(st.text(st.sampled_from("aZ09+/=\n é-"), max_size=12))
def test_statistics_are_letters_as_the_schema_has_them(text):
    pattern = json.loads(store.SCHEMA_FILE.read_text())["$defs"]["candidate"]["properties"]["sentences"]
    expected = re.fullmatch(pattern["properties"]["bleu"]["pattern"][1:-1], text) is not None
    assert quickload._letters(text) == expected
