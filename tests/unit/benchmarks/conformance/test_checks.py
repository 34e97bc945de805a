"""Verdicts of the conformance suite, from made-up runs: one fault is one failure, and it is explained."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from benchmarks.conformance.checks import FAILED, OK, OPEN, Check, judge
from benchmarks.conformance.suite import Ended, Runs

BUDGET = {"tokens": 100.0, "evaluations": 4.0, "probes": 4.0, "seconds": 10.0}


def ended(weights: str = "a", status: str = "done", message: str = "", **seen: Any) -> Ended:
    totals = {"tokens": 90.0, "evaluations": 1.0, "probes": 0.0, "seconds": 1.0}
    made = {"index": 0, "architecture": {"depth": 1}, "policy": None, "origin": "inherited", "limit_ms": None}
    made |= {"weights_sha256": weights * 64, "valid": {"loss": 1.0}}
    made |= {"spent": {"tokens": 90.0, "seconds": 0.5}}
    share = {kind: amount / BUDGET[kind] for kind, amount in totals.items()}
    entries = [{"phase": "search", "kind": k, "amount": v} for k, v in totals.items() if v]
    outcome = {
        "status": status, "message": message, "candidates": [made], "search_log": [],
        "ledger": {"entries": entries, "totals": totals, "share": share},
    }  # fmt: skip
    exports = [{"index": 0, "apart": 1e-6, "supernet": 1.0, "exported": 1.0}]
    empty: dict[str, Any] = {"inside": {}, "sealed": {}, "moved": {}, "exports": exports, "passes": 90}
    calls = [("evaluate", "32"), ("candidate", "32 inherited None")]
    return Ended(outcome, calls, empty | seen, interruptions=2)


def good() -> Runs:
    return Runs(
        ended(), BUDGET, same=ended(), other=ended("b"), resumed=ended(), refused=ended(status="budget")
    )


def verdicts(runs: Runs) -> dict[str, Check]:
    return {check.name: check for check in judge(runs)}


def test_a_good_method_passes_all() -> None:
    assert {check.verdict for check in judge(good())} == {OK}


IGNORED = "options it never asked for: afte"
NOTED = {"lab._prepared": "mine.py:3"}
APART = [{"index": 0, "apart": 0.5, "supernet": 1.0, "exported": 1.4}]


@pytest.mark.parametrize(
    ("changes", "failing", "said"),
    [
        ({"whole": ended(status="failed", message="ValueError: x (m.py:3)")}, "contract", "x (m.py:3)"),
        (dict.fromkeys(("whole", "same", "resumed"), ended(message=IGNORED)), "contract", "afte"),
        ({"whole": ended(inside={"contract": {"lab.say": "m.py:1"}})}, "contract", "takes lab.say (m.py:1)"),
        ({"tuned": ended(message=f"trial 2: {IGNORED}")}, "contract", "under external tuning: trial 2"),
        ({"imports": {"benchmarks.lab.lab": "m.py"}}, "contract", "imports benchmarks.lab.lab"),
        ({"imports": {"benchmarks.tasks": "m.py"}}, "test-split", "imports benchmarks.tasks"),
        ({"whole": ended(status="budget", message="did not stop by itself")}, "budget", "did not stop"),
        ({"whole": ended(passes=180)}, "budget", "180 tokens were trained on, 90 were charged"),
        ({"refused": ended(status="failed", message="TypeError: None")}, "budget", "TypeError: None"),
        ({"same": ended("c"), "again": ended("c"), "hashed": ended("c")}, "seeding", "the weights of"),
        ({"same": ended("c"), "again": ended(), "hashed": ended("c")}, "seeding", "PYTHONHASHSEED"),
        ({"other": ended()}, "seeding", "the very same networks"),
        ({"same": ended("c"), "again": ended(), "hashed": ended()}, "random-state", "other global random"),
        ({"whole": ended(moved={"torch": ""})}, "random-state", "torch was moved"),
        ({"resumed": ended("c")}, "resume", "killed 2 times and resumed"),
        ({"whole": ended(exports=APART)}, "export", "0.5 apart"),
        ({"whole": ended(sealed={"a.npy": "m.py:9"})}, "test-split", "reached for a.npy of the sealed"),
        ({"whole": ended(inside={"test split": NOTED})}, "test-split", "takes lab._prepared (mine.py:3)"),
    ],
)  # fmt: skip
def test_one_fault_is_one_failure(changes: dict[str, Any], failing: str, said: str) -> None:
    runs = replace(good(), **changes)
    if not runs.whole.well:  # as ``examine`` leaves it
        runs = Runs(runs.whole, BUDGET)
    found = verdicts(runs)
    assert [check.name for check in found.values() if check.verdict == FAILED] == [failing]
    check = found[failing]
    assert said in check.seen and check.why and check.mend


def test_what_rests_on_a_broken_run_is_not_judged() -> None:
    broken = Runs(ended(status="failed", message="no"), BUDGET)
    found = verdicts(broken)
    assert {found[name].verdict for name in ("budget", "seeding", "random-state", "resume")} == {OPEN}
    restless = replace(good(), same=ended("c"), again=ended("d"), hashed=ended("e"), resumed=ended("f"))
    assert verdicts(restless)["resume"].verdict == OPEN


def test_what_a_method_writes_is_printed_as_one_plain_line() -> None:
    hostile = verdicts(replace(good(), whole=ended(status="failed", message="\x1b[31m\nred")))["contract"]
    assert hostile.seen.isprintable() and "red" in hostile.seen


def test_what_an_evaluation_costs_by_its_key() -> None:
    from benchmarks.conformance.checks import evaluated

    assert evaluated("4_2x4_64x4") == evaluated("4_2x4_64x4 [('head', 'int8'), ('patch', 'bf16')]") == 1
    assert evaluated("4_2x4_64x4 Labels 0.25") == 0.25
    assert evaluated("4_2x4_64x4 [('head', 'int8')] Labels 0.5") == 0.5
