"""Bayesian optimisation by expected hypervolume improvement: the modern contender.

A Gaussian process for each objective that must be measured, the others exact; a pool of candidates that
evolution on optimistic predictions has found; samples of the joint posterior over the pool. One after the
other the candidate is taken that adds most to the hypervolume of front and batch, averaged over the samples:
the batch acquisition of qNEHVI (Daulton et al., 2021) on a discrete space and without noise.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from simq.archive import Archive
from simq.genome import Array, Genomes
from simq.searchers import pareto
from simq.searchers.nsga2 import evolve
from simq.searchers.predictors import Predictions

AGAIN = 16
"""Candidates whose gains are computed anew at a time."""


@dataclass(frozen=True)
class Bayes:
    """Batch Bayesian optimisation on genomes.

    Attributes:
        initial: random points measured first.
        batch: points measured between two fits.
        inner: predictor evaluations that find the pool.
        samples: of the posterior.
        fitted, called: told of each predictor fit, and of how many predictions were made.
    """

    initial: int = 25
    batch: int = 10
    inner: int = 4000
    samples: int = 16
    fitted: Callable[[int], None] = lambda count: None
    called: Callable[[int], None] = lambda count: None

    def search(self, archive: Archive, rng: np.random.Generator) -> None:
        """Measure until the archive allows no more, or the space is used up."""
        archive.measure(archive.fresh(min(self.initial, archive.left), rng))
        while archive.left:
            predicted = Predictions(archive, self.called)
            self.fitted(len(predicted.models))
            pool = self._pool(archive, predicted, rng)
            if not len(pool):
                return
            drawn = predicted.draws(pool, self.samples, rng)
            archive.measure(pool[chosen(drawn, archive.rows, min(self.batch, archive.left))])

    def _pool(self, archive: Archive, predicted: Predictions, rng: np.random.Generator) -> Genomes:
        """New points that look good to an optimist, some of them to a bold one, and random ones."""
        genes, start = archive.genes, archive.genomes[archive.front()]
        found = [archive.fresh(50, rng)]
        for doubt in (0.0, 1.0, 2.0):

            def predict(genomes: Genomes, doubt: float = doubt) -> Array:
                mean, deviation = predicted(genomes)
                return mean - doubt * deviation

            found.append(
                evolve(genes, predict, rng, evaluations=self.inner // 3, population=100, start=start)
            )
        pool = np.vstack(found)
        return pool[archive.new(pool)]


def chosen(drawn: Array, measured: Array, count: int) -> list[int]:
    """Places of up to ``count`` candidates that add most to the measured front, each given those before it.

    Args:
        drawn: samples of the candidates' objectives ``[samples, n, m]``.
        measured: rows ``[k, m]``. The reference is their worst, a tenth of their range beyond it.
    """
    low, high = measured.min(axis=0), measured.max(axis=0)
    span = np.where(high > low, high - low, 1.0)
    reference = np.full(measured.shape[1], 1.1)
    known = (measured - low) / span
    fronts = np.repeat(known[pareto.front(known)][None], len(drawn), axis=0)
    samples = (drawn - low) / span
    gain = gains(samples, fronts, reference).sum(axis=0)
    stale = np.zeros(len(gain), dtype=bool)
    taken: list[int] = []
    for _ in range(min(count, len(gain))):
        # A larger front leaves less to gain: what was gained before is a bound.
        while stale[best := int(np.argmax(gain))]:
            again = np.argsort(-gain, kind="stable")[:AGAIN]  # the best is among them
            again = again[stale[again]]
            gain[again] = gains(samples[:, again], fronts, reference).sum(axis=0)
            stale[again] = False
        taken.append(best)
        fronts = np.concatenate([fronts, samples[:, [best]]], axis=1)
        stale[:] = True
        gain[taken], stale[taken] = -1, False
    return taken


def gains(rows: Array, fronts: Array, reference: Array) -> Array:
    """Hypervolume ``[s, n]`` that each row would add by itself to the front of its sample.

    Args:
        rows: two objectives or three ``[s, n, m]``.
        fronts: ``[s, k, m]``; rows that others beat do not matter.
    """
    fronts = np.minimum(fronts, reference)  # the same volume, if any
    if rows.shape[2] == 2:
        return _areas(rows, fronts, reference)
    return np.stack([_volumes(*pair, reference) for pair in zip(rows, fronts, strict=True)])


def _volumes(rows: Array, front: Array, reference: Array) -> Array:
    """``gains`` for three objectives and one sample, slice by slice of the third objective."""
    edges = np.concatenate([[-np.inf], np.sort(front[:, 2]), reference[2:]])
    total = np.zeros(len(rows))
    for low, high in zip(edges[:-1], edges[1:], strict=True):
        thick = np.clip(high - np.maximum(low, rows[:, 2]), 0, None)
        if thick.any():
            there = front[front[:, 2] <= low][:, :2]
            total += thick * _areas(rows[None, :, :2], there[None], reference[:2])[0]
    return total


def _areas(rows: Array, fronts: Array, reference: Array) -> Array:
    """``gains`` for two objectives: between two neighbours of the front, what lies below the left one."""
    order = np.argsort(fronts[:, :, 0], axis=1, kind="stable")
    first, second = np.take_along_axis(fronts, order[:, :, None], axis=1).transpose(2, 0, 1)
    sides = len(fronts), 1
    left = np.hstack([np.full(sides, -np.inf), first])
    right = np.hstack([first, np.full(sides, reference[0])])
    top = np.minimum.accumulate(np.hstack([np.full(sides, reference[1]), second]), axis=1)
    wide = np.clip(right[:, None] - np.maximum(left[:, None], rows[:, :, [0]]), 0, None)
    tall = np.clip(top[:, None] - rows[:, :, [1]], 0, None)
    area: Array = (wide * tall).sum(axis=2)
    return area
