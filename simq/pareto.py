"""Pareto fronts of objective rows ``[n, m]``; every objective is minimized."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from simq.genome import Array


def front(rows: Array) -> NDArray[np.bool_]:
    """Return a mask ``[n]`` of the nondominated rows; of equal rows all are kept."""
    import moocore

    mask: NDArray[np.bool_] = moocore.is_nondominated(rows, keep_weakly=True)
    return mask


def ranks(rows: Array) -> NDArray[np.int64]:
    """Return the nondomination rank of each row ``[n]``, the best 0."""
    import moocore

    rank: NDArray[np.int64] = moocore.pareto_rank(rows).astype(np.int64)
    return rank


def crowding(rows: Array, rank: NDArray[np.int64]) -> Array:
    """Return the crowding distance of each row within its front (Deb et al. 2002, section III-B).

    The ends of a front have an infinite distance.
    """
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
    """Return the hypervolume that ``rows`` dominate, bounded by ``reference``; 0 without rows."""
    import moocore

    return float(moocore.hypervolume(np.asarray(rows, dtype=np.float64), ref=reference)) if len(rows) else 0.0
