"""Stable interface between a search method and the harness. Standard library only.

A method proposes candidates; the harness alone measures them. A method's file imports this module and
``supernet``, nothing else of the project::

    class Mine(Method):
        name = "mine"

        def search(self, lab):
            net = lab.supernet()
            ...train on ``lab.train_batches()``, score with ``lab.evaluate(net, architecture)``...
            yield lab.candidate(net, architecture, target=lab.limits[0])
"""

from __future__ import annotations

import math
import re
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

BUDGETED_KINDS = ("tokens", "evaluations", "probes", "seconds")
"""Kinds of cost with an allowance: training tokens, validation evaluations, latency probes, seconds.

One forward-backward pass over one target token costs one token; of an encoder, over one input token. Seconds
are wall-clock time.
"""

UNLIMITED_KINDS = ("predictor_fits", "predictor_calls", "joules", "updates")
"""Kinds of cost that are recorded and shown, but have no allowance.

An update is one step of an optimiser by the tier's recipe: the batches of a training over those of one step.
"""

ORIGINS = ("inherited", "continued", "retrained", "scratch", "distilled", "int8")
"""Allowed origins of a candidate's weights.

``inherited`` as they stand in the supernet; ``continued`` trained on from there; ``retrained`` anew after the
search; ``scratch`` trained alone; ``distilled`` from a teacher; ``int8`` quantized after training.
"""

# Objects of other libraries, which this module does not import: each alias stands for the class in its text.
Network = Any
"""A ``supernet.elastic.SuperNet``."""
SearchSpace = Any
"""A ``supernet.space.SearchSpace``."""
Recipe = Any
"""A ``supernet.train.Recipe``."""
Objective = Any
"""A ``supernet.train.Objective``."""
Batch = Any
"""A ``supernet.train.Batch``."""
WeightSource = Any
"""A ``supernet.weights.WeightSource``."""
Generator = Any
"""A ``numpy.random.Generator``."""

Architecture = Mapping[str, int | Sequence[int]]
"""A ``supernet.space.Architecture``, or plain values of its fields: an integer, or one integer a layer."""
Policy = Mapping[str, str]
"""Layer -> precision."""
OptionValue = str | int | float | bool | None
"""Value of an option; None if the method computes it."""
OptionValues = Mapping[str, Any]
"""Name -> value of the options of a method, in the type that the method declares."""
State = dict[str, Any]
"""State of a phase: nested dicts of tensors, numbers and texts."""

OLD_TARGET = "limit_ms of a candidate is called target now; the old name works for one release"
"""Message of the deprecation warning."""


class UsageError(Exception):
    """Mistake of the user: the message names the value, the allowed ones and the command to type next."""


class BudgetExhausted(Exception):
    """Refusal of a charge beyond the allowance. A method may let it rise: its candidates count.

    Attributes:
        kind: one of ``BUDGETED_KINDS``.
        asked: refused amount; 0 if the seconds are spent.
        left: remaining amount.
    """

    def __init__(self, kind: str, asked: float, remaining: float) -> None:
        reason = f"asked for {asked:g}, {remaining:g} left" if asked else "the allowance is spent"
        super().__init__(f"{kind}: {reason}")
        self.kind, self.asked, self.left = kind, asked, remaining


class ProfileMismatchError(UsageError):
    """Mismatch of this machine and the declared hardware profile; the message lists every difference."""


class InvalidRecordError(UsageError):
    """Violation of a record's schema or of its own digest; the message names file and field."""


@dataclass(frozen=True)
class Skip:
    """Reason why a method does not apply to a task; ``Method.supports`` returns it."""

    reason: str


