"""Estimates on machines of any speed: published runs played again as their heartbeats told them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from benchmarks.runs.remaining_time import RemainingTime
from tests import ROOT

RECORDS = ROOT / "results/records"
SCORING = ("load", "score", "measure", "finetune")
"""Parts of the harness's seconds that come after the search."""
SECONDS = 1e9


class Played:
    """A published run on a machine that takes ``factor`` times as long."""

    def __init__(self, record: dict[str, Any], factor: float, estimate: float) -> None:
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
            spec=SimpleNamespace(id=record["id"], budget=budget), estimate=estimate, state="done"
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


def played(
    task: str, tier: str, profile: str, factor: float, rate: float
) -> Iterator[tuple[float, float | None, float]]:
    """Yield time, estimate and truth every few seconds of a command that runs all runs of one profile.

    Runs of two kinds of machine are never one command: nobody could estimate the second from the first.
    """
    found = [json.loads(path.read_text()) for path in sorted((RECORDS / task).rglob("*.json"))]
    found = [r for r in found if r["spec"]["tier"] == tier and r["spec"]["profile"] == profile]
    # fairseq trains in a program of its own, which shows its tokens when it ends.
    found = [r for r in found if r["spec"]["method"] != "fairseq-transformer"]
    assert found, "no published records"
    runs = [Played(record, factor, record["spec"]["budget"]["tokens"] / rate) for record in found]
    remaining, now = RemainingTime(SimpleNamespace(pending=[p.run for p in runs]), 1), 0.0
    end = sum(run.whole for run in runs)
    for one in runs:
        began, step = now, max(0.5, one.whole / 200)
        while now < began + one.whole:
            remaining.update(one.run, *one.beat(now - began), now)
            yield now, remaining.command(now), end - now
            now += step
        now = began + one.whole
        remaining.finish(one.run, now)


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
    worst = 1.0
    for now, estimate, truth in played(task, tier, profile, factor, rate):
        if now >= 60 and truth > 20:
            assert estimate is not None
            worst = max(worst, estimate / truth, truth / max(estimate, 1e-9))
    assert worst < 2


def test_no_estimate_passes_what_will_stop_the_run():
    spec = SimpleNamespace(id="a", budget={"tokens": 1e6, "seconds": 240.0})
    run = SimpleNamespace(spec=spec, estimate=100.0, state="new")
    remaining = RemainingTime(SimpleNamespace(pending=[run]), 1)
    ledger = {"totals": {"tokens": 1e4}, "entries": []}
    beat = {"at": 100.0, "clock": 100.0, "ledger": ledger, "phase": "train", "progress": [10, 1000, ""]}
    remaining.update(run, "search", beat, 0.0)
    assert remaining.phase(run, beat) is None
    later = beat | {"at": 110.0, "clock": 110.0, "progress": [11, 1000, ""]}
    assert remaining.phase(run, later) == 130.0, "9,890 s at this remaining, but 130 s are left to it"
    remaining.update(run, "search", later, 110.0)
    assert remaining.command(110.0) <= 130 + 0.3 * 240


def test_before_anything_is_seen_planned_work_is_as_slow_as_the_load_says():
    runs = [SimpleNamespace(spec=SimpleNamespace(id=str(i)), estimate=100.0) for i in range(4)]
    assert RemainingTime(SimpleNamespace(pending=runs), 2, 3.0).command(0.0) == 600
    assert RemainingTime(SimpleNamespace(pending=runs[:1]), 16, 3.0).command(0.0) == 300, (
        "one run, however many jobs"
    )
    runs[0].estimate = None
    assert RemainingTime(SimpleNamespace(pending=runs), 2).command(0.0) is None


def test_runs_that_failed_say_nothing_of_the_others():
    runs = [SimpleNamespace(spec=SimpleNamespace(id=str(i)), estimate=100.0, state="new") for i in range(3)]
    remaining = RemainingTime(SimpleNamespace(pending=runs), 1)
    remaining.update(runs[0], "search", {}, 0.0)
    runs[0].state = "failed"
    remaining.finish(runs[0], 1.0)
    assert remaining.command(1.0) == 200
    remaining.update(runs[1], "search", {}, 1.0)
    runs[1].state = "done"
    remaining.finish(runs[1], 301.0)
    assert remaining.command(301.0) == 300
