"""One search under supervision: its clock is watched, its end is enforced, its outcome is written."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.hardware.energy import EnergyMeter
from benchmarks.hardware.profiles import Profile
from benchmarks.records.assembly import SEARCH_FILE
from benchmarks.records.record import RunEnergy, SearchOutcome
from benchmarks.records.store import write_text
from benchmarks.runs import worker
from benchmarks.runs.executor import ASK_TO_STOP, Executor, WorkerProcess
from benchmarks.runs.heartbeat import HEARTBEAT, elapsed, read_heartbeat, write_outcome

TERMINATE_AT = 1.02
"""Share of the seconds allowance at which a run gets SIGTERM."""
KILL_AFTER_S = 10.0
"""From SIGTERM to SIGKILL."""
START_S = 600.0
"""A process that has not begun by then is given up."""
PAUSE_S = 1800.0
"""The longest that the clock may stand still: a method's own code runs during an export, too."""
ENERGY = "energy.json"


class SupervisedSearch:
    """A running search process.

    Args:
        folder: of the run.
        job: for ``worker.search``.
        meter_profile: whose declared watts the energy meter is told; None: energy is not metered.
    """

    def __init__(
        self, executor: Executor, folder: Path, job: Mapping[str, Any], meter_profile: Profile | None
    ) -> None:
        self.folder, self.allowance = folder, float(job["spec"]["budget"]["seconds"])
        # An earlier session's heartbeat must not be taken for this one's.
        self.before = read_heartbeat(folder)
        self.worker: WorkerProcess = executor.start(worker.search, job, folder / "log.txt")
        self.energy = PhaseEnergy(folder, meter_profile, shared=int(job["jobs"]))
        self._began = time.monotonic()
        self._paused_since: float | None = None
        self._terminated: float | None = None
        self._message, self._seconds = "", 0.0
        self.beat: dict[str, Any] = {}
        self._said = 0

    def look(self) -> list[str]:
        """Read the heartbeat, enforce the clock; new lines that the run has for the user."""
        beat, now = read_heartbeat(self.folder), time.monotonic()
        if beat.get("at", 0.0) >= self._began:
            self.beat = beat
            self.energy.phase(beat["phase"])
        self._enforce(now)
        said: list[str] = self.beat.get("said", [])[self._said :]
        self._said += len(said)
        return said

    def _enforce(self, now: float) -> None:
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
        """Ask it to save and stop."""
        self.worker.signal(ASK_TO_STOP)

    def kill(self) -> None:
        """End it at once; what it saved stays."""
        self.worker.signal(signal.SIGKILL)

    def ended(self) -> SearchOutcome | None:
        """After its end: the outcome; None where it was interrupted (or skipped) and has none."""
        self.energy.close()
        code = self.worker.exitcode
        path = self.folder / SEARCH_FILE
        if path.exists():
            outcome: SearchOutcome = json.loads(path.read_text())
        elif code == worker.STOPPED_CODE or (self.folder / worker.SKIPPED).exists():
            return None
        elif self._terminated is not None:
            status = "budget" if self.beat else "failed"
            outcome = write_outcome(self.folder, status, self._message, self._seconds)
        else:
            outcome = write_outcome(self.folder, "failed", _died(code))
        return {**outcome, "energy": self.energy.total(), "joules": self.energy.joules}


def _died(code: int | None) -> str:
    if code is None or code >= 0:
        return f"its process ended with exit code {code} and no outcome; see log.txt"
    name = signal.Signals(-code).name
    hint = ", as when memory runs out" if -code == signal.SIGKILL else ""
    return f"its process was killed by {name}{hint}; see log.txt"


class PhaseEnergy:
    """Energy of the machine by phase of one run, over all its sessions.

    Metered by the supervisor, so that a killed process's joules are counted as well. Where several
    runs share the machine each meter counts all of it, and the source says so.
    """

    def __init__(self, folder: Path, profile: Profile | None, shared: int) -> None:
        self._path, self._profile, self._shared = folder / ENERGY, profile, shared
        try:
            self._kept: dict[str, Any] = json.loads(self._path.read_text())
        except (OSError, ValueError):
            self._kept = {"joules": {}, "source": ""}
        self._phase, self._meter = "", EnergyMeter(profile) if profile else None

    def phase(self, name: str) -> None:
        """The run is in phase ``name`` now."""
        if name == self._phase or self._profile is None:
            return
        self._stop()
        self._phase, self._meter = name, EnergyMeter(self._profile)
        self._meter.start()

    def _stop(self) -> None:
        if not self._phase or self._meter is None:
            return
        answer = self._meter.stop()
        if answer["joules"] is not None:
            joules = self._kept["joules"]
            joules[self._phase] = joules.get(self._phase, 0.0) + answer["joules"]
        if answer["joules"] is not None or not self._kept["joules"]:
            note = f"; machine shared by up to {self._shared} runs" if self._shared > 1 else ""
            self._kept["source"] = answer["source"] + note
        self._phase = ""
        write_text(self._path, json.dumps(self._kept))

    def close(self) -> None:
        """Stop and keep what was counted."""
        self._stop()

    @property
    def joules(self) -> dict[str, float]:
        """Phase -> joules."""
        return dict(self._kept["joules"])

    def total(self) -> RunEnergy | None:
        """For the record: all phases together and the source; None where nothing was asked."""
        if not self._kept["source"]:
            return None
        joules = sum(self._kept["joules"].values()) if self._kept["joules"] else None
        return {"joules": joules, "source": self._kept["source"], "kg_co2": None}


__all__ = ["HEARTBEAT", "PhaseEnergy", "SupervisedSearch"]
