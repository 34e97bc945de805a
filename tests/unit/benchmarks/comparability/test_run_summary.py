"""Summaries of records: the figures that tables are made of, and NaN for those that a record lacks."""

from __future__ import annotations

import math
from typing import Any

import pytest

from benchmarks.comparability import grouping, run_summary
from benchmarks.comparability.run_summary import FIGURES, SCORES, SPENT
from benchmarks.records.selection import Limit
from tests.fake_records import fake


def summary(record: dict[str, Any]) -> run_summary.RunSummary:
    return run_summary.summarize(record, keep=False)


def test_figures_of_a_run_are_those_of_its_record() -> None:
    record = fake("hat", 3)
    record["ledger"]["entries"].append({"phase": "inherited", "kind": "tokens", "amount": 5.0})
    record["provenance"]["jobs"] = 2
    record["candidates"][1]["latency"]["others_cpu"] = 0.75
    run = run_summary.summarize(record, keep=True, place=7, measured={("m", None): 1.0})
    assert (run.id, run.method, run.seed, run.jobs) == (record["id"], "hat", 3, 2)
    assert run.inherits and run.others_cpu == 0.75 and run.place == 7 and run.measured == {("m", None): 1.0}
    assert run.tokens == 2_000_000 and run.harness_seconds == 63.0
    share, totals = record["ledger"]["share"], record["ledger"]["totals"]
    amounts = [totals["seconds"], totals["joules"]]
    shares = [share["tokens"], share["evaluations"], share["probes"]]
    assert SPENT == ("tokens", "evaluations", "probes", "updates", "seconds", "joules")
    assert [value for value in run.spent if value == value] == [*shares, *amounts], "updates not counted"
    totals["updates"] = 1250.0
    assert list(summary(record).spent) == [*shares, 1250.0, *amounts]
    assert run.energy_source == record["energy"]["source"] and run.metric == "bleu"
    assert run.record is record and run_summary.records_of([run, summary(record)]) == [record]


def test_absent_fields_of_a_record_are_nan_none_or_empty() -> None:
    record = fake("hat")
    record |= {"energy": None, "candidates": []}
    del record["ledger"]["totals"]["seconds"], record["ledger"]["share"]["probes"]
    run = summary(record)
    assert math.isnan(run.spent[3]) and math.isnan(run.spent[4]) and run.spent[2] == 0.0
    assert run.energy_source is None and run.metric is None and run.headlines == run.earlier == ()
    assert not run.inherits and run.jobs == 1 and run.follows == "" and run.others_cpu == 0.0
    assert run.record is None and run.options == {} and run.measured is None


def test_an_inherited_charge_of_nothing_is_no_inheritance() -> None:
    record = fake("hat")
    record["ledger"]["entries"].append({"phase": "inherited", "kind": "tokens", "amount": 0.0})
    assert not summary(record).inherits


@pytest.mark.parametrize("phase", ["inherited", "trial 1: inherited", "trial 12: inherited"])
def test_a_run_inherits_in_any_trial(phase: str) -> None:
    record = fake("hat")
    record["ledger"]["entries"].append({"phase": phase, "kind": "tokens", "amount": 1.0})
    assert summary(record).inherits


def test_figures_of_a_headline_are_those_of_its_candidate() -> None:
    record = fake("hat", limits=(0.5,))
    (candidate,) = record["candidates"]
    (head,) = summary(record).headlines
    latency, cost = candidate["latency"], candidate["cost"]
    figures = dict(zip(FIGURES, head.figures, strict=True))
    assert figures == {
        "limit_ms": candidate["limit_ms"],
        "valid_loss": candidate["valid"]["loss"],
        **{name: latency[name] for name in ("p50", "p90", "ratio", "ratio_low", "ratio_high")},
        "reference_p50": latency["reference_p50"],
        **{name: cost[name] for name in ("params", "macs", "bytes")},
        "peak_bytes": candidate["memory"]["peak_bytes"],
        "spent_seconds": candidate["spent"]["seconds"],
    }
    assert head.limit == Limit(1, 0.5) and head.number == 0 and head.timed == 128 and head.untimed == ""
    assert head.latency == latency["signature"] and head.memory == candidate["memory"]["source"]
    scores = candidate["test"]["pooled"]
    for name in ("bleu", "chrf", "bleu_tok_lc"):
        assert head.score(name) == tuple(scores[name][part] for part in ("value", "low", "high"))
    assert all(map(math.isnan, head.score("accuracy")))


@pytest.mark.parametrize(("timed", "shown"), [(63, False), (64, True)])
def test_a_p90_needs_64_timings(timed: int, shown: bool) -> None:
    record = fake("hat", limits=(0.5,))
    record["candidates"][0]["latency"]["n"] = timed
    (head,) = summary(record).headlines
    assert math.isnan(head.figures[FIGURES.index("p90")]) != shown


def test_seconds_and_joules_of_leaders_add_up_and_are_nan_if_one_is_missing() -> None:
    first, second, third = (summary(fake("hat", seed)) for seed in (1, 2, 3))
    second = second._replace(follows=first.id)
    third = third._replace(follows=second.id)
    lost = summary(fake("scratch"))._replace(follows="no such run")
    spent = run_summary.spent_by_leaders([third, second, first, lost])
    assert spent[first.id] == (0.0, 0.0)
    own, its = first.spent[-2:], second.spent[-2:]
    assert spent[second.id] == tuple(own)
    assert spent[third.id] == (own[0] + its[0], own[1] + its[1])
    assert all(map(math.isnan, spent[lost.id]))
    circle = run_summary.spent_by_leaders([first._replace(follows=second.id), second])
    assert all(math.isnan(figure) for pair in circle.values() for figure in pair)


def test_rows_are_of_the_product_of_earlier_origins_and_of_stopped_runs() -> None:
    record = fake("hat", 1, limits=(0.5, 0.5))
    record["candidates"][0]["origin"], record["candidates"][1]["origin"] = "inherited", "continued"
    run, other = summary(record), summary(fake("scratch", 2, status="budget", limits=(0.6,)))
    named = {run.id: "hat", other.id: "scratch"}
    assert [label for label, _ in run_summary.labelled(run, "hat", False)] == ["hat", "hat, inherited"]
    assert [label for label, _ in run_summary.labelled(run, "hat", True)] == ["hat, stopped"]
    frame = run_summary.headlines([run, other], named, "bleu", grouping.obstacles([run, other]))
    assert list(frame["method"]) == ["hat", "hat, inherited", "scratch, stopped"]
    assert list(frame["of"]) == ["hat", "hat", "scratch"] and list(frame["seed"]) == [1, 1, 2]
    assert list(frame["compared"]) == [True, False, False]
    assert list(frame["candidate"]) == [None] * 3
    heads = [*run.headlines, *run.earlier, *other.headlines]
    assert list(frame["headline"]) == heads
    for line, head in zip(frame.to_dict("records"), heads, strict=True):
        assert tuple(line[name] for name in SCORES) == (*head.score("bleu"), *head.score("chrf"))
        assert [line[name] for name in FIGURES] == list(head.figures)


def test_an_energy_source_is_named_only_beside_joules_and_texts_have_a_most_of_characters() -> None:
    record = fake("hat", limits=(0.5,))
    record["energy"] |= {"source": "s" * 300}
    record["candidates"][0]["origin"] = "o" * 300
    run = summary(record)
    assert len(run.energy_source or "") == 120 and len(run.headlines[0].origin) == 30
    record["energy"] = {"joules": None, "source": "codecarbon", "kg_co2": None}
    assert summary(record).energy_source is None
