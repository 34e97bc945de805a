"""Runner of a plan: start searches and scorings, supervise them, write one record a run.

Every step leaves its result on disk before the next begins, so an interrupted command resumes when it is
typed again.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks import stage, tasks
from benchmarks.api import InvalidRecordError, UsageError
from benchmarks.hardware import timing_lock
from benchmarks.hardware.machine_part import machine_part
from benchmarks.hardware.probe import machine_name
from benchmarks.hardware.profiles import Profile
from benchmarks.lab.journal import CorruptFileError, Journal
from benchmarks.records import probe_keys, store
from benchmarks.records.assembly import (
    SCORE_FILE,
    SEARCH_FILE,
    assemble_record,
    failed_outcome,
    finished_search,
    last_line,
    now,
    read_scores,
    read_search,
)
from benchmarks.records.provenance import method
from benchmarks.records.record import Probe, Provenance, SearchOutcome, Timings
from benchmarks.records.store import write_text
from benchmarks.records.text import sanitize
from benchmarks.runs import encrypted_references, origins, user_declarations, worker
from benchmarks.runs.books import STATES
from benchmarks.runs.display import Display
from benchmarks.runs.encrypted_references import EncryptedReferences
from benchmarks.runs.executor import Executor, WorkerProcess, wait_any
from benchmarks.runs.heartbeat import JOURNAL, read_scoring
from benchmarks.runs.interruption import Interruptions
from benchmarks.runs.isolation import NONE
from benchmarks.runs.job import ScoreJob, SearchJob, artifacts_of, leader_candidates, missing_leader
from benchmarks.runs.leases import FREE, Leases, refuse_rivals
from benchmarks.runs.options import RunOptions
from benchmarks.runs.plan import Plan, PlannedRun, read_state
from benchmarks.runs.run_limits import limits_path, run_limits
from benchmarks.runs.supervisor import CHECKPOINTS, SCRATCH, SupervisedSearch, isolation_here
from benchmarks.runs.task_context import TaskContext
from benchmarks.scoring.references import references_digest
from benchmarks.tasks import units_of
from benchmarks.tasks.datasets import cache_folder

GRACE_S = 15.0
"""Seconds that runs get to save after Ctrl-C."""


LOOK_S = 2.0
"""Seconds between two looks at the leases of others while a job is free."""


@dataclass
class ActiveRun:
    """A run whose search or scoring is in progress."""

    run: PlannedRun
    folder: Path
    started: str
    search: SupervisedSearch | None = None
    scoring: WorkerProcess | None = None

    @property
    def process(self) -> WorkerProcess:
        """The process of the search or the scoring."""
        process = self.search.worker if self.search else self.scoring
        assert process is not None
        return process


class Runner:
    """Makes all pending runs of a plan.

    Args:
        contexts: task -> context of its runs.
        command_provenance: provenance of this command, common to all records.
    """

    def __init__(
        self,
        plan: Plan,
        contexts: Mapping[str, TaskContext],
        profile: Profile,
        executor: Executor,
        display: Display,
        options: RunOptions,
        command_provenance: Provenance,
    ) -> None:
        self.plan, self.contexts, self.profile = plan, contexts, profile
        self.executor, self.display, self.options = executor, display, options
        self._common = command_provenance
        self._origin = origins.origin_of(command_provenance)
        self._active: list[ActiveRun] = []
        self._waiting: list[PlannedRun] = []
        self._begun: set[str] = set()
        self._interruptions = Interruptions()
        self.leases: Leases
        self._references = {name: references_digest(c.prepared.sealed) for name, c in contexts.items()}
        """Task -> digest of its test split, before any search begins."""
        self._encrypted: Mapping[str, EncryptedReferences] = {}

    def run(self) -> None:
        """Make all pending runs that no other worker of the folder makes; write each record as its run ends.

        Raises:
            KeyboardInterrupt: after all active runs have saved and ended.
        """
        about = {"profile": self.plan.profile, "jobs": self.options.jobs, "machine": machine_name()}
        about |= {"lock": timing_lock.identity(), **machine_part()}
        refuse_rivals(self.plan.folders.home, about)
        with Leases(self.plan.folders.home, about, self.options.lease_s) as self.leases:
            self._allow_again()
            self._waiting = list(self.plan.pending)
            with self._protected_references():
                try:
                    with self._interruptions:
                        self._work()
                except BaseException:
                    self._stop()
                    raise

    @contextmanager
    def _protected_references(self) -> Iterator[None]:
        """Encrypt the test splits while inside, where searches of pending runs cannot be isolated."""
        if not self._waiting or isolation_here(self.executor) != NONE:
            yield
            return
        prepared = {task: context.prepared for task, context in self.contexts.items()}
        with encrypted_references.encrypted(prepared) as self._encrypted:
            self.display.note("searches cannot be isolated here: test references are encrypted meanwhile")
            yield

    def _allow_again(self) -> None:
        """Let pending runs be leased again that ended before this command, as far as it may make them."""
        again = [run.spec.id for run in self.plan.pending]
        if not self.options.again:  # a record that was moved away is made again
            known = self.leases.known
            again = [id for id in again if id in known and known[id].state == "done"]
        self.leases.allow_again(again)

    def _work(self) -> None:
        looked, idle_since = -math.inf, time.monotonic()
        while self._waiting or self._active:
            self._interruptions.check()
            now = time.monotonic()
            if self.options.deadline is not None and now >= self.options.deadline:
                self._stop()
                return
            if self.leases.lost():
                self._give_up()
            if len(self._active) < self.options.jobs and self._waiting and now - looked >= LOOK_S:
                looked = now
                self._look()
            if self._active:
                idle_since = now
                wait_any([active.process for active in self._active], 0.25)
            elif self._waiting:
                if self.options.idle_s is not None and now - idle_since > self.options.idle_s:
                    return
                time.sleep(0.25)
            ended = len(self._active)
            for active in list(self._active):
                self._poll(active)
            if len(self._active) < ended:
                looked = -math.inf

    def _look(self) -> None:
        """Note which runs others have ended, and start as many as there are jobs free."""
        self.leases.refresh()
        for run in list(self._waiting):
            if len(self._active) >= self.options.jobs:
                return
            if self.leases.ended(run.spec.id):
                self._waiting.remove(run)
                self._ended_elsewhere(run)
            elif self._may_start(run) and self.leases.take(run.spec.id):
                self._waiting.remove(run)
                self._start(run)

    def _may_start(self, run: PlannedRun) -> bool:
        """Return whether the run that this one follows, if any, has ended."""
        return run.first is None or not (
            run.first in self._waiting or any(a.run is run.first for a in self._active)
        )

    def _ended_elsewhere(self, run: PlannedRun) -> None:
        """Take over the result of a run that another worker has made."""
        read_state(run, self.plan.folders.store, self.plan.folders.runs)
        state = self.leases.known[run.spec.id].state
        if run.load is None:
            run.state = state
        self.display.finish(run, f"{state}, as another worker noted")

    def _give_up(self) -> None:
        """End all active runs at once: this worker was silent, and others may have taken them over."""
        for active in self._active:
            _kill(active)
            self.leases.end(active.run.spec.id, FREE)
            self._waiting.append(active.run)
        self._active.clear()

    def _start(self, run: PlannedRun) -> None:
        """Start a run at the first step that its folder lacks."""
        folder = self.plan.folders.runs / run.spec.id
        read_state(run, self.plan.folders.store, self.plan.folders.runs)
        if run.state == "done":  # by a worker that died before it could say so
            self.leases.end(run.spec.id, "done")
            self.display.finish(run, "done before")
            return
        if self.options.fresh and run.spec.id not in self._begun:
            shutil.rmtree(folder, ignore_errors=True)
            limits_path(folder).unlink(missing_ok=True)
        self._begun.add(run.spec.id)
        if not self.options.resume_changed and run.state != "stopped":
            try:
                origins.check([(run.label, folder)], self._origin)
            except UsageError as error:
                self.leases.end(run.spec.id, FREE)
                self.display.finish(run, f"left to others: {error}")
                return
        last = read_search(folder)
        if run.state == "stopped" and last and store.stopped_by_seconds(last):
            shutil.rmtree(folder)  # its seconds are spent: it starts afresh
            limits_path(folder).unlink(missing_ok=True)
        folder.mkdir(parents=True, exist_ok=True)
        write_text(folder / "spec.json", json.dumps(run.spec.to_dict(), indent=1))
        origins.enter(folder, self._origin)
        missing = missing_leader(run, self.plan.folders.runs)
        if missing:
            self._record(ActiveRun(run, folder, now()), failed_outcome(missing))
            return
        skipped = folder / worker.SKIPPED
        if skipped.exists():
            self._skip(run, skipped)
            return
        active = ActiveRun(run, folder, now())
        outcome = finished_search(folder)
        if outcome is not None:  # only its scoring is missing
            (folder / SCORE_FILE).unlink(missing_ok=True)
            self._active.append(active)
            self._score(active)
            return
        for leftover in (SEARCH_FILE, SCORE_FILE):
            (folder / leftover).unlink(missing_ok=True)
        active.search = SupervisedSearch(
            self.executor, self._search_job(run, folder), self.profile, self._hidden(run)
        )
        self._active.append(active)
        self.display.update(run, "search", {})

    def _search_job(self, run: PlannedRun, folder: Path) -> SearchJob:
        context, first = run_limits(self.contexts[run.spec.task], folder), run.first
        record = first.record if first is not None else None
        followed = record["candidates"] if record is not None else ()
        return SearchJob(
            folder=folder,
            spec=run.spec,
            source=run.method.source,
            prepared=context.unsealed,
            limits=context.limits,
            reference_ms=context.reference_ms,
            device=self.profile.device,
            jobs=self.options.jobs,
            checkpoint_seconds=self.options.checkpoint_seconds,
            leader_candidates=leader_candidates(followed, context.limits),
            leader_artifacts=artifacts_of(run, self.plan.folders.runs),
            probe_answers=self.options.probe_answers.get(run.spec.id, {}),
            method_sha256=run.method.sha256,
            starts=run.method.starts,
        )

    def _hidden(self, run: PlannedRun) -> tuple[Path, ...]:
        """Return the folders that a search must not see: all results, and all data with a test split."""
        prepared, data_dir = self.contexts[run.spec.task].prepared, self.options.data_dir
        folders = [self.plan.folders.results, self.plan.folders.home, self.plan.folders.store]
        raw = [getattr(task, "folder", None) for task in tasks.declared()]
        folders += [path for path in (prepared.sealed, data_dir, *raw) if path is not None]
        return (*folders, self.plan.folders.cache / "sealed", cache_folder(), Path.home())

    def _poll(self, active: ActiveRun) -> None:
        """Show the progress of a run; begin its next step if its process has ended."""
        if active.search is not None:
            for line in active.search.poll():
                self.display.note(f"{active.run.label}: {line}")
            if active.search.worker.running:
                self.display.update(active.run, "search", active.search.beat)
                return
            for line in active.search.poll():  # lines written since
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
            for leftover in active.folder.glob("score.*"):
                leftover.unlink()  # none was made yet: whatever is there is the search's
            self._score(active)
        elif active.scoring is not None:
            if active.scoring.running:
                self.display.update(active.run, "score", read_scoring(active.folder))
                return
            self._active.remove(active)
            searched = read_search(active.folder) or failed_outcome("its search has left no outcome")
            scores = read_scores(active.folder)
            if not scores or scores["message"]:
                reason = scores["message"] if scores else last_line(active.folder / "score.txt")
                searched["status"], searched["message"] = "failed", f"could not be scored: {reason}"
            self._record(active, searched)

    def _score(self, active: ActiveRun) -> None:
        context = self.contexts[active.run.spec.task]
        references = self._references[active.run.spec.task]
        encrypted = self._encrypted.get(active.run.spec.task)
        job = ScoreJob(
            active.folder, context.prepared, self.profile.device, self.options.jobs, references, encrypted
        )
        (active.folder / stage.PROGRESS).unlink(missing_ok=True)
        active.scoring = self.executor.start(worker.score, job, active.folder / "score.txt")
        self.display.update(active.run, "score", {})

    def _skip(self, run: PlannedRun, note: Path) -> None:
        reason = json.loads(note.read_text())["reason"] if note.exists() else "interrupted"
        run.state = "skipped"
        self.leases.end(run.spec.id, "skipped")
        self.display.finish(run, f"skipped: {sanitize(reason, 600)}")

    def _record(self, active: ActiveRun, outcome: SearchOutcome) -> None:
        """Write the record of a run that has ended; remove the files that only a resumption needs."""
        run, context = active.run, run_limits(self.contexts[active.run.spec.task], active.folder)
        if not self.leases.holds(run.spec.id):
            self.leases.end(run.spec.id, FREE)
            self._waiting.append(run)
            return
        scores = read_scores(active.folder)
        record = assemble_record(
            run.spec.to_dict(),
            outcome,
            scores,
            {
                **self._common,
                "data": dict(context.prepared.digests),
                "method": method(run.method),
                "started": active.started,
                "ended": now(),
                "jobs": self.options.jobs,
            },
        )
        if "oversight" in outcome:
            record["oversight"] = {
                **outcome["oversight"],
                "method_sha256": run.method.sha256,
                "references_sha256": self._references[context.task.name],
            }
        if earlier := origins.earlier(active.folder):
            record["provenance"]["resumed_from"] = earlier
        record["timings"] = _timings(active.folder, context.limits)
        record["units"] = units_of(context.task).to_dict()
        if described := user_declarations.describe(context.task.name, self.profile):
            record["declared"] = described
        try:
            path = store.write(self.plan.folders.store, record)
        except InvalidRecordError as error:
            # One run's record must not end the plan, whatever the method wrote into it.
            failure = failed_outcome(sanitize(f"its record is not valid: {error}", 1000))
            failed = assemble_record(run.spec.to_dict(), failure, {}, record["provenance"])
            path = store.write(self.plan.folders.store, failed)
        written = store.load(path)
        run.enter(written, partial(store.load, path))
        self.leases.end(run.spec.id, run.state)
        if run.state != "failed":
            for leftover in (CHECKPOINTS, SCRATCH, STATES):
                shutil.rmtree(active.folder / leftover, ignore_errors=True)
        message = sanitize(written["message"], 200)
        log = active.folder / ("score.txt" if (active.folder / "score.txt").exists() else "log.txt")
        message += f"; log: {os.path.relpath(log)}" if run.state == "failed" and log.exists() else ""
        how = "stopped by its seconds, compared with none" if run.state == "stopped" else written["status"]
        self.display.finish(run, how + (f": {message}" if message else ""))

    def _stop(self) -> None:
        """Ask all active runs to save and end; kill them after a grace period, or a second Ctrl-C."""
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
                _kill(active)


def _kill(active: ActiveRun) -> None:
    """End the process of a run at once; its checkpoints stay."""
    active.process.signal(9)
    active.process.join(5)
    if active.search is not None:
        active.search.close()


def _timings(folder: Path, limits: Sequence[tuple[float, float]]) -> Timings:
    """Return the measured times that the search got, with which ``verify`` repeats its decisions."""
    path = folder / JOURNAL
    probes: list[Probe] = []
    if path.exists():
        with suppress(CorruptFileError), Journal(path) as journal:
            probes = probe_keys.stored(journal.probes())
    return {"limits": [list(limit) for limit in limits], "probes": probes}
