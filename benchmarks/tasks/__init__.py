"""Tasks: data, a sealed test split, a quality metric and a search space for every tier.

A task is an object (see ``Task``) behind an entry point of the group ``supernet_bench.tasks``, so that
other people's tasks stand beside ours.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from benchmarks.api import Measurement, UsageError
from benchmarks.identity import TASKS
from benchmarks.records.canonical import canonical
from benchmarks.registry import digest, module_file, unknown
from benchmarks.stats.task_units import TaskUnits

if TYPE_CHECKING:
    from benchmarks.tasks.datasets import Say

__all__ = [
    "DEVICES", "GROUP", "Prepared", "Task", "code_digest", "data_digest", "get_task", "is_ours",
    "lexicon", "prepare", "starting", "task_names", "units_of",
]  # fmt: skip

GROUP = "supernet_bench.tasks"
DEVICES = ("cpu", "cuda")
"""Kinds of device that a tier may have numbers of its own for."""


@dataclass(frozen=True)
class Prepared:
    """A task's data, ready to train on. Of the test split it knows at most where it is."""

    folder: Path
    """Training and validation data."""
    sealed: Path | None
    """The test split, in another place; None for any process but the one that scores."""
    digests: Mapping[str, str]
    """SHA-256 of the data by name, for the record."""
    source_vocab: int
    target_vocab: int
    start: Path | None = None
    """Folder of a pre-trained model that every network starts from."""


class Task(Protocol):
    """What the harness asks of a task; ``benchmarks.tasks.mt.MTTask`` is one.

    Where a tier has a table ``finetune`` with names under ``tasks``, scoring also calls the task's
    ``finetune`` for each of them, as ``benchmarks.tasks.bert.BertTask`` has it.

    A task with ``own_methods = True`` is run by the methods of its suite alone where none are named.

    An optional attribute ``units``, a ``benchmarks.stats.task_units.TaskUnits``, declares the range and
    display name of every metric, the noun for one test item and the unit of the loss. Without it ``metric``
    may take any value, an item is a sentence and the loss is in nats per token (see ``units_of``).
    """

    name: str
    suite: str
    metric: str

    def tiers(self) -> tuple[str, ...]:
        """The tiers it has."""

    def tier(self, tier: str, device: str) -> Any:
        """The settings of a tier on a kind of device (``cpu``, ``cuda``).

        Raises UsageError for a tier that it does not have.
        """

    def prepare(self, tier: Any, cache: Path, data_dir: Path | None, progress: Say) -> Prepared:
        """The data of a tier, made once and then found; ``progress`` takes lines for the user."""

    def family(self, tier: Any, prepared: Prepared, space: Any = None) -> Any:
        """All sub-networks of a space, by default the tier's: a model family of ``supernet``."""

    def training(self, prepared: Prepared) -> Any:
        """The training split."""

    def batches(self, training: Any, max_tokens: int, seed: int, device: str) -> Any:
        """Training batches without end; ``supernet.train.Batch`` says what one is. Batch ``i`` depends on
        the seed and ``i`` alone, ``state()`` and ``restore(state)`` stop and go on."""

    def validation(self, prepared: Prepared) -> Any:
        """The validation split."""

    def validation_batches(self, pairs: Any, device: str, share: float) -> list[Any]:
        """The first ``share`` of a split as batches, at least one, the same each time."""

    def evaluate(self, module: Any, pairs: Any, device: str, precision: str) -> Measurement:
        """The loss of a sub-network on a split, exact and deterministic."""

    def score(
        self, module: Any, prepared: Prepared, tier: Any, device: str, precision: str
    ) -> dict[str, Any]:
        """Quality on the sealed test split, as a record keeps it; for the scoring process only."""


def _installed() -> dict[str, EntryPoint]:
    return {entry.name: entry for entry in entry_points(group=GROUP)}


def task_names() -> list[str]:
    """Every installed task."""
    return sorted(_installed())


def get_task(name: str) -> Task:
    """The task called ``name``.

    Raises:
        UsageError: there is none, or what brings it is broken.
    """
    entries = _installed()
    if name not in entries:
        raise unknown("task", name, entries, "list them with their tiers: supernet-bench list tasks")
    try:
        task: Task = entries[name].load()
    except (ImportError, AttributeError) as error:
        raise UsageError(
            f"task '{name}' does not load from {entries[name].value}: {error}\nreinstall what brings it"
        ) from error
    return task


def units_of(task: Task) -> TaskUnits:
    """Return the units that a task declares, or the defaults for its ``metric``.

    Raises:
        UsageError: ``metric`` is not the first metric of ``units``.
    """
    units: TaskUnits | None = getattr(task, "units", None)
    if units is None:
        return TaskUnits.default(task.metric)
    if units.metric != task.metric:
        raise UsageError(
            f"task '{task.name}': its metric is '{task.metric}', the first of its units '{units.metric}'\n"
            "declare the deciding metric first in units"
        )
    return units


def code_digest(name: str) -> str:
    """Return the digest of a task's code: its module and the modules of its own package that it brings.

    Raises:
        UsageError: there is no such task, or its module is not there.
    """
    entries = _installed()
    if name not in entries:
        raise unknown("task", name, entries, "list them with their tiers: supernet-bench list tasks")
    module = entries[name].value.partition(":")[0]
    file = module_file(module)
    if file is None:
        raise UsageError(f"task '{name}': its module {module} is not there; reinstall what brings it")
    return digest(file, module, TASKS if module.startswith(f"{TASKS}.") else None)


def lexicon() -> dict[str, str]:
    """Return the checksum of the words that generated text is made of."""
    words = Path(__file__).parent / "grammar" / "lexicon.toml"
    return {"grammar/lexicon.toml": hashlib.sha256(words.read_bytes()).hexdigest()}


def is_ours(reader: object) -> bool:
    """Return whether a reader of raw data is this project's: code and checksums then fix the data."""
    return str(getattr(reader, "__module__", "")).startswith(f"{TASKS}.")


def prepare(task: Task, tier: Any, cache: Path, data_dir: Path | None, say: Say) -> Prepared:
    """Return the data of a task's tier; a plug-in's cache is apart for each version of its code.

    Raises:
        UsageError: the data is missing or not what it should be.
    """
    place = cache if _is_own(task) else cache / f"{task.name}-{code_digest(task.name)[:16]}"
    return task.prepare(tier, place, data_dir, say)


def data_digest(task: Task, tier: Any, cache: Path, data_dir: Path | None, say: Say) -> str:
    """Return the digest of the data that a run would read.

    Our own tasks' data follow from declared checksums, without reading them; a plug-in's are read.

    Raises:
        UsageError: a plug-in's data is missing or not what it should be.
    """
    if _is_own(task):
        found = task.declared(tier)  # type: ignore[attr-defined]
    else:
        found = prepare(task, tier, cache, data_dir, say).digests
    return hashlib.sha256(canonical(dict(found))).hexdigest()


def _is_own(task: Task) -> bool:
    entry = _installed().get(task.name)
    return entry is not None and entry.value.startswith(f"{TASKS}.")


def starting(task: Task, folder: Path | None) -> Any:
    """The task, where all networks start from the pre-trained model in ``folder``; without one, itself.

    Raises:
        UsageError: its networks start from no such model, or the folder is none.
    """
    if folder is None:
        return task
    if not hasattr(task, "starting"):
        raise UsageError(
            f"--start-from: the networks of task '{task.name}' start from no model of transformers"
        )
    return task.starting(folder)
