"""Verdicts of the conformance suite, from made-up runs: one fault is one failure, and it is explained."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from benchmarks.conformance.checks import FAILED, OK, OPEN, Check, judge
from benchmarks.conformance.observations import ExportDifference, Observations
from benchmarks.conformance.suite import FinishedRun, Runs

BUDGET = {"tokens": 100.0, "evaluations": 4.0, "probes": 4.0, "seconds": 10.0}


def ended(weights: str = "a", status: str = "done", message: str = "", **observed: Any) -> FinishedRun:
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
    empty: dict[str, Any] = {"exports": [ExportDifference(0, 1e-6, 1.0, 1.0)], "trained_tokens": 90}
    calls = [("evaluate", "32"), ("candidate", "32 inherited None")]
    seen = Observations(**empty | observed)
    return FinishedRun(outcome, calls, seen, interruptions=2, private=seen.private)


def good() -> Runs:
    others = {"perturbed": ended(), "reseeded": ended("b"), "resumed": ended()}
    return Runs(ended(), BUDGET, refused=ended(status="budget"), **others)


def verdicts(runs: Runs) -> dict[str, Check]:
    return {check.name: check for check in judge(runs)}


def test_a_good_method_passes_all() -> None:
    assert {check.verdict for check in judge(good())} == {OK}


IGNORED = "options it never asked for: afte"
NOTED = {"lab._prepared": "mine.py:3"}
APART = [ExportDifference(0, 0.5, 1.0, 1.4)]


@pytest.mark.parametrize(
    ("changes", "failing", "expected"),
    [
        ({"undisturbed": ended(status="failed", message="ValueError: x (m.py:3)")}, "contract", "x (m.py:3)"),
        (dict.fromkeys(("undisturbed", "perturbed", "resumed"), ended(message=IGNORED)), "contract", "afte"),
        (
            {"undisturbed": ended(private={"contract": {"lab.say": "m.py:1"}})},
            "contract",
            "takes lab.say (m.py:1)",
        ),
        ({"tuned": ended(message=f"trial 2: {IGNORED}")}, "contract", "under external tuning: trial 2"),
        ({"imports": {"benchmarks.lab.lab": "m.py"}}, "contract", "imports benchmarks.lab.lab"),
        ({"imports": {"benchmarks.tasks": "m.py"}}, "test-split", "imports benchmarks.tasks"),
        ({"undisturbed": ended(status="budget", message="did not stop by itself")}, "budget", "did not stop"),
        ({"undisturbed": ended(trained_tokens=180)}, "budget", "180 tokens were trained on, 90 were charged"),
        ({"refused": ended(status="failed", message="TypeError: None")}, "budget", "TypeError: None"),
        (
            {"perturbed": ended("c"), "repeated": ended("c"), "rehashed": ended("c")},
            "seeding",
            "the weights of",
        ),
        ({"perturbed": ended("c"), "repeated": ended(), "rehashed": ended("c")}, "seeding", "PYTHONHASHSEED"),
        ({"reseeded": ended()}, "seeding", "the very same networks"),
        (
            {"perturbed": ended("c"), "repeated": ended(), "rehashed": ended()},
            "random-state",
            "other global random",
        ),
        ({"undisturbed": ended(moved={"torch": ""})}, "random-state", "torch was moved"),
        ({"resumed": ended("c")}, "resume", "killed 2 times and resumed"),
        ({"undisturbed": ended(exports=APART)}, "export", "0.5 apart"),
        ({"undisturbed": ended(sealed={"a.npy": "m.py:9"})}, "test-split", "reached for a.npy of the sealed"),
        (
            {"undisturbed": ended(private={"test split": NOTED})},
            "test-split",
            "takes lab._prepared (mine.py:3)",
        ),
    ],
)
def test_one_fault_fails_one_check(changes: dict[str, Any], failing: str, expected: str) -> None:
    runs = replace(good(), **changes)
    if not runs.undisturbed.well:  # as ``run_suite`` leaves it
        runs = Runs(runs.undisturbed, BUDGET)
    found = verdicts(runs)
    assert [check.name for check in found.values() if check.verdict == FAILED] == [failing]
    check = found[failing]
    assert expected in check.observed and check.reason and check.fix


def test_checks_that_rest_on_a_broken_run_are_open() -> None:
    broken = Runs(ended(status="failed", message="no"), BUDGET)
    found = verdicts(broken)
    assert {found[name].verdict for name in ("budget", "seeding", "random-state", "resume")} == {OPEN}
    restless = replace(
        good(), perturbed=ended("c"), repeated=ended("d"), rehashed=ended("e"), resumed=ended("f")
    )
    assert verdicts(restless)["resume"].verdict == OPEN


DIED = "its process was killed by SIGKILL, as when memory runs out; see log.txt"


def crashed() -> FinishedRun:
    return replace(ended("c", status="failed", message=DIED), crashed=True)


@pytest.mark.parametrize(
    ("names", "unjudged"),
    [
        (("perturbed",), {"seeding", "random-state"}),
        (("perturbed", "rehashed"), {"seeding", "random-state"}),
        (("perturbed", "repeated"), {"seeding", "random-state", "resume"}),
        (("reseeded",), {"seeding"}),
        (("resumed",), {"resume"}),
        (("refused",), {"budget"}),
        (("tuned",), {"contract"}),
    ],
)
def test_a_crashed_process_fails_no_check(names: tuple[str, ...], unjudged: set[str]) -> None:
    others = {"repeated": ended(), "rehashed": ended()} if "perturbed" in names else {}
    found = verdicts(replace(good(), **others | {name: crashed() for name in names}))
    assert {name for name, check in found.items() if check.verdict != OK} == unjudged
    for name in unjudged:
        assert found[name].verdict == OPEN and found[name].observed.endswith(DIED)


def test_text_of_a_method_is_printed_as_one_plain_line() -> None:
    hostile = verdicts(replace(good(), undisturbed=ended(status="failed", message="\x1b[31m\nred")))[
        "contract"
    ]
    assert hostile.observed.isprintable() and "red" in hostile.observed


def test_evaluation_cost_is_that_of_the_architecture_in_the_key() -> None:
    from benchmarks.conformance.checks import evaluation_cost

    assert (
        evaluation_cost("4_2x4_64x4")
        == evaluation_cost("4_2x4_64x4 [('head', 'int8'), ('patch', 'bf16')]")
        == 1
    )
    assert evaluation_cost("4_2x4_64x4 Labels 0.25") == 0.25
    assert evaluation_cost("4_2x4_64x4 [('head', 'int8')] Labels 0.5") == 0.5
