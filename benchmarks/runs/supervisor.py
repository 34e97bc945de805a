"""One search under supervision: watch its clock, enforce its end, write its outcome."""

from __future__ import annotations

import json
import os
import signal
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TypedDict

from benchmarks import tasks
from benchmarks.code_files import sources
from benchmarks.hardware import timing_lock
from benchmarks.hardware.energy import EnergyMeter
from benchmarks.hardware.profiles import Profile
from benchmarks.lab.journal import CorruptFileError
from benchmarks.records.assembly import read_json
from benchmarks.records.record import RunEnergy, SearchOutcome, SearchOversight
from benchmarks.records.store import write_text
from benchmarks.runs import worker
from benchmarks.runs.books import STATES, Books
from benchmarks.runs.channel import Channel
from benchmarks.runs.executor import ASK_TO_STOP, Executor
from benchmarks.runs.guard import GuardReport
from benchmarks.runs.heartbeat import JOURNAL, Beat, Heartbeat, elapsed, read_heartbeat, write_outcome
from benchmarks.runs.isolation import NONE, View, program_paths
from benchmarks.runs.job import IsolationJob, SearchJob
from benchmarks.runs.process_tree import ProcessTree, added
from benchmarks.tasks.folders.sources import FileTask

TERMINATE_AT = 1.02
"""Share of the seconds allowance at which a run gets SIGTERM."""
KILL_AFTER_S = 10.0
"""Seconds from SIGTERM to SIGKILL."""
START_S = 600.0
"""Seconds after which a process without a heartbeat is terminated."""
PAUSE_S = 1800.0
"""Longest pause of the clock, in seconds: the method's own code also runs during an export."""
READ_S = 10.0
"""Seconds that the last messages of an ended search may take."""
LARGEST_LOG = 64 * 2**20
"""Bytes that a search may print over all its sessions."""
KEPT_LOG = 2**20
"""Bytes of an ended search's log that are kept, half from its beginning and half from its end."""
LOG = "log.txt"
"""File in a run's folder of all that its search prints."""
REFUSALS = ("FileNotFoundError:", "PermissionError:", "OSError:", "URLError:", "gaierror:")
"""Beginnings of the message of a failure that isolation may have caused."""
ENERGY, OVERSIGHT = "energy.json", "oversight.json"
"""Files in a run's folder."""
CANDIDATES, CHECKPOINTS, SCRATCH = "candidates", "checkpoints", "scratch"
"""Folders in a run's folder that its search may write."""


