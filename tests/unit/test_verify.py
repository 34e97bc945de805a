"""Two records of one run compared: when a row holds, when it does not, when nobody can tell."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from benchmarks import records, sealed, verified, verify
from benchmarks.api import InvalidRecord
from benchmarks.commands import verify as command
from tests.fake_records import fake


def changed(record, *, quality=0.0, ratio=1.0, fingerprint="m", boot="b", profile=None, **timings):
    """The record as a second run would give it."""
    copy = json.loads(json.dumps(record))
    copy["provenance"]["machine"] |= {"fingerprint": fingerprint, "boot": boot}
    copy["spec"]["profile"] = profile or copy["spec"]["profile"]
    for candidate in copy["candidates"]:
        candidate["test"]["pooled"]["bleu"]["value"] += quality
        for name in ("ratio", "ratio_low", "ratio_high"):
            candidate["latency"][name] *= ratio
    return records.seal(copy | timings)


BASE = changed(fake(limits=(0.5,)))


def holds(verdict, what):
    return [c.holds for c in verdict.checks if c.what == what]


def test_a_record_reproduces_itself_to_the_bit():
    verdict = verify.compare(BASE, BASE)
    assert (verdict.answer, verdict.identical, verdict.reasons) == (verify.YES, True, [])
    assert verdict.first_difference is None and verdict.differences == []


@settings(max_examples=100, deadline=None)
@given(
    st.floats(-2, 2), st.floats(0.8, 1.25), st.sampled_from(["m", "other"]), st.sampled_from(["b", "a", None])
)
def test_the_answer_follows_from_interval_and_ratio_alone(quality, ratio, fingerprint, boot):
    again = changed(BASE, quality=quality, ratio=ratio, fingerprint=fingerprint, boot=boot)
    verdict = verify.compare(BASE, again)
    candidate = BASE["candidates"][0]
    figure, latency = candidate["test"]["pooled"]["bleu"], candidate["latency"]
    allowed = 0.02 if (fingerprint, boot) == ("m", "b") else 0.10
    span = (latency["ratio"] * (1 - allowed), latency["ratio"] * (1 + allowed))
    if latency["ratio_high"] - latency["ratio_low"] > span[1] - span[0]:
        span = (latency["ratio_low"], latency["ratio_high"])
    now = again["candidates"][0]
    good = figure["low"] <= now["test"]["pooled"]["bleu"]["value"] <= figure["high"]
    quick = span[0] <= now["latency"]["ratio"] <= span[1]
    assert holds(verdict, "quality") == [good] and holds(verdict, "latency ratio") == [quick]
    assert verdict.answer == (verify.YES if good and quick else verify.NO)
    assert verdict.latency_alone == (good and not quick)
    assert verdict.identical == (
        records.canonical(figure) == records.canonical(now["test"]["pooled"]["bleu"])
    )


def test_milliseconds_decide_nothing():
    again = json.loads(json.dumps(BASE))
    for name in ("p50", "p90", "reference_p50"):
        again["candidates"][0]["latency"][name] *= 3
    assert verify.compare(BASE, records.seal(again)).answer == verify.YES


def test_the_rows_own_interval_counts_where_it_is_wider():
    wide = json.loads(json.dumps(BASE))
    ratio = wide["candidates"][0]["latency"]["ratio"]
    wide["candidates"][0]["latency"] |= {"ratio_low": ratio * 0.7, "ratio_high": ratio * 1.3}
    wide = records.seal(wide)
    assert holds(verify.compare(wide, changed(wide, ratio=1.2)), "latency ratio") == [True]
    assert holds(verify.compare(wide, changed(wide, ratio=1.4)), "latency ratio") == [False]


def test_three_published_runs_give_the_interval_of_one_more():
    runs = [changed(fake(seed=s, limits=(0.5,))) for s in (1, 2, 3)]
    other = [fake("mos-neuron", 4, limits=(0.5,)), fake(seed=5, tokens=1e6, limits=(0.5,))]
    values = [r["candidates"][0]["test"]["pooled"]["bleu"]["value"] for r in runs]
    check = verify.compare(runs[0], runs[0], [*runs, *other]).checks[0]
    spread = scipy_stats.tstd(values) * (1 + 1 / 3) ** 0.5
    low, high = scipy_stats.t.interval(0.95, 2, scipy_stats.tmean(values), spread)
    assert (check.low, check.high) == pytest.approx((low, high))
    assert "from 3 published" in check.how
    assert "sentences" in verify.compare(runs[0], runs[0], [*runs[:2], *other]).checks[0].how


def test_on_another_profile_quality_is_judged_and_latency_is_not():
    far = changed(BASE, profile="undeclared", fingerprint="x")
    verdict = verify.compare(BASE, far)
    assert verdict.answer == verify.UNKNOWN and holds(verdict, "quality") == [True]
    assert "this machine is undeclared" in verdict.reasons[0]
    assert verify.compare(BASE, changed(far, quality=-5.0)).answer == verify.NO


def test_the_same_machine_versions_and_timings_must_give_the_same_bits():
    told = {"timings": {"limits": [[0.5, 15.0]], "probes": [[0, "a", 1.5]]}}
    published = records.seal(BASE | told)
    other = json.loads(json.dumps(published))
    other["candidates"][0]["weights_sha256"] = "0" * 64
    verdict = verify.compare(published, records.seal(other))
    assert verdict.answer == verify.NO and "candidates[0].weights_sha256 differs" in verdict.reasons[-1]
    # Which start of the machine it was decides about latencies, not about bits.
    restarted = changed(other, boot="another")
    verdict = verify.compare(published, restarted)
    assert verdict.answer == verify.NO and verdict.differences == [] and not verdict.latency_alone
    other["provenance"]["versions"]["torch"] = "9"
    verdict = verify.compare(published, records.seal(other))
    assert verdict.answer == verify.YES and not verdict.identical
    assert verdict.differences == [("versions.torch", "2.13.0", "9")]
    # Where the search had timings of its own it may decide otherwise: that alone is no failure.
    other["provenance"]["versions"]["torch"] = "2.13.0"
    other["timings"] = {"limits": [[0.5, 15.0]], "probes": [[0, "a", 1.6]]}
    assert verify.compare(published, records.seal(other)).answer == verify.YES


def test_failures_other_data_and_missing_candidates():
    failed = fake(status="failed", message="\x1b[31mboom")
    assert verify.compare(failed, BASE).answer == verify.UNKNOWN
    verdict = verify.compare(BASE, failed)
    assert verdict.answer == verify.NO and "boom" in verdict.reasons[0] and "\x1b" not in verdict.reasons[0]
    data = records.seal(BASE | {"provenance": BASE["provenance"] | {"data": {"train.en": "0"}}})
    assert verify.compare(BASE, data).answer == verify.UNKNOWN
    fewer = changed(fake(limits=(0.6,)))
    assert holds(verify.compare(BASE, fewer), "quality") == [False]


@settings(max_examples=50, deadline=None)
@given(
    st.recursive(st.none() | st.integers() | st.text(), lambda s: st.lists(s) | st.dictionaries(st.text(), s))
)
def test_nothing_differs_from_itself(value):
    assert verify.first_difference(value, json.loads(json.dumps(value))) is None


def test_a_stored_verdict_is_sealed(tmp_path: Path):
    stored = verified.to_record(BASE, BASE, verify.compare(BASE, BASE))
    path = sealed.path_of(tmp_path, verified.FOLDER, stored)
    records.write_text(path, json.dumps(stored))
    assert verified.load(path) == json.loads(json.dumps(stored))
    assert path.parent.name == BASE["id"] and path.stem == stored["seal"][:16]
    path.write_text(path.read_text().replace('"reproduces"', '"cannot tell"'))
    with pytest.raises(InvalidRecord, match="field seal: changed after writing"):
        verified.load(path)
    path.write_text("{}")
    with pytest.raises(InvalidRecord, match="required"):
        verified.load(path)
    path.write_text("[")
    with pytest.raises(InvalidRecord, match="not a verdict"):
        verified.load(path)


def test_comparing_needs_no_torch():
    code = "import sys, benchmarks.verify, benchmarks.submission; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_a_second_run_that_a_busy_machine_kept_from_its_end_says_nothing():
    slow = fake(status="budget", message="seconds: the allowance is spent") | {"candidates": []}
    verdict = verify.compare(fake(), slow)
    assert verdict.answer == verify.UNKNOWN and "idle machine" in verdict.reasons[0]
    spent = fake(status="budget", message="tokens: the allowance is spent") | {"candidates": []}
    assert verify.compare(fake(), spent).answer == verify.NO


@pytest.mark.parametrize(
    ("blamed", "named", "status"), [("ratio", False, 0), ("ratio", True, 1), ("quality", False, 1)]
)
def test_a_latency_alone_of_a_row_drawn_at_random_is_no_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys, blamed, named, status
):
    row = changed(fake(tier="smoke", limits=(0.5,)))
    again = changed(row, **({"ratio": 2.0} if blamed == "ratio" else {"quality": -50.0}))
    records.write(tmp_path / "records", row)
    monkeypatch.setattr(command, "_verify", lambda *given: (verify.compare(row, again), again))
    options = argparse.Namespace(results=tmp_path, record=row["id"] if named else None, json=False)
    assert command.run(options) == status
    told = capsys.readouterr().out
    assert told.rstrip().endswith("exit code 0") == (status == 0) and "=> does not reproduce" in told
