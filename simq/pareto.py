"""Fronts of objective rows ``[n, m]``; every objective is to be small."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from simq.genome import Array


def beaten(rows: Array) -> NDArray[np.bool_]:
    """``[n, n]``: whether row j is at least as good as row i everywhere, and better somewhere."""
    better = np.zeros((len(rows), len(rows)), dtype=bool)
    worse = np.zeros_like(better)
    for column in rows.T:
        better |= column[None, :] < column[:, None]
        worse |= column[None, :] > column[:, None]
    return better & ~worse


def front(rows: Array) -> NDArray[np.bool_]:
    """Which rows nothing beats; of equal rows all are kept."""
    if not len(rows):
        return np.zeros(0, dtype=bool)
    unique, back = np.unique(rows, axis=0, return_inverse=True)  # sorted: only earlier rows can beat
    kept = np.ones(len(unique), dtype=bool)
    if rows.shape[1] == 2:
        before = np.minimum.accumulate(np.concatenate([[np.inf], unique[:-1, 1]]))
        kept = unique[:, 1] < before
    else:
        best = unique[:1]
        for i in range(1, len(unique)):
            kept[i] = not (best <= unique[i]).all(axis=1).any()
            if kept[i]:
                best = np.vstack([best, unique[i]])
    found: NDArray[np.bool_] = kept[back.ravel()]
    return found


def ranks(rows: Array) -> NDArray[np.int64]:
    """Number of the front of each row, the best 0."""
    dominated = beaten(rows)
    left = dominated.sum(axis=1)
    out = np.full(len(rows), -1, dtype=np.int64)
    rank = 0
    while (out < 0).any():
        now = (left == 0) & (out < 0)
        out[now] = rank
        left = left - dominated[:, now].sum(axis=1)
        rank += 1
    return out


def crowding(rows: Array, rank: NDArray[np.int64]) -> Array:
    """Crowding distance of each row within its front (Deb et al., 2002); the ends of a front are infinite."""
    distance = np.zeros(len(rows))
    for column in rows.T:
        order = np.lexsort((column, rank))
        value, group = column[order], rank[order]
        inner = np.zeros(len(rows), dtype=bool)
        inner[1:-1] = (group[1:-1] == group[:-2]) & (group[1:-1] == group[2:])
        low = np.full(rank.max() + 1, np.inf)
        high = np.full(rank.max() + 1, -np.inf)
        np.minimum.at(low, group, value)
        np.maximum.at(high, group, value)
        span = np.maximum(high - low, 1e-300)[group]
        gap = np.full(len(rows), np.inf)
        at = np.flatnonzero(inner)
        gap[at] = (value[at + 1] - value[at - 1]) / span[at]
        distance[order] += gap
    return distance


def hypervolume(rows: Array, reference: Array) -> float:
    """Volume between rows and reference that some row beats."""
    import moocore

    return float(moocore.hypervolume(np.asarray(rows, dtype=np.float64), ref=reference)) if len(rows) else 0.0
