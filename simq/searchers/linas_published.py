"""LINAS as its public code has it (DyNAS-T 1.6), faults included, so that they can be measured.

Its operators are pymoo's for real numbers, with rounding. The exchange probability of SBX was 0.5 up to pymoo
0.6.0.1 and is 1.0 since 0.6.1; the public code asks for neither, so both behaviours are published ones.

NSGA-II is pymoo's as of 0.6.2, draw for draw, on arrays: pymoo holds each individual as an object, which
takes far longer. Tests compare both.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from simq.archive import Archive
from simq.genome import Array, Genes, Genomes, JointSpace, firsts
from simq.searchers import pareto
from simq.searchers.predictors import published

EXCHANGE = (0.5, 1.0)
"""Of pymoo up to 0.6.0.1, and since."""
CROSSED, SBX_ETA = 0.9, 15
"""Share of matings that cross, and the distribution index of simulated binary crossover."""
MUTATED, PM_ETA = 0.02, 20
"""Share of children that mutate, and the distribution index of polynomial mutation."""


@dataclass(frozen=True)
class LinasAsPublished:
    """One predictor an objective, refitted to all unique rows; NSGA-II from a fresh random population with
    the same seed in each loop; the whole last population is measured, also what was measured before.

    Attributes:
        population, inner: as in ``simq.searchers.linas.Linas``.
        exchange: probability that SBX exchanges variables between both children.
        fitted, called: told of each predictor fit, and of how many predictions were made.
    """

    population: int = 50
    inner: int = 20_000
    exchange: float = 1.0
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
            models = [published(x, y) for y in rows.T]
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
    rng = np.random.default_rng(seed)
    group = np.column_stack([rng.integers(0, count, size=population) for count in genes.levels.tolist()])
    group = group[firsts(genes.codes(group))]
    rows = predict(group)
    rank = pareto.ranks(rows)
    crowded = crowding(rows, rank)
    order = np.argsort(rank, kind="stable")
    group, rows, crowded = group[order], rows[order], crowded[order]
    for _ in range(max(1, evaluations // population) - 1):
        children = offspring(genes, group, rows, crowded, population, exchange, rng)
        if not len(children):
            break
        group, rows = np.vstack([group, children]), np.vstack([rows, predict(children)])
        kept, crowded = survivors(rows, population, rng)
        group, rows, crowded = group[kept], rows[kept], crowded[kept]
    return group


def offspring(
    genes: Genes,
    group: Genomes,
    rows: Array,
    crowded: Array,
    count: int,
    exchange: float,
    rng: np.random.Generator,
) -> Genomes:
    """Up to ``count`` genomes that neither are in ``group`` nor repeat, out of at most 100 matings."""
    found = group
    for _ in range(100):
        mates = -(-(count - len(found) + len(group)) // 2)
        mothers, fathers = tournaments(rows, crowded, 2 * mates, rng).reshape(mates, 2).T
        both = np.stack([group[mothers], group[fathers]])
        crossed = rng.random(mates) < CROSSED
        if crossed.any():
            both = np.where(crossed[:, None], sbx(genes.levels, both, exchange, rng), both)
        children = polynomial(genes.levels, both.reshape(2 * mates, -1), rng)
        found = np.vstack([found, children])
        found = found[firsts(genes.codes(found))][: len(group) + count]
        if len(found) == len(group) + count:
            break
    return found[len(group) :]


def tournaments(rows: Array, crowded: Array, count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Places ``[count]`` of winners of tournaments of two: by dominance, then by crowding, then by lot."""
    deals = -(-2 * count // len(rows))
    dealt = np.concatenate([rng.permutation(len(rows)) for _ in range(deals)])[: 2 * count]
    a, b = dealt.reshape(count, 2).T
    less, more = (rows[a] < rows[b]).any(axis=1), (rows[a] > rows[b]).any(axis=1)
    first = (less & ~more) | ((less == more) & (crowded[a] > crowded[b]))
    won = np.where(first, a, b)
    lot = np.flatnonzero((less == more) & (crowded[a] == crowded[b]))
    won[lot] = np.where(rng.integers(0, 2, size=len(lot)) == 0, a[lot], b[lot])
    return won


def sbx(levels: Genomes, parents: Genomes, exchange: float, rng: np.random.Generator) -> Genomes:
    """Simulated binary crossover of pairs ``[2, n, genes]`` with rounding: two children of each."""
    mates, power = parents.shape[1], SBX_ETA + 1
    swapped = np.where(rng.random((mates, 1)) > exchange, 0.0, 0.5)
    differ = (rng.random(parents.shape[1:]) < 0.5) & (parents[0] != parents[1])
    low, high = np.minimum(*parents)[differ].astype(float), np.maximum(*parents)[differ].astype(float)
    top, apart = np.broadcast_to(levels - 1, differ.shape)[differ], high - low
    drawn, swap = rng.random((2, len(low)))

    def stretch(room: Array) -> Array:
        alpha = 2 - (1 + 2 * room / apart) ** -power
        spread = drawn * alpha
        return np.where(drawn <= 1 / alpha, spread, 1 / (2 - spread)) ** (1 / power)

    lower = np.rint(np.clip(0.5 * ((low + high) - stretch(low) * apart), 0, top)).astype(np.int64)
    upper = np.rint(np.clip(0.5 * ((low + high) + stretch(top - high) * apart), 0, top)).astype(np.int64)
    children = parents.copy()
    crossing = swap < np.broadcast_to(swapped, differ.shape)[differ]
    # pymoo: children are told apart by their parents, then exchanged where the draw says so, or the other
    # way round where the first parent was the larger: twice exchanged is not at all.
    children[0, differ] = np.where(crossing, upper, lower)
    children[1, differ] = np.where(crossing, lower, upper)
    return children


def polynomial(levels: Genomes, genomes: Genomes, rng: np.random.Generator) -> Genomes:
    """Polynomial mutation with rounding, of one gene on average in one genome of fifty."""
    power, top = PM_ETA + 1, np.broadcast_to(levels - 1, genomes.shape).astype(float)
    hit = (rng.random(genomes.shape) < min(0.5, 1 / len(levels))) & (levels > 1)
    drawn = np.zeros(genomes.shape)
    drawn[hit] = rng.random(int(hit.sum()))
    hit &= rng.random((len(genomes), 1)) <= MUTATED
    if not hit.any():
        return genomes
    x, high, u = genomes[hit], top[hit], drawn[hit]
    down = (2 * u + (1 - 2 * u) * (1 - x / high) ** power) ** (1 / power) - 1
    up = 1 - (2 * (1 - u) + 2 * (u - 0.5) * (1 - (high - x) / high) ** power) ** (1 / power)
    moved = genomes.copy()
    moved[hit] = np.rint(np.clip(x + np.where(u <= 0.5, down, up) * high, 0, high)).astype(np.int64)
    return moved


def survivors(rows: Array, count: int, rng: np.random.Generator) -> tuple[NDArray[np.int64], Array]:
    """Places of the ``count`` best rows, front after front, and the crowding of all ``[n]``; of the front
    that does not fit in whole those that are crowded least, ties by lot."""
    rank = pareto.ranks(rows)
    crowded = crowding(rows, rank)
    order = np.argsort(rank, kind="stable")
    if len(rows) <= count:
        return order, crowded
    before = int(np.searchsorted(rank[order], rank[order[count]]))
    if before == count:
        return order[:count], crowded
    last = order[before : int(np.searchsorted(rank[order], rank[order[count]], side="right"))]
    dealt = rng.permutation(len(last))
    least = dealt[np.argsort(crowded[last][dealt])][::-1]
    return np.concatenate([order[:before], last[least[: count - before]]]), crowded


def crowding(rows: Array, rank: NDArray[np.int64]) -> Array:
    """Crowding distance of pymoo ``[n]`` of rows within their fronts."""
    found = np.zeros(len(rows))
    for front in range(int(rank.max()) + 1):
        mine = np.flatnonzero(rank == front)
        found[mine] = _crowding(rows[mine])
    return found


def _crowding(rows: Array) -> Array:
    if len(rows) <= 2:
        return np.full(len(rows), np.inf)
    total = np.zeros(len(rows))
    for column in rows.T:
        order = np.argsort(column, kind="stable")
        step = np.full(len(rows) + 1, np.inf)
        step[1:-1] = np.diff(column[order])
        span = column[order[-1]] - column[order[0]]
        if span > 0:
            step = step / span
            total[order] += step[:-1] + step[1:]
    return total / rows.shape[1]
