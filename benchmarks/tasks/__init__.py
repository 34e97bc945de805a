"""Tasks: data, a sealed test split, metrics and a search space for every tier.

A task is an object (see ``Task``) behind an entry point of the group ``supernet_bench.tasks``. Tasks of other
packages are treated like ours.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from benchmarks.api import Measurement, UsageError
from benchmarks.class_facts import module_file
from benchmarks.code_files import digest
from benchmarks.identity import TASKS
from benchmarks.records.canonical import JsonView, canonical
from benchmarks.stats.task_units import TaskUnits
from benchmarks.suggestions import unknown

if TYPE_CHECKING:
    from benchmarks.tasks.datasets import Say
    from benchmarks.tasks.tiers import Table

__all__ = [
    "DEVICES", "GROUP", "Declaration", "Family", "Prepared", "Split", "Task", "TierSettings", "code_digest",
    "data_digest", "declare", "declared", "get_task", "is_ours", "lexicon_digest", "prepare", "starting",
    "task_names", "tasks_by_name", "units_of",
]  # fmt: skip

GROUP = "supernet_bench.tasks"
DEVICES = ("cpu", "cuda")
"""Kinds of device; a tier may have different settings for each."""


# Tables and the leaderboard import this file and must not import torch, not even for its types.
Network = Any
"""A ``torch.nn.Module``."""
SearchSpace = Any
"""A ``supernet.space.SearchSpace``."""
Architecture = Any
"""A ``supernet.space.Architecture``."""
Stream = Any
"""A ``supernet.train.Stream`` of ``supernet.train.Batch``."""


@dataclass(frozen=True)
class Prepared:
    """Prepared data of a task: where it lies, its checksums and its vocabulary sizes."""

    folder: Path
    """Folder of training and validation data."""
    sealed: Path | None
    """Folder of the test split; None in every process but the scoring one."""
    digests: Mapping[str, str]
    """SHA-256 of the data by name, for the record."""
    source_vocab: int
    target_vocab: int
    start: Path | None = None
    """Folder of a pre-trained model that every network starts from; None: networks start untrained."""


class TierSettings(Protocol):
    """Settings of a tier on one kind of device; ``benchmarks.tasks.tiers.Tier`` has them and more.

    Optional attributes: ``limits`` (latencies as shares of the reference network's), ``windows`` (fewest and
    most parameters), ``decode``, ``finetune`` and ``counted``.
    """

    @property
    def space(self) -> str:
        """Name of the search space."""

    @property
    def vocab(self) -> int:
        """Size of the vocabulary, or number of classes."""

    @property
    def recipe(self) -> Table:
        """Fields of ``supernet.train.Recipe``."""

    @property
    def budget(self) -> Mapping[str, float]:
        """Allowance of tokens, evaluations, probes and seconds."""

    @property
    def settings(self) -> Table:
        """Settings for search methods."""

    @property
    def workload(self) -> Mapping[str, int]:
        """Fields of ``benchmarks.measurement.workload.Workload``."""

    @property
    def seeds_default(self) -> int:
        """Number of seeds of a command that names none."""

    @property
    def throughput(self) -> float | None:
        """Expected training tokens a second, for estimates; None if unknown."""

    @property
    def sha256(self) -> str:
        """Digest of all settings that determine a run, except the budget."""


class Family(Protocol):
    """Networks of a search space: a model family of ``supernet``."""

    space: SearchSpace

    def build(self, arch: Architecture) -> Network:
        """Return the network of one architecture, with random weights."""

    def restrict_to(self, arch: Architecture) -> Family:
        """Return the family whose only network is that of ``arch``."""

    @property
    def outside(self) -> tuple[str, ...]:
        """Prefixes of the names of parameters outside the body."""

    def collapsed(self, arch: Architecture, /) -> Family:
        """Return the family of one architecture in the form in which it is exported."""

    def extents(self, arch: Architecture, /) -> Mapping[str, tuple[int, ...]]:
        """Return name -> shape of every parameter of ``arch``."""

    def macs(self, arch: Architecture, source_len: int, target_len: int, /) -> tuple[int, int]:
        """Return the multiply-accumulates of the body and of the output layer, for one sample."""


class Split(Protocol):
    """Training, validation or test data in memory."""

    def __len__(self) -> int:
        """Return the number of items."""


class Task(Protocol):
    """Interface of a task; ``benchmarks.tasks.mt.MTTask`` implements it.

    If a tier has a table ``finetune`` with names under ``tasks``, scoring also calls the task's ``finetune``
    for each of them (see ``benchmarks.tasks.bert.BertTask``).

    ``absent_tiers`` maps a tier that users may expect to the reason why there is none.
    ``own_methods = True`` restricts a run that names no methods to the methods of the task's suite.

    An optional attribute ``units``, a ``benchmarks.stats.task_units.TaskUnits``, declares the range and
    display name of every metric, the noun for one test item and the unit of the loss. Without it ``metric``
    may take any value, an item is a sentence and the loss is in nats per token (see ``units_of``).
    """

    name: str
    suite: str
    metric: str

    def tiers(self) -> tuple[str, ...]:
        """Return the names of its tiers, smallest first."""

    def tier(self, tier: str, device: str) -> TierSettings:
        """Return the settings of a tier on a kind of device (``cpu``, ``cuda``).

        Raises:
            UsageError: the task has no such tier.
        """

    def prepare(self, tier: TierSettings, cache: Path, data_dir: Path | None, progress: Say) -> Prepared:
        """Prepare the data of a tier, or find it prepared; ``progress`` shows lines to the user."""

    def family(self, tier: TierSettings, prepared: Prepared, space: SearchSpace | None = None) -> Family:
        """Return the model family (of ``supernet``) of a space, by default the tier's."""

    def training(self, prepared: Prepared) -> Split:
        """Return the training split."""

    def batches(self, training: Split, max_tokens: int, seed: int, device: str) -> Stream:
        """Return an endless stream of ``supernet.train.Batch``; see ``supernet.train.Stream``.

        Batch ``i`` depends on the seed and ``i`` only.
        """

    def validation(self, prepared: Prepared) -> Split:
        """Return the validation split."""

    def validation_batches(self, split: Split, device: str, share: float) -> Sequence[Any]:
        """Return the first ``share`` of a split as batches, at least one, the same each time."""

    def evaluate(self, module: Network, split: Split, device: str, precision: str) -> Measurement:
        """Return the loss of a sub-network on a split; the same network gets the same loss each time."""

    def score(
        self,
        module: Network,
        prepared: Prepared,
        tier: TierSettings,
        device: str,
        precision: str,
    ) -> Table:
        """Return the scores on the sealed test split as a record keeps them.

        Returns:
            ``test``: test set -> metric -> ``value``, ``low``, ``high`` and ``signature``; ``test_loss``.
        """