class SupervisedSearch:
    """A running search process, and the books that the supervisor keeps of it.

    Args:
        job: for ``worker.search``.
        meter_profile: profile whose declared watts the energy meter uses; None: energy is not metered.
        hidden: folders that the search must not see.
        isolated: False: the search is not isolated, whatever the system allows.
    """

    def __init__(
        self,
        executor: Executor,
        job: SearchJob,
        meter_profile: Profile | None,
        hidden: Sequence[Path] = (),
        isolated: bool = True,
    ) -> None:
        self.folder, self.allowance = job.folder, float(job.spec.budget["seconds"])
        self._messages, self._messages_read = list[str](), 0
        self.books = self._open_books(job)
        view = view_of(job, hidden) if isolated else None
        self.worker = executor.start_guarded(worker.search, job, job.folder / LOG, view)
        self.tree = ProcessTree(self.worker.pid, gpu=job.device == "cuda")
        self.books.cpu = self.tree.cpu_seconds
        self._reader = threading.Thread(
            target=self.books.follow, args=(self.worker.channel,), name="books", daemon=True
        )
        self._reader.start()
        self._heart: Heartbeat | None = None
        self.energy = PhaseEnergy(job.folder, meter_profile, shared=job.jobs)
        self._began = time.monotonic()
        self._paused_since: float | None = None
        self._terminated: float | None = None
        self._message, self._seconds = "", 0.0
        self._oversight: SearchOversight | None = None
        self.crashed = False
        """True once its process has ended without an outcome, for which no method need be to blame."""
        self.beat: Beat = {}
        """Last heartbeat of this session; empty before the first."""

    def _open_books(self, job: SearchJob) -> Books:
        """Open the run's books; a damaged journal is moved aside together with the checkpoints."""
        before, budget = read_heartbeat(job.folder), job.spec.budget
        leader_spent = job.leader_artifacts["spent"] if job.leader_artifacts is not None else None
        try:
            return Books(job.folder, budget, before, leader_spent=leader_spent)
        except CorruptFileError as error:
            self._messages.append(f"{error}: journal and checkpoints are moved aside, the run starts afresh")
            set_aside(job.folder)
            return Books(job.folder, budget, before, leader_spent=leader_spent)

    def poll(self) -> list[str]:
        """Read the books and enforce the clock; return the run's new lines for the user.

        Raises:
            OSError: the books cannot be written, as on a full disk; the same command goes on later.
        """
        now = time.monotonic()
        if self.books.unwritten is not None:
            raise self.books.unwritten
        if self.books.begun:
            if self._heart is None:
                self._heart = Heartbeat(self.folder, self.books.beat)
            self.beat = {"at": now, **self.books.beat()}
            self.energy.phase(self.beat["phase"])
        self._enforce(now)
        messages = [*self._messages, *self.beat.get("messages", [])][self._messages_read :]
        self._messages_read += len(messages)
        return messages

    def _enforce(self, now: float) -> None:
        """Terminate a search that has not begun, whose time is up, or that pauses too long."""
        if self._terminated is not None:
            if now - self._terminated > KILL_AFTER_S:
                self.worker.signal(signal.SIGKILL)
            return
        if not self.books.fault and _size(self.folder / LOG) > LARGEST_LOG:
            self.books.fault = f"it printed more than {LARGEST_LOG // 2**20} MiB; the rest is cut off"
        if self.books.fault:
            self._terminate(now, self.books.fault)
            self.kill()
            return
        if not self.beat:
            if now - self._began > START_S:
                self._terminate(now, f"did not begin within {START_S:g} s")
            return
        pause = self.beat["pause"]
        self._paused_since = (self._paused_since or now) if pause and pause != "timing lock" else None
        if elapsed(self.beat, now) > TERMINATE_AT * self.allowance:
            self._terminate(
                now, f"did not stop by itself: terminated after 102 % of its {self.allowance:g} seconds"
            )
        elif self._paused_since is not None and now - self._paused_since > PAUSE_S:
            self._terminate(now, f"did not come back from '{pause}' within {PAUSE_S:g} s")

    def _terminate(self, now: float, message: str) -> None:
        self._terminated, self._message = now, message
        self._seconds = elapsed(self.beat, now) if self.beat else 0.0
        self.worker.signal(signal.SIGTERM)

    def stop(self) -> None:
        """Ask the search to save and stop."""
        self.worker.signal(ASK_TO_STOP)

    def kill(self) -> None:
        """End the search at once; its checkpoints stay."""
        self.worker.signal(signal.SIGKILL)

    def ended(self) -> SearchOutcome | None:
        """Return the outcome of a search whose process has ended; None if it was interrupted or skipped."""
        self.close()
        code, books = self.worker.exitcode, self.books
        ended = books.end[0] if books.end is not None else "budget" if self._terminated is not None else ""
        if ended in ("done", "budget") and not books.fault:
            books.charge_leader()
        if books.fault:
            outcome = self._write("failed", books.fault)
        elif books.skipped is not None:
            write_text(self.folder / worker.SKIPPED, json.dumps({"reason": books.skipped}))
            return None
        elif books.end is not None:
            status, message = books.end
            outcome = self._write(status, message + self._hint(status, message))
        elif code == worker.STOPPED_CODE:
            return None
        elif self._terminated is not None:
            outcome = self._write("budget" if self.beat else "failed", self._message, self._seconds)
        else:
            self.crashed = True
            outcome = self._write("failed", _died(code))
        _shorten_log(self.folder / LOG)
        if books.aside:
            set_aside(self.folder)
        outcome["energy"], outcome["joules"] = self.energy.total(), self.energy.joules
        assert self._oversight is not None
        outcome["oversight"] = self._oversight
        return outcome

    def _hint(self, status: str, message: str) -> str:
        """Return a hint for a failure that isolation may have caused; empty if there is none."""
        isolated = self._oversight is not None and self._oversight["isolation"] != NONE
        if status != "failed" or not isolated or not message.startswith(REFUSALS):
            return ""
        return "; a search runs isolated, see docs/integrity.md"

    def close(self) -> None:
        """Close the books of a search whose process has ended, and count its work."""
        if self._oversight is not None:
            return
        self._reader.join(READ_S)
        self._oversight = self._count_work(self.worker.report())
        if self._heart is not None:
            self._heart.close()
        elif self.books.begun:
            Heartbeat(self.folder, self.books.beat).close()
        self.energy.close()
        self.books.close()

    def _write(self, status: str, message: str, seconds: float = 0.0) -> SearchOutcome:
        if self.books.begun:
            return write_outcome(self.folder, status, message, seconds, self.books)
        return write_outcome(self.folder, status, message, seconds)

    def _count_work(self, report: GuardReport) -> SearchOversight:
        """Add this session's work, measured from outside, to that of the run, and return both."""
        self.tree.sample()
        work = self.tree.close(report.get("cpu_seconds"))
        self.books.cpu = lambda: work["cpu_seconds"]
        stored = read_json(self.folder / OVERSIGHT)
        isolation = report.get("isolation", NONE)
        kept = [stored["isolation"]] if stored else []
        oversight: SearchOversight = {
            # Of several sessions the least isolated one counts.
            "isolation": min([isolation, *kept], key=lambda names: (names != NONE, len(names))),
            "sessions": int(stored.get("sessions", 0)) + 1,
            "work": added(stored.get("work", {}), work),
        }
        write_text(self.folder / OVERSIGHT, json.dumps(oversight))
        return oversight


