"""SuperShaper (Ganesan et al. 2021): a width per layer, sandwich training, evolution on predicted loss."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from sklearn.ensemble import GradientBoostingRegressor

from benchmarks.api import Candidate, Lab, Method, Need, Option
from supernet.pipeline import AFTER, Allowed, Score, supernet_search
from supernet.predict import MINIMUM_SAMPLES
from supernet.search import Evolution
from supernet.space import Architecture
from supernet.train import Sandwich

SAMPLED = 0.7
"""Share of the evaluations that the predictor is fitted to; the rest evaluates its proposals."""


class SuperShaper(Method):
    """Recipe of the public code: sandwich rule, predicted loss, evolution, evaluated proposals.

    Each pass of the sandwich learns the labels. Gradient-boosted trees predict the supernet's loss from the
    shape, evolution minimizes the prediction, and its best networks are evaluated; the public code trusts the
    prediction instead. Bottlenecks are merged before anything is timed or exported.
    """

    name = "supershaper"
    suite = "bert"
    summary = "SuperShaper: sandwich, predicted loss, evolution over a width per layer"
    options = (Option("after", str, "continue", choices=AFTER, help="training of winners"),)
    needs = (
        Need("probes", MINIMUM_SAMPLES, timed=True, why="the samples of its latency predictor"),
        Need("evaluations", 3, each=True, why="two for its predictor of loss, one for what it proposes"),
    )

    def search(self, lab: Lab) -> Iterable[Candidate]:
        after = lab.options["after"]
        yield from supernet_search(lab, sampling=Sandwich(), after=after, find=find_by_prediction)


def find_by_prediction(
    lab: Any, score: Score, allowed: Allowed, evaluations: int, known: dict[Architecture, float]
) -> Architecture:
    """Return the network of least evaluated loss among those that evolution ranked best by prediction."""
    sampled = int(SAMPLED * evaluations)
    for _ in range(sampled):
        architecture = lab.space.sample(lab.rng)
        if architecture not in known:
            known[architecture] = score(architecture)
    lab.budget.charge("predictor_fits")
    predict = fit_predictor(lab, known)
    predictions: dict[Architecture, float] = {}

    def predict_loss(architecture: Architecture) -> float:
        lab.budget.charge("predictor_calls")
        return float(predict([architecture])[0])

    # The public code's sizes: 100 mutants at p 0.4 and 100 crossovers of 10 parents.
    search = Evolution(10, 100, 100, 0.4, lab.task.settings["generations"])
    search.run(lab.space, predict_loss, allowed, lab.rng, known=predictions)
    # Those evaluated before cost nothing, and of them some may be better than any that is proposed.
    permitted = [a for a, ok in zip(known, allowed(list(known)), strict=True) if ok] if known else []
    proposed = sorted(predictions, key=lambda a: (predictions[a], a.key()))
    fits = [a for a, ok in zip(proposed, allowed(proposed), strict=True) if ok]
    for architecture in [a for a in fits if a not in known][: evaluations - sampled]:
        known[architecture] = score(architecture)
        permitted.append(architecture)
    return min(permitted, key=lambda a: (known[a], a.key()))


def fit_predictor(lab: Any, known: Mapping[Architecture, float]) -> Any:
    """Fit a predictor of validation loss from shapes, of the public code's size (depth 5, rate 0.1)."""

    def features(architectures: Sequence[Architecture]) -> np.ndarray:
        return np.stack([lab.space.encode(a, "fine") for a in architectures])

    trees = GradientBoostingRegressor(
        max_depth=5,
        learning_rate=0.1,
        n_estimators=200,
        subsample=0.8,
        random_state=int(lab.rng.integers(2**31)),
    )
    trees.fit(features(list(known)), list(known.values()))
    return lambda architectures: trees.predict(features(architectures))
