"""SuperShaper's search: within its evaluations, inside the limit, and better than as many random draws."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from baselines.supershaper import SuperShaper, find_by_prediction
from benchmarks.api import TaskInfo
from supernet.search import random_search
from supernet.space import Architecture, get_space

SPACE = get_space("supershaper-s")


def lab(seed: int) -> SimpleNamespace:
    charged: list[tuple[str, float]] = []
    budget = SimpleNamespace(charge=lambda kind, amount=1: charged.append((kind, amount)))
    task = SimpleNamespace(settings={"generations": 6})
    return SimpleNamespace(
        space=SPACE, rng=np.random.default_rng(seed), budget=budget, task=task, charged=charged
    )


def loss(architecture: Architecture) -> float:
    """Wide first and last layers help most, as in the paper's heuristic shapes."""
    weight = np.array([3.0, 1.0, 0.5, 0.5, 1.0, 3.0])
    return float(-(weight * np.sqrt(np.array(architecture["widths"]))).sum())


def slim(architectures: list[Architecture]) -> np.ndarray:
    return np.array([sum(a["widths"]) <= 700 for a in architectures])


def found(seed: int, evaluations: int) -> tuple[Architecture, int]:
    calls: list[Architecture] = []

    def score(architecture: Architecture) -> float:
        calls.append(architecture)
        return loss(architecture)

    best = find_by_prediction(lab(seed), score, slim, evaluations, {})
    assert len(calls) == len(set(calls)), "nothing is evaluated twice"
    return best, len(calls)


@pytest.mark.parametrize("seed", range(3))
def test_the_search_stays_inside_its_limit_and_its_evaluations(seed: int) -> None:
    best, calls = found(seed, 30)
    assert slim([best])[0]
    assert calls <= 30


def test_the_search_beats_as_many_random_draws() -> None:
    ours = [loss(found(seed, 40)[0]) for seed in range(5)]
    rng = np.random.default_rng(0)
    random = [random_search(SPACE, loss, slim, rng, 40)[0][0] for _ in range(5)]
    assert np.mean(ours) < np.mean(random)


def test_scores_of_other_limits_are_reused() -> None:
    one = lab(0)
    known: dict[Architecture, float] = {}
    find_by_prediction(one, loss, slim, 20, known)
    before = len(known)
    best = find_by_prediction(one, loss, slim, 20, known)
    assert before < len(known) <= 40
    assert known[best] == min(known[a] for a in known if slim([a])[0])


def test_supershaper_supports_encoders_alone() -> None:
    assert SuperShaper().supports(TaskInfo("mt-x", "mt", "smoke", "bleu")) is not None
    assert SuperShaper().supports(TaskInfo("bert-x", "bert", "smoke", "mlm_accuracy")) is None
