"""The tables as a testbed for any optimiser, by ask and tell, with hypervolume curves beside our searchers'.

Every answer is looked up, so that a search of hundreds of evaluations takes milliseconds::

    bed = open_testbed("simq-vit", evaluations=200)
    while bed.remaining:
        bed.tell(my_choice(bed.levels))        # one option number a gene -> objectives, all minimised
    curves = {"mine": bed.curve(), **ours("simq-vit", evaluations=200)}
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from simq.genome import Array, Genomes
from simq.pareto import front, hypervolume
from simq.tabular.latency import load_table
from simq.tabular.search import search_table
from simq.tabular.table import Table, shipped_tables

OBJECTIVES = ("loss", "bytes")
"""Objectives of the study of searches."""
SEARCHERS = ("random-joint", "nsga2-joint", "linas", "bayes-joint")
"""Our searchers whose curves stand beside a stranger's."""
MARGIN = 0.1
"""Share of the true front's range by which the reference point lies beyond it."""
POPULATION, INNER = 20, 400
"""Points of a generation, and predictions between two of them, of our searchers."""


class Testbed:
    """One table as a black box with a budget.

    Attributes:
        levels: number of options of each gene.
        names: of the genes.
        objectives: names of the minimised objectives.
        evaluations: budget; a genome that was told before costs nothing.
        reference: reference point of the hypervolume.
    """

    def __init__(self, table: Table, objectives: Sequence[str] = OBJECTIVES, evaluations: int = 200) -> None:
        self.table, self.objectives, self.evaluations = table, tuple(objectives), evaluations
        self.levels, self.names = table.space.levels.tolist(), table.space.names
        self._values = table.values(self.objectives)
        best = self._values[front(self._values)]
        low, high = best.min(axis=0), best.max(axis=0)
        self.reference: Array = high + MARGIN * (high - low)
        self._volume = hypervolume(best, self.reference)
        self._rows: dict[int, None] = {}

    @property
    def remaining(self) -> int:
        """Evaluations that remain."""
        return self.evaluations - len(self._rows)

    def ask(self, rng: np.random.Generator) -> list[int]:
        """Return a random genome that was not told yet, to begin a search with."""
        fresh = np.setdiff1d(np.arange(len(self._values)), [*self._rows])
        if not len(fresh):
            raise ValueError("every point of the table was told")
        genome: list[int] = self.table.points[rng.choice(fresh)].tolist()
        return genome

    def tell(self, genome: Sequence[int]) -> list[float]:
        """Evaluate a genome and return its objectives, all minimised.

        Genes that the architecture does not use are ignored.

        Raises:
            ValueError: a gene is no integer or out of range, or the budget is spent.
        """
        row = int(self.table.indices(self._point(genome)[None])[0])
        if row not in self._rows:
            if self.remaining <= 0:
                raise ValueError(f"the budget of {self.evaluations} evaluations is spent")
            self._rows[row] = None
        values: list[float] = self._values[row].tolist()
        return values

    def describe(self, genome: Sequence[int]) -> tuple[dict[str, Any], dict[str, str]]:
        """Return the architecture and the policy (layer -> precision) of a genome.

        Raises:
            ValueError: a gene is no integer or out of range.
        """
        architecture, policy = self.table.space.decode(self._point(genome).tolist())
        return dict(architecture), dict(policy)

    def _point(self, genome: Sequence[int]) -> Genomes:
        """Return a genome ``[genes]`` as integers; floats such as 1.0 count as such."""
        point = np.asarray(genome)
        numeric = point.dtype.kind in "iuf" and point.shape == (len(self.levels),)
        if not numeric or not ((point >= 0) & (point < self.levels) & (point == np.floor(point))).all():
            raise ValueError(f"{list(genome)}: {len(self.levels)} option numbers below {self.levels}")
        return point.astype(np.int64)

    def curve(self) -> Array:
        """Return the share of the true front's hypervolume after each evaluation told: ``[told]``."""
        return self.curve_of([*self._rows])

    def curve_of(self, rows: Sequence[int]) -> Array:
        """Return the same for rows of the table in the order of their evaluation."""
        shares, best = np.zeros(len(rows)), self._values[:0]
        for i, row in enumerate(rows):
            value = self._values[row]
            if not (best <= value).all(axis=1).any():
                best = np.vstack([best[~(value <= best).all(axis=1)], value])
            shares[i] = hypervolume(best, self.reference) / self._volume
        return shares


def open_testbed(name: str, objectives: Sequence[str] = OBJECTIVES, evaluations: int = 200) -> Testbed:
    """Return a shipped table as a testbed.

    Args:
        name: one of ``names()``.
        objectives: columns or error rates of the table, minimised, such as ``loss`` and ``latency``.
        evaluations: budget.

    Raises:
        ValueError: no such table or objective.
    """
    tables = shipped_tables()
    if name not in tables:
        raise ValueError(f"no table {name!r}: choose one of {', '.join(sorted(tables))}")
    return Testbed(load_table(tables[name]), objectives, evaluations)


def names() -> list[str]:
    """Return the names of all tables."""
    return sorted(shipped_tables())


def ours(
    name: str,
    objectives: Sequence[str] = OBJECTIVES,
    evaluations: int = 200,
    seeds: int = 5,
    searchers: Sequence[str] = SEARCHERS,
) -> dict[str, Array]:
    """Return our searchers' mean curves ``[evaluations]`` over seeds, on the same table and budget."""
    bed = open_testbed(name, objectives, evaluations)
    curves = {}
    for searcher in searchers:
        runs = []
        for seed in range(1, seeds + 1):
            rows = search_table(bed.table, objectives, searcher, evaluations, seed, POPULATION, INNER)
            curve = bed.curve_of(rows.tolist())
            runs.append(np.pad(curve, (0, evaluations - len(curve)), mode="edge"))
        curves[searcher] = np.mean(runs, axis=0)
    return curves


def plot(curves: dict[str, Array], path: Path | str, title: str = "") -> None:
    """Draw curves of hypervolume over evaluations into an image file."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4.0), layout="constrained")
    axes = figure.subplots()
    for name, curve in curves.items():
        axes.plot(np.arange(1, len(curve) + 1), curve, label=name)
    axes.set(xlabel="evaluations", ylabel="share of the true front's hypervolume", title=title)
    axes.legend()
    figure.savefig(path)
