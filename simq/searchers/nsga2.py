"""NSGA-II (Deb et al., 2002) on genomes, with any variation; and random search."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from simq.archive import Archive
from simq.genome import Array, Genes, Genomes, firsts
from simq.searchers import pareto
from simq.searchers.variation import Vary, vary


def survivors(rows: Array, count: int) -> NDArray[np.int64]:
    """Places of the ``count`` best rows: by front, within the last one by crowding."""
    return _order(rows, pareto.ranks(rows))[:count]


def _order(rows: Array, rank: NDArray[np.int64]) -> NDArray[np.int64]:
    """Places of rows, the best first."""
    return np.lexsort((-pareto.crowding(rows, rank), rank))


def pairs(rows: Array, count: int, rng: np.random.Generator) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Places of mothers and fathers, each the winner of a tournament of two."""
    place = np.empty(len(rows), dtype=np.int64)
    place[_order(rows, pareto.ranks(rows))] = np.arange(len(rows))
    drawn = rng.integers(0, len(rows), size=(2, 2, count))
    winners = np.where(place[drawn[0]] < place[drawn[1]], drawn[0], drawn[1])
    return winners[0], winners[1]


def distinct(genes: Genes, genomes: Genomes) -> Genomes:
    """Each point once, in order."""
    return genomes[firsts(genes.keys(genomes))]


def evolve(
    genes: Genes,
    predict: Callable[[Genomes], Array],
    rng: np.random.Generator,
    *,
    evaluations: int = 20_000,
    population: int = 50,
    start: Genomes | None = None,
) -> Genomes:
    """The last population of an NSGA-II on what is cheap to ask.

    Args:
        predict: rows ``[n, m]`` of genomes.
        evaluations: calls of it, by rows.
        start: genomes of the first population; filled up with random ones.
    """
    first = genes.sample(population, rng)
    if start is not None:
        first = np.vstack([start, first])[: max(population, len(start))]
    group = distinct(genes, first)
    rows = predict(group)
    used = len(group)
    while used < evaluations:
        mothers, fathers = pairs(rows, population, rng)
        children = vary(genes, group[mothers], group[fathers], rng)
        used += len(children)
        group, rows = np.vstack([group, children]), np.vstack([rows, predict(children)])
        once = firsts(genes.keys(group))
        group, rows = group[once], rows[once]
        kept = survivors(rows, population)
        group, rows = group[kept], rows[kept]
    return group


@dataclass(frozen=True)
class NSGA2:
    """NSGA-II on measurements; no point is measured twice."""

    population: int = 50
    vary: Vary = vary

    def search(self, archive: Archive, rng: np.random.Generator) -> None:
        """Measure until the archive allows no more, or the space is used up."""
        genes = archive.genes
        group = archive.fresh(min(self.population, archive.left), rng)
        rows = archive.measure(group)
        while archive.left and len(group):
            children = np.zeros((0, len(genes.levels)), dtype=np.int64)
            for _ in range(20):
                mothers, fathers = pairs(rows, self.population, rng)
                children = np.vstack([children, self.vary(genes, group[mothers], group[fathers], rng)])
                children = children[archive.new(children)][: self.population]
                if len(children) == self.population:
                    break
            if len(children) < self.population:
                children = np.vstack([children, archive.fresh(self.population, rng)])
                children = children[archive.new(children)][: self.population]
            if not len(children):
                return
            measured = archive.measure(children)
            group = np.vstack([group, children[: len(measured)]])
            rows = np.vstack([rows, measured])
            kept = survivors(rows, self.population)
            group, rows = group[kept], rows[kept]


@dataclass(frozen=True)
class Random:
    """Uniform genomes; no point is measured twice."""

    def search(self, archive: Archive, rng: np.random.Generator) -> None:
        """Measure until the archive allows no more, or the space is used up."""
        archive.measure(archive.fresh(archive.left, rng))
