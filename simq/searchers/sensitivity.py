"""Searches from sensitivities: what each option of each gene costs when it alone is changed.

``SensitivityILP`` is HAWQ-V3's selection (Yao et al., ICML 2021, section 3.4) over all genes of a joint
space: one evaluation an option, then an integer programme for each limit of bytes or latency.
``PrunedSearch`` follows AMQ (Lee et al., EMNLP 2025, arXiv 2509.12019): options of outlying sensitivity leave
the space, a proxy selects the first points, and a predictor with NSGA-II the others.

The loss is assumed to be additive over genes. Limits are exact where an objective is known without an
evaluation; they are differences of the single changes otherwise.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import csr_array

from simq.archive import Archive
from simq.genome import Array, Genes, Genomes, JointSpace
from simq.searchers.nsga2 import evolve, select_survivors
from simq.searchers.predictors import Predictions
from simq.searchers.sequential import RecordingEvaluator, largest_genome

AT_ONCE = 4
"""Single changes that are measured at a time."""
GAP = 1e-6
"""Relative optimality gap at which an integer programme ends."""
LEVELS = 8
"""Limits in the first sweep; every further sweep has twice as many."""
SWEEPS = 6
"""Most sweeps."""
OUTLIER = 2.0
"""Sensitivity above which an option leaves the space, in medians of its precision (AMQ, section 3.2)."""


@dataclass(frozen=True)
class Sensitivities:
    """Objectives of one genome and of all its single changes.

    Attributes:
        base: the genome ``[genes]``.
        rows: its objectives ``[m]``.
        changes: gene -> objectives minus ``rows`` of every option ``[options, m]``, zero for the base's own.
    """

    base: Genomes
    rows: Array
    changes: Sequence[Array]

    def additive(self, genes: Genes, genomes: Genomes) -> Array:
        """Return objectives ``[n, m]`` as the sum of the changes of active genes."""
        active = genes.active(genomes)
        total = np.repeat(self.rows[None], len(genomes), axis=0)
        for gene, change in enumerate(self.changes):
            total += change[genomes[:, gene]] * active[:, [gene]]
        return total


def measure_sensitivities(archive: Archive, rng: np.random.Generator) -> Sensitivities | None:
    """Measure the largest network in float32 and each single change of it, in random order.

    Points are measured in small batches, so that an allowance that ends early leaves what was measured.

    Returns:
        None if the archive allows fewer evaluations.

    Raises:
        ValueError: the archive's space is not a joint space.
    """
    genes = archive.genes
    if not isinstance(genes, JointSpace):
        raise ValueError("sensitivities need a joint space")
    base = largest_genome(genes)[0]
    changed = []
    for gene, count in enumerate(genes.levels.tolist()):
        for option in range(count):
            if option != base[gene]:
                changed.append((gene, option))
    changed = [changed[i] for i in rng.permutation(len(changed))]
    genomes = np.repeat(base[None], 1 + len(changed), axis=0)
    for row, (gene, option) in enumerate(changed, 1):
        genomes[row, gene] = option
    rows = np.vstack([archive.measure(part) for part in np.array_split(genomes, -(-len(genomes) // AT_ONCE))])
    if len(rows) < len(genomes):
        return None
    changes = [np.zeros((count, rows.shape[1])) for count in genes.levels.tolist()]
    for (gene, option), row in zip(changed, rows[1:], strict=True):
        changes[gene][option] = row - rows[0]
    return Sensitivities(base, rows[0], changes)


@dataclass(frozen=True)
class SensitivityILP:
    """One evaluation an option, then the integer programme's optimum at each limit.

    A programme is solved for each combination of depths: genes of absent layers cost and save nothing. The
    search ends when ``SWEEPS`` sweeps over limits yield no further point; evaluations may remain.
    """

    def search(self, archive: Archive, rng: np.random.Generator) -> None:
        """Measure single changes, then optima at limits; ``rng`` orders the single changes alone."""
        measured = measure_sensitivities(archive, rng)
        if measured is None:
            return
        known = np.isfinite(archive.evaluator.known(measured.base[None])[0])
        # The first measured objective is the quality; a limit is set on each other one.
        quality = int(np.flatnonzero(~known)[0]) if not known.all() else 0
        costs = [i for i in range(len(known)) if i != quality]
        programmes = [
            Programme(archive, measured, quality, cost, depths)
            for cost in costs
            for depths in depth_combinations(archive.genes)
        ]
        for sweep in range(SWEEPS):
            points = [genome for programme in programmes for genome in programme.sweep(LEVELS * 2**sweep)]
            if not archive.remaining or not points:
                return
            genomes = np.array(points)
            # Dominated ones by the additive model come last: they are the likeliest waste.
            order = select_survivors(measured.additive(archive.genes, genomes), len(genomes))
            genomes = genomes[order]
            archive.measure(genomes[archive.is_new(genomes)])


def depth_combinations(genes: Genes) -> Iterator[dict[int, int]]:
    """Yield each combination of options of the genes on which it depends whether others are active."""
    assert isinstance(genes, JointSpace)
    governors = genes.governors
    for options in itertools.product(*(range(int(genes.levels[gene])) for gene in governors)):
        yield dict(zip(governors, options, strict=True))


class Programme:
    """Integer programme of one cost at fixed depths: least additive loss within a limit of the cost.

    Args:
        quality, cost: columns of the objectives.
        depths: gene -> option, for the genes that decide which others are active.
    """

    def __init__(
        self, archive: Archive, measured: Sensitivities, quality: int, cost: int, depths: dict[int, int]
    ) -> None:
        genes = archive.genes
        self.base = measured.base.copy()
        for gene, option in depths.items():
            self.base[gene] = option
        active = genes.active(self.base[None])[0]
        self.options = [
            (gene, option)
            for gene, count in enumerate(genes.levels.tolist())
            if active[gene] and gene not in depths
            for option in range(count)
        ]
        changes = measured.changes
        self.loss = np.array([changes[gene][option, quality] for gene, option in self.options])
        self.start = measured.additive(genes, self.base[None])[0, cost]
        self.saved = np.array([changes[gene][option, cost] for gene, option in self.options])
        singles = np.repeat(self.base[None], 1 + len(self.options), axis=0)
        for row, (gene, option) in enumerate(self.options, 1):
            singles[row, gene] = option
        exact = archive.evaluator.known(singles)[:, cost]
        if np.isfinite(exact).all():
            self.start, self.saved = exact[0], exact[1:] - exact[0]
        owners = [gene for gene, _ in self.options]
        rows = np.unique(owners, return_inverse=True)[1]
        ones = (np.ones(len(owners)), (rows, np.arange(len(owners))))
        self.once = csr_array(ones, shape=(int(rows.max(initial=-1)) + 1, len(owners)))

    def sweep(self, levels: int) -> Iterator[Genomes]:
        """Yield the optimum at each of some limits, evenly between the least and the greatest cost."""
        if not self.options:
            yield self.base
            return
        least = self._extreme(1)
        for limit in np.linspace(least, self._extreme(-1), levels + 1):
            genome = self.solve(limit + 1e-9 * max(1.0, abs(limit)))
            if genome is not None:
                yield genome

    def _extreme(self, sign: int) -> float:
        """Return the least (1) or greatest (-1) additive cost, relative to the base's."""
        best: dict[int, float] = {}
        for (gene, _), saved in zip(self.options, sign * self.saved, strict=True):
            best[gene] = min(best.get(gene, np.inf), float(saved))
        return sign * sum(best.values())

    def solve(self, limit: float) -> Genomes | None:
        """Return the genome of least additive loss whose cost exceeds the base's by at most ``limit``.

        None if there is none.
        """
        one_each = LinearConstraint(self.once, 1, 1)
        scale = float(np.abs(self.saved).max()) or 1.0
        bounded = LinearConstraint(self.saved[None] / scale, -np.inf, limit / scale)
        unit = float(np.abs(self.loss).max()) or 1.0
        result = milp(
            self.loss / unit,
            constraints=[one_each, bounded],
            integrality=np.ones(len(self.loss)),
            bounds=Bounds(0, 1),
            options={"mip_rel_gap": GAP},
        )
        if result.x is None:
            return None
        genome = self.base.copy()
        for (gene, option), taken in zip(self.options, result.x, strict=True):
            if taken > 0.5:
                genome[gene] = option
        return genome


