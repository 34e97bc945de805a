"""Bayesian optimisation by expected hypervolume improvement.

Each measured objective has a Gaussian process; the others are exact. NSGA-II on lower confidence bounds finds
a pool of candidates, over which the joint posterior is sampled. Candidates are added to the batch greedily by
the hypervolume improvement over front and batch, averaged over the samples: the batch acquisition function of
qNEHVI (Daulton et al. 2021) on a discrete space and without noise.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from simq import pareto
from simq.archive import Archive
from simq.genome import Array, Genomes
from simq.searchers.nsga2 import evolve
from simq.searchers.predictors import Predictions

REFRESHED = 16
"""Candidates whose improvements are recomputed at a time."""


@dataclass(frozen=True)
class Bayes:
    """Batch Bayesian optimisation on genomes.

    Attributes:
        initial: random points measured first.
        batch: points measured between two fits.
        inner: predictor evaluations that find the pool.
        samples: of the posterior.
        on_fit, on_predict: called with the number of predictor fits and of predictions.
    """

    initial: int = 25
    batch: int = 10
    inner: int = 4000
    samples: int = 16
    on_fit: Callable[[int], None] = lambda count: None
    on_predict: Callable[[int], None] = lambda count: None

    def search(self, archive: Archive, rng: np.random.Generator) -> None:
        """Measure until the archive allows no more, or the space is exhausted."""
        archive.measure(archive.sample_new(min(self.initial, archive.remaining), rng))
        while archive.remaining:
            predicted = Predictions(archive, self.on_predict)
            self.on_fit(len(predicted.models))
            pool = self._pool(archive, predicted, rng)
            if not len(pool):
                return
            drawn = predicted.draws(pool, self.samples, rng)
            archive.measure(pool[select_batch(drawn, archive.rows, min(self.batch, archive.remaining))])

    def _pool(self, archive: Archive, predicted: Predictions, rng: np.random.Generator) -> Genomes:
        """Return new points that minimize lower confidence bounds of different optimism, and random ones."""
        genes, start = archive.genes, archive.genomes[archive.front()]
        parts = [archive.sample_new(50, rng)]
        for optimism in (0.0, 1.0, 2.0):

            def predict(genomes: Genomes, optimism: float = optimism) -> Array:
                mean, deviation = predicted(genomes)
                return mean - optimism * deviation

            parts.append(
                evolve(genes, predict, rng, evaluations=self.inner // 3, population=100, start=start)
            )
        pool = np.vstack(parts)
        return pool[archive.is_new(pool)]


def select_batch(drawn: Array, measured: Array, count: int) -> list[int]:
    """Return the indices of up to ``count`` candidates with the greatest expected hypervolume improvement.

    Candidates are selected greedily, each given those before it.

    Args:
        drawn: samples of the candidates' objectives ``[samples, n, m]``.
        measured: rows ``[k, m]``. The reference point is their worst, a tenth of their range beyond it.
    """
    low, high = measured.min(axis=0), measured.max(axis=0)
    span = np.where(high > low, high - low, 1.0)
    reference = np.full(measured.shape[1], 1.1)
    known = (measured - low) / span
    fronts = np.repeat(known[pareto.front(known)][None], len(drawn), axis=0)
    samples = (drawn - low) / span
    gain = hypervolume_improvements(samples, fronts, reference).sum(axis=0)
    stale = np.zeros(len(gain), dtype=bool)
    selected: list[int] = []
    for _ in range(min(count, len(gain))):
        # A larger front leaves less to improve: the previous improvement is an upper bound.
        while stale[best := int(np.argmax(gain))]:
            refreshed = np.argsort(-gain, kind="stable")[:REFRESHED]  # the best is among them
            refreshed = refreshed[stale[refreshed]]
            gain[refreshed] = hypervolume_improvements(samples[:, refreshed], fronts, reference).sum(axis=0)
            stale[refreshed] = False
        selected.append(best)
        fronts = np.concatenate([fronts, samples[:, [best]]], axis=1)
        stale[:] = True
        gain[selected], stale[selected] = -1, False
    return selected


def hypervolume_improvements(rows: Array, fronts: Array, reference: Array) -> Array:
    """Return the hypervolume ``[s, n]`` that each row alone would add to the front of its sample.

    Args:
        rows: two or three objectives ``[s, n, m]``.
        fronts: ``[s, k, m]``; may contain dominated rows.
    """
    fronts = np.minimum(fronts, reference)  # the same volume, if any
    if rows.shape[2] == 2:
        return _areas(rows, fronts, reference)
    return np.stack([_volumes(*pair, reference) for pair in zip(rows, fronts, strict=True)])


def _volumes(rows: Array, front: Array, reference: Array) -> Array:
    """Return the improvements for three objectives and one sample, sliced along the third objective."""
    edges = np.concatenate([[-np.inf], np.sort(front[:, 2]), reference[2:]])
    total = np.zeros(len(rows))
    for low, high in zip(edges[:-1], edges[1:], strict=True):
        thick = np.clip(high - np.maximum(low, rows[:, 2]), 0, None)
        if thick.any():
            below = front[front[:, 2] <= low][:, :2]
            total += thick * _areas(rows[None, :, :2], below[None], reference[:2])[0]
    return total


def _areas(rows: Array, fronts: Array, reference: Array) -> Array:
    """Return the improvements for two objectives, summed over strips between neighbours of the front."""
    order = np.argsort(fronts[:, :, 0], axis=1, kind="stable")
    first, second = np.take_along_axis(fronts, order[:, :, None], axis=1).transpose(2, 0, 1)
    sides = len(fronts), 1
    starts = np.hstack([np.full(sides, -np.inf), first])
    ends = np.hstack([first, np.full(sides, reference[0])])
    top = np.minimum.accumulate(np.hstack([np.full(sides, reference[1]), second]), axis=1)
    wide = np.clip(ends[:, None] - np.maximum(starts[:, None], rows[:, :, [0]]), 0, None)
    tall = np.clip(top[:, None] - rows[:, :, [1]], 0, None)
    area: Array = (wide * tall).sum(axis=2)
    return area