def isolation_here(executor: Executor) -> str:
    """Return the isolation that a search gets on this machine, ``none`` if it gets none.

    Args:
        executor: starts a process that is isolated as a search is, and does nothing.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / SCRATCH).mkdir()
        view = View((folder / SCRATCH,), (folder,), ()).resolved()
        process = executor.start_guarded(do_nothing, IsolationJob(folder), folder / LOG, view)
        process.join(START_S)
        return process.report().get("isolation", NONE)


def do_nothing(_job: IsolationJob, _channel: Channel) -> None:
    """Run a search that does nothing."""


def view_of(job: SearchJob, hidden: Sequence[Path]) -> View:
    """Return the part of the file system that a search has.

    It writes candidates, checkpoints and its scratch folder. Of the rest it sees no results but its own, no
    data but what was prepared for it, and of the user's home what a Python process needs.
    """
    own = [job.folder / name for name in (CANDIDATES, CHECKPOINTS, SCRATCH)]
    for folder in own:
        folder.mkdir(parents=True, exist_ok=True)
    inherited = job.leader_artifacts["candidates"] if job.leader_artifacts is not None else []
    shown = [job.folder, job.prepared.folder, *(Path(folder) for folder, _ in inherited)]
    shown += [job.prepared.start] if job.prepared.start is not None else []
    files = [task.file for task in tasks.declared() if isinstance(task, FileTask)]
    shown += program_paths([*sources(job.source).values(), *files])
    folders = (*hidden, job.folder.parent)
    return View(tuple([*own, *timing_lock.files()]), folders, tuple(shown)).resolved()


def set_aside(folder: Path) -> None:
    """Rename the journal and the checkpoints of a run that cannot go on, so that nothing reads them."""
    stamp = time.strftime("%Y%m%d-%H%M%S")
    for name in (JOURNAL, CHECKPOINTS, STATES):
        if (folder / name).exists():
            os.rename(folder / name, folder / f"{name}.{stamp}.aside")


def _shorten_log(log: Path) -> None:
    """Cut the middle out of an ended search's log that is longer than ``KEPT_LOG``."""
    size, half = _size(log), KEPT_LOG // 2
    if size > KEPT_LOG:
        with log.open("rb") as file:
            head = file.read(half)
            file.seek(size - half)
            tail = file.read()
        write_text(log, head + f"\n... {size - KEPT_LOG:,} bytes were cut out here ...\n".encode() + tail)


def _size(path: Path) -> int:
    """Return the bytes of a file; 0 if there is none."""
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _died(code: int | None) -> str:
    """Return the message for a process that ended without an outcome."""
    if code is None or code >= 0:
        return f"its process ended with exit code {code} and no outcome; see log.txt"
    name = signal.Signals(-code).name
    hint = ", as when memory runs out" if -code == signal.SIGKILL else ""
    return f"its process was killed by {name}{hint}; see log.txt"


class _Metered(TypedDict):
    """Content of ``energy.json``: joules by phase, and the meter that gave them."""

    joules: dict[str, float]
    source: str


class PhaseEnergy:
    """Energy of the machine by phase of one run, over all its sessions.

    The supervisor meters it, so that a killed process's joules are counted as well. If several runs share
    the machine, each meter counts all of its energy, and the source states so.

    Args:
        folder: of the run.
        profile: profile whose declared watts the meter uses; None: nothing is metered.
        shared: largest number of runs at a time.
    """

    def __init__(self, folder: Path, profile: Profile | None, shared: int) -> None:
        self._path, self._profile, self._shared = folder / ENERGY, profile, shared
        stored = read_json(self._path)
        self._metered: _Metered = {"joules": stored.get("joules", {}), "source": stored.get("source", "")}
        self._phase, self._meter = "", EnergyMeter(profile) if profile else None

    def phase(self, name: str) -> None:
        """Book all energy from now on to phase ``name``."""
        if name == self._phase or self._profile is None:
            return
        self.close()
        self._phase, self._meter = name, EnergyMeter(self._profile)
        self._meter.start()

    def close(self) -> None:
        """Stop metering and store the joules of the open phase."""
        if not self._phase or self._meter is None:
            return
        reading, joules = self._meter.stop(), self._metered["joules"]
        if reading["joules"] is not None:
            joules[self._phase] = joules.get(self._phase, 0.0) + reading["joules"]
        if reading["joules"] is not None or not joules:
            note = f"; machine shared by up to {self._shared} runs" if self._shared > 1 else ""
            self._metered["source"] = reading["source"] + note
        self._phase = ""
        write_text(self._path, json.dumps(self._metered))

    @property
    def joules(self) -> dict[str, float]:
        """Joules by phase."""
        return dict(self._metered["joules"])

    def total(self) -> RunEnergy | None:
        """Return the energy of all phases for the record; None if no meter was used."""
        if not self._metered["source"]:
            return None
        joules = sum(self._metered["joules"].values()) if self._metered["joules"] else None
        return {"joules": joules, "source": self._metered["source"], "kg_co2": None}
