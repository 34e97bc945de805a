"""LINAS corrected: predictors fitted to measured points, NSGA-II on predictions, measured proposals.

The loop is that of Sarah et al. 2022 (arXiv 2205.10358) and SimQ-NAS (arXiv 2312.13301, section 3).
Differences from the public code (``simq.searchers.linas_published``):

* variation operators reach every option;
* every active gene has a feature;
* no point is measured twice;
* objectives that need no measurement, such as bytes, are exact and not predicted;
* evolution starts from the measured front (warm start);
* evolution minimizes a lower confidence bound of a Gaussian process;
* the result is the measured points, not the predicted ones.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from simq.archive import Archive
from simq.genome import Array, Genomes
from simq.searchers.nsga2 import evolve, select_survivors
from simq.searchers.predictors import Predictions


@dataclass(frozen=True)
class Linas:
    """Lightweight iterative search.

    Attributes:
        population: points measured in a batch.
        inner: predictor evaluations between two batches.
        optimism: standard deviations of the lower confidence bound below the predicted mean.
        warm: evolution starts from the measured front.
        on_fit, on_predict: called with the number of predictor fits and of predictions.
    """

    population: int = 50
    inner: int = 20_000
    optimism: float = 0.5
    warm: bool = True
    on_fit: Callable[[int], None] = lambda count: None
    on_predict: Callable[[int], None] = lambda count: None

    def search(self, archive: Archive, rng: np.random.Generator) -> None:
        """Measure until the archive allows no more, or the space is exhausted."""
        genes = archive.genes
        archive.measure(archive.sample_new(min(self.population, archive.remaining), rng))
        while archive.remaining:
            predicted = Predictions(archive, self.on_predict)
            self.on_fit(len(predicted.models))

            def predict(genomes: Genomes, predicted: Predictions = predicted) -> Array:
                mean, deviation = predicted(genomes)
                return mean - self.optimism * deviation

            start = archive.genomes[archive.front()] if self.warm else None
            # Twice as many as are measured, for some of them have been measured before.
            proposed = evolve(
                genes, predict, rng, evaluations=self.inner, population=2 * self.population, start=start
            )
            batch = self._select(proposed[archive.is_new(proposed)], predict)
            if len(batch) < self.population:
                more = archive.sample_new(self.population, rng)
                batch = np.vstack([batch, more])
                batch = batch[archive.is_new(batch)][: self.population]
            if not len(batch):
                return
            archive.measure(batch)

    def _select(self, proposed: Genomes, predict: Callable[[Genomes], Array]) -> Genomes:
        """Return one batch of the proposed points, by rank and crowding distance of their predictions."""
        if len(proposed) <= self.population:
            return proposed
        return proposed[select_survivors(predict(proposed), self.population)]
