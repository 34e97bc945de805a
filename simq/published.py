"""LINAS as its public code has it (DyNAS-T 1.6), faults included, so that they can be measured.

Its operators are pymoo's for real numbers, with rounding. The exchange probability of SBX was 0.5 up to pymoo
0.6.0.1 and is 1.0 since 0.6.1; the public code asks for neither, so both behaviours are published ones.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from simq.evaluator import Archive
from simq.genome import Array, Genes, Genomes, JointSpace
from simq.predictors import BOXES, FEW_BOXES, published

EXCHANGE = (0.5, 1.0)
"""Of pymoo up to 0.6.0.1, and since."""


@dataclass(frozen=True)
class LinasAsPublished:
    """One predictor an objective, refitted to all unique rows; NSGA-II from a fresh random population with
    the same seed in each loop; the whole last population is measured, also what was measured before.

    Attributes:
        population, inner: as in ``simq.linas.Linas``.
        exchange: probability that SBX exchanges variables between both children.
        thin: try seven values of C and not all hundred.
        fitted, called: told of each predictor fit, and of how many predictions were made.
    """

    population: int = 50
    inner: int = 20_000
    exchange: float = 1.0
    thin: bool = False
    fitted: Callable[[int], None] = lambda count: None
    called: Callable[[int], None] = lambda count: None

    def search(self, archive: Archive, rng: np.random.Generator) -> None:
        """Measure until the archive allows no more; repeated points are measured, and charged, again."""
        genes = archive.genes
        seed = int(rng.integers(2**31))
        archive.measure(genes.sample(self.population, rng))
        while archive.left:
            _, first = np.unique(archive.genomes, axis=0, return_index=True)
            places = np.sort(first)
            x, rows = masked_features(genes, archive.genomes[places]), archive.rows[places]
            models = [published(x, y, FEW_BOXES if self.thin else BOXES) for y in rows.T]
            self.fitted(len(models))

            def predict(genomes: Genomes, models: list[Callable[[Array], Array]] = models) -> Array:
                self.called(len(models) * len(genomes))
                new = masked_features(genes, genomes)
                return np.column_stack([model(new) for model in models])

            archive.measure(
                last_population(genes, predict, seed, self.population, self.inner, exchange=self.exchange)
            )


def masked_features(genes: Genes, genomes: Genomes) -> Array:
    """Features under the public code's mask, which is one place off among the precision genes: it sees the
    first gene of the layers that are not there, and not the first one behind them (BERT's pooler)."""
    there = genes.active(genomes)
    if isinstance(genes, JointSpace):
        first = genes.architecture_genes
        there[:, first + 1 :] = there[:, first:-1].copy()
        there[:, first : first + 1] = True
    hot = [
        (genomes[:, [i]] == np.arange(count)) & there[:, [i]] for i, count in enumerate(genes.levels.tolist())
    ]
    return np.hstack(hot).astype(np.float64)


def last_population(
    genes: Genes,
    predict: Callable[[Genomes], Array],
    seed: int,
    population: int,
    evaluations: int,
    *,
    exchange: float,
) -> Genomes:
    """The last population of pymoo's NSGA-II under the public code's operators."""
    from pymoo.algorithms.moo.nsga2 import NSGA2
    from pymoo.core.problem import Problem
    from pymoo.operators.crossover.sbx import SBX
    from pymoo.operators.mutation.pm import PM
    from pymoo.operators.repair.rounding import RoundingRepair
    from pymoo.operators.sampling.rnd import IntegerRandomSampling
    from pymoo.optimize import minimize

    class Predicted(Problem):  # type: ignore[misc]
        def __init__(self) -> None:
            objectives = predict(np.zeros((1, len(genes.levels)), dtype=np.int64)).shape[1]
            super().__init__(n_var=len(genes.levels), n_obj=objectives, xl=0, xu=genes.levels - 1, vtype=int)

        def _evaluate(self, x: Genomes, out: dict[str, Array], *args: object, **kwargs: object) -> None:
            out["F"] = predict(x.astype(np.int64))

    algorithm = NSGA2(
        pop_size=population,
        sampling=IntegerRandomSampling(),
        crossover=SBX(prob=0.9, eta=15, prob_exch=exchange, vtype=float, repair=RoundingRepair()),
        mutation=PM(prob=0.02, eta=20, vtype=float, repair=RoundingRepair()),
        eliminate_duplicates=True,
    )
    result = minimize(Predicted(), algorithm, ("n_gen", max(1, evaluations // population)), seed=seed)
    found: Genomes = result.pop.get("X").astype(np.int64)
    return found
