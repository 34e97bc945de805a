"""Evolution and random search against exhaustive search on a small space."""

from __future__ import annotations

import numpy as np
import pytest

from supernet.search import Evolution, InfeasibleError, random_search
from supernet.space import Choice, SearchSpace

SPACE = SearchSpace("toy", (Choice("width", (1, 2, 3, 4)), Choice("inner", (1, 2, 3, 4), 3)), {})


def score(arch) -> float:
    return (arch["width"] - 3) ** 2 + sum((x - i - 1) ** 2 for i, x in enumerate(arch["inner"]))


def size(archs) -> np.ndarray:
    return np.array([a["width"] * sum(a["inner"]) for a in archs])


def everything(archs) -> np.ndarray:
    return np.ones(len(archs), dtype=bool)


def test_evolution_finds_the_optimum_of_a_small_space() -> None:
    found = Evolution(generations=12).run(SPACE, score, everything, np.random.default_rng(0))
    assert found[0][0] == 0 and found[0][1]["inner"] == (1, 2, 3)
    assert [s for s, _ in found] == sorted(s for s, _ in found)


def test_every_result_meets_the_constraint_and_none_is_scored_twice() -> None:
    seen = []

    def counted(arch) -> float:
        seen.append(arch)
        return score(arch)

    found = Evolution(generations=6).run(SPACE, counted, lambda a: size(a) <= 12, np.random.default_rng(1))
    assert all(size([a])[0] <= 12 for _, a in found)
    assert len(seen) == len(set(seen))


def test_the_evaluation_cap_holds_and_known_scores_are_free() -> None:
    known: dict = {}
    calls = []
    evolution = Evolution(parents=4, mutants=8, crossovers=8, evaluations=30)
    for _ in range(2):
        calls.append(0)

        def counted(arch) -> float:
            calls[-1] += 1
            return score(arch)

        evolution.run(SPACE, counted, everything, np.random.default_rng(2), known=known)
    assert calls[0] == 30 and calls[1] <= 30


def test_the_same_generator_gives_the_same_search() -> None:
    runs = [
        Evolution(generations=4).run(SPACE, score, everything, np.random.default_rng(7)) for _ in range(2)
    ]
    assert runs[0] == runs[1]


def test_random_search_returns_the_best_it_saw() -> None:
    found = random_search(SPACE, score, lambda a: size(a) <= 12, np.random.default_rng(0), 60)
    assert found[0][0] == min(s for s, _ in found)


def test_an_impossible_limit_is_refused() -> None:
    with pytest.raises(InfeasibleError, match="loosen the limit"):
        random_search(SPACE, score, lambda a: size(a) < 0, np.random.default_rng(0), 10)
