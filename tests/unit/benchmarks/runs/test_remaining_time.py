"""Estimates on machines of any speed: published runs played again as their heartbeats told them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from benchmarks.runs import estimate
from benchmarks.runs.remaining_time import RemainingTime
from tests import ROOT

RECORDS = ROOT / "results/records"
SCORING = ("load", "score", "measure", "finetune")
"""Parts of the harness's seconds that come after the search."""
SECONDS = 1e9


class Played:
    """A published run on a machine that takes ``factor`` times as long."""

    def __init__(
        self,
        record: dict[str, Any],
        factor: float,
        planned: float,
        last_token: tuple[float, float] | None = None,
    ) -> None:
        ledger = record["ledger"]
        off = ledger["harness_seconds"]
        self.timeline, self.factor = ledger["timeline"], factor
        self.clock = factor * ledger["totals"]["seconds"]
        self.search = self.clock + factor * sum(v for k, v in off.items() if k not in SCORING)
        self.whole = self.search + factor * sum(v for k, v in off.items() if k in SCORING)
        self.gift = sum(
            e["amount"] for e in ledger["entries"] if (e["phase"], e["kind"]) == ("inherited", "tokens")
        )
        budget = record["spec"]["budget"] | {"seconds": SECONDS}
        self.run = SimpleNamespace(
            spec=SimpleNamespace(id=record["id"], budget=budget),
            estimate=planned,
            last_token=last_token,
            state="done",
        )

    def beat(self, passed: float) -> tuple[str, dict[str, Any]]:
        """Stage and heartbeat after so many seconds."""
        if passed >= self.search:
            done = (passed - self.search) / max(self.whole - self.search, 1e-9)
            return "score", {"at": passed, "progress": [done, 1.0, ""]}
        points = [(p["at"], p["tokens"]) for p in self.timeline]
        tokens = float(np.interp(passed / self.factor, *zip(*points, strict=True)))
        entries = [{"phase": "inherited", "kind": "tokens", "amount": self.gift}]
        ledger = {"totals": {"tokens": tokens}, "entries": entries if self.gift else []}
        return "search", {"at": passed, "clock": min(passed, self.clock), "ledger": ledger}


def published(task: str, tier: str, profile: str) -> list[dict[str, Any]]:
    records = [json.loads(path.read_text()) for path in sorted((RECORDS / task).rglob("*.json"))]
    kept = [r for r in records if r["spec"]["tier"] == tier and r["spec"]["profile"] == profile]
    # fairseq trains in a program of its own, which shows its tokens when it ends.
    kept = [r for r in kept if r["spec"]["method"] != "fairseq-transformer"]
    assert kept, "no published records"
    return kept


