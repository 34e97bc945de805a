"""Options of the execution of a plan: from the command line to the runner, unchanged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.runs.job import ProbeAnswers
from benchmarks.runs.leases import LEASE_S


@dataclass(frozen=True)
class RunOptions:
    """Everything that a command decides about a plan's execution, and that no run's specification has."""

    command: Sequence[str]
    """Words of the command as typed, for the records."""
    data_dir: Path | None = None
    """Folder of real data."""
    jobs: int = 1
    """Runs at a time; timed inferences are alone on the machine in any case."""
    checkpoint_seconds: float = 30.0
    """Seconds between two checkpoints of a long phase."""
    resume_changed: bool = False
    """True: go on with runs that were begun under another torch, NumPy or Python, or on another machine or
    number of processors."""
    fresh: bool = False
    """True: discard the state of unfinished runs."""
    again: bool = True
    """True: make runs again that failed or that their seconds stopped before this command."""
    shared: bool = False
    """True: leave runs that were begun in another environment to other workers, in place of refusing all."""
    hooks: Sequence[str] = ()
    """Names of installed hooks that follow the runs."""
    deadline: float | None = None
    """Time of the monotonic clock at which to save, give all runs back and stop."""
    idle_s: float | None = None
    """Seconds to wait for runs of other workers with nothing to do; None: until they have ended."""
    lease_s: float = LEASE_S
    """Seconds of silence after which other workers take this one's runs over."""
    probe_answers: Mapping[str, ProbeAnswers] = field(default_factory=dict)
    """Run id -> published latencies that its search gets in place of new measurements (``verify``)."""
