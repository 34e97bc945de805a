"""The four steps of methods with a supernet: train it, fit a latency predictor, search once for each
deployment target, train the winners on. A method states what differs.

``Lab`` declares what these steps need of the harness; ``benchmarks.api.Lab`` provides it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any, Protocol, TypeVar

import numpy as np

from supernet.elastic import SuperNet
from supernet.predict import LatencyPredictor, features
from supernet.search import Allowed, Evolution, InfeasibleError, Score, random_search
from supernet.space import Architecture, SearchSpace, get_space
from supernet.train import CheckpointStore, Objective, Recipe, Sampling, SinglePath, Stream, Trainer
from supernet.weights import WeightSource

AFTER = ("inherit", "continue", "scratch")
"""Treatments of a winner: keep its inherited weights; train those on; train it anew."""

C = TypeVar("C", covariant=True)
"""Type of the candidates that a lab makes."""


class SizeWindow(Protocol):
    """A deployment target of ``low`` to ``high`` parameters, embeddings included."""

    @property
    def low(self) -> int: ...
    @property
    def high(self) -> int: ...


Limit = float | SizeWindow
"""One deployment target: a latency in milliseconds, or a window of sizes."""


class TaskSettings(Protocol):
    """The task of a run, as far as searches read it."""

    @property
    def settings(self) -> Mapping[str, Any]:
        """Numbers of the tier by name: population, generations, probes, shares."""


class Budget(Protocol):
    """Allowances of a run by kind, such as ``evaluations`` and ``probes``."""

    def total(self, kind: str) -> float: ...
    def spent(self, kind: str) -> float: ...
    def charge(self, kind: str, amount: float = 1) -> None: ...


class Evaluation(Protocol):
    """Result of one validation evaluation; ``loss`` in nats per target token."""

    @property
    def loss(self) -> float: ...


class Lab(Protocol[C]):
    """Everything that the steps below need of the harness; anything that costs is charged there."""

    @property
    def task(self) -> TaskSettings: ...
    @property
    def space(self) -> SearchSpace: ...
    @property
    def recipe(self) -> Recipe: ...
    @property
    def seed(self) -> int: ...
    @property
    def rng(self) -> np.random.Generator: ...
    @property
    def budget(self) -> Budget: ...
    @property
    def limits(self) -> Sequence[Limit]: ...
    @property
    def say(self) -> Callable[[str], object]: ...
    def supernet(
        self,
        source: Callable[..., WeightSource] | None = None,
        only: Architecture | None = None,
        space: SearchSpace | None = None,
    ) -> SuperNet: ...
    def train_batches(self, share: float = 1.0, passes: float = 1) -> Stream: ...
    def evaluate(self, net: SuperNet, architecture: Architecture) -> Evaluation: ...
    def probe(self, architecture: Architecture) -> float: ...
    def size(self, architecture: Architecture) -> int: ...
    def candidate(
        self, net: SuperNet, architecture: Architecture, *, origin: str, limit_ms: Any = None
    ) -> C: ...
    def checkpoint(self, name: str) -> CheckpointStore: ...
    def phase(self, name: str) -> AbstractContextManager[None]: ...
    def progress(self, done: float, total: float, note: str = "") -> None: ...


AnyLab = Lab[object]
Find = Callable[[AnyLab, Score, Allowed, int, dict[Architecture, float]], Architecture]
"""``(lab, score, allowed, evaluations, known)`` -> the best allowed architecture of one search, after at most
``evaluations`` calls of ``score``; ``known`` holds the scores of all searches of this run and grows."""


def find_by_evolution(
    lab: AnyLab, score: Score, allowed: Allowed, evaluations: int, known: dict[Architecture, float]
) -> Architecture:
    """Search by HAT's evolution (section 3.3) with the tier's sizes; every architecture is scored."""
    settings = lab.task.settings
    search = Evolution(
        parents=settings["parents"],
        mutants=settings["mutants"],
        crossovers=settings["crossovers"],
        mutation_probability=settings["mutation_probability"],
        generations=settings["generations"],
        evaluations=evaluations,
    )
    return search.run(lab.space, score, allowed, lab.rng, known=known, progress=lab.progress)[0][1]


def find_at_random(
    lab: AnyLab, score: Score, allowed: Allowed, evaluations: int, known: dict[Architecture, float]
) -> Architecture:
    """Return the best of ``evaluations`` random architectures."""
    return random_search(lab.space, score, allowed, lab.rng, evaluations)[0][1]


SPACES = ("task", "homogeneous")
"""Search spaces of a method: the task's, or that of AutoDistil and hand-designed encoders."""


