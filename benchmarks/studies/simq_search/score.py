"""Score searches by the share of the true front's hypervolume that they reach."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.records.canonical import JsonView
from benchmarks.studies.simq_search.plan import ARMS, MARGIN, Case, Run, SearchPlan
from simq.pareto import front, hypervolume
from simq.searchers.search import SEQUENTIAL
from simq.tabular.latency import load_table

Array = NDArray[np.float64]


@dataclass(frozen=True)
class CaseResult:
    """Shares of the true front's hypervolume that each arm reached on one case.

    Attributes:
        head: of the table.
        shares: arm -> ``[seeds, budgets]``.
        held: arm -> ``[seeds]``, of the last budget's front with the losses of the held-out data, as a
            share of the volume of the held-out data's own front.
        curves: arm -> ``[seeds, evaluations]``.
        uniform: precision -> share of the front of all points in that precision.
        held_uniform: precision -> that front's share with the losses of the held-out data.
        held_front: the same of the front of all points.
    """

    case: Case
    head: JsonView
    shares: Mapping[str, Array]
    held: Mapping[str, Array]
    curves: Mapping[str, Array]
    uniform: Mapping[str, float]
    held_uniform: Mapping[str, float]
    held_front: float

    @property
    def best_uniform(self) -> str:
        """Precision whose points alone have the largest share."""
        return max(self.uniform, key=lambda precision: self.uniform[precision])

    @property
    def name(self) -> str:
        """Table, with objectives and alphabet if they are not the first ones."""
        return str(self.case)

    @property
    def family(self) -> str:
        """Architecture family of the table, such as ``vit``."""
        return str(self.head["name"]).removeprefix("simq-").partition("-")[0]


def score_case(case: Case, plan: SearchPlan, orders: Mapping[Run, NDArray[np.int64]]) -> CaseResult:
    """Score every search on a case.

    Args:
        orders: run -> rows of the table that it evaluated, in order.
    """
    table = load_table(case.path)
    values = table.values(case.objectives)
    held_values = table.values(("held_loss", *case.objectives[1:]))
    allowed = table.within(case.alphabet) if case.alphabet else np.arange(len(values))
    last, seeds = max(plan.budgets), range(1, plan.seeds + 1)
    reference, volume = reference_volume(values[allowed])
    held_reference, held_volume = reference_volume(held_values[allowed])

    def held_share(rows: NDArray[np.int64]) -> float:
        """Return the share of held-out volume of the front that ``rows`` have on the search's own items."""
        kept = rows[front(values[rows])]
        return hypervolume(held_values[kept], held_reference) / held_volume

    curves: dict[str, Array] = {}
    shares: dict[str, Array] = {}
    held: dict[str, Array] = {}
    for name in case.arms(plan):
        longest = [orders[name, seed, last] for seed in seeds]
        curves[name] = np.stack([anytime(values[order], reference, last) / volume for order in longest])
        shares[name] = curves[name][:, np.array(plan.budgets) - 1]
        if ARMS[name].searcher in SEQUENTIAL:
            ends = [
                [hypervolume(values[orders[name, seed, budget]], reference) for budget in plan.budgets]
                for seed in seeds
            ]
            shares[name] = np.array(ends) / volume
        held[name] = np.array([held_share(order) for order in longest])
    of_precision = {
        precision: rows
        for precision, rows in table.uniform.items()
        if not case.alphabet or precision in case.alphabet
    }
    return CaseResult(
        case,
        table.head,
        shares,
        held,
        curves,
        uniform={name: hypervolume(values[rows], reference) / volume for name, rows in of_precision.items()},
        held_uniform={name: held_share(rows) for name, rows in of_precision.items()},
        held_front=held_share(allowed),
    )


def reference_volume(values: Array) -> tuple[Array, float]:
    """Return the reference point of ``values`` ``[n, m]`` and the hypervolume of their front.

    The reference point is the worst of the front in each objective, ``MARGIN`` of its range beyond it.
    """
    best = values[front(values)]
    low, high = best.min(axis=0), best.max(axis=0)
    reference: Array = high + MARGIN * (high - low)
    return reference, hypervolume(best, reference)


def anytime(values: Array, reference: Array, evaluations: int) -> Array:
    """Return the hypervolume ``[evaluations]`` after each row; after an early end it stays as it was."""
    curve, best, last = np.zeros(evaluations), values[:0], 0.0
    for i in range(evaluations):
        if i < len(values) and not (best <= values[i]).all(axis=1).any():
            best = np.vstack([best[~(values[i] <= best).all(axis=1)], values[i]])
            last = hypervolume(best, reference)
        curve[i] = last
    return curve
