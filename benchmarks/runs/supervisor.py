"""One search under supervision: watch its clock, enforce its end, write its outcome."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path
from typing import TypedDict

from benchmarks.hardware.energy import EnergyMeter
from benchmarks.hardware.profiles import Profile
from benchmarks.records.assembly import read_json, read_search
from benchmarks.records.record import RunEnergy, SearchOutcome
from benchmarks.records.store import write_text
from benchmarks.runs import worker
from benchmarks.runs.executor import ASK_TO_STOP, Executor, WorkerProcess
from benchmarks.runs.heartbeat import Beat, elapsed, read_heartbeat, write_outcome
from benchmarks.runs.job import SearchJob

TERMINATE_AT = 1.02
"""Share of the seconds allowance at which a run gets SIGTERM."""
KILL_AFTER_S = 10.0
"""Seconds from SIGTERM to SIGKILL."""
START_S = 600.0
"""Seconds after which a process without a heartbeat is terminated."""
PAUSE_S = 1800.0
"""Longest pause of the clock, in seconds: the method's own code also runs during an export."""
ENERGY = "energy.json"
"""File in a run's folder."""


class SupervisedSearch:
    """A running search process.

    Args:
        job: for ``worker.search``.
        meter_profile: profile whose declared watts the energy meter uses; None: energy is not metered.
    """

    def __init__(self, executor: Executor, job: SearchJob, meter_profile: Profile | None) -> None:
        self.folder, self.allowance = job.folder, float(job.spec.budget["seconds"])
        # Its clock starts anew with the machine, so an earlier session's heartbeat may look like a later one.
        self._earlier = read_heartbeat(job.folder).get("at")
        self.worker: WorkerProcess = executor.start(worker.search, job, job.folder / "log.txt")
        self.energy = PhaseEnergy(job.folder, meter_profile, shared=job.jobs)
        self._began = time.monotonic()
        self._paused_since: float | None = None
        self._terminated: float | None = None
        self._message, self._seconds = "", 0.0
        self.beat: Beat = {}
        """Last heartbeat of this session; empty before the first."""
        self._messages_read = 0

    def poll(self) -> list[str]:
        """Read the heartbeat and enforce the clock; return the run's new lines for the user."""
        beat, now = read_heartbeat(self.folder), time.monotonic()
        if beat and beat.get("at") != self._earlier:
            self.beat = beat
            self.energy.phase(beat["phase"])
        self._enforce(now)
        messages = self.beat.get("messages", [])[self._messages_read :]
        self._messages_read += len(messages)
        return messages

    def _enforce(self, now: float) -> None:
        """Terminate a search that has not begun, whose time is up, or that pauses too long."""
        if self._terminated is not None:
            if now - self._terminated > KILL_AFTER_S:
                self.worker.signal(signal.SIGKILL)
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
        self.energy.close()
        code = self.worker.exitcode
        outcome = read_search(self.folder)
        if outcome is not None:
            pass
        elif code == worker.STOPPED_CODE or (self.folder / worker.SKIPPED).exists():
            return None
        elif self._terminated is not None:
            status = "budget" if self.beat else "failed"
            outcome = write_outcome(self.folder, status, self._message, self._seconds)
        else:
            outcome = write_outcome(self.folder, "failed", _died(code))
        outcome["energy"], outcome["joules"] = self.energy.total(), self.energy.joules
        return outcome


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
