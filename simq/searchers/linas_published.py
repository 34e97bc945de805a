"""LINAS as its public code has it (DyNAS-T 1.6), faults included, so that they can be measured.

The paper is Sarah et al. 2022 (arXiv 2205.10358), as extended to precisions by SimQ-NAS (arXiv 2312.13301,
section 3). Its NSGA-II is pymoo's, with operators for real numbers and rounding. The exchange probability of
SBX was 0.5 up to pymoo 0.6.0.1 and is 1.0 since 0.6.1; the public code sets neither, so both behaviours are
published ones.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from simq.archive import Archive
from simq.genome import Array, Genes, Genomes, JointSpace
from simq.searchers.predictors import fit_published_predictor

EXCHANGE = (0.5, 1.0)
"""Exchange probabilities of SBX in pymoo up to 0.6.0.1, and since."""
CROSSOVER_RATE, SBX_ETA = 0.9, 15
"""Share of matings that cross, and the distribution index of simulated binary crossover."""
MUTATION_RATE, PM_ETA = 0.02, 20
"""Share of children that mutate, and the distribution index of polynomial mutation."""


@dataclass(frozen=True)
class LinasAsPublished:
    """Iterative search with one predictor an objective, refitted to all unique rows.

    NSGA-II starts in each loop from a random population with the same seed. Its whole last population is
    measured, also points that were measured before.

    Attributes:
        population, inner: as in ``simq.searchers.linas.Linas``.
        exchange: probability that SBX exchanges variables between both children.
        on_fit, on_predict: called with the number of predictor fits and of predictions.
    """

    population: int = 50
    inner: int = 20_000
    exchange: float = 1.0
    on_fit: Callable[[int], None] = lambda count: None
    on_predict: Callable[[int], None] = lambda count: None

    def search(self, archive: Archive, rng: np.random.Generator) -> None:
        """Measure until the archive allows no more; repeated points are measured, and charged, again."""
        genes = archive.genes
        seed = int(rng.integers(2**31))
        archive.measure(genes.sample(self.population, rng))
        while archive.remaining:
            _, first = np.unique(archive.genomes, axis=0, return_index=True)
            unique = np.sort(first)
            x, rows = masked_features(genes, archive.genomes[unique]), archive.rows[unique]
            models = [fit_published_predictor(x, y) for y in rows.T]
            self.on_fit(len(models))

            def predict(genomes: Genomes, models: list[Callable[[Array], Array]] = models) -> Array:
                self.on_predict(len(models) * len(genomes))
                new = masked_features(genes, genomes)
                return np.column_stack([model(new) for model in models])

            archive.measure(
                last_population(
                    genes, predict, len(models), seed, self.population, self.inner, exchange=self.exchange
                )
            )


def masked_features(genes: Genes, genomes: Genomes) -> Array:
    """Return one-hot features under the public code's mask, which is one gene off among the precision genes.

    It uses the first gene of absent layers, and ignores the first gene behind them (BERT's pooler).
    """
    active = genes.active(genomes)
    if isinstance(genes, JointSpace):
        first = genes.architecture_genes
        active[:, first + 1 :] = active[:, first:-1].copy()
        active[:, first : first + 1] = True
    hot = [
        (genomes[:, [i]] == np.arange(count)) & active[:, [i]]
        for i, count in enumerate(genes.levels.tolist())
    ]
    return np.hstack(hot).astype(np.float64)


def last_population(
    genes: Genes,
    predict: Callable[[Genomes], Array],
    objectives: int,
    seed: int,
    population: int,
    evaluations: int,
    *,
    exchange: float,
) -> Genomes:
    """Return the last population ``[n, genes]`` of pymoo's NSGA-II under the public code's operators.

    Args:
        predict: returns the rows ``[n, objectives]`` of genomes; every objective is to be small.
        evaluations: predictions, which set the number of generations.
    """
    from pymoo.algorithms.moo.nsga2 import NSGA2
    from pymoo.core.problem import Problem
    from pymoo.operators.crossover.sbx import SBX
    from pymoo.operators.mutation.pm import PM
    from pymoo.operators.repair.rounding import RoundingRepair
    from pymoo.operators.sampling.rnd import IntegerRandomSampling
    from pymoo.optimize import minimize

    class Predicted(Problem):  # type: ignore[misc]  # pymoo publishes no types
        def _evaluate(self, x: Array, out: dict[str, Array], *args: Any, **kwargs: Any) -> None:
            out["F"] = predict(x.astype(np.int64))

    rounding = RoundingRepair()
    algorithm = NSGA2(
        pop_size=population,
        sampling=IntegerRandomSampling(),
        crossover=SBX(prob=CROSSOVER_RATE, eta=SBX_ETA, prob_exch=exchange, vtype=float, repair=rounding),
        mutation=PM(prob=MUTATION_RATE, eta=PM_ETA, vtype=float, repair=rounding),
        eliminate_duplicates=True,
    )
    problem = Predicted(n_var=len(genes.levels), n_obj=objectives, xl=0, xu=genes.levels - 1, vtype=int)
    generations = max(1, evaluations // population)
    result = minimize(problem, algorithm, ("n_gen", generations), seed=seed)
    genomes: Genomes = result.pop.get("X").astype(np.int64)
    return genomes