@dataclass(frozen=True)
class Option:
    """Declaration of one option of a method: name, type, default, allowed values and a line of help.

    It stands in the class body, with literals or names of constants, so that a plan reads it without
    executing the file. ``lab.options[name]`` always exists and has the type ``kind``.
    """

    name: str
    kind: type
    """``str``, ``int``, ``float`` or ``bool``."""
    default: OptionValue
    """Value if none is given; None if the method computes it, as the help states."""
    choices: tuple[OptionValue, ...] = ()
    """Allowed values; if empty, any value from ``low`` to ``high``."""
    low: float | None = None
    high: float | None = None
    help: str = ""
    idle: tuple[str, OptionValue] | None = None
    """Name and value of another option under which this one has no effect."""

    def __post_init__(self) -> None:
        """Check the declaration.

        Raises:
            ValueError: a malformed name, another type, no help, or a default that is not allowed.
        """
        if not (isinstance(self.name, str) and re.fullmatch(r"[a-z]\w*", self.name)):
            raise ValueError(f"option {self.name!r}: its name is lower-case letters, digits and _")
        if self.kind not in (str, int, float, bool):
            raise ValueError(f"option {self.name}: its type is str, int, float or bool, not {self.kind!r}")
        faults = []
        if self.default is not None:
            try:
                self.check(self.default)
            except ValueError as error:
                faults.append(f"default {error}")
        if not self.help.strip() or "\n" in self.help:
            faults.append('help takes one line: help="..."')
        if faults:
            raise ValueError(f"option {self.name}: {'; '.join(faults)}")

    @property
    def allowed(self) -> str:
        """Allowed values in words."""
        if self.choices:
            return " | ".join(str(choice) for choice in self.choices)
        if self.kind in (bool, str):
            return "true | false" if self.kind is bool else "text"
        ends = [f"at least {self.low:g}"] if self.low is not None else []
        ends += [f"at most {self.high:g}"] if self.high is not None else []
        return ("whole number" if self.kind is int else "number") + (", " + ", ".join(ends) if ends else "")

    def check(self, value: object) -> OptionValue:
        """Return a typed value as the method receives it.

        Raises:
            ValueError: the value has another type, is not finite, or is not allowed.
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
        if not (fits and isinstance(value, str | int | float | bool)):
            raise ValueError(f"{self.name}={value}: allowed is {self.allowed}")
        return value


@dataclass(frozen=True)
class Need:
    """Smallest allowance of one kind that a method can work with; a plan below it is refused.

    Declared in the class body like ``Option``.
    """

    kind: str
    """``evaluations`` or ``probes``."""
    least: int | Mapping[str, int]
    """One number, or name of the search space -> number if it depends on the space."""
    each: bool = False
    """True if ``least`` counts for each deployment target, not for the run."""
    timed: bool = False
    """True if the need arises only for deployment targets that are latencies."""
    why: str = ""
    """Purpose of the allowance, for the message."""

    def __post_init__(self) -> None:
        """Check the declaration.

        Raises:
            ValueError: another kind, an amount below 1, or no reason.
        """
        if self.kind not in ("evaluations", "probes"):
            raise ValueError(f"need of {self.kind!r}: evaluations or probes")
        counts = [*self.least.values()] if isinstance(self.least, Mapping) else [self.least]
        if not (counts and all(isinstance(n, int) and n >= 1 for n in counts) and self.why.strip()):
            raise ValueError(f"need of {self.kind}: at least 1, and a reason (why)")


@dataclass(frozen=True)
class TaskInfo:
    """Facts about a task that a method may use; no test data."""

    name: str
    suite: str
    tier: str
    metric: str
    settings: OptionValues = field(default_factory=dict)
    """Settings of the tier for search methods: population, generations, probes, shares and the like."""


@dataclass(frozen=True)
class Window:
    """Deployment target by size: ``low`` to ``high`` parameters, embeddings included."""

    low: int
    high: int

    def __str__(self) -> str:
        return f"{self.low / 1e6:g}-{self.high / 1e6:g} M"


@dataclass(frozen=True)
class Measurement:
    """Result of one validation evaluation.

    ``loss`` is in the task's unit, usually nats a target token, teacher-forced.
    """

    loss: float
    metrics: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Candidate:
    """One exported sub-network that the harness scores, times and counts; made by ``Lab.candidate`` only.

    Attributes:
        index: number of the candidate in its run, from 0.
        policy: layer -> precision; None for float32.
        origin: training of its weights, one of ``ORIGINS``.
        target: the one of ``Lab.limits`` that it was searched for; None if it was searched for none.
        path: folder of the exported sub-network.
    """

    index: int
    architecture: Architecture
    policy: Policy | None
    origin: str
    target: float | Window | None
    valid: Measurement
    weights_sha256: str
    path: Path

    @property
    def limit_ms(self) -> float | Window | None:
        """Former name of ``target``."""
        warnings.warn(OLD_TARGET, DeprecationWarning, stacklevel=2)
        return self.target


class Budget(ABC):
    """A run's allowances and charges, as its method uses them; ``kind`` is one of ``BUDGETED_KINDS``."""

    @abstractmethod
    def total(self, kind: str) -> float:
        """Return the allowance.

        Raises:
            ValueError: the kind has no allowance.
        """

    @abstractmethod
    def spent(self, kind: str) -> float:
        """Return the amount charged so far."""

    @abstractmethod
    def charge(self, kind: str, amount: float = 1) -> None:
        """Charge work that the harness cannot observe, such as a predictor's fit or its calls.

        Raises:
            BudgetExhausted: the charge would exceed the allowance; nothing is charged.
            ValueError: no such kind, or an amount that is negative or not finite.
        """

    def left(self, kind: str) -> float:
        """Return the amount that may still be charged, from 0 up."""
        return max(0.0, self.total(kind) - self.spent(kind))


