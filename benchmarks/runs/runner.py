"""Runs a plan: starts searches and scorings, supervises them, writes one record a run.

Every step leaves its result on disk before the next begins, so a command that was interrupted goes
on where it was when it is typed again.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import stage
from benchmarks.api import InvalidRecord
from benchmarks.hardware.profiles import Profile
from benchmarks.lab.journal import CorruptFileError, Journal
from benchmarks.records import selection, store
from benchmarks.records.assembly import (
    SCORE_FILE,
    SEARCH_FILE,
    assemble_record,
    failed_outcome,
    finished_search,
    last_line,
    now,
    read_json,
    read_scores,
    read_search,
)
from benchmarks.records.provenance import method, provenance
from benchmarks.records.record import SearchOutcome, Settings, Timings
from benchmarks.records.store import write_text
from benchmarks.records.text import sanitize
from benchmarks.runs import worker
from benchmarks.runs.executor import Executor, WorkerProcess, wait_any
from benchmarks.runs.heartbeat import JOURNAL
from benchmarks.runs.options import RunOptions
from benchmarks.runs.plan import Plan, PlannedRun, state_of
from benchmarks.runs.progress import Display
from benchmarks.runs.supervisor import SupervisedSearch
from benchmarks.runs.task_context import TaskContext
from benchmarks.tasks import units_of

GRACE_S = 15.0
"""For saving, after Ctrl-C."""


@dataclass
class Active:
    """A run that goes on."""

    run: PlannedRun
    folder: Path
    started: str
    search: SupervisedSearch | None = None
    scoring: WorkerProcess | None = None

    @property
    def process(self) -> WorkerProcess:
        """What is waited for."""
        found = self.search.worker if self.search else self.scoring
        assert found is not None
        return found


class Runner:
    """Works through a plan.

    Args:
        ready: task -> what its runs share.
    """

    def __init__(
        self,
        plan: Plan,
        ready: Mapping[str, TaskContext],
        profile: Profile,
        executor: Executor,
        display: Display,
        options: RunOptions,
    ) -> None:
        self.plan, self.ready, self.profile = plan, ready, profile
        self.executor, self.display, self.options = executor, display, options
        self._common = provenance(command=list(options.command))
        self._active: list[Active] = []

    def run(self) -> None:
        """Run all that is pending; records appear as runs end.

        Raises:
            KeyboardInterrupt: after what goes on has been asked to save, and has ended.
        """
        waiting = list(self.plan.pending)
        try:
            while waiting or self._active:
                for run in [r for r in waiting if self._may_start(r, waiting)][
                    : self.options.jobs - len(self._active)
                ]:
                    waiting.remove(run)
                    self._start(run)
                if self._active:
                    wait_any([active.process for active in self._active], 0.25)
                for active in list(self._active):
                    self._look(active)
        except BaseException:
            self._stop()
            raise

    def _may_start(self, run: PlannedRun, waiting: Sequence[PlannedRun]) -> bool:
        return run.first is None or not (
            run.first in waiting or any(a.run is run.first for a in self._active)
        )

    def _start(self, run: PlannedRun) -> None:
        folder = self.plan.folders.runs / run.spec.id
        last = read_search(folder)
        if run.state == "stopped" and last and store.stopped_by_seconds(last):
            shutil.rmtree(folder)  # its clock has run out: it starts afresh
        folder.mkdir(parents=True, exist_ok=True)
        write_text(folder / "spec.json", json.dumps(run.spec.to_dict(), indent=1))
        missing = _nothing_to_follow(run, self.plan.folders.runs)
        if missing:
            self._record(Active(run, folder, now()), failed_outcome(missing))
            return
        skipped = folder / worker.SKIPPED
        if skipped.exists():
            self._skip(run, skipped)
            return
        active = Active(run, folder, now())
        outcome = finished_search(folder)
        if outcome is not None:  # only its scoring is missing
            (folder / SCORE_FILE).unlink(missing_ok=True)
            self._active.append(active)
            self._score(active, outcome)
            return
        for leftover in (SEARCH_FILE, SCORE_FILE):
            (folder / leftover).unlink(missing_ok=True)
        active.search = SupervisedSearch(self.executor, folder, self._job(run, folder), self.profile)
        self._active.append(active)
        self.display.update(run, "search", {})

    def _job(self, run: PlannedRun, folder: Path) -> dict[str, Any]:
        ready = self.ready[run.spec.task]
        return {
            "folder": str(folder),
            "spec": run.spec.to_dict(),
            "source": run.method.source,
            "prepared": ready.open,
            "limits": ready.limits,
            "reference_ms": ready.reference_ms,
            "given": _given(run.first, ready.limits),
            "left": _left(run, self.plan.folders.runs),
            "timed": list(self.options.probe_answers.get(run.spec.id, ())),
            "device": self.profile.device,
            "jobs": self.options.jobs,
            "checkpoint_seconds": self.options.checkpoint_seconds,
        }

    def _look(self, active: Active) -> None:
        if active.search is not None:
            for line in active.search.look():
                self.display.note(f"{active.run.label}: {line}")
            if active.search.worker.running:
                self.display.update(active.run, "search", active.search.beat)
                return
            for line in active.search.look():  # its last words
                self.display.note(f"{active.run.label}: {line}")
            outcome = active.search.ended()
            active.search = None
            if outcome is None:
                self._active.remove(active)
                self._skip(active.run, active.folder / worker.SKIPPED)
                return
            write_text(active.folder / SEARCH_FILE, json.dumps(outcome, indent=1))
            if outcome["status"] == "failed" or not outcome["candidates"]:
                self._active.remove(active)
                self._record(active, outcome)
                return
            self._score(active, outcome)
        elif active.scoring is not None:
            if active.scoring.running:
                self.display.update(active.run, "score", read_json(active.folder / stage.PROGRESS))
                return
            self._active.remove(active)
            searched = read_search(active.folder) or failed_outcome("its search has left no outcome")
            scores = read_scores(active.folder)
            if not scores or scores["message"]:
                said = scores["message"] if scores else last_line(active.folder / "score.txt")
                searched["status"], searched["message"] = "failed", f"could not be scored: {said}"
            self._record(active, searched)

    def _score(self, active: Active, outcome: SearchOutcome) -> None:
        ready = self.ready[active.run.spec.task]
        job = {"folder": str(active.folder), "prepared": ready.prepared, "device": self.profile.device}
        job["jobs"] = self.options.jobs
        (active.folder / stage.PROGRESS).unlink(missing_ok=True)
        active.scoring = self.executor.start(worker.score, job, active.folder / "score.txt")
        self.display.update(active.run, "score", {})

    def _skip(self, run: PlannedRun, note: Path) -> None:
        reason = json.loads(note.read_text())["reason"] if note.exists() else "interrupted"
        run.state = "skipped"
        self.display.finish(run, f"skipped: {sanitize(reason, 600)}")

    def _record(self, active: Active, outcome: SearchOutcome) -> None:
        """Write the record of a run that has ended, and clear what only a resumption needs."""
        run, ready = active.run, self.ready[active.run.spec.task]
        scores = read_scores(active.folder)
        record = assemble_record(
            run.spec.to_dict(),
            outcome,
            scores,
            {
                **self._common,
                "data": dict(ready.prepared.digests),
                "method": method(run.method),
                "started": active.started,
                "ended": now(),
                "jobs": self.options.jobs,
            },
        )
        record["timings"] = _timings(active.folder, ready.limits)
        record["units"] = units_of(ready.task).to_dict()
        try:
            path = store.write(self.plan.folders.store, record)
        except InvalidRecord as error:
            if record["status"] == "failed":
                raise
            record = assemble_record(
                run.spec.to_dict(),
                failed_outcome(f"its record is not valid: {error}"),
                {},
                record["provenance"],
            )
            path = store.write(self.plan.folders.store, record)
        run.record = store.load(path)
        run.state = state_of(run.record)
        if run.state != "failed":
            for leftover in ("checkpoints", "scratch"):
                shutil.rmtree(active.folder / leftover, ignore_errors=True)
        said = sanitize(record["message"], 200)
        log = active.folder / ("score.txt" if (active.folder / "score.txt").exists() else "log.txt")
        said += f"; log: {os.path.relpath(log)}" if run.state == "failed" and log.exists() else ""
        how = "stopped by its seconds, compared with none" if run.state == "stopped" else record["status"]
        self.display.finish(run, how + (f": {said}" if said else ""))

    def _stop(self) -> None:
        """Ask everything to save and end; after a grace period, or a second Ctrl-C, end it."""
        try:
            for active in self._active:
                if active.search is not None:
                    active.search.stop()
                else:
                    active.process.signal(9)
            for active in self._active:
                active.process.join(GRACE_S)
        finally:
            for active in self._active:
                active.process.signal(9)
                active.process.join(5)
                if active.search is not None:
                    active.search.energy.close()


def _timings(folder: Path, limits: Sequence[tuple[float, float]]) -> Timings:
    """What the search was told of time: with it, ``verify`` repeats the search's decisions."""
    path, probes = folder / JOURNAL, []
    if path.exists():
        with suppress(CorruptFileError), Journal(path) as journal:
            probes = journal.probes()
    return {"limits": [list(limit) for limit in limits], "probes": probes}