def chosen_space(lab: AnyLab, choice: str) -> SearchSpace | None:
    """Return the space that a choice of ``SPACES`` names in the tier of a run; None for the task's own.

    Raises:
        ValueError: the tier has no homogeneous space.
    """
    if choice == "task":
        return None
    settings = lab.task.settings.get("autodistil")
    if settings is None:
        raise ValueError(f"space={choice}: this tier has no space of homogeneous encoders; leave it at task")
    return get_space(settings["one"][0])


class LabOfSpace:
    """A lab whose ``space`` is another one; all else is the lab's own."""

    def __init__(self, lab: AnyLab, space: SearchSpace) -> None:
        self._lab, self.space = lab, space

    def __getattr__(self, name: str) -> Any:
        return getattr(self._lab, name)


def supernet_search(
    lab: Lab[C],
    *,
    sampling: Sampling,
    after: str,
    source: Callable[..., WeightSource] | None = None,
    find: Find = find_by_evolution,
    objective: Objective | None = None,
    space: SearchSpace | None = None,
    share: float | None = None,
) -> Iterator[C]:
    """Yield one candidate per limit with inherited weights, then one trained on, unless ``after`` forbids it.

    ``share`` of what a parent has left of the tokens, by default the tier's ``retrain_share``, is split
    evenly over the winners; the rest trains the supernet, with ``objective`` in place of the sampling's own
    if given. The search is in ``space``, by default the task's.

    Raises:
        ValueError: ``after`` is none of ``AFTER``.
        InfeasibleError: the space has no architecture within any limit.
    """
    if after not in AFTER:
        raise ValueError(f"after={after!r}: choose one of {', '.join(AFTER)}")
    retrain = 0.0
    if after != "inherit":
        retrain = lab.task.settings["retrain_share"] if share is None else share
    net = lab.supernet(source) if space is None else lab.supernet(source, space=space)
    searched: Any = lab if space is None else LabOfSpace(lab, space)
    limits = reachable_limits(lab, net.space)  # before anything is trained
    unspent = 1 - lab.budget.spent("tokens") / lab.budget.total("tokens")
    with lab.phase("supernet"):
        net = train(lab, net, sampling, (1 - retrain) * unspent, "supernet", objective=objective)
    allowed_under = limit_tests(lab, net.space)
    known: dict[Architecture, float] = {}
    evaluations = int(lab.budget.total("evaluations")) // len(limits)
    winners: list[tuple[Limit, Architecture]] = []
    for limit in limits:
        with lab.phase("search"):

            def score(architecture: Architecture) -> float:
                return float(lab.evaluate(net, architecture).loss)

            best = find(searched, score, allowed_under(limit), evaluations, known)
            winners.append((limit, best))
            yield lab.candidate(net, best, origin="inherited", target=limit)
    if after == "inherit":
        return
    for i, (limit, best) in enumerate(winners):
        with lab.phase("retrain"):
            fresh = net.collapse(best) if after == "continue" else lab.supernet(only=best)
            factor = lab.task.settings["continue_rate"] if after == "continue" else 1.0
            train(lab, fresh, SinglePath(), retrain * unspent / len(winners), f"retrain-{i}", factor)
            yield lab.candidate(
                fresh, best, origin="continued" if after == "continue" else "retrained", target=limit
            )


