"""NSGA-II (Deb et al. 2002, section III) on genomes with any variation operator; and random search."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from simq import pareto
from simq.archive import Archive
from simq.genome import Array, Genes, Genomes, unique_indices
from simq.searchers.variation import Vary, vary


def select_survivors(rows: Array, count: int) -> NDArray[np.int64]:
    """Return the indices of the ``count`` best rows: by rank, then by crowding distance."""
    return _order(rows, pareto.ranks(rows))[:count]


def _order(rows: Array, rank: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the indices of rows, the best first."""
    return np.lexsort((-pareto.crowding(rows, rank), rank))


def select_parents(
    rows: Array, count: int, rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the indices of mothers and fathers, each the winner of a binary tournament."""
    position = np.empty(len(rows), dtype=np.int64)
    position[_order(rows, pareto.ranks(rows))] = np.arange(len(rows))
    drawn = rng.integers(0, len(rows), size=(2, 2, count))
    winners = np.where(position[drawn[0]] < position[drawn[1]], drawn[0], drawn[1])
    return winners[0], winners[1]


def distinct(genes: Genes, genomes: Genomes) -> Genomes:
    """Return each point once, in order."""
    return genomes[unique_indices(genes.keys(genomes))]


def evolve(
    genes: Genes,
    predict: Callable[[Genomes], Array],
    rng: np.random.Generator,
    *,
    evaluations: int = 20_000,
    population: int = 50,
    start: Genomes | None = None,
) -> Genomes:
    """Return the last population ``[n, genes]`` of an NSGA-II on predicted objectives.

    Args:
        predict: returns the rows ``[n, m]`` of genomes.
        evaluations: predicted rows.
        start: genomes of the first population, completed with random ones.
    """
    first = genes.sample(population, rng)
    if start is not None:
        first = np.vstack([start, first])[: max(population, len(start))]
    group = distinct(genes, first)
    rows = predict(group)
    used = len(group)
    while used < evaluations:
        mothers, fathers = select_parents(rows, population, rng)
        children = vary(genes, group[mothers], group[fathers], rng)
        used += len(children)
        group, rows = np.vstack([group, children]), np.vstack([rows, predict(children)])
        unique = unique_indices(genes.keys(group))
        group, rows = group[unique], rows[unique]
        kept = select_survivors(rows, population)
        group, rows = group[kept], rows[kept]
    return group


@dataclass(frozen=True)
class NSGA2:
    """NSGA-II on measurements; every point is measured at most once."""

    population: int = 50
    vary: Vary = vary

    def search(self, archive: Archive, rng: np.random.Generator) -> None:
        """Measure until the archive allows no more, or the space is exhausted."""
        genes = archive.genes
        group = archive.sample_new(min(self.population, archive.remaining), rng)
        rows = archive.measure(group)
        while archive.remaining and len(group):
            children = np.zeros((0, len(genes.levels)), dtype=np.int64)
            for _ in range(20):
                mothers, fathers = select_parents(rows, self.population, rng)
                children = np.vstack([children, self.vary(genes, group[mothers], group[fathers], rng)])
                children = children[archive.is_new(children)][: self.population]
                if len(children) == self.population:
                    break
            if len(children) < self.population:
                children = np.vstack([children, archive.sample_new(self.population, rng)])
                children = children[archive.is_new(children)][: self.population]
            if not len(children):
                return
            measured = archive.measure(children)
            group = np.vstack([group, children[: len(measured)]])
            rows = np.vstack([rows, measured])
            kept = select_survivors(rows, self.population)
            group, rows = group[kept], rows[kept]


@dataclass(frozen=True)
class RandomSearch:
    """Random search over uniform genomes; every point is measured at most once."""

    def search(self, archive: Archive, rng: np.random.Generator) -> None:
        """Measure until the archive allows no more, or the space is exhausted."""
        archive.measure(archive.sample_new(archive.remaining, rng))
