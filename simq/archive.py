"""What a search asks of the world, and the record of what it has asked.

A search does not know whether it runs on a table, on a function or on trained networks: it asks an
``Evaluator`` through an ``Archive``, which counts, and at whose end what was measured is the result.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from benchmarks.api import UsageError
from simq.genome import Array, Genes, Genomes, Key, firsts
from simq.searchers import pareto

ENOUGH = 8
"""Distinct points of which an objective must tell some apart."""


class Evaluator(Protocol):
    """Measures genomes."""

    genes: Genes
    objectives: Sequence[str]
    """What the columns are, in their order; all are to be small."""

    def __call__(self, genomes: Genomes) -> Array:
        """Objective rows ``[n, m]`` of genomes ``[n, genes]``."""

    def known(self, genomes: Genomes) -> Array:
        """Return the objectives ``[n, m]`` that follow from the genomes alone, such as bytes; NaN in each
        column that must be measured. It costs no evaluation."""


class Archive:
    """What was measured, in order; no more than ``evaluations`` rows.

    Args:
        evaluator: measures.
        evaluations: allowed; each row counts, repeated points too.
        told: called after each batch.
        known: keys of points that count as measured, from another archive.
    """

    def __init__(
        self,
        evaluator: Evaluator,
        evaluations: int,
        told: Callable[[Archive], None] = lambda archive: None,
        known: Collection[Key] = (),
    ) -> None:
        self.evaluator, self.evaluations, self._told = evaluator, evaluations, told
        self.genes = evaluator.genes
        self.genomes: Genomes = np.zeros((0, len(self.genes.levels)), dtype=np.int64)
        self.rows: Array = np.zeros((0, len(evaluator.objectives)))
        self.known: set[Key] = set(known)

    @property
    def left(self) -> int:
        """Evaluations that are still allowed."""
        return self.evaluations - len(self.rows)

    def measure(self, genomes: Genomes) -> Array:
        """Rows of the first of ``genomes``, as many as are allowed.

        Raises:
            UsageError: an objective is no number, or the same for all of ``ENOUGH`` points or more.
        """
        asked = genomes[: self.left]
        if not len(asked):
            return self.rows[:0]
        rows = np.asarray(self.evaluator(asked), dtype=np.float64)
        if rows.shape != (len(asked), self.rows.shape[1]):
            raise ValueError(f"expected rows {(len(asked), self.rows.shape[1])}, got {rows.shape}")
        self._check_finite(rows)
        self.genomes, self.rows = np.vstack([self.genomes, asked]), np.vstack([self.rows, rows])
        self.known.update(self.genes.keys(asked))
        self._check_varied()
        self._told(self)
        return rows

    def _check_finite(self, rows: Array) -> None:
        for name, column in zip(self.evaluator.objectives, rows.T, strict=True):
            bad = np.flatnonzero(~np.isfinite(column))
            if len(bad):
                raise UsageError(
                    f"objective {name} is {column[bad[0]]} for {len(bad)} of {len(rows)} networks: nothing"
                    " can be searched by it. Train on: more tokens, or a lower rate"
                )

    def _check_varied(self) -> None:
        for name, column in zip(self.evaluator.objectives, self.rows.T, strict=True):
            if column.min() < column.max():
                continue
            points = len(set(self.genes.keys(self.genomes)))
            if points >= ENOUGH:
                raise UsageError(
                    f"objective {name} is {column[0]:g} for all of {points} different networks: nothing can"
                    " be searched by it. Leave it out: --option METHOD.objectives=..."
                )

    def new(self, genomes: Genomes) -> NDArray[np.bool_]:
        """Which points were not measured yet, each once."""
        seen = set(self.known)
        out = np.zeros(len(genomes), dtype=bool)
        for i, key in enumerate(self.genes.keys(genomes)):
            out[i] = key not in seen
            seen.add(key)
        return out

    def fresh(self, count: int, rng: np.random.Generator) -> Genomes:
        """Up to ``count`` random points that were not measured yet; fewer where the space is used up."""
        found = np.zeros((0, len(self.genes.levels)), dtype=np.int64)
        for _ in range(200):
            drawn = np.vstack([found, self.genes.sample(max(count, 16), rng)])
            found = drawn[self.new(drawn)][:count]
            if len(found) == count:
                break
        return found

    def front(self) -> NDArray[np.int64]:
        """Places of the measured rows that no other beats, each point once."""
        places = np.flatnonzero(pareto.front(self.rows))
        return places[firsts(self.genes.keys(self.genomes[places]))]
