"""The stable surface between a search method and the harness. Standard library only.

A method proposes candidates; the harness measures them. A method file imports this module and
``supernet``, nothing else of the project::

    class Mine(Method):
        name = "mine"

        def search(self, lab):
            net = lab.supernet()
            ...train on ``lab.train_batches()``, score with ``lab.evaluate(net, arch)``...
            yield lab.candidate(net, arch)
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

LIMITED = ("tokens", "evaluations", "probes", "seconds")
"""Currencies with an allowance: training tokens (one forward-backward pass over one target token, of an
encoder over one input token, costs one), validation evaluations, latency probes, wall-clock seconds."""

TALLIED = ("predictor_fits", "predictor_calls", "joules")
"""Currencies that are recorded and shown, but have no allowance."""


class UsageError(Exception):
    """A mistake of the user's: the message names the value, what is allowed and what to type."""


class BudgetExhausted(Exception):
    """A charge that would pass the allowance was refused. A method may let it rise."""

    def __init__(self, kind: str, asked: float, left: float) -> None:
        said = f"asked for {asked:g}, {left:g} left" if asked else "the allowance is spent"
        super().__init__(f"{kind}: {said}")
        self.kind, self.asked, self.left = kind, asked, left


class ProfileMismatch(UsageError):
    """This machine is not the declared profile; the message lists every difference."""


class InvalidRecord(UsageError):
    """A result record is not what its schema or its own digest says; names file and field."""


@dataclass(frozen=True)
class Skip:
    """Why a method does not apply to a task."""

    reason: str


@dataclass(frozen=True)
class TaskInfo:
    """What a method may know of its task: never a test sentence."""

    name: str
    suite: str
    tier: str
    metric: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    """The tier's settings for search methods: population, generations, probes, shares..."""


@dataclass(frozen=True)
class Measurement:
    """One validation evaluation. ``loss`` is nats per target token, teacher-forced."""

    loss: float
    metrics: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Candidate:
    """One exported sub-network: what the harness will score, time and count.

    Made by ``Lab.candidate`` only. ``limit_ms`` is the latency limit it was searched for (None:
    no limit); ``origin`` says where its weights come from, such as ``inherited``, ``continued``
    or ``scratch``.
    """

    index: int
    architecture: Mapping[str, Any]
    policy: Mapping[str, str] | None
    origin: str
    limit_ms: float | None
    valid: Measurement
    weights_sha256: str
    path: Path


class Budget(ABC):
    """The method's view of its ledger."""

    @abstractmethod
    def total(self, kind: str) -> float:
        """The allowance of one of ``LIMITED``."""

    @abstractmethod
    def spent(self, kind: str) -> float:
        """What has been charged so far."""

    @abstractmethod
    def charge(self, kind: str, amount: float = 1) -> None:
        """Charge something the harness cannot see by itself (a predictor fit or its calls).

        Raises:
            BudgetExhausted: the charge would pass the allowance; nothing is charged.
        """

    def left(self, kind: str) -> float:
        """What may still be charged, never negative."""
        return max(0.0, self.total(kind) - self.spent(kind))


class Checkpoint(ABC):
    """Where a long phase keeps its state. The ledger is saved and restored with it, so that a
    resumed run has charged exactly what an uninterrupted one has."""

    @abstractmethod
    def due(self) -> bool:
        """True when it is time to save; the harness decides, not the method."""

    @abstractmethod
    def save(self, state: Mapping[str, Any]) -> None:
        """Write ``state`` (nested dicts of tensors, numbers, strings) atomically."""

    @abstractmethod
    def load(self) -> dict[str, Any] | None:
        """The last saved state, or None on a fresh start."""


