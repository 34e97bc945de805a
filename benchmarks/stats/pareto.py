"""Fronts and hypervolumes, through moocore."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Points = Sequence[tuple[float, float]]
"""Points ``(quality, cost)``: more quality and less cost are better."""


def front(points: Points) -> list[tuple[float, float]]:
    """Return the points that no other dominates, by cost; of equal points one is kept."""
    kept: list[tuple[float, float]] = []
    for quality, cost in sorted(set(points), key=lambda p: (p[1], -p[0])):
        if not kept or quality > kept[-1][0]:
            kept.append((quality, cost))
    return kept


def hypervolume(points: Points, reference: tuple[float, float]) -> float:
    """Return the area that points dominate, down to a frozen reference point.

    Args:
        points: any number, also none; those beyond the reference add nothing.
        reference: (lowest quality, highest cost) that count.
    """
    import moocore

    if not points:
        return 0.0
    array = np.asarray(points, dtype=np.float64)
    return float(moocore.hypervolume(array, ref=list(reference), maximise=[True, False]))


def hypervolumes(quality: Array, cost: Array, reference: tuple[float, float]) -> Array:
    """Return ``hypervolume`` of many sets of points at once.

    Args:
        quality, cost: ``[k, points]``; NaN is no point.
        reference: (lowest quality, highest cost) that count.

    Returns:
        ``[k]`` areas.
    """
    floor, ceiling = reference
    inside = (quality > floor) & (cost < ceiling)
    at = np.where(inside, cost, ceiling)
    order = np.argsort(at, axis=1)
    at = np.take_along_axis(at, order, axis=1)
    height = np.take_along_axis(np.where(inside, quality - floor, 0.0), order, axis=1)
    widths = np.diff(at, axis=1, append=np.full((len(at), 1), ceiling))
    areas: Array = (np.maximum.accumulate(height, axis=1) * widths).sum(axis=1)
    return areas