class Declaration(Protocol):
    """A task that no package brings: a folder of the user's data, or a class in the user's file.

    It is pickled to the processes of a run.
    """

    name: str

    def load(self) -> Task:
        """Return the task; the same object each time in one process."""

    def code(self) -> str:
        """Return the digest of the task's code."""

    def description(self) -> JsonView:
        """Return a record's description of the task: all but places on this machine."""

    def unsealed(self) -> Declaration:
        """Return the declaration without the way to raw data, which holds the test split."""


_DECLARED: dict[str, Declaration] = {}


def declare(declaration: Declaration) -> None:
    """Make a task known to this process under its name.

    Raises:
        UsageError: an installed task has this name.
    """
    if declaration.name in _installed():
        raise UsageError(
            f"task '{declaration.name}' is an installed one: give yours another name in its class or its TOML"
        )
    _DECLARED[declaration.name] = declaration


def declared() -> tuple[Declaration, ...]:
    """Return all tasks declared in this process."""
    return tuple(_DECLARED.values())


def _installed() -> dict[str, EntryPoint]:
    return {entry.name: entry for entry in entry_points(group=GROUP)}


def task_names() -> list[str]:
    """Return the names of all installed tasks."""
    return sorted(_installed())


def get_task(name: str) -> Task:
    """Return the installed or declared task of this name.

    Raises:
        UsageError: no task has this name, or its package does not load.
    """
    if name in _DECLARED:
        return _DECLARED[name].load()
    entries = _installed()
    if name not in entries:
        raise unknown("task", name, entries, "list them with their tiers: supernet-bench list tasks")
    try:
        task: Task = entries[name].load()
    except Exception as error:  # a stranger's module may raise anything
        raise UsageError(
            f"task '{name}' does not load from {entries[name].value}: {error}\nreinstall what brings it"
        ) from error
    return task