class TrainBatches(ABC):
    """Training batches within an allowance, in an order fixed by the seed.

    Iterating charges ``passes`` tokens per target token before a batch is handed out and ends
    when the share is spent. ``total`` is the share in tokens; ``spent`` what has been used of it.
    """

    total: float
    spent: float

    @abstractmethod
    def __iter__(self) -> Iterator[Any]: ...

    @abstractmethod
    def state(self) -> dict[str, Any]:
        """What ``restore`` needs to go on after the last batch handed out."""

    @abstractmethod
    def restore(self, state: Mapping[str, Any]) -> None: ...


class Lab(ABC):
    """All that a method is given. Anything that costs is charged here."""

    task: TaskInfo
    space: Any
    """A ``supernet.space.SearchSpace``."""
    recipe: Any
    """The tier's ``supernet.train.Recipe``: the same for every method."""
    seed: int
    rng: Any
    """A ``numpy.random.Generator`` derived from the run's seed."""
    device: str
    budget: Budget
    limits: tuple[float, ...]
    """Latency limits in milliseconds on this profile, one per deployment target."""
    options: Mapping[str, Any]
    """The method's own options, as given on the command line or in the tier."""
    given: tuple[tuple[float | None, Any], ...]
    """``(limit_ms, architecture)`` of the run this one depends on (``Method.follows``)."""
    scratch: Path

    @abstractmethod
    def supernet(self, source: Any = None, only: Any = None) -> Any:
        """A fresh ``supernet.elastic.SuperNet`` of the task's family, seeded, on ``device``.

        Args:
            source: ``(family, generator, device) -> WeightSource``; default ``SharedSlices``.
            only: an architecture: a network of just that shape, for training it alone.
        """

    @abstractmethod
    def train_batches(self, share: float = 1.0, passes: int = 1) -> TrainBatches:
        """Batches for ``share`` of the *total* token allowance, ``passes`` passes over each.

        The network's own meter charges every pass beyond the declared ones.
        """

    @abstractmethod
    def evaluate(self, net: Any, architecture: Any) -> Measurement:
        """Validation loss of one sub-network with the weights ``net`` gives it; one evaluation."""

    @abstractmethod
    def probe(self, architecture: Any) -> float:
        """Latency of the exported sub-network, random weights, on the scale of ``limits``; one probe."""

    @abstractmethod
    def candidate(
        self,
        net: Any,
        architecture: Any,
        policy: Mapping[str, str] | None = None,
        *,
        origin: str = "inherited",
        limit_ms: float | None = None,
    ) -> Candidate:
        """Export one sub-network as the run's proposal. Validated by the harness, off the books.

        Under a ``policy`` (linear layer -> precision, see ``supernet.quantize``) what is validated, scored
        and timed is the network in that precision.
        """

    @abstractmethod
    def checkpoint(self, name: str) -> Checkpoint:
        """A named place for the state of a long phase."""

    @abstractmethod
    def phase(self, name: str) -> AbstractContextManager[None]:
        """Everything charged inside is booked under ``name``."""

    @abstractmethod
    def progress(self, done: float, total: float, note: str = "") -> None:
        """Report progress of the current phase; drives the bar and its estimate."""


class Method(ABC):
    """A search method: one class, one file, no registration.

    ``follows`` names a method whose candidates' architectures this one is given (as ``lab.given``):
    its run comes first. ``suite``: the only suite that it is for. ``trials``: sets of options, literal, to
    be tried under external tuning.
    """

    name: ClassVar[str]
    version: ClassVar[str] = "1"
    summary: ClassVar[str] = ""
    follows: ClassVar[str | None] = None
    suite: ClassVar[str | None] = None
    trials: ClassVar[tuple[Mapping[str, Any], ...]] = ()

    def supports(self, task: TaskInfo) -> Skip | None:
        """None when the method applies to ``task``, else the reason why not."""
        other = Skip(f"{self.name} is for the suite {self.suite}: supernet-bench run {self.suite}")
        return None if self.suite in (None, task.suite) else other

    @abstractmethod
    def search(self, lab: Lab) -> Iterable[Candidate]:
        """Yield candidates. What was yielded before the budget ended counts."""
