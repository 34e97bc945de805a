"""Observations of a run by the instrumented Lab, and the file that carries them to the suite. No torch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TypedDict

from benchmarks.records.assembly import read_json
from benchmarks.records.store import write_text

CHECKS = "checks.json"
"""File in a run's folder that holds its observations."""
LIMIT_MS = 100.0
"""Milliseconds of the modelled latency of a space's largest network."""


class Instrumentation(TypedDict):
    """Settings of one instrumented run.

    ``salt``: further parts of the seed of the global generators. ``sealed``: SHA-256 of the path of the test
    split, so that the path itself is nowhere in the method's process. ``files``: source files of the method.
    ``trace``: find the lines that touch global random state. ``kill`` and ``refuse``: points at which to kill
    the process or to refuse every further charge, as ``{"tokens": amount, "calls": number}``.
    """

    salt: tuple[str, ...]
    sealed: str
    files: list[str]
    trace: bool
    kill: Mapping[str, float] | None
    refuse: Mapping[str, float] | None


@dataclass(frozen=True)
class ExportDifference:
    """Difference between one candidate's exported sub-network and the supernet.

    Attributes:
        index: number of the candidate.
        distance: largest absolute difference of any output on the validation split.
        supernet_loss, exported_loss: validation losses, in the task's unit.
    """

    index: int
    distance: float
    supernet_loss: float
    exported_loss: float


@dataclass
class Observations:
    """Observations of one run.

    Attributes:
        private: check -> non-public attribute of the Lab that the method used -> place in its source.
        sealed: name of a sealed test file that the method reached for -> place in its source.
        moved: global random generator that was moved -> place in the method's source, or "".
        exports: one entry for each exported candidate.
        trained_tokens: target tokens of all training passes of all supernets.
        complete: whether the run has closed its Lab; a run that was ended before has only ``private``.
    """

    private: dict[str, dict[str, str]] = field(default_factory=dict)
    sealed: dict[str, str] = field(default_factory=dict)
    moved: dict[str, str] = field(default_factory=dict)
    exports: list[ExportDifference] = field(default_factory=list)
    trained_tokens: int = 0
    complete: bool = False

    def write(self, folder: Path) -> None:
        """Write ``checks.json`` into a run's folder."""
        write_text(folder / CHECKS, json.dumps(asdict(self)))

    @classmethod
    def read(cls, folder: Path) -> Observations | None:
        """Return the observations in a run's folder, or None if there are none that can be read."""
        stored = read_json(folder / CHECKS)
        if not stored:
            return None
        stored["exports"] = [ExportDifference(**entry) for entry in stored["exports"]]
        return cls(**stored)
