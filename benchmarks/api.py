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

import math
import re
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
class Option:
    """One option of a method: its name, type, default, allowed values, and a line of help.

    Declared in the class body, with literals or names of constants, so that a plan reads it without executing
    the file. ``lab.options[name]`` is always there and of type ``kind``.
    """

    name: str
    kind: type
    """``str``, ``int``, ``float`` or ``bool``."""
    default: Any
    """None: the method computes it; the help states how."""
    choices: tuple[Any, ...] = ()
    """The only values; empty: any within ``low`` and ``high``."""
    low: float | None = None
    high: float | None = None
    help: str = ""
    idle: tuple[str, Any] | None = None
    """Name and value of another option under which this one changes nothing."""

    def __post_init__(self) -> None:
        """Refuse a declaration that no value could meet, or that explains nothing."""
        if not (isinstance(self.name, str) and re.fullmatch(r"[a-z]\w*", self.name)):
            raise ValueError(f"option {self.name!r}: its name is lower-case letters, digits and _")
        if self.kind not in (str, int, float, bool):
            raise ValueError(f"option {self.name}: its type is str, int, float or bool, not {self.kind!r}")
        if not self.help.strip() or "\n" in self.help:
            raise ValueError(f"option {self.name}: help takes one line")
        if self.default is not None:
            self.check(self.default)

    @property
    def allowed(self) -> str:
        """The allowed values in words."""
        if self.choices:
            return " | ".join(str(choice) for choice in self.choices)
        if self.kind in (bool, str):
            return "true | false" if self.kind is bool else "text"
        ends = [f"at least {self.low:g}"] if self.low is not None else []
        ends += [f"at most {self.high:g}"] if self.high is not None else []
        return ("whole number" if self.kind is int else "number") + (", " + ", ".join(ends) if ends else "")

    def check(self, value: Any) -> Any:
        """Return a typed value as the method receives it.

        Raises:
            ValueError: it is of another type, not finite, or not allowed.
        """
        if self.kind is float and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        fits = isinstance(value, self.kind) and isinstance(value, bool) == (self.kind is bool)
        if fits and self.choices:
            fits = value in self.choices
        elif fits and isinstance(value, int | float):
            fits = math.isfinite(value) and not (
                (self.low is not None and value < self.low) or (self.high is not None and value > self.high)
            )
        if not fits:
            raise ValueError(f"{self.name}={value}: allowed is {self.allowed}")
        return value


@dataclass(frozen=True)
class Need:
    """The least allowance of one currency that a method can work with; a plan below it is refused.

    Declared in the class body as ``Option`` is.
    """

    currency: str
    """``evaluations`` or ``probes``."""
    least: int | Mapping[str, int]
    """One number, or the task's search space -> number where it depends on that."""
    each: bool = False
    """For each deployment target, not in all."""
    timed: bool = False
    """Only where a deployment target is a latency."""
    why: str = ""

    def __post_init__(self) -> None:
        """Refuse a currency that is not counted, or a need of nothing."""
        if self.currency not in ("evaluations", "probes"):
            raise ValueError(f"need of {self.currency!r}: evaluations or probes")
        counts = [*self.least.values()] if isinstance(self.least, Mapping) else [self.least]
        if not (counts and all(isinstance(n, int) and n >= 1 for n in counts) and self.why.strip()):
            raise ValueError(f"need of {self.currency}: at least 1, and a reason (why)")


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
class Window:
    """A size that a deployment target asks for: ``low`` to ``high`` parameters, embeddings included."""

    low: int
    high: int

    def __str__(self) -> str:
        return f"{self.low / 1e6:g}-{self.high / 1e6:g} M"


