"""Status of a study from the files of its workers, on any machine that sees the results folder. No torch."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.records.text import sanitize
from benchmarks.runs import leases
from benchmarks.runs.heartbeat import Beat, read_heartbeat
from benchmarks.runs.leases import HELD, Worker
from benchmarks.runs.plan import Plan, PlannedRun

SILENT_SHARE = 0.4
"""Share of its lease after which a worker without a beat is at risk."""
SHOWN_SHARE = 0.05
"""Share of its tokens after which a run's speed shows whether its seconds will be enough."""
MOVED_AWAY = "no record of it is here; supernet-bench work PLAN --retry-failed makes it again"
"""Message of a failed run whose record was moved away."""
STATES = ("done", "running", "at risk", "waiting", "unreadable", "failed", "stopped", "skipped")
"""States of runs, in the order in which they are shown."""

OPEN = ("running", "at risk", "waiting", "unreadable")
"""States of runs that have not ended; a run whose record cannot be read is made again."""


@dataclass(frozen=True)
class ActiveStatus:
    """A run in progress.

    Attributes:
        share: of the phase that is done, 0 to 1.
        seconds, allowed: on its account, of its allowance.
        risk: reason why it may not end as planned; empty if there is none.
    """

    id: str
    label: str
    task: str
    worker: str
    phase: str
    share: float
    seconds: float
    allowed: float
    risk: str


@dataclass(frozen=True)
class WorkerStatus:
    """A worker that has not ended."""

    name: str
    machine: str
    profile: str
    jobs: int
    runs: int
    silent_seconds: float
    silent: bool


@dataclass(frozen=True)
class StudyStatus:
    """Status of the runs of one profile.

    Attributes:
        counts: state -> number of runs.
        others: runs of this folder that are in no part of the study.
        estimate_seconds: until the last run ends, with the workers that live; None if unknown.
    """

    suite: str
    tier: str
    profile: str
    runs: int
    counts: Mapping[str, int]
    active: Sequence[ActiveStatus] = ()
    workers: Sequence[WorkerStatus] = ()
    failed: Sequence[tuple[str, str]] = ()
    others: int = 0
    estimate_seconds: float | None = None


def read_status(plan: Plan) -> StudyStatus:
    """Return the status of a plan that was laid out just now."""
    home = plan.folders.home
    known, workers = leases.read_leases(home), leases.read_workers(home)
    now = _folder_time(home / "workers")
    alive = [_worker_status(home, worker, now) for worker in workers.values() if not worker.ended]
    silent = {worker.name: worker.silent for worker in alive}
    counts = dict.fromkeys(STATES, 0)
    active: list[ActiveStatus] = []
    failed: list[tuple[str, str]] = []
    remaining: float | None = 0.0
    for run in plan.runs:
        lease = known.get(run.spec.id)
        if run.state != "done" and lease is not None and lease.state == HELD:
            status = _active_status(plan, run, lease.worker, silent)
            active.append(status)
            state = "at risk" if status.risk else "running"
        elif run.state in ("done", "failed", "stopped", "unreadable"):
            state = run.state
        elif lease is not None and lease.state in ("failed", "stopped", "skipped"):
            state = lease.state  # its record was moved away, or it has none: workers leave it as it is
        else:
            state = "waiting"
        counts[state] += 1
        if state == "failed":
            record = run.record
            failed.append((run.label, sanitize(record["message"], 200) if record else MOVED_AWAY))
        if state in OPEN:
            spent = active[-1].seconds if state in ("running", "at risk") else 0.0
            known_part = None if run.estimate is None else max(0.0, run.estimate - spent)
            remaining = None if remaining is None or known_part is None else remaining + known_part
    jobs = sum(worker.jobs for worker in alive if not worker.silent and worker.profile == plan.profile)
    planned = {run.spec.id for run in plan.runs}
    return StudyStatus(
        plan.folders.suite,
        plan.folders.tier,
        plan.profile,
        len(plan.runs),
        counts,
        active,
        alive,
        failed,
        sum(1 for run in known if run not in planned),
        remaining / jobs if remaining is not None and jobs else None,
    )


def _active_status(plan: Plan, run: PlannedRun, worker: str, silent: Mapping[str, bool]) -> ActiveStatus:
    beat = read_heartbeat(plan.folders.runs / run.spec.id)
    allowed = float(run.spec.budget["seconds"])
    done, total = (beat.get("progress") or (0, 0, ""))[:2]
    seconds = float(beat.get("clock", 0.0))
    return ActiveStatus(
        run.spec.id,
        run.label,
        run.spec.task,
        worker,
        sanitize(str(beat.get("phase", "starting")), 60),
        min(1.0, float(done) / float(total)) if total else 0.0,
        seconds,
        allowed,
        _risk(beat, seconds, allowed, silent.get(worker)),
    )


def _risk(beat: Beat, seconds: float, allowed: float, silent: bool | None) -> str:
    """Return why a run may not end as planned; empty if it should."""
    if silent is None:
        return "its worker has ended; the next one takes it over"
    if silent:
        return "its worker is silent; others take it over after its lease"
    share = beat["ledger"]["share"].get("tokens", 0.0) if "ledger" in beat else 0.0
    if share >= SHOWN_SHARE and seconds > share * allowed:
        return (
            f"at this speed its {allowed:,.0f} s end at {100 * share * allowed / seconds:.0f} % of its tokens"
        )
    return ""


def _worker_status(home: Path, worker: Worker, now: float) -> WorkerStatus:
    about = worker.about
    try:
        silent = max(0.0, now - (home / "workers" / f"{worker.name}.json").stat().st_mtime)
    except OSError:
        silent = 0.0
    jobs, runs = about.get("jobs"), about.get("runs")
    dead = leases.Liveness(home).is_dead(worker.name)
    return WorkerStatus(
        sanitize(worker.name, 80),
        sanitize(str(about.get("machine", "")), 80),
        sanitize(str(about.get("profile", "")), 60),
        jobs if isinstance(jobs, int) else 1,
        len(runs) if isinstance(runs, list) else 0,
        silent,
        dead or silent > SILENT_SHARE * worker.lease_s,
    )


def _folder_time(folder: Path) -> float:
    """Return the time of the file system that holds a folder; its files are compared with no other clock."""
    try:
        with tempfile.NamedTemporaryFile(prefix=".time-", dir=folder) as file:
            return os.fstat(file.fileno()).st_mtime
    except OSError:  # a folder that may not be written: the newest file is the best clock
        try:
            return max((entry.stat().st_mtime for entry in os.scandir(folder)), default=0.0)
        except OSError:
            return 0.0