def commands(records: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """Return the records of each command: one has one set of settings."""
    found: dict[str, list[dict[str, Any]]] = {}
    for record in records:
        found.setdefault(record["spec"]["settings_sha256"], []).append(record)
    return list(found.values())


Estimates = list[tuple[float, tuple[float, float] | None]]
"""Planned seconds of each run, and its shares of seconds and tokens at its last token."""


def played(
    records: list[dict[str, Any]], factor: float, planned: Estimates
) -> Iterator[tuple[float, float | None, float]]:
    """Yield time, estimate and truth every few seconds of a command that runs all runs of one profile.

    Runs of two kinds of machine are never one command: nobody could estimate the second from the first.
    """
    runs = [Played(record, factor, *estimate) for record, estimate in zip(records, planned, strict=True)]
    remaining, now = RemainingTime(SimpleNamespace(pending=[p.run for p in runs]), 1), 0.0
    end = sum(run.whole for run in runs)
    for played_run in runs:
        began, step = now, max(0.5, played_run.whole / 200)
        while now < began + played_run.whole:
            remaining.update(played_run.run, *played_run.beat(now - began), now)
            yield now, remaining.command(now), end - now
            now += step
        now = began + played_run.whole
        remaining.finish(played_run.run, now)


def planned_by(known: list[dict[str, Any]], records: list[dict[str, Any]]) -> Estimates:
    """Plan runs as ``estimate_runs`` does where ``known`` are published."""
    paces = estimate._paces(known)
    planned: Estimates = []
    for record in records:
        spec = SimpleNamespace(**record["spec"])
        run = SimpleNamespace(spec=spec, estimate=None, last_token=None)
        estimate._apply(run, *estimate._by_published(spec, "cpu", {}, paces))
        planned.append((run.estimate, run.last_token))
    return planned


def worst_after_a_minute(moments: Iterator[tuple[float, float | None, float]]) -> float:
    worst = 1.0
    for now, remaining, truth in moments:
        if now >= 60 and truth > 20:
            assert remaining is not None
            worst = max(worst, remaining / truth, truth / max(remaining, 1e-9))
    return worst


@pytest.mark.parametrize("factor", [0.4, 1, 4, 12])
@pytest.mark.parametrize(
    ("task", "tier", "profile", "rate"),
    [
        ("mt-synthetic-en-de", "smoke", "cpu-2core-avx2.v1", 12_000),
        ("mt-synthetic-en-de", "smoke", "cpu-2core-avx512.v1", 12_000),
        ("mt-multi30k-en-de", "small", "cpu-2core-avx512.v1", 1_500),
    ],
)
def test_an_estimate_is_within_a_factor_of_two_after_the_first_minute(
    task: str, tier: str, profile: str, rate: float, factor: float
):
    for records in commands(published(task, tier, profile)):
        planned: Estimates = [(record["spec"]["budget"]["tokens"] / rate, None) for record in records]
        assert worst_after_a_minute(played(records, factor, planned)) < 2


@pytest.mark.parametrize("factor", [0.4, 1, 4, 12])
@pytest.mark.parametrize(
    ("task", "profile", "planned_from"),
    [
        ("mt-synthetic-en-de", "cpu-2core-avx2.v1", "cpu-2core-avx512.v1"),
        ("mt-synthetic-en-de", "cpu-2core-avx512.v1", "cpu-2core-avx2.v1"),
        ("bert-synthetic-en", "cpu-2core-avx512.v1", "cpu-2core-avx512.v1"),
        ("vision-digits", "cpu-2core-avx2.v1", "cpu-2core-avx2.v1"),
    ],
)
def test_a_plan_from_runs_of_another_machine_is_within_its_factor(
    task: str, profile: str, planned_from: str, factor: float
):
    known = published(task, "smoke", planned_from)
    methods = {record["spec"]["method"] for record in known}
    records = [r for r in published(task, "smoke", profile) if r["spec"]["method"] in methods]
    records.sort(key=lambda r: r["spec"]["follows"] is not None)  # leaders run first
    settings = {record["spec"]["settings_sha256"] for record in known}
    for command in commands(records):
        # Other settings are other work: scoring takes another share of a run.
        most = 2 if command[0]["spec"]["settings_sha256"] in settings else 3
        assert worst_after_a_minute(played(command, factor, planned_by(known, command))) < most


def test_no_estimate_passes_the_limit_of_the_run():
    spec = SimpleNamespace(id="a", budget={"tokens": 1e6, "seconds": 240.0})
    run = SimpleNamespace(spec=spec, estimate=100.0, last_token=None, state="new")
    remaining = RemainingTime(SimpleNamespace(pending=[run]), 1)
    ledger = {"totals": {"tokens": 1e4}, "entries": []}
    beat = {"at": 100.0, "clock": 100.0, "ledger": ledger, "phase": "train", "progress": [10, 1000, ""]}
    remaining.update(run, "search", beat, 0.0)
    assert remaining.phase(run, beat) is None
    later = beat | {"at": 110.0, "clock": 110.0, "progress": [11, 1000, ""]}
    assert remaining.phase(run, later) == 130.0, "9,890 s at this remaining, but 130 s are left to it"
    remaining.update(run, "search", later, 110.0)
    assert remaining.command(110.0) <= 130 + 0.3 * 240


@pytest.mark.parametrize(
    "phases", [("inherited",), ("trial 1: inherited",), ("trial 1: inherited", "trial 2: inherited")]
)
def test_tokens_of_another_run_took_no_time_of_this_one(phases: tuple[str, ...]):
    spec = SimpleNamespace(id="a", budget={"tokens": 1e6, "seconds": 1e6})
    run = SimpleNamespace(spec=spec, estimate=100.0, last_token=None, state="new")
    (ended,) = unseen(1)
    remaining = RemainingTime(SimpleNamespace(pending=[run, ended]), 1)
    remaining.update(ended, "search", {}, -1000.0)
    ended.state = "done"
    remaining.finish(ended, 0.0)
    entries = [{"phase": phase, "kind": "tokens", "amount": 5e5 / len(phases)} for phase in phases]
    for at, trained in ((0.0, 1e3), (100.0, 1e5 + 1e3)):
        ledger = {"totals": {"tokens": 5e5 + trained}, "entries": entries}
        beat = {"at": at, "clock": at, "ledger": ledger, "phase": "train", "progress": [1, 10, ""]}
        remaining.update(run, "search", beat, at)
        estimate = remaining.command(at)
    own, planned, share = 1.3 * (100 + (5e5 - 1e5 - 1e3) / 1e3), 1000, (1e5 + 1e3) / 5e5
    assert estimate == pytest.approx(share * own + (1 - share) * planned - 100)


def unseen(count: int) -> list[SimpleNamespace]:
    """Runs that have not begun, of 100 planned seconds each."""
    spec = [SimpleNamespace(id=str(number)) for number in range(count)]
    return [SimpleNamespace(spec=each, estimate=100.0, last_token=None, state="new") for each in spec]


def test_before_any_run_planned_work_is_slowed_by_the_load():
    runs = unseen(4)
    assert RemainingTime(SimpleNamespace(pending=runs), 2, 3.0).command(0.0) == 600
    assert RemainingTime(SimpleNamespace(pending=runs[:1]), 16, 3.0).command(0.0) == 300, (
        "one run, however many jobs"
    )
    runs[0].estimate = None
    assert RemainingTime(SimpleNamespace(pending=runs), 2).command(0.0) is None


def test_failed_runs_leave_the_estimate_unchanged():
    runs = unseen(3)
    remaining = RemainingTime(SimpleNamespace(pending=runs), 1)
    remaining.update(runs[0], "search", {}, 0.0)
    runs[0].state = "failed"
    remaining.finish(runs[0], 1.0)
    assert remaining.command(1.0) == 200
    remaining.update(runs[1], "search", {}, 1.0)
    runs[1].state = "done"
    remaining.finish(runs[1], 301.0)
    assert remaining.command(301.0) == 300


def test_a_command_never_ends_before_a_phase_of_its_runs():
    """A run that waits for a timing of another command had 60 minutes to go, and its command 27 s."""
    (run,) = unseen(1)
    run.spec.budget = {"tokens": 1e6, "seconds": 3600.0}
    remaining = RemainingTime(SimpleNamespace(pending=[run]), 1)
    beat = {
        "at": 0.0, "clock": 0.0, "phase": "train", "progress": [0, 100, ""],
        "ledger": {"totals": {"tokens": 0.0}, "entries": []},
    }  # fmt: skip
    assert remaining.phase(run, beat) is None
    for second in (20.0, 60.0, 99.0, 400.0):
        waiting = beat | {"at": second, "progress": [1, 100, ""]}
        remaining.update(run, "search", waiting, second)
        phase, command = remaining.phase(run, waiting), remaining.command(second)
        assert phase is not None and command is not None and command >= phase > 0


def test_a_second_phase_of_one_name_has_an_estimate_of_its_own():
    """The second winner, one per cent on, had the first one's minutes in its speed: 53 minutes, not one."""
    (run,) = unseen(1)
    run.spec.budget = {"tokens": 1e6, "seconds": 36000.0}
    remaining = RemainingTime(SimpleNamespace(pending=[run]), 1)
    ledger = {"totals": {"tokens": 0.0}, "entries": []}
    for winner in range(3):
        for second in range(0, 101, 10):
            at = 200.0 * winner + second
            beat = {
                "at": at, "clock": at, "phase": "train", "progress": [second, 100, ""], "ledger": ledger,
            }  # fmt: skip
            seconds = remaining.phase(run, beat)
            assert seconds == (None if second == 0 else pytest.approx(100 - second)), (winner, second)


def test_a_scoring_whose_steps_overlap_keeps_its_speed():
    """Sentences of a test split end at 0.4 of a part, and kinds of scores begin at 0.2 of it."""
    (run,) = unseen(1)
    run.spec.budget = {"tokens": 1e6, "seconds": 36000.0}
    remaining = RemainingTime(SimpleNamespace(pending=[run]), 1)
    notes = [(0.0, 0.0), (10.0, 0.4), (20.0, 0.2), (30.0, 0.8), (100.0, 2.0)]
    shown = [remaining.phase(run, {"at": at, "progress": [done, 5, ""]}) for at, done in notes]
    assert shown[0] is None and shown[1:] == pytest.approx([115.0, 480.0, 157.5, 150.0])