class AllowedOptions(Genes):
    """Part of a space in which genes have some of their options only.

    Args:
        parent: the space.
        options: of each gene, ascending.
    """

    def __init__(self, parent: Genes, options: Sequence[Sequence[int]]) -> None:
        self.parent, self.options = parent, [np.array(own, dtype=np.int64) for own in options]
        self.levels = np.array([len(own) for own in self.options], dtype=np.int64)
        self.names = parent.names

    def lift(self, genomes: Genomes) -> Genomes:
        """Return the same points as genomes of the parent space."""
        return np.column_stack([own[genomes[:, gene]] for gene, own in enumerate(self.options)])

    def active(self, genomes: Genomes) -> np.ndarray:
        return self.parent.active(self.lift(genomes))


def pruned_space(genes: JointSpace, measured: Sensitivities, quality: int) -> AllowedOptions:
    """Return the space without precisions whose sensitivity is an outlier among units.

    An option is one if its loss above the base's exceeds ``OUTLIER`` times the median over all units of the
    same precision. The base's own options stay.
    """
    options = [list(range(count)) for count in genes.levels.tolist()]
    units = range(genes.architecture_genes, len(options))
    for precision in genes.alphabet:
        costs = {
            gene: float(measured.changes[gene][allowed.index(precision), quality])
            for gene, allowed in zip(units, genes.unit_precisions, strict=True)
            if precision in allowed and allowed.index(precision) != measured.base[gene]
        }
        median = float(np.median(list(costs.values()))) if costs else 0.0
        for gene, cost in costs.items():
            if cost > OUTLIER * median and cost > 0 and median > 0:
                options[gene].remove(genes.unit_precisions[gene - units.start].index(precision))
    return AllowedOptions(genes, options)


