"""Interface between searches and what they measure: evaluators, and the archive of measured points.

A search runs unchanged on a table, on a function or on trained networks. It measures genomes through an
``Archive`` around an ``Evaluator``; the archive counts evaluations and holds the result.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from benchmarks.api import UsageError
from simq import pareto
from simq.genome import Array, Genes, Genomes, Key, unique_indices

MIN_VARIED = 8
"""Number of distinct points among which every objective must vary."""


class Evaluator(Protocol):
    """Objective function over genomes."""

    genes: Genes
    objectives: Sequence[str]
    """Names of the columns, in order; all are minimized."""

    def __call__(self, genomes: Genomes) -> Array:
        """Return objective rows ``[n, m]`` of genomes ``[n, genes]``."""

    def known(self, genomes: Genomes) -> Array:
        """Return the objectives ``[n, m]`` that need no evaluation, such as bytes.

        Columns that must be measured are NaN.
        """


class Archive:
    """Measured points in order, at most ``evaluations`` rows.

    Args:
        evaluator: objective function.
        evaluations: allowance; each row counts, repeated points too.
        on_batch: called after each batch.
        known: keys of points that count as measured, from another archive.

    Attributes:
        genomes: measured genomes ``[n, genes]``.
        rows: their objectives ``[n, m]``.
    """

    def __init__(
        self,
        evaluator: Evaluator,
        evaluations: int,
        on_batch: Callable[[Archive], None] = lambda archive: None,
        known: Collection[Key] = (),
    ) -> None:
        self.evaluator, self.evaluations, self._on_batch = evaluator, evaluations, on_batch
        self.genes = evaluator.genes
        self.genomes: Genomes = np.zeros((0, len(self.genes.levels)), dtype=np.int64)
        self.rows: Array = np.zeros((0, len(evaluator.objectives)))
        self.known: set[Key] = set(known)

    @property
    def remaining(self) -> int:
        """Evaluations that are still allowed."""
        return self.evaluations - len(self.rows)

    def measure(self, genomes: Genomes) -> Array:
        """Measure the first of ``genomes``, as many as are allowed, and return their rows.

        Raises:
            UsageError: an objective is not finite, or the same for all of ``MIN_VARIED`` points or more.
        """
        allowed = genomes[: self.remaining]
        if not len(allowed):
            return self.rows[:0]
        rows = np.asarray(self.evaluator(allowed), dtype=np.float64)
        if rows.shape != (len(allowed), self.rows.shape[1]):
            raise ValueError(f"expected rows {(len(allowed), self.rows.shape[1])}, got {rows.shape}")
        self._check_finite(rows)
        self.genomes, self.rows = np.vstack([self.genomes, allowed]), np.vstack([self.rows, rows])
        self.known.update(self.genes.keys(allowed))
        self._check_varied()
        self._on_batch(self)
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
            if points >= MIN_VARIED:
                raise UsageError(
                    f"objective {name} is {column[0]:g} for all of {points} different networks: nothing can"
                    " be searched by it. Leave it out: --option METHOD.objectives=..."
                )

    def is_new(self, genomes: Genomes) -> NDArray[np.bool_]:
        """Return a mask ``[n]`` of the points that were not measured yet; of equal points only the first."""
        seen = set(self.known)
        out = np.zeros(len(genomes), dtype=bool)
        for i, key in enumerate(self.genes.keys(genomes)):
            out[i] = key not in seen
            seen.add(key)
        return out

    def sample_new(self, count: int, rng: np.random.Generator) -> Genomes:
        """Draw up to ``count`` random points that were not measured yet; fewer if the space is exhausted."""
        points = np.zeros((0, len(self.genes.levels)), dtype=np.int64)
        for _ in range(200):
            drawn = np.vstack([points, self.genes.sample(max(count, 16), rng)])
            points = drawn[self.is_new(drawn)][:count]
            if len(points) == count:
                break
        return points

    def front(self) -> NDArray[np.int64]:
        """Return the indices of the nondominated rows, each point once."""
        indices = np.flatnonzero(pareto.front(self.rows))
        return indices[unique_indices(self.genes.keys(self.genomes[indices]))]
