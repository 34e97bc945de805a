"""Fronts and hypervolumes against brute force and by hand."""

import random

import numpy as np
import pytest

from benchmarks.stats import pareto


def brute_front(points):
    def beaten(p):
        return any(o != p and o[0] >= p[0] and o[1] <= p[1] for o in points)

    return sorted({p for p in points if not beaten(p)}, key=lambda p: p[1])


def brute_volume(points, reference, cells=200):
    """The share of a grid of points in the reference box that some point dominates."""
    floor, ceiling = reference
    top = max((p[0] for p in points), default=floor)
    if top <= floor:
        return 0.0
    qualities = floor + (np.arange(cells) + 0.5) / cells * (top - floor)
    latencies = (np.arange(cells) + 0.5) / cells * ceiling
    inside = np.zeros((cells, cells), dtype=bool)
    for quality, latency in points:
        inside |= (qualities[:, None] <= quality) & (latencies[None, :] >= latency)
    return float(inside.mean() * (top - floor) * ceiling)


@pytest.mark.parametrize("seed", range(20))
def test_front_and_hypervolume_against_brute_force(seed):
    draw = random.Random(seed)
    points = [(draw.uniform(15, 40), draw.uniform(0.1, 1.3)) for _ in range(draw.randrange(8))]
    assert pareto.front(points) == brute_front(points)
    volume = pareto.hypervolume(points, (20.0, 1.1))
    assert volume == pytest.approx(brute_volume(points, (20.0, 1.1)), abs=0.25)
    assert volume == pytest.approx(pareto.hypervolume(pareto.front(points), (20.0, 1.1)))


def test_many_hypervolumes_are_those_of_each_set():
    rng = np.random.default_rng(0)
    quality, latency = rng.integers(15, 30, (200, 5)) + 0.5, rng.integers(1, 14, (200, 5)) / 10
    quality[rng.random(quality.shape) < 0.2] = np.nan
    latency[rng.random(quality.shape) < 0.2] = np.nan
    there = [~np.isnan(q) & ~np.isnan(x) for q, x in zip(quality, latency, strict=True)]
    each = [
        pareto.hypervolume(list(zip(q[t], x[t], strict=True)), (20.0, 1.1))
        for q, x, t in zip(quality, latency, there, strict=True)
    ]
    assert pareto.hypervolumes(quality, latency, (20.0, 1.1)) == pytest.approx(each, abs=1e-12)
    assert pareto.hypervolumes(quality[:0], latency[:0], (20.0, 1.1)).shape == (0,)
    assert (pareto.hypervolumes(quality[:, :0], latency[:, :0], (20.0, 1.1)) == 0).all()


def test_hypervolume_by_hand():
    assert pareto.hypervolume([], (0.0, 1.0)) == 0.0
    assert pareto.hypervolume([(30.0, 0.5)], (20.0, 1.0)) == pytest.approx(5.0)
    assert pareto.hypervolume([(30.0, 0.5), (25.0, 0.25)], (20.0, 1.0)) == pytest.approx(5.0 + 1.25)
    assert pareto.hypervolume([(10.0, 0.5), (30.0, 2.0)], (20.0, 1.0)) == 0.0


def test_equal_points_count_once_on_the_front():
    assert pareto.front([(1.0, 1.0), (1.0, 1.0), (1.0, 2.0), (0.5, 1.0)]) == [(1.0, 1.0)]