@dataclass(frozen=True)
class PrunedSearch:
    """Search of the space without outlying options, from a proxy's front on.

    The proxy is the additive model of the single changes. It selects the first batch; each further one
    follows from Gaussian processes over all measured points, as in ``simq.searchers.linas``.

    Attributes:
        population: points measured in a batch.
        inner: predictor evaluations between two batches.
        optimism: standard deviations of the lower confidence bound below the predicted mean.
        on_fit, on_predict: called with the number of predictor fits and of predictions.
    """

    population: int = 50
    inner: int = 20_000
    optimism: float = 0.5
    on_fit: Callable[[int], None] = lambda count: None
    on_predict: Callable[[int], None] = lambda count: None

    def search(self, archive: Archive, rng: np.random.Generator) -> None:
        """Measure until the archive allows no more, or the space is exhausted."""
        genes = archive.genes
        measured = measure_sensitivities(archive, rng)
        if measured is None:
            return
        assert isinstance(genes, JointSpace)
        exact = archive.evaluator.known(measured.base[None])[0]
        quality = int(np.flatnonzero(np.isnan(exact))[0]) if np.isnan(exact).any() else 0
        part = pruned_space(genes, measured, quality)
        inside = Archive(RecordingEvaluator(archive, part), archive.remaining, known=())

        def proxy(genomes: Genomes) -> Array:
            rows, certain = (
                measured.additive(genes, part.lift(genomes)),
                archive.evaluator.known(part.lift(genomes)),
            )
            return np.where(np.isfinite(certain), certain, rows)

        predict = proxy
        while archive.remaining:
            proposed = evolve(part, predict, rng, evaluations=self.inner, population=2 * self.population)
            new = proposed[archive.is_new(part.lift(proposed))]
            if len(new) > self.population:
                new = new[select_survivors(predict(new), self.population)]
            if len(new) < self.population:
                more = np.vstack([new, inside.sample_new(4 * self.population, rng)])
                new = more[archive.is_new(part.lift(more))][: self.population]
            if not len(new):
                return
            inside.measure(new)
            predictions = Predictions(archive, self.on_predict)
            self.on_fit(len(predictions.models))

            def predict(genomes: Genomes, predictions: Predictions = predictions) -> Array:
                mean, deviation = predictions(part.lift(genomes))
                return mean - self.optimism * deviation
