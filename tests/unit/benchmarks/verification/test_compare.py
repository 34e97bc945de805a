"""Two records of one run compared: when a row holds, when it does not, when nobody can tell."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from benchmarks import identity
from benchmarks.api import InvalidRecordError
from benchmarks.cli import main
from benchmarks.cli import verify as command
from benchmarks.records import integrity, store
from benchmarks.records.canonical import canonical
from benchmarks.verification import compare, reproduce, verdict_files
from tests.fake_records import fake


def changed(record, *, quality=0.0, ratio=1.0, load=0.0, fingerprint="m", boot="b", profile=None, **timings):
    """The record as a second run would give it."""
    copy = json.loads(json.dumps(record))
    copy["provenance"]["machine"] |= {"fingerprint": fingerprint, "boot": boot}
    copy["spec"]["profile"] = profile or copy["spec"]["profile"]
    for candidate in copy["candidates"]:
        for name in ("value", "low", "high"):
            candidate["test"]["pooled"]["bleu"][name] += quality
        for name in ("ratio", "ratio_low", "ratio_high"):
            candidate["latency"][name] *= ratio
        candidate["latency"]["others_cpu"] = load
    return integrity.seal(copy | timings)


BASE = changed(fake(limits=(0.5,)))


def holds(verdict, what):
    return [c.holds for c in verdict.checks if c.what == what]


def test_a_record_reproduces_itself_to_the_bit():
    verdict = compare.compare(BASE, BASE)
    assert (verdict.quality, verdict.latency) == (compare.YES, compare.YES)
    assert (verdict.identical, verdict.reasons) == (True, [])
    assert verdict.first_difference is None and verdict.differences == []


@settings(max_examples=100)
@given(
    st.floats(-2, 2), st.floats(0.8, 1.25), st.sampled_from(["m", "other"]), st.sampled_from(["b", "a", None])
)
def test_the_answer_follows_from_interval_and_ratio_alone(quality, ratio, fingerprint, boot):
    again = changed(BASE, quality=quality, ratio=ratio, fingerprint=fingerprint, boot=boot)
    verdict = compare.compare(BASE, again)
    candidate = BASE["candidates"][0]
    figure, latency = candidate["test"]["pooled"]["bleu"], candidate["latency"]
    allowed = 0.02 if (fingerprint, boot) == ("m", "b") else 0.10
    span = (latency["ratio"] * (1 - allowed), latency["ratio"] * (1 + allowed))
    if latency["ratio_high"] - latency["ratio_low"] > span[1] - span[0]:
        span = (latency["ratio_low"], latency["ratio_high"])
    now = again["candidates"][0]
    good = figure["low"] <= now["test"]["pooled"]["bleu"]["value"] <= figure["high"]
    quick = span[0] <= now["latency"]["ratio"] <= span[1]
    alike = fingerprint == "m"
    assert holds(verdict, "quality") == [good]
    assert holds(verdict, "latency ratio") == [quick if alike else None]
    assert verdict.quality == (compare.YES if good else compare.NO)
    assert verdict.latency == ((compare.YES if quick else compare.NO) if alike else compare.UNKNOWN)
    assert verdict.identical == (canonical(figure) == canonical(now["test"]["pooled"]["bleu"]))


def test_milliseconds_decide_nothing():
    again = json.loads(json.dumps(BASE))
    for name in ("p50", "p90", "reference_p50"):
        again["candidates"][0]["latency"][name] *= 3
    assert compare.compare(BASE, integrity.seal(again)).latency == compare.YES


@pytest.mark.parametrize(("fingerprint", "load"), [("other", 0.0), ("m", 0.5), ("m", 0.2)])
@pytest.mark.parametrize("ratio", [1.0, 1.05, 5.0])
def test_a_latency_of_another_machine_or_a_disturbed_one_answers_nothing(fingerprint, load, ratio):
    again = changed(BASE, ratio=ratio, fingerprint=fingerprint, load=load)
    for one, other in ((BASE, again), (again, BASE)):
        verdict = compare.compare(one, other)
        assert (verdict.quality, verdict.latency) == (compare.YES, compare.UNKNOWN)
        assert verdict.identical  # latencies are no part of a run's bits
        assert "latency ratio at limit" in verdict.reasons[0]


def test_a_run_equal_to_the_bit_reproduces_at_any_latency():
    verdict = compare.compare(BASE, changed(BASE, ratio=9.0))
    assert verdict.identical and (verdict.quality, verdict.latency) == (compare.YES, compare.NO)


def test_a_metric_that_the_published_run_did_not_have_yet_is_no_difference():
    again = changed(BASE)
    for candidate in again["candidates"]:
        candidate["test"]["pooled"]["ter"] = {**candidate["test"]["pooled"]["bleu"], "value": 50.0}
    assert compare.compare(BASE, integrity.seal(again)).identical


@pytest.mark.parametrize("metric", ["ter", "spbleu", "comet"])
def test_a_metric_that_this_machine_cannot_score_is_no_difference(metric):
    told = {"timings": {"limits": [[0.5, 15.0]], "probes": [[0, "a", 1.5]]}}
    published = json.loads(json.dumps(BASE | told))
    for scores in published["candidates"][0]["test"].values():
        scores[metric] = scores["bleu"] | {"value": 50.0}
    verdict = compare.compare(integrity.seal(published), changed(BASE, **told))
    assert (verdict.quality, verdict.identical) == (compare.YES, True)


@pytest.mark.parametrize("metric", ["bleu", "chrf", "bleu_tok_lc"])
def test_a_declared_metric_that_is_lacking_is_a_difference(metric):
    again = json.loads(json.dumps(BASE))
    del again["candidates"][0]["test"]["pooled"][metric]
    verdict = compare.compare(BASE, integrity.seal(again))
    assert verdict.first_difference == f"candidates[0].test.pooled.{metric}"
    assert (verdict.quality == compare.YES) == (metric != "bleu")


def test_a_shared_metric_of_another_value_is_a_difference():
    published, again = (json.loads(json.dumps(BASE)) for _ in range(2))
    for record, value in ((published, 50.0), (again, 51.0)):
        pooled = record["candidates"][0]["test"]["pooled"]
        pooled["comet"] = pooled["bleu"] | {"value": value}
    verdict = compare.compare(integrity.seal(published), integrity.seal(again))
    assert verdict.first_difference == "candidates[0].test.pooled.comet.value"


def test_under_other_code_a_figure_outside_its_interval_answers_nothing():
    code = [("substrate", "a" * 64, "b" * 64)]
    near = compare.compare(BASE, changed(BASE, quality=0.1), code=code)
    assert (near.quality, near.code) == (compare.YES, code)
    far = compare.compare(BASE, changed(BASE, quality=-50.0, ratio=9.0), code=code)
    assert (far.quality, far.latency) == (compare.UNKNOWN, compare.UNKNOWN)
    assert all("other code or the row may be the reason" in reason for reason in far.reasons)
    failed = compare.compare(BASE, fake(status="failed", message="boom"), code=code)
    assert failed.quality == compare.UNKNOWN
    # Nor can the bits be demanded, as they are under the same code.
    told = {"timings": {"limits": [[0.5, 15.0]], "probes": [[0, "a", 1.5]]}}
    published = integrity.seal(BASE | told)
    other = json.loads(json.dumps(published))
    other["candidates"][0]["weights_sha256"] = "0" * 64
    other = integrity.seal(other)
    assert compare.compare(published, other).quality == compare.NO
    assert compare.compare(published, other, code=code).quality == compare.YES
    # Another commit of the same code is no excuse.
    other["provenance"]["commit"] = "e" * 40
    assert compare.compare(published, integrity.seal(other)).quality == compare.NO


def test_runs_of_equivalent_code_are_runs_of_one_row(monkeypatch: pytest.MonkeyPatch):
    runs = [fake(seed=s, limits=(0.5,)) for s in (1, 2, 3)]
    for run, substrate in zip(runs, ("a", "a", "b"), strict=True):
        run["spec"] |= {"task_sha256": "1" * 64, "substrate_sha256": substrate * 64}
    runs = [integrity.seal(run) for run in runs]
    assert len(compare.siblings(runs[0], runs)) == 1
    known = {"method": {}, "task": {}, "substrate": {"a" * 64: "b" * 64}}
    monkeypatch.setattr(identity, "declared", lambda device: known)
    assert len(compare.siblings(runs[0], runs)) == 2


def test_the_rows_own_interval_counts_where_it_is_wider():
    wide = json.loads(json.dumps(BASE))
    ratio = wide["candidates"][0]["latency"]["ratio"]
    wide["candidates"][0]["latency"] |= {"ratio_low": ratio * 0.85, "ratio_high": ratio * 1.15}
    wide = integrity.seal(wide)
    assert holds(compare.compare(wide, changed(wide, ratio=1.14)), "latency ratio") == [True]
    assert holds(compare.compare(wide, changed(wide, ratio=1.16)), "latency ratio") == [False]


def with_figures(seed, quality, ratio=0.5, width=0.8, **options):
    """The record of one seed with these figures."""
    record = changed(fake(seed=seed, limits=(0.5,), **options))
    candidate = record["candidates"][0]
    candidate["test"]["pooled"]["bleu"] |= {"value": quality, "low": quality - width, "high": quality + width}
    candidate["latency"] |= {"ratio": ratio, "ratio_low": ratio * 0.985, "ratio_high": ratio * 1.015}
    return integrity.seal(record)


def test_the_spread_of_the_other_seeds_gives_the_interval():
    runs = [with_figures(s, 30 + luck) for s, luck in ((1, 0.1), (2, 0.3), (3, 0.7), (4, 0.2))]
    other = [fake("mos-neuron", 5, limits=(0.5,)), fake(seed=6, tokens=1e6, limits=(0.5,))]
    again = with_figures(1, 30.4)
    check = compare.compare(runs[0], again, [*runs, *other]).checks[0]
    half = scipy_stats.t.ppf(0.975, 2) * scipy_stats.tstd([30.3, 30.7, 30.2]) * 2**0.5
    assert (check.low, check.high) == pytest.approx((30.1 - half, 30.1 + half))
    assert "3 other published seeds" in check.how
    check = compare.compare(runs[0], again, [*runs[:2], *other]).checks[0]
    assert "sentences" in check.how and (check.low, check.high) == pytest.approx((29.3, 30.9))


@pytest.mark.parametrize("seeds", [1, 2, 3, 6, 10])
def test_a_forged_record_does_not_widen_the_interval_that_judges_it(seeds):
    luck = [0.0, 0.2, -0.1, 0.4, 0.3, -0.3, 0.1, 0.2, -0.2, 0.0][:seeds]
    honest = [with_figures(s, 31.3 + d, 0.74 + d / 100) for s, d in enumerate(luck)]
    forged = json.loads(json.dumps(honest[0]))
    forged["candidates"][0]["test"]["pooled"]["bleu"] |= {"value": 90.0, "low": 0.0, "high": 100.0}
    forged["candidates"][0]["latency"] |= {"ratio": 0.05, "ratio_low": 0.0, "ratio_high": 3.0}
    forged = integrity.seal(forged)
    verdict = compare.compare(forged, honest[0], [forged, *honest[1:]])
    assert (verdict.quality, verdict.latency) == (compare.NO, compare.NO)
    for check in verdict.checks[1:]:
        assert 0 <= check.low <= check.high <= 1.2 * 0.05
    verdict = compare.compare(honest[0], with_figures(0, 31.4, 0.75), honest)
    assert (verdict.quality, verdict.latency) == (compare.YES, compare.YES)


@pytest.mark.parametrize("others", [2, 3, 5])
def test_a_genuine_second_run_lies_within_the_interval_of_the_spread(others):
    draws = np.random.default_rng(others).normal(30, 0.5, size=(4000, others + 2))
    holding = [abs(first - second) <= compare.largest_difference(rest) for first, second, *rest in draws]
    assert np.mean(holding) == pytest.approx(0.95, abs=0.012)


def test_equal_figures_of_other_seeds_give_no_interval_of_zero_width():
    runs = [with_figures(s, 0.1 if s > 1 else 0.2) for s in (1, 2, 3, 4)]
    verdict = compare.compare(runs[0], with_figures(1, 0.3), runs)
    assert verdict.quality == compare.YES and "sentences" in verdict.checks[0].how


def test_the_spread_is_that_of_finished_runs_with_one_a_seed():
    runs = [with_figures(s, 30.0) for s in (1, 2)]
    again = with_figures(2, 50.0, source="another")
    again["spec"]["budget"]["seconds"] += 1
    again["provenance"]["ended"] = "2026-01-02T00:00:00+00:00"
    again = integrity.seal(again)
    same = integrity.seal(json.loads(json.dumps(runs[0])) | {"search_log": []})
    stopped = [with_figures(s, 10.0 * s, status="budget") for s in (4, 5)]
    listed = [*runs, again, same, *stopped, fake(seed=6, limits=(0.5,), status="failed")]
    for order in (listed, listed[::-1]):
        assert [run["seal"] for run in compare.siblings(runs[0], order)] == [again["seal"]]


def test_on_another_profile_quality_is_judged_and_latency_is_not():
    far = changed(BASE, profile="undeclared", fingerprint="x")
    verdict = compare.compare(BASE, far)
    assert (verdict.quality, verdict.latency) == (compare.YES, compare.UNKNOWN)
    assert "this machine is undeclared" in verdict.reasons[0]
    assert compare.compare(BASE, changed(far, quality=-5.0)).quality == compare.NO


def test_the_same_machine_versions_and_timings_must_give_the_same_bits():
    told = {"timings": {"limits": [[0.5, 15.0]], "probes": [[0, "a", 1.5]]}}
    published = integrity.seal(BASE | told)
    other = json.loads(json.dumps(published))
    other["candidates"][0]["weights_sha256"] = "0" * 64
    verdict = compare.compare(published, integrity.seal(other))
    assert verdict.quality == compare.NO and "candidates[0].weights_sha256 differs" in verdict.reasons[-1]
    # Which start of the machine it was decides about latencies, not about bits.
    restarted = changed(other, boot="another")
    verdict = compare.compare(published, restarted)
    assert verdict.quality == compare.NO and verdict.differences == []
    other["provenance"]["versions"]["torch"] = "9"
    verdict = compare.compare(published, integrity.seal(other))
    assert verdict.quality == compare.YES and not verdict.identical
    assert verdict.differences == [("versions.torch", "2.13.0", "9")]
    # Where the search had timings of its own it may decide otherwise: that alone is no failure.
    other["provenance"]["versions"]["torch"] = "2.13.0"
    other["timings"] = {"limits": [[0.5, 15.0]], "probes": [[0, "a", 1.6]]}
    assert compare.compare(published, integrity.seal(other)).quality == compare.YES


def test_failures_other_data_and_missing_candidates():
    failed = fake(status="failed", message="\x1b[31mboom")
    verdict = compare.compare(failed, BASE)
    assert (verdict.quality, verdict.latency) == (compare.UNKNOWN, compare.UNKNOWN)
    verdict = compare.compare(BASE, failed)
    assert verdict.quality == compare.NO and "boom" in verdict.reasons[0] and "\x1b" not in verdict.reasons[0]
    data = integrity.seal(BASE | {"provenance": BASE["provenance"] | {"data": {"train.en": "0"}}})
    assert compare.compare(BASE, data).quality == compare.UNKNOWN
    fewer = changed(fake(limits=(0.6,)))
    assert holds(compare.compare(BASE, fewer), "quality") == [False]


@settings(max_examples=50)
@given(
    st.recursive(st.none() | st.integers() | st.text(), lambda s: st.lists(s) | st.dictionaries(st.text(), s))
)
def test_a_value_does_not_differ_from_itself(value):
    assert compare.first_difference(value, json.loads(json.dumps(value))) is None


def test_a_stored_verdict_is_sealed(tmp_path: Path):
    stored = verdict_files.to_attachment(BASE, BASE, compare.compare(BASE, BASE))
    path = verdict_files.VERDICTS.path(tmp_path, stored)
    store.write_text(path, json.dumps(stored))
    assert verdict_files.VERDICTS.load(path) == json.loads(json.dumps(stored))
    assert path.parent.name == BASE["id"] and path.stem == stored["seal"][:16]
    path.write_text(path.read_text().replace('"reproduces"', '"cannot tell"', 1))
    with pytest.raises(InvalidRecordError, match="field seal: changed after writing"):
        verdict_files.VERDICTS.load(path)
    path.write_text("{}")
    with pytest.raises(InvalidRecordError, match="required"):
        verdict_files.VERDICTS.load(path)
    path.write_text("[")
    with pytest.raises(InvalidRecordError, match="not a verdict"):
        verdict_files.VERDICTS.load(path)


def test_comparing_needs_no_torch():
    modules = "benchmarks.verification.compare, benchmarks.leaderboard.submission"
    code = f"import sys, {modules}; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_a_second_run_stopped_by_a_busy_machine_is_undecided():
    slow = fake(status="budget", message="seconds: the allowance is spent") | {"candidates": []}
    verdict = compare.compare(fake(), slow)
    assert verdict.quality == compare.UNKNOWN and "idle machine" in verdict.reasons[0]
    spent = fake(status="budget", message="tokens: the allowance is spent") | {"candidates": []}
    assert compare.compare(fake(), spent).quality == compare.NO


@pytest.mark.parametrize(
    ("change", "status", "said"),
    [
        ({}, 0, "quality reproduces to the bit; latency reproduces"),
        ({"ratio": 2.0}, 3, "quality reproduces to the bit; latency does not reproduce"),
        ({"ratio": 2.0, "load": 1.0}, 0, "quality reproduces to the bit; latency cannot tell"),
        ({"quality": -50.0}, 1, "quality does not reproduce; latency reproduces"),
        ({"quality": -50.0, "ratio": 2.0}, 1, "quality does not reproduce; latency does not reproduce"),
    ],
)
@pytest.mark.parametrize("named", [True, False])
def test_the_status_names_the_quantities_that_do_not_reproduce(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys, named, change, status, said
):
    row = changed(fake(tier="smoke", limits=(0.5,)))
    again = changed(row, **change)
    store.write(tmp_path / "records", row)
    monkeypatch.setattr(reproduce, "reproduce", lambda *_, **__: (compare.compare(row, again), again))
    words = ["verify", *([row["id"]] if named else []), "--results", str(tmp_path)]
    options = main.parser().parse_args(words)
    assert command.run(options) == status
    assert capsys.readouterr().out.rstrip().endswith(f"=> {said}")
