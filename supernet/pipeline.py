"""The four steps that methods with a supernet share: train it, learn the device's latency, search
for each deployment target, train the winners on. A method states what differs.

``lab`` is duck-typed (``benchmarks.api.Lab``): the substrate does not know the harness.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from supernet.elastic import SuperNet
from supernet.predict import LatencyPredictor, features
from supernet.search import Evolution, InfeasibleError, random_search
from supernet.space import Architecture, SearchSpace
from supernet.train import Objective, Sampling, SinglePath, Trainer

AFTER = ("inherit", "continue", "scratch")
"""What becomes of a winner: keep its inherited weights; train those on; train it anew."""


Score = Callable[[Architecture], float]
Allowed = Callable[[Sequence[Architecture]], np.ndarray]
Find = Callable[[Any, Score, Allowed, int, dict[Architecture, float]], Architecture]
"""``(lab, score, allowed, evaluations, known)`` -> the best architecture found that is allowed, with at
most so many calls of ``score``; ``known`` has the scores of all searches of this run and takes new ones."""


def evolved(
    lab: Any, score: Score, allowed: Allowed, evaluations: int, known: dict[Architecture, float]
) -> Architecture:
    """HAT's evolution with the tier's sizes, every architecture scored."""
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


def drawn(
    lab: Any, score: Score, allowed: Allowed, evaluations: int, known: dict[Architecture, float]
) -> Architecture:
    """The best of as many random architectures."""
    return random_search(lab.space, score, allowed, lab.rng, evaluations)[0][1]


def supernet_search(
    lab: Any,
    *,
    sampling: Sampling,
    after: str,
    source: Callable[..., Any] | None = None,
    find: Find = evolved,
) -> Iterator[Any]:
    """Yield one candidate per limit with inherited weights and, as ``after`` says, one trained on.

    Token shares come from the tier: ``retrain_share`` of the allowance is split evenly over the
    winners, the rest trains the supernet.
    """
    if after not in AFTER:
        raise ValueError(f"after={after!r}: choose one of {', '.join(AFTER)}")
    retrain = lab.task.settings["retrain_share"] if after != "inherit" else 0.0
    net = lab.supernet(source)
    limits = reachable(lab, net.space)  # before anything is spent
    with lab.phase("supernet"):
        net = train(lab, net, sampling, 1 - retrain, "supernet")
    allowed_under = targets(lab, net.space)
    known: dict[Architecture, float] = {}
    evaluations = int(lab.budget.total("evaluations")) // len(limits)
    winners: list[tuple[Any, Architecture]] = []
    for limit in limits:
        with lab.phase("search"):

            def score(architecture: Architecture) -> float:
                return float(lab.evaluate(net, architecture).loss)

            best = find(lab, score, allowed_under(limit), evaluations, known)
            winners.append((limit, best))
            yield lab.candidate(net, best, origin="inherited", limit_ms=limit)
    if after == "inherit":
        return
    for i, (limit, best) in enumerate(winners):
        with lab.phase("retrain"):
            fresh = net.collapse(best) if after == "continue" else lab.supernet(only=best)
            factor = lab.task.settings["continue_rate"] if after == "continue" else 1.0
            train(lab, fresh, SinglePath(), retrain / len(winners), f"retrain-{i}", factor)
            yield lab.candidate(
                fresh, best, origin="continued" if after == "continue" else "retrained", limit_ms=limit
            )


def train(
    lab: Any,
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


def targets(lab: Any, space: SearchSpace) -> Callable[[Any], Allowed]:
    """For each of ``lab.limits`` the test whether architectures of ``space`` meet it: sizes are counted,
    latencies predicted from probes, which are made where there is a latency among the limits."""
    latencies = [limit for limit in lab.limits if isinstance(limit, (int, float))]
    under = latency_limits(lab, space) if latencies else None

    def meets(limit: Any) -> Allowed:
        if under is not None and isinstance(limit, (int, float)):
            return under(limit)
        return lambda architectures: np.array(
            [limit.low <= lab.size(a) <= limit.high for a in architectures], dtype=bool
        )

    return meets


def reachable(lab: Any, space: SearchSpace, size: Callable[[Architecture], int] | None = None) -> list[Any]:
    """Those of ``lab.limits`` that networks of ``space`` can meet; the others are told, with the nearest
    window that can be met.

    Args:
        size: parameters of a network; by default ``lab.size``.

    Raises:
        InfeasibleError: none can be met.
    """
    size = size or lab.size
    smallest, largest = (size(a) for a in (space.smallest(), space.largest()))
    met, told = [], []
    for limit in lab.limits:
        if isinstance(limit, (int, float)) or (limit.low <= largest and smallest <= limit.high):
            met.append(limit)
            continue
        width = limit.high - limit.low
        low = smallest if limit.high < smallest else max(largest - width, smallest)
        told.append(
            f"no network of space {space.name} has {limit} parameters: they have {smallest / 1e6:.2f} to"
            f" {largest / 1e6:.2f} M; the nearest window is {low / 1e6:.2f}-{(low + width) / 1e6:.2f} M"
        )
        lab.say(told[-1])
    if not met:
        raise InfeasibleError("; ".join(told))
    return met


def latency_limits(lab: Any, space: SearchSpace) -> Callable[[float], Allowed]:
    """Probe the device, fit a predictor, and give for each limit the test ``predicted <= limit``."""
    count = min(int(lab.task.settings["predictor_probes"]), int(lab.budget.left("probes")))
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