class Checkpoint(ABC):
    """Stored state of a long phase.

    The ledger is saved and restored with it, so that a resumed run has the charges of an uninterrupted one.
    """

    @abstractmethod
    def due(self) -> bool:
        """Return whether it is time to save; the harness decides."""

    @abstractmethod
    def save(self, state: State) -> None:
        """Write ``state`` atomically: nested dicts of tensors, numbers and strings."""

    @abstractmethod
    def load(self) -> State | None:
        """Return the last saved state; None on a fresh start."""


class TrainBatches(ABC):
    """Training batches within an allowance, in an order fixed by the seed.

    Iteration charges ``passes`` tokens per target token before it yields a batch, and ends when the share is
    spent.

    Attributes:
        total: the share, in tokens.
        spent: tokens charged so far.
    """

    total: float
    spent: float

    @abstractmethod
    def __iter__(self) -> Iterator[Batch]: ...

    @abstractmethod
    def state(self) -> State:
        """Return the state from which ``restore`` continues after the last batch yielded."""

    @abstractmethod
    def restore(self, state: State) -> None:
        """Continue after the batch at which ``state`` was taken."""


class Lab(ABC):
    """Interface of the harness to a running method. Every cost is charged here."""

    task: TaskInfo
    space: SearchSpace
    """Search space of the task."""
    recipe: Recipe
    """Training recipe of the tier: the same for every method."""
    seed: int
    rng: Generator
    """Random generator derived from the run's seed."""
    device: str
    budget: Budget
    limits: tuple[float | Window, ...]
    """Deployment targets: latencies in milliseconds on this profile, or windows of sizes."""
    options: OptionValues
    """Values of all options that the method declares, typed."""
    given: tuple[tuple[float | Window | None, Architecture], ...]
    """``(target, architecture)`` of the candidates of the run that this one follows (``Method.follows``)."""
    scratch: Path
    """Folder for files of the method's own."""
    precisions: tuple[str, ...]
    """Precisions that a policy may assign to a layer, in the runtime that serves this task's networks.

    ``int8s`` takes its activation ranges from the training batches that a network keeps, charged each time as
    a forward pass over them: ``net.keep_batches(lab.train_batches(share), most=4)``.
    """
    say: Callable[[str], None]
    """Function that shows one line to the user and writes it to the log."""

    @abstractmethod
    def supernet(
        self,
        source: Callable[..., WeightSource] | None = None,
        only: Architecture | None = None,
        space: SearchSpace | None = None,
    ) -> Network:
        """Return a fresh supernet of the task's family, seeded, on ``device``.

        In a tier with a parent it starts from the parent, whose cost is then charged; not so with ``only``.

        Args:
            source: ``(family, generator, device) -> WeightSource``; by default ``SharedSlices``.
            only: an architecture, for a network of just that shape that is trained alone.
            space: a search space of the method's own, whose architectures the whole Lab then accepts.
        """

    @abstractmethod
    def inherit(self, index: int = 0) -> Network:
        """Return entry ``index`` of ``given`` with the weights that its run exported, in just that shape.

        Inherited weights are charged: the first call costs all tokens, evaluations and probes that the run
        they come from spent. For methods that declare ``inherits``.

        Raises:
            BudgetExhausted: the allowance does not cover that.
        """

    @abstractmethod
    def train_batches(self, share: float = 1.0, passes: float = 1) -> TrainBatches:
        """Return batches for ``share`` of the *total* token allowance.

        Args:
            passes: forward-backward passes over each batch; the network's meter charges every further one.
        """

    @abstractmethod
    def evaluate(
        self,
        net: Network,
        architecture: Architecture,
        objective: Objective | None = None,
        share: float = 1.0,
        policy: Policy | None = None,
    ) -> Measurement:
        """Return the validation loss of one sub-network with its weights in ``net``; costs one evaluation.

        Args:
            objective: an objective in place of the task's own loss.
            share: first part of the validation data, charged as that share of an evaluation. Where the task
                rounds it up to a batch, the tokens of the batch are charged.
            policy: precisions as in ``candidate``, emulated by ``supernet.quantization.fake_quantize``.

        Raises:
            BudgetExhausted: the allowance does not cover it.
        """

    @abstractmethod
    def validation_batches(self, share: float) -> Sequence[Batch]:
        """Return the first ``share`` of the validation data as batches, for losses of a method's own.

        One pass over them costs that share of an evaluation, as of ``evaluate``. Charge further passes to
        ``budget``; ``supernet.train.Trainer`` charges training on them in tokens.
        """

    @abstractmethod
    def probe(self, architecture: Architecture, policy: Policy | None = None) -> float:
        """Return the latency in milliseconds of the exported sub-network, random weights; costs one probe.

        It is timed on this machine; in tiers that declare ``counted`` it is computed from operator counts, so
        that other programs have no influence.
        """

    @abstractmethod
    def energy(self, architecture: Architecture, policy: Policy | None = None) -> float:
        """Return the joules of one inference of the exported sub-network, random weights; costs one probe.

        The record states the source: a meter, or codecarbon's estimate.
        """

    @abstractmethod
    def bytes(self, architecture: Architecture, policy: Policy | None = None) -> int:
        """Return the bytes of the exported sub-network's weights as deployed; free of charge."""

    @abstractmethod
    def units(self, architecture: Architecture) -> Mapping[str, tuple[int, ...]]:
        """Return every layer that a policy may name, with the shape of its weight; free of charge."""

    @abstractmethod
    def size(self, architecture: Architecture) -> int:
        """Return the parameters of the exported sub-network, embeddings included; free of charge."""

    @abstractmethod
    def fits(self, architecture: Architecture, limit: float | Window) -> bool:
        """Return whether a sub-network meets one of ``limits``; a latency costs one probe, a size nothing."""

    @abstractmethod
    def candidate(
        self,
        net: Network,
        architecture: Architecture,
        policy: Policy | None = None,
        *,
        origin: str = "inherited",
        target: float | Window | None = None,
        limit_ms: float | Window | None = None,
    ) -> Candidate:
        """Export one sub-network as a candidate, to be yielded; the harness validates it.

        That is free for four candidates a target (four without targets); each further one costs an
        evaluation, yielded or not.

        Args:
            policy: layer -> precision, see ``units`` and ``precisions``. The network is validated, scored and
                timed in these precisions; None: float32.
            origin: training of its weights, one of ``ORIGINS``.
            target: the target that it was searched for, of ``limits`` or ``given``; None for none.
            limit_ms: former name of ``target``, for one release.

        Raises:
            BudgetExhausted: the allowance does not cover a further candidate.
        """

    @abstractmethod
    def checkpoint(self, name: str) -> Checkpoint:
        """Return the checkpoint of a long phase, by name."""

    @abstractmethod
    def phase(self, name: str) -> AbstractContextManager[None]:
        """Return a context manager; charges inside it are booked under ``name``."""

    @abstractmethod
    def progress(self, done: float, total: float, note: str = "") -> None:
        """Report the progress of the current phase, for the bar and its estimate."""


