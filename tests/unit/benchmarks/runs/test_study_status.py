"""Status of a study: every run in one state, risks named, hostile texts harmless."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

from benchmarks.cli import status as command
from benchmarks.runs.heartbeat import HEARTBEAT
from benchmarks.runs.leases import Leases
from benchmarks.runs.plan import Folders, Plan, PlannedRun
from benchmarks.runs.study_status import read_status


def planned(folder: Path, count: int = 6) -> Plan:
    plan = Plan(Folders(folder, "mt", "smoke"), "undeclared", "cpu")
    for number in range(count):
        spec = SimpleNamespace(
            id=f"{number:016x}", method="hat", seed=number, options={}, task="t", budget={"seconds": 100.0}
        )
        plan.runs.append(PlannedRun(spec, None, estimate=50.0))  # type: ignore[arg-type]
    return plan


def beat(plan: Plan, number: int, clock: float, tokens: float, phase: str = "supernet") -> None:
    folder = plan.folders.runs / plan.runs[number].spec.id
    folder.mkdir(parents=True)
    state = {"clock": clock, "phase": phase, "progress": [1, 4, ""], "ledger": {"share": {"tokens": tokens}}}
    (folder / HEARTBEAT).write_text(json.dumps(state))


def test_every_run_is_in_one_state(tmp_path):
    plan = planned(tmp_path)
    assert read_status(plan).counts["waiting"] == 6, "a folder that does not exist yet"
    plan.runs[0].state = "done"
    plan.runs[1].state = "failed"
    plan.runs[1].load = lambda: {"status": "failed", "message": "no <b>luck</b>\x1b[31m"}
    beat(plan, 2, 10.0, 0.5)
    beat(plan, 3, 60.0, 0.3, "<script>alert(1)</script>")
    about = {"profile": "undeclared", "jobs": 2, "machine": "<i>m</i>"}
    with Leases(plan.folders.home, about) as leases:
        for number in (2, 3, 4):
            assert leases.take(plan.runs[number].spec.id)
        leases.end(plan.runs[4].spec.id, "skipped")
        assert leases.take("ffffffffffffffff")
        status = read_status(plan)
        wanted = {
            "done": 1,
            "running": 1,
            "at risk": 1,
            "waiting": 1,
            "unreadable": 0,
            "failed": 1,
            "stopped": 0,
            "skipped": 1,
        }
        assert status.counts == wanted and sum(status.counts.values()) == status.runs
        assert status.others == 1 and status.workers[0].jobs == 2 and not status.workers[0].silent
        # 50 s wait, 40 s of one run and none of the other are left, two at a time.
        assert status.estimate_seconds == 45.0
        (risk,) = [run.risk for run in status.active if run.risk]
        assert "end at 50 % of its tokens" in risk
        page = command.page([status], 5)
        assert "<script" not in page and "<b>" not in page and "<i>" not in page and "\x1b" not in page
        assert '<meta http-equiv="refresh" content="5">' in page
    after = read_status(plan)
    assert after.counts["running"] == after.counts["at risk"] == 0 and after.workers == []


def test_a_run_whose_record_was_moved_away_is_as_workers_leave_it(tmp_path):
    plan = planned(tmp_path, 5)
    with Leases(plan.folders.home, {}) as leases:
        for run, state in zip(plan.runs, ("failed", "stopped", "skipped", "done", "free"), strict=True):
            assert leases.take(run.spec.id)
            leases.end(run.spec.id, state)
        counts = read_status(plan).counts
    assert (counts["failed"], counts["stopped"], counts["skipped"]) == (1, 1, 1)
    assert counts["waiting"] == 2 and counts["done"] == 0, "without its record, a done run is made again"
    ((label, message),) = read_status(plan).failed
    assert label == "hat seed 0" and "--retry-failed" in message


def test_a_run_whose_worker_died_is_at_risk(tmp_path):
    plan = planned(tmp_path, 1)
    with Leases(plan.folders.home, {}) as leases:
        assert leases.take(plan.runs[0].spec.id)
        path = plan.folders.home / "workers" / f"{leases.worker}.json"
        state = json.loads(path.read_text())
        state["place"]["pid"] = 2**22 + 1
        path.write_text(json.dumps(state))
        status = read_status(plan)
        assert status.counts["at risk"] == 1 and "silent" in status.active[0].risk
        assert status.estimate_seconds is None and status.workers[0].silent


def test_another_state_of_a_folder_ends_in_no_error(tmp_path):
    plan = planned(tmp_path, 1)
    home = plan.folders.home
    (home / "claims").mkdir(parents=True)
    (home / "workers").mkdir()
    (home / "claims" / f"{plan.runs[0].spec.id}.1.json").write_text("{")
    (home / "workers" / "x.json").write_text(
        '{"beat": 1, "lease_s": 1, "ended": 0, "place": {}, "about": {"jobs": []}}'
    )
    (plan.folders.runs / plan.runs[0].spec.id).mkdir(parents=True)
    (plan.folders.runs / plan.runs[0].spec.id / HEARTBEAT).write_text("[]")
    assert read_status(plan).counts["at risk"] == 1
