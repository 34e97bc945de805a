"""MatFormer (Devvrit et al., NeurIPS 2024): nested feed-forwards, mixed and matched by a rule."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import numpy as np

from benchmarks.api import Candidate, Lab, Method, Need
from supernet.pipeline import train
from supernet.space import Architecture, SearchSpace
from supernet.train.recipe import StatelessSampling

NESTED = "_ffn"
"""End of the names of choices whose options are nested granularities."""


class MatFormer(Method):
    """One universal network in which only feed-forward widths are nested; no search, no retraining.

    Each update trains one granularity, the same in all layers, drawn uniformly (section 3.2). For each limit
    the largest sub-network within it is extracted by mix'n'match (section 3.3): neighbouring granularities
    alone, the wider one in the later layers. Everything else is that of the deepest network whose narrowest
    sub-network meets the tightest limit; where none does, of the shallowest.
    """

    name = "matformer"
    suite = "mt"
    summary = "MatFormer: nested feed-forward widths trained at random, mix'n'match by a rule, no search"
    needs = (Need("probes", 4, each=True, timed=True, why="bisection over depths and over mixtures"),)

    def search(self, lab: Lab) -> Iterable[Candidate]:
        tightest = min(lab.limits, key=float)

        def fits(architecture: Architecture, limit: Any) -> bool:
            # Without probes nothing larger counts as fitting.
            return lab.budget.left("probes") >= 1 and lab.fits(architecture, limit)

        chosen = []
        with lab.phase("latency"):
            shells = [nested(lab.space, depth) for depth in sorted(depths(lab.space))]
            shell = shells[max(0, fitting(shells, lambda s: fits(s.smallest(), tightest)) - 1)]
            mixtures = mix_and_match(shell)
            for limit in lab.limits:
                count = fitting(mixtures, partial(fits, limit=limit))
                chosen.append((limit, mixtures[max(0, count - 1)]))
        with lab.phase("supernet"):
            net = train(lab, lab.supernet(space=shell), SameGranularity(), 1.0, "universal")
        for limit, architecture in chosen:
            yield lab.candidate(net, architecture, origin="inherited", target=limit)


@dataclass(frozen=True)
class SameGranularity(StatelessSampling):
    """One granularity of all feed-forwards, uniformly at random."""

    passes: int = 1
    distill: bool = False

    def draw(self, space: SearchSpace, rng: np.random.Generator) -> list[Architecture]:
        several = [options for options in space.allowed if len(options) > 1]
        index = int(rng.integers(max((len(options) for options in several), default=1)))
        return [at_levels(space, lambda _layer, _layers, _count: index)]


def depths(space: SearchSpace) -> tuple[int, ...]:
    """Return the depths of a space's decoder, or of whichever side is elastic."""
    governors = {choice.depth for choice in space.choices if choice.depth is not None}
    elastic = [c for c in space.choices if c.name in governors and len(c.options) > 1]
    return elastic[-1].options if elastic else (0,)


def nested(space: SearchSpace, depth: int) -> SearchSpace:
    """Return the sub-space of the largest network with ``depth`` layers in which feed-forwards alone vary."""
    governors = {choice.depth for choice in space.choices if choice.depth is not None}
    largest, allowed = space.largest().genes, list(space.allowed)
    start = 0
    for choice in space.choices:
        for i in range(start, start + choice.repeat):
            if choice.name in governors and len(choice.options) > 1:
                allowed[i] = (depth,)
            elif not choice.name.endswith(NESTED):
                allowed[i] = (largest[i],)
            elif i - start >= max(depth, 1) and choice.depth in governors and _elastic(space, choice.depth):
                allowed[i] = (largest[i],)  # no layer of these networks
        start += choice.repeat
    return SearchSpace(f"{space.name}:nested-{depth}", space.choices, space.constants, allowed)


def _elastic(space: SearchSpace, governor: str | None) -> bool:
    return governor is not None and len(space.choice(governor).options) > 1


def at_levels(space: SearchSpace, level: Callable[[int, int, int], int]) -> Architecture:
    """Return the architecture whose feed-forward in each layer has the option of rank ``level(layer, layers,
    options)``, narrowest first."""
    genes: list[int] = []
    for choice in space.choices:
        owned = space.allowed[len(genes) : len(genes) + choice.repeat]
        layers = sum(len(options) > 1 for options in owned)
        for layer, options in enumerate(owned):
            rank = level(layer, layers, len(options)) if len(options) > 1 else 0
            genes.append(sorted(options)[min(rank, len(options) - 1)])
    return space.from_genes(genes)


def mix_and_match(space: SearchSpace) -> list[Architecture]:
    """Return the mixtures of neighbouring granularities, smallest first, each larger than the one before.

    Mixture ``n`` of ``N`` has taken that share of all steps from the narrowest to the widest network. The
    wider layers are the last ones of each side.
    """
    layered = [options for options in space.allowed if len(options) > 1]
    if not layered:
        return [space.largest()]
    steps = (max(map(len, layered)) - 1) * max(
        sum(len(o) > 1 for o in _genes(space, choice.name)) for choice in space.choices
    )
    mixtures = []
    for n in range(steps + 1):

        def level(layer: int, layers: int, options: int, n: int = n) -> int:
            rank, wider = divmod(n * (options - 1) * layers // steps, layers)
            return rank + (layer >= layers - wider)

        mixtures.append(at_levels(space, level))
    return list(dict.fromkeys(mixtures))


def _genes(space: SearchSpace, name: str) -> tuple[tuple[int, ...], ...]:
    start = 0
    for choice in space.choices:
        if choice.name == name:
            return space.allowed[start : start + choice.repeat]
        start += choice.repeat
    raise KeyError(name)


T = TypeVar("T")


def fitting(ordered: list[T], fits: Callable[[T], bool]) -> int:
    """Return how many of ``ordered`` fit by bisection; those that fit come first."""
    return bisect_right(ordered, 0, key=lambda item: 0 if fits(item) else 1)
