"""The JSON form of a summary holds all of it, and nothing else is taken for one."""

import json
import math
from pathlib import Path

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.claims import judge
from benchmarks.comparability import run_summary, summary_text
from benchmarks.comparability.run_summary import RunSummary
from benchmarks.comparability.summary_text import SummaryTexts
from benchmarks.records import store
from tests import ROOT
from tests.fake_records import fake


def plain(value):
    """Return a value in which NaN equals NaN, and 1 is not 1.0 or True."""
    if isinstance(value, dict):
        return {key: plain(value[key]) for key in sorted(value, key=repr)}
    if isinstance(value, str) or not hasattr(value, "__iter__"):
        return repr(value)
    return [plain(inner) for inner in value]


def summary(record, **changes) -> RunSummary:
    run = run_summary.summarize(record, keep=False, place=7, measured=judge.measured(record))
    return run._replace(**changes)


def test_every_published_record_has_its_summary_back():
    paths = store.paths(Path(ROOT / "results" / "records"))
    runs = [summary(store.load(path)) for path in paths[::3]]
    assert any(run.measured for run in runs) and any(run.earlier for run in runs) and len(runs) > 50
    for run in runs:
        texts = summary_text.encode(run)
        assert texts is not None
        back = summary_text.decode(texts, run.place)
        assert plain(back) == plain(run) and type(back.conduct) is type(run.conduct)
        assert summary_text.decode(texts, run.place).facts is back.facts, "shared facts are one object"


@pytest.mark.parametrize("changes", [{"seed": 2**70}, {"measured": {("quality", None): math.inf}}])
def test_a_summary_that_json_cannot_hold_has_no_form(changes):
    assert summary_text.encode(summary(fake("hat"), **changes)) is None


def places(value, path=()):
    """Return the path of each value inside nested lists and objects."""
    found = [path]
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        found += places(inner, (*path, key))
    return found


@given(st.data())
def test_a_form_with_another_kind_of_value_is_refused_or_read(data):
    own, shared = (json.loads(text) for text in reversed(summary_text.encode(summary(fake("hat")))))
    whole = {"own": own, "shared": shared}
    path = data.draw(st.sampled_from(places(whole)[1:]))
    at = whole
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = data.draw(st.sampled_from([None, [], {}, "x", -1, 1.5, True, [[1]], {"a": [1]}, 2**63]))
    texts = SummaryTexts(orjson.dumps(whole["shared"]), orjson.dumps(whole["own"]))
    try:
        assert isinstance(summary_text.decode(texts, 0), RunSummary)
    except ValueError:
        pass


@pytest.mark.parametrize("text", [b"", b"[]", b"{", b"null", b"[" * 5000])
def test_other_texts_are_refused(text):
    texts = summary_text.encode(summary(fake("hat")))
    for other in (texts._replace(own=text), texts._replace(shared=text)):
        with pytest.raises(ValueError):
            summary_text.decode(other, 0)
