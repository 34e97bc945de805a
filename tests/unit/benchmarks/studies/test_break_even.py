"""The break-even of a supernet: formulas by hand, curves, intervals, and the published records."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from benchmarks.api import UsageError
from benchmarks.records import study_files
from benchmarks.studies import break_even
from benchmarks.studies.break_even import RunPoint, cost_for, curve_of, judge, phases, targets

COSTS = st.floats(1, 1e9)


@given(alone=COSTS, shared=COSTS, own=COSTS)
def test_at_the_break_even_costs_are_equal_and_one_target_less_costs_more(
    alone: float, shared: float, own: float
) -> None:
    n = targets(alone, shared, own)
    if own >= alone:
        assert math.isinf(n)
        return
    assume(n < 1e12)
    assert shared / n + own <= alone * (1 + 1e-9)
    if n > 1:
        assert shared / (0.99 * n) > alone - own  # a sum would round a small difference away


def test_the_curve_joins_allowances_over_log_cost_and_never_falls() -> None:
    def alone(budget: float, quality: float) -> RunPoint:
        return RunPoint(budget, quality, {}, {"tokens": budget})

    curve = curve_of([alone(400, 29), alone(100, 20), alone(100, 22), alone(1600, 25)], "tokens")
    assert curve == [(100, 21), (400, 29), (1600, 29)]
    cost, bound = cost_for(curve, 25)
    assert (cost, bound) == (pytest.approx(200), "exact")
    assert cost_for(curve, 29) == (pytest.approx(400), "exact")
    assert cost_for(curve, 30) == (1600, "at most")
    assert cost_for(curve, 20) == (100, "at least")
    assert cost_for(curve, 21) == (100, "exact")


@settings(max_examples=50)
@given(
    st.lists(st.tuples(COSTS, st.floats(0, 100)), min_size=1, max_size=6, unique_by=lambda p: p[0]), st.data()
)
def test_every_quality_of_a_curve_has_a_cost_on_it(
    points: list[tuple[float, float]], data: st.DataObject
) -> None:
    curve = curve_of([RunPoint(c, q, {}, {"tokens": c}) for c, q in points], "tokens")
    quality = data.draw(st.floats(curve[0][1], curve[-1][1]))
    cost, bound = cost_for(curve, quality)
    assert bound == "exact"
    assert curve[0][0] * (1 - 1e-9) <= cost <= curve[-1][0] * (1 + 1e-9)


def method(quality: float, shared: float = 1000, own: float = 100) -> RunPoint:
    return RunPoint(2000, quality, {"tokens": shared}, {"tokens": own})


def alone(*qualities: float) -> list[RunPoint]:
    return [
        RunPoint(100 * 4**i, q + e, {}, {"tokens": 100 * 4**i})
        for i, q in enumerate(qualities)
        for e in (-0.1, 0.1)
    ]


def test_a_method_breaks_even_where_its_quality_lies_on_the_curve() -> None:
    result = judge([method(24.9), method(25.1)], alone(20, 25, 29), "tokens")
    assert result["cost_alone"] == pytest.approx(400)
    assert result["break_even"]["n"] == pytest.approx(1000 / 300)
    assert result["break_even"]["low"] <= 1000 / 300 <= result["break_even"]["high"]
    assert result["text"].startswith("N = 3.3 [")
    assert judge([method(24.9), method(25.1)], alone(20, 25, 29), "tokens") == result


def test_never_bounds_and_single_runs_are_labelled() -> None:
    assert judge([method(25, own=500)], alone(20, 25, 29), "tokens")["text"] == "never"
    assert judge([method(35)], alone(20, 25, 29), "tokens")["text"] == "N at most 1.0"
    assert judge([method(35, shared=3000)], alone(20, 25, 29), "tokens")["text"] == "N at most 2.0"
    assert judge([method(10, own=10)], alone(20, 25, 29), "tokens")["text"] == "N at least 11.1"


def test_phases_are_shared_or_a_targets_own() -> None:
    entries = [
        {"phase": phase, "kind": kind, "amount": amount}
        for phase, kind, amount in (
            ("supernet", "tokens", 5), ("latency", "seconds", 2), ("retrain", "tokens", 3),
            ("search", "seconds", 1), ("retrain", "tokens", 4), ("search", "evaluations", 9),
        )
    ]  # fmt: skip
    shared, own = phases({"ledger": {"entries": entries}})  # type: ignore[typeddict-item]
    assert shared == {"tokens": 5, "seconds": 2} and own == {"tokens": 7, "seconds": 1}
    entries.append({"phase": "inherited", "kind": "tokens", "amount": 7})
    shared, own = phases({"ledger": {"entries": entries}})  # type: ignore[typeddict-item]
    assert shared == {"tokens": 12} and own == {"tokens": 7}
    tuned = [entry | {"phase": f"trial 2: {entry['phase']}"} for entry in entries]
    assert phases({"ledger": {"entries": tuned}}) == (shared, own)  # type: ignore[typeddict-item]


def test_published_records_have_a_break_even(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tests import ROOT

    monkeypatch.setattr(break_even, "DRAWS", 20)
    outcome = break_even.run(ROOT / "results" / "records" / "mt-multi30k-en-de")
    results = outcome.facts["results"]
    assert isinstance(results, list)
    small = [r for r in results if r["task"] == "mt-multi30k-en-de small" and r["cost"] == "tokens"]
    assert {"hat", "mos-neuron"} <= {r["method"] for r in small}
    for result in small:
        assert result["shared"] + result["own"] <= 20e6
        assert result["shared"] > 9e6
    assert set(study_files.to_files("break-even", outcome, None, None)) == {"md", "json", "png", "svg"}
    with pytest.raises(UsageError, match="hat,scratch"):
        break_even.run(tmp_path)
