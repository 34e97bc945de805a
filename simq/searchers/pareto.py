"""Fronts of objective rows ``[n, m]``; every objective is to be small."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from simq.genome import Array


def front(rows: Array) -> NDArray[np.bool_]:
    """Which rows nothing beats; of equal rows all are kept."""
    import moocore

    found: NDArray[np.bool_] = moocore.is_nondominated(rows, keep_weakly=True)
    return found


def ranks(rows: Array) -> NDArray[np.int64]:
    """Number of the front of each row, the best 0."""
    import moocore

    found: NDArray[np.int64] = moocore.pareto_rank(rows).astype(np.int64)
    return found


def crowding(rows: Array, rank: NDArray[np.int64]) -> Array:
    """Crowding distance of each row within its front (Deb et al., 2002); the ends of a front are infinite."""
    distance = np.zeros(len(rows))
    for column in rows.T:
        order = np.lexsort((column, rank))
        value, group = column[order], rank[order]
        first = np.flatnonzero(np.concatenate([[True], group[1:] != group[:-1]]))
        last = np.concatenate([first[1:], [len(rows)]]) - 1
        span = np.repeat(np.maximum(value[last] - value[first], 1e-300), last - first + 1)
        gap = np.empty(len(rows))
        gap[1:-1] = (value[2:] - value[:-2]) / span[1:-1]
        gap[first] = gap[last] = np.inf
        distance[order] += gap
    return distance


def hypervolume(rows: Array, reference: Array) -> float:
    """Volume between rows and reference that some row beats."""
    import moocore

    return float(moocore.hypervolume(np.asarray(rows, dtype=np.float64), ref=reference)) if len(rows) else 0.0