class Method(ABC):
    """A search method: one class, one file, no registration.

    All attributes are plain constants in the class body: a plan reads them without executing the file.

    Attributes:
        name: lower-case letters, digits and hyphens.
        version: to be raised when results change.
        summary: one line for ``supernet-bench list methods``.
        follows: name of a method whose run comes first, and whose candidates are ``lab.given``.
        inherits: True if this method also takes their weights (``lab.inherit``). A run with a proposal then
            pays for them, at the latest at its end.
        from_nothing: True if all its networks start untrained and alone (``lab.supernet(only=...)``). Else
            its supernets start from the tier's parent where there is one, and the parent's cost is charged.
        suite: the only suite of the method; None for all.
        options: declarations; any other option is refused.
        needs: smallest allowances.
        trials: sets of options to be tried under external tuning, literal.
        url: address of the file in this version, if neither a package nor a repository has it.
    """

    name: ClassVar[str]
    version: ClassVar[str] = "1"
    summary: ClassVar[str] = ""
    follows: ClassVar[str | None] = None
    inherits: ClassVar[bool] = False
    from_nothing: ClassVar[bool] = False
    suite: ClassVar[str | None] = None
    options: ClassVar[tuple[Option, ...]] = ()
    needs: ClassVar[tuple[Need, ...]] = ()
    trials: ClassVar[tuple[OptionValues, ...]] = ()
    url: ClassVar[str] = ""

    def supports(self, task: TaskInfo) -> Skip | None:
        """Return None if the method applies to ``task``, else the reason why not."""
        other = Skip(f"{self.name} is for the suite {self.suite}: supernet-bench run {self.suite}")
        return None if self.suite in (None, task.suite) else other

    @abstractmethod
    def search(self, lab: Lab) -> Iterable[Candidate]:
        """Yield candidates; those yielded before the budget ends count."""