def train(
    lab: Lab[C],
    net: SuperNet,
    sampling: Sampling,
    share: float,
    name: str,
    rate_factor: float = 1.0,
    objective: Objective | None = None,
) -> SuperNet:
    """Train ``net`` on ``share`` of the run's tokens, resumable under ``name``."""
    recipe = replace(lab.recipe, learning_rate=lab.recipe.learning_rate * rate_factor)
    trainer = Trainer(net, recipe, sampling, lab.seed, objective)
    batches = lab.train_batches(share, sampling.passes + trainer.objective.teacher_cost)
    return trainer.fit(batches, lab.checkpoint(name), lab.progress)


def limit_tests(lab: Lab[C], space: SearchSpace) -> Callable[[Limit], Allowed]:
    """Return, for each of ``lab.limits``, the test which architectures of ``space`` meet it.

    Sizes are counted. Latencies are predicted from probes, made only if a limit is a latency.
    """
    latencies = [limit for limit in lab.limits if isinstance(limit, (int, float))]
    under = latency_tests(lab, space) if latencies else None

    def test_of(limit: Limit) -> Allowed:
        if under is not None and isinstance(limit, (int, float)):
            return under(limit)
        return lambda architectures: np.array(
            [limit.low <= lab.size(a) <= limit.high for a in architectures], dtype=bool
        )

    return test_of


def reachable_limits(
    lab: Lab[C], space: SearchSpace, size: Callable[[Architecture], int] | None = None
) -> list[Limit]:
    """Return the ``lab.limits`` that some network of ``space`` can meet.

    Each other limit is reported through ``lab.say`` with the nearest window that can be met.

    Args:
        size: parameters of a network; by default ``lab.size``.

    Raises:
        InfeasibleError: none can be met.
    """
    size = size or lab.size
    smallest, largest = (size(a) for a in (space.smallest(), space.largest()))
    reachable: list[Limit] = []
    refusals = []
    for limit in lab.limits:
        if isinstance(limit, (int, float)) or (limit.low <= largest and smallest <= limit.high):
            reachable.append(limit)
            continue
        width = limit.high - limit.low
        low = smallest if limit.high < smallest else max(largest - width, smallest)
        refusals.append(
            f"no network of space {space.name} has {limit} parameters: they have {smallest / 1e6:.2f} to"
            f" {largest / 1e6:.2f} M; the nearest window is {low / 1e6:.2f}-{(low + width) / 1e6:.2f} M"
        )
        lab.say(refusals[-1])
    if not reachable:
        raise InfeasibleError("; ".join(refusals))
    return reachable


def latency_tests(lab: Lab[C], space: SearchSpace) -> Callable[[float], Allowed]:
    """Probe the device, fit a latency predictor, and return for each limit the test ``predicted <= limit``.

    The first two probes are the largest and the smallest network; limits and probes are in milliseconds.
    """
    affordable = max(0.0, lab.budget.total("probes") - lab.budget.spent("probes"))
    count = min(int(lab.task.settings["predictor_probes"]), int(affordable))
    with lab.phase("latency"):
        sampled = [space.largest(), space.smallest()]
        sampled += [space.sample(lab.rng) for _ in range(count - len(sampled))]
        measured = []
        for i, architecture in enumerate(sampled):
            measured.append(lab.probe(architecture))
            lab.progress(i + 1, count, "latency probes")
        lab.budget.charge("predictor_fits")
        predictor = LatencyPredictor.for_space(space).fit(features(space, sampled), measured)

    def under(limit: float) -> Allowed:
        def allowed(architectures: Sequence[Architecture]) -> np.ndarray:
            lab.budget.charge("predictor_calls", len(architectures))
            return predictor.predict(features(space, architectures)) <= limit

        return allowed

    return under
