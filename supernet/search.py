"""Search over a space under a constraint: HAT's evolution, and random search."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from supernet.space import Architecture, SearchSpace

ATTEMPTS = 10_000
"""Draws for one allowed architecture before the constraint counts as impossible."""

Score = Callable[[Architecture], float]
"""Objective of a search; lower is better."""
Allowed = Callable[[Sequence[Architecture]], np.ndarray]
"""Constraint of a search: boolean mask ``[n]`` over ``n`` architectures."""


class InfeasibleError(ValueError):
    """No architecture of the space meets the constraint."""


@dataclass(frozen=True)
class Evolution:
    """HAT's evolutionary search (section 3.3): 125 = 25 parents + 50 mutants + 50 crossovers.

    Keeps the ``parents`` lowest scores (elitist), redraws each gene of a mutant with
    ``mutation_probability``, crosses genes uniformly, and redraws every architecture that is not allowed.
    ``evaluations`` caps the distinct architectures scored; a repeated one costs nothing.
    """

    parents: int = 25
    mutants: int = 50
    crossovers: int = 50
    mutation_probability: float = 0.3
    generations: int = 30
    evaluations: int | None = None

    def run(
        self,
        space: SearchSpace,
        score: Score,
        allowed: Allowed,
        rng: np.random.Generator,
        *,
        known: dict[Architecture, float] | None = None,
        progress: Callable[[float, float, str], None] | None = None,
    ) -> list[tuple[float, Architecture]]:
        """Return the final parents with their scores, best first.

        Args:
            space: space to search.
            score: lower is better; called once for each distinct architecture.
            allowed: boolean mask over a batch of architectures.
            rng: generator of every draw.
            known: scores of earlier searches; new ones are added to it.
            progress: called with evaluations done, evaluations possible, and the best score.

        Raises:
            InfeasibleError: no allowed architecture was drawn.
        """
        known = {} if known is None else known
        size = self.parents + self.mutants + self.crossovers
        limit = self.evaluations if self.evaluations is not None else size * self.generations
        used = 0
        population = draw(space.sample, allowed, size, rng)
        parents: list[Architecture] = []
        for generation in range(self.generations):
            for architecture in population:
                if architecture not in known and used < limit:
                    known[architecture] = score(architecture)
                    used += 1
            pool = dict.fromkeys(x for x in [*parents, *population] if x in known)
            parents = sorted(pool, key=lambda x: (known[x], x.key()))[: self.parents]
            if progress:
                progress(used, limit, f"best {known[parents[0]]:.4f}")
            if used >= limit or generation == self.generations - 1:
                break
            population = self.offspring(space, parents, allowed, rng)
        return [(known[x], x) for x in parents]

    def offspring(
        self,
        space: SearchSpace,
        parents: Sequence[Architecture],
        allowed: Allowed,
        rng: np.random.Generator,
    ) -> list[Architecture]:
        """Return mutants and crossovers of ``parents``, each redrawn until it is allowed."""

        def mutant(r: np.random.Generator) -> Architecture:
            return space.mutate(pick(parents, r), self.mutation_probability, r)

        def crossover(r: np.random.Generator) -> Architecture:
            return space.crossover(pick(parents, r), pick(parents, r), r)

        return [*draw(mutant, allowed, self.mutants, rng), *draw(crossover, allowed, self.crossovers, rng)]


def random_search(
    space: SearchSpace, score: Score, allowed: Allowed, rng: np.random.Generator, evaluations: int
) -> list[tuple[float, Architecture]]:
    """Score ``evaluations`` allowed random architectures; return the distinct ones with scores, best
    first."""
    scored: dict[Architecture, float] = {}
    for architecture in draw(space.sample, allowed, evaluations, rng):
        if architecture not in scored:
            scored[architecture] = score(architecture)
    return sorted(((s, x) for x, s in scored.items()), key=lambda pair: (pair[0], pair[1].key()))


def pick(parents: Sequence[Architecture], rng: np.random.Generator) -> Architecture:
    """Draw one of the parents uniformly."""
    return parents[int(rng.integers(len(parents)))]


def draw(
    make: Callable[[np.random.Generator], Architecture],
    allowed: Allowed,
    count: int,
    rng: np.random.Generator,
) -> list[Architecture]:
    """Draw ``count`` allowed architectures; the constraint is evaluated on many at a time."""
    kept: list[Architecture] = []
    for _ in range(max(1, ATTEMPTS // max(count, 1))):
        batch = [make(rng) for _ in range(max(count, 16))]
        kept += [x for x, ok in zip(batch, allowed(batch), strict=True) if ok]
        if len(kept) >= count:
            return kept[:count]
    if not kept:
        raise InfeasibleError(
            f"none of {ATTEMPTS} architectures drawn meets the constraint: loosen the limit"
        )
    return kept