@dataclass(frozen=True)
class Measurement:
    """One validation evaluation. ``loss`` is nats per target token, teacher-forced."""

    loss: float
    metrics: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Candidate:
    """One exported sub-network: what the harness will score, time and count.

    Made by ``Lab.candidate`` only. ``limit_ms`` is the one of ``Lab.limits`` it was searched for
    (None: no limit); ``origin`` says where its weights come from, such as ``inherited``,
    ``continued`` or ``scratch``.
    """

    index: int
    architecture: Mapping[str, Any]
    policy: Mapping[str, str] | None
    origin: str
    limit_ms: float | Window | None
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
    limits: tuple[float | Window, ...]
    """One per deployment target: a latency in milliseconds on this profile, or a window of sizes."""
    options: Mapping[str, Any]
    """Every option that the method declares, typed: as given, else its default."""
    given: tuple[tuple[float | Window | None, Any], ...]
    """``(limit, architecture)`` of the run this one depends on (``Method.follows``)."""
    scratch: Path
    precisions: tuple[str, ...]
    """What a layer of a policy may be in the runtime that serves this task's networks."""
    say: Any
    """Takes one line for the user and the log."""

    @abstractmethod
    def supernet(self, source: Any = None, only: Any = None, space: Any = None) -> Any:
        """A fresh ``supernet.elastic.SuperNet`` of the task's family, seeded, on ``device``.

        Args:
            source: ``(family, generator, device) -> WeightSource``; default ``SharedSlices``.
            only: an architecture: a network of just that shape, for training it alone.
            space: a ``SearchSpace`` of the method's own; what it has drawn, all of the Lab takes.
        """

    @abstractmethod
    def inherit(self, index: int = 0) -> Any:
        """Entry ``index`` of ``given`` as its run exported it: a network of just that shape.

        Whoever takes weights pays for them: at the first call all that the run they come from spent
        of tokens, evaluations and probes is charged. For methods that declare ``inherits``.
        """

    @abstractmethod
    def train_batches(self, share: float = 1.0, passes: float = 1) -> TrainBatches:
        """Batches for ``share`` of the *total* token allowance, ``passes`` passes over each.

        The network's own meter charges every pass beyond the declared ones.
        """

    @abstractmethod
    def evaluate(
        self,
        net: Any,
        architecture: Any,
        objective: Any = None,
        share: float = 1.0,
        policy: Mapping[str, str] | None = None,
    ) -> Measurement:
        """Validation loss of one sub-network with the weights ``net`` gives it; one evaluation.

        Args:
            policy: of low precision, as in ``candidate``; computed by
            ``supernet.quantization.fake_quantize``, on ``device``.
            objective: a ``supernet.train.Objective`` to judge by instead of the task's own loss.
            share: of the validation data, the first part, charged as that share of an evaluation.
        """

    @abstractmethod
    def validation_batches(self, share: float) -> Any:
        """The first ``share`` of the validation data as batches, for losses of a method's own.

        That share of an evaluation is charged for one pass over them; charge ``budget`` for what you run
        beyond it.
        """

    @abstractmethod
    def probe(self, architecture: Any, policy: Mapping[str, str] | None = None) -> float:
        """Latency in milliseconds of the exported sub-network, random weights; one probe.

        Timed on this machine; in translation's smoke tier counted, so that no other program decides."""

    @abstractmethod
    def energy(self, architecture: Any, policy: Mapping[str, str] | None = None) -> float:
        """Joules that the machine takes for one inference of the exported sub-network, random weights; one
        probe. Where it comes from, a meter or codecarbon's estimate, is said and stands in the record."""

    @abstractmethod
    def bytes(self, architecture: Any, policy: Mapping[str, str] | None = None) -> int:
        """Of the exported sub-network's weights as they are deployed; free of charge."""

    @abstractmethod
    def units(self, architecture: Any) -> Mapping[str, tuple[int, ...]]:
        """Every layer that a policy may name, with the shape of its weight; free of charge."""

    @abstractmethod
    def size(self, architecture: Any) -> int:
        """Parameters of the exported sub-network, embeddings included; free of charge."""

    @abstractmethod
    def fits(self, architecture: Any, limit: Any) -> bool:
        """Whether a sub-network meets one of ``limits``: sizes are counted, free of charge; latency
        takes a probe."""

    @abstractmethod
    def candidate(
        self,
        net: Any,
        architecture: Any,
        policy: Mapping[str, str] | None = None,
        *,
        origin: str = "inherited",
        limit_ms: float | Window | None = None,
    ) -> Candidate:
        """Export one sub-network as the run's proposal. Validated by the harness, off the books.

        Under a ``policy`` (linear or convolution -> precision, see ``units`` and ``precisions``) what is
        validated, scored and timed is the network in that precision.
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
    its run comes first; with ``inherits``, their weights too (``lab.inherit``). ``suite``: the only suite
    that it is for. ``options``: those it takes; one that is not declared is refused. ``needs``: the least
    allowances. ``trials``: sets of options, literal, to be tried under external tuning. ``url``: where others
    get its file, of this very version, where neither a package nor a repository brings it.
    """

    name: ClassVar[str]
    version: ClassVar[str] = "1"
    summary: ClassVar[str] = ""
    follows: ClassVar[str | None] = None
    inherits: ClassVar[bool] = False
    suite: ClassVar[str | None] = None
    options: ClassVar[tuple[Option, ...]] = ()
    needs: ClassVar[tuple[Need, ...]] = ()
    trials: ClassVar[tuple[Mapping[str, Any], ...]] = ()
    url: ClassVar[str] = ""

    def supports(self, task: TaskInfo) -> Skip | None:
        """None when the method applies to ``task``, else the reason why not."""
        other = Skip(f"{self.name} is for the suite {self.suite}: supernet-bench run {self.suite}")
        return None if self.suite in (None, task.suite) else other

    @abstractmethod
    def search(self, lab: Lab) -> Iterable[Candidate]:
        """Yield candidates. What was yielded before the budget ended counts."""
