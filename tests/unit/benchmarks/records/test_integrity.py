"""The quick check of a record passes nothing that the check which names faults refuses."""

import copy
import json
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.api import InvalidRecordError
from benchmarks.records import integrity
from benchmarks.records.spec import spec_id
from tests.fake_records import fake, with_counts

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
        record["id"] = spec_id(record["spec"])
        record["digest"] = integrity.digest(record)
        record["seal"] = integrity.seal_of(record)
    except (AttributeError, KeyError, TypeError, ValueError, UnicodeError):
        pass
    return record


def test_an_intact_record_reads_as_it_was_written():
    for record in (RECORD, fake("scratch", 2, status="budget"), fake(status="failed")):
        assert integrity.intact(written(record)) == record


@given(st.data())
@settings(max_examples=150)
def test_both_checks_agree_on_forged_records(data):
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
    intact = integrity.intact(text)
    if intact is None:
        return  # not sure: the check that names faults decides
    integrity.validate(json.loads(text))
    assert intact == json.loads(text)


@pytest.mark.parametrize("made", [RECORD, with_counts(fake("hat", 1), 600)])
@pytest.mark.parametrize("figure", [1e300, -1.5e305])
def test_figures_out_of_range_are_refused(figure, made):
    record = copy.deepcopy(made)
    record["candidates"][0]["valid"]["loss"] = figure
    text = written(resealed(record))
    assert integrity.intact(text) is None
    with pytest.raises(InvalidRecordError, match="not a finite number"):
        integrity.validate(json.loads(text))


def test_pairs_of_the_newer_schema_are_checked():
    record = copy.deepcopy(RECORD)
    record["candidates"][0]["sentences"] = {"sets": [[1, "pooled"]], "bleu": "AAAA"}
    text = written(resealed(record))
    assert integrity.intact(text) is None
    with pytest.raises(InvalidRecordError, match="sentences"):
        integrity.validate(json.loads(text))


@pytest.mark.parametrize("made", [RECORD, with_counts(fake("hat", 1), 600)])
@pytest.mark.parametrize("loss", [1.5e-07, 1e22, 123456789.125])
def test_figures_are_sealed_as_python_writes_them(loss, made):
    record = copy.deepcopy(made)
    record["candidates"][0]["valid"]["loss"] = loss
    intact = integrity.intact(written(integrity.seal(record)))
    assert intact is not None and intact["candidates"][0]["valid"]["loss"] == loss


def test_a_seal_covers_all_but_itself():
    sealed = integrity.with_seal({"a": 1, "b": [2]})
    assert sealed == {"a": 1, "b": [2], "seal": integrity.seal_of({"a": 1, "b": [2]})}
    assert integrity.seal_of(sealed) == sealed["seal"] != integrity.seal_of({"a": 2, "b": [2]})


def test_a_long_reason_is_cut_in_its_middle():
    record = copy.deepcopy(RECORD)
    record["candidates"][0]["origin"] = ["x" * 500]
    with pytest.raises(InvalidRecordError) as refused:
        integrity.validate(record)
    reason = str(refused.value).partition(": ")[2]
    assert len(reason) == 60 + len(" ... ") + 90 and reason.endswith("xxx'] is not of type 'string'")


def test_a_digest_covers_the_search_log_without_its_seconds():
    record = copy.deepcopy(RECORD)
    for seconds in (1.0, 2.0):
        record["search_log"][0]["seconds"] = seconds
        assert integrity.digest(record) == RECORD["digest"]
    record["search_log"][0]["evaluations"] += 1
    assert integrity.digest(record) != RECORD["digest"]
    del record["search_log"]
    assert integrity.digest(record) != RECORD["digest"]


@given(
    st.from_regex(r"[0-9A-Za-z+/]{0,5}", fullmatch=True),
    st.sampled_from(["", "=", "==", "===", "=A", "A=\n", "é", " "]),
)
def test_statistics_of_sentences_are_checked_alike_by_both_checks(text, end):
    pattern = json.loads(integrity.SCHEMA_FILE.read_text("utf-8"))["$defs"]["candidate"]["properties"]
    pattern = pattern["sentences"]["properties"]["bleu"]["pattern"]
    assert integrity.is_base64(text + end) == (re.search(pattern.replace("$", r"\Z"), text + end) is not None)