def _nothing_to_follow(run: PlannedRun, runs: Path) -> str:
    """Why a run has nothing to go by; empty where it has, or follows nobody."""
    if run.first is None:
        return ""
    if run.first.state == "stopped":
        return f"{run.first.label}, which it follows, was stopped by its seconds"
    if run.first.state != "done":
        return f"{run.first.label}, which it follows, has no result"
    if run.first.record is None or not run.first.record["candidates"]:
        return f"{run.first.label}, which it follows, ended without a candidate"
    left = _left(run, runs)
    missing = [folder for folder, _ in left["candidates"] if not Path(folder).is_dir()] if left else []
    if missing:
        path = store.relative_path(run.first.record)
        return (
            f"the weights of {run.first.label}, which it takes over, are no longer in {missing[0]}:"
            f" move its record {path} away, and they are made again"
        )
    return ""


def _given(
    first: PlannedRun | None, limits: Sequence[tuple[float, float]]
) -> list[tuple[Sequence[int] | float | None, Settings, Settings | None]]:
    """Limit, architecture and space of what the run that this one follows proposed: the best at each limit,
    at today's limits; no space where it is the task's."""
    if first is None or first.record is None:
        return []
    now_ms = dict(limits)
    out = []
    for candidate in selection.headline_candidates(first.record["candidates"]).values():
        limit = now_ms.get(candidate.get("limit_share") or 0.0, candidate["limit_ms"])
        out.append((candidate.get("window") or limit, candidate["architecture"], candidate.get("space")))
    return out


def _left(run: PlannedRun, runs: Path) -> dict[str, Any] | None:
    """What the run that this one inherits from has left on disk, in the order of ``_given``."""
    first = run.first
    if not run.method.inherits or first is None or first.record is None:
        return None
    kept = runs / first.spec.id / "candidates"
    chosen = selection.headline_candidates(first.record["candidates"]).values()
    return {
        "candidates": [(str(kept / f"{c['index']:02d}"), c["weights_sha256"]) for c in chosen],
        "spent": dict(first.record["ledger"]["totals"]),
    }