def tasks_by_name() -> dict[str, Task | UsageError]:
    """Return every installed task by name; a broken one as the error with the reason."""
    tasks: dict[str, Task | UsageError] = {}
    for name in task_names():
        try:
            tasks[name] = get_task(name)
        except UsageError as error:
            tasks[name] = error
    return tasks


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
    """Return the digest of a task's code: its module and the modules of its package that it imports.

    Raises:
        UsageError: no task has this name, or its module does not exist.
    """
    if name in _DECLARED:
        return _DECLARED[name].code()
    entries = _installed()
    if name not in entries:
        raise unknown("task", name, entries, "list them with their tiers: supernet-bench list tasks")
    module = entries[name].value.partition(":")[0]
    file = module_file(module)
    if file is None:
        raise UsageError(f"task '{name}': its module {module} is not there; reinstall what brings it")
    return digest(file, module, TASKS if module.startswith(f"{TASKS}.") else None)


def lexicon_digest() -> dict[str, str]:
    """Return the checksum of the lexicon of generated text."""
    words = Path(__file__).parent / "grammar" / "lexicon.toml"
    return {"grammar/lexicon.toml": hashlib.sha256(words.read_bytes()).hexdigest()}


def is_ours(reader: object) -> bool:
    """Return whether a reader of raw data belongs to this project, whose code and checksums fix the data."""
    return str(getattr(reader, "__module__", "")).startswith(f"{TASKS}.")


def prepare(task: Task, tier: TierSettings, cache: Path, data_dir: Path | None, say: Say) -> Prepared:
    """Return the prepared data of a task's tier; each version of a plug-in's code has a cache of its own.

    Raises:
        UsageError: data is missing or differs from its checksum.
    """
    folder = cache if _is_own(task) else cache / f"{task.name}-{code_digest(task.name)[:16]}"
    return task.prepare(tier, folder, data_dir, say)


def data_digest(task: Task, tier: TierSettings, cache: Path, data_dir: Path | None, say: Say) -> str:
    """Return the digest of the data that a run would read.

    Declared checksums determine it for our own tasks, whose data is not read. A plug-in's data is prepared.

    Raises:
        UsageError: a plug-in's data is missing or differs from its checksum.
    """
    if _is_own(task):
        digests = task.declared(tier)  # type: ignore[attr-defined]
    else:
        digests = prepare(task, tier, cache, data_dir, say).digests
    return hashlib.sha256(canonical(dict(digests))).hexdigest()


def _is_own(task: Task) -> bool:
    entry = _installed().get(task.name)
    return entry is not None and entry.value.startswith(f"{TASKS}.")


def starting(task: Task, folder: Path | None) -> Task:
    """Return the task with all networks starting from the pre-trained model in ``folder``; None: unchanged.

    Raises:
        UsageError: the task's networks cannot start from a model, or the folder does not hold one.
    """
    if folder is None:
        return task
    if not hasattr(task, "starting"):
        raise UsageError(
            f"--start-from: the networks of task '{task.name}' start from no model of transformers"
        )
    started: Task = task.starting(folder)
    return started
