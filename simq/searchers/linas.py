"""LINAS corrected: predictors learn what was measured, evolution asks them, what it finds is measured.

What differs from the public code (``simq.searchers.linas_published``) and why: variation that reaches
every option; a
feature for every gene that counts; no point measured twice, within a batch or over all of them; objectives
that need no measurement, such as bytes, are exact and not predicted; evolution starts from the measured
front; the predictor knows its doubt, and evolution gives it the benefit of it; the result is what was
measured.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from simq.archive import Archive
from simq.genome import Array, Genomes
from simq.searchers.nsga2 import evolve, survivors
from simq.searchers.predictors import Predictions


@dataclass(frozen=True)
class Linas:
    """Lightweight iterative search.

    Attributes:
        population: points measured in a batch.
        inner: predictor evaluations between two batches.
        doubt: standard deviations by which a prediction is taken better than its mean.
        warm: whether evolution starts from the measured front.
        fitted, called: told of each predictor fit, and of how many predictions were made.
    """

    population: int = 50
    inner: int = 20_000
    doubt: float = 0.5
    warm: bool = True
    fitted: Callable[[int], None] = lambda count: None
    called: Callable[[int], None] = lambda count: None

    def search(self, archive: Archive, rng: np.random.Generator) -> None:
        """Measure until the archive allows no more, or the space is used up."""
        genes = archive.genes
        archive.measure(archive.fresh(min(self.population, archive.left), rng))
        while archive.left:
            predicted = Predictions(archive, self.called)
            self.fitted(len(predicted.models))

            def predict(genomes: Genomes, predicted: Predictions = predicted) -> Array:
                mean, deviation = predicted(genomes)
                return mean - self.doubt * deviation

            start = archive.genomes[archive.front()] if self.warm else None
            # Twice as many as are measured, for some of them have been measured before.
            proposed = evolve(
                genes, predict, rng, evaluations=self.inner, population=2 * self.population, start=start
            )
            batch = self._spread(proposed[archive.new(proposed)], predict)
            if len(batch) < self.population:
                more = archive.fresh(self.population, rng)
                batch = np.vstack([batch, more])
                batch = batch[archive.new(batch)][: self.population]
            if not len(batch):
                return
            archive.measure(batch)

    def _spread(self, proposed: Genomes, predict: Callable[[Genomes], Array]) -> Genomes:
        """As many as a batch takes, by front and crowding of what is predicted."""
        if len(proposed) <= self.population:
            return proposed
        return proposed[survivors(predict(proposed), self.population)]
