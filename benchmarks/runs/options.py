"""Options of the execution of a plan: from the command line to the runner, unchanged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.runs.job import ProbeAnswers


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
    """True: go on with runs that were begun under another torch, Python or number of processors."""
    probe_answers: Mapping[str, ProbeAnswers] = field(default_factory=dict)
    """Run id -> published latencies that its search gets in place of new measurements (``verify``)."""
