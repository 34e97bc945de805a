"""Strangers' methods: one that does everything right, one that follows it."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable

from benchmarks.api import Candidate, Lab, Method, Option
from supernet.train import SinglePath, Trainer


class Good(Method):
    """Trains, probes, evaluates and proposes, with a checkpoint in every phase.

    The variables exist so that tests can interrupt it at a known place.
    """

    name = "tiny-good"
    summary = "trains on half of the tokens, then looks at a few architectures"

    def search(self, lab: Lab) -> Iterable[Candidate]:
        slow = float(os.environ.get("TINY_SLOW", 0))
        net = lab.supernet()
        with lab.phase("supernet"):
            checkpoint = Slowly(lab.checkpoint("supernet"), slow)
            Trainer(net, lab.recipe, SinglePath(), lab.seed).fit(
                lab.train_batches(0.6), checkpoint, lab.progress
            )
        with lab.phase("search"):
            kept = lab.checkpoint("search").load() or {"best": None, "seen": 0}
            for i in range(kept["seen"], 4):
                architecture = lab.space.sample(lab.rng)
                lab.probe(architecture)
                loss = lab.evaluate(net, architecture).loss
                time.sleep(slow)
                if kept["best"] is None or loss < kept["best"][0]:
                    kept["best"] = (loss, architecture.to_dict())
                kept["seen"] = i + 1
                lab.progress(i + 1, 4)
                if i == 1:
                    lab.checkpoint("search").save(kept)
            lab.budget.charge("predictor_calls", 17)
            best = lab.space.architecture(kept["best"][1])
            yield lab.candidate(net, best, target=lab.limits[0])
        with lab.phase("retrain"):
            alone = net.collapse(best)
            Trainer(alone, lab.recipe, SinglePath(), lab.seed).fit(
                lab.train_batches(0.4), Slowly(lab.checkpoint("retrain"), slow), lab.progress
            )
            yield lab.candidate(alone, best, origin="continued", target=lab.limits[0])


class Tuned(Method):
    """Trains its supernet on a share of the tokens that it is told, and can be tuned from outside."""

    name = "tiny-tuned"
    summary = "has two trials for external tuning"
    options = (Option("share", float, 0.3, low=0.1, high=1, help="of the tokens, that train its supernet"),)
    trials = ({"share": 0.3}, {"share": 0.8})

    def search(self, lab: Lab) -> Iterable[Candidate]:
        net = lab.supernet()
        with lab.phase("supernet"):
            checkpoint = Slowly(lab.checkpoint("supernet"), float(os.environ.get("TINY_SLOW", 0)))
            batches = lab.train_batches(lab.options["share"])
            Trainer(net, lab.recipe, SinglePath(), lab.seed).fit(batches, checkpoint, lab.progress)
        drawn = [lab.space.sample(lab.rng) for _ in range(int(lab.budget.left("evaluations")))]
        best = min(drawn, key=lambda a: lab.evaluate(net, a).loss)
        yield lab.candidate(net, best, target=lab.limits[0])


class Slowly:
    """A checkpoint that takes its time before it is asked, so that there is time to interrupt."""

    def __init__(self, inner, slow):
        self.inner, self.slow = inner, slow
        self.load, self.save = inner.load, inner.save

    def due(self) -> bool:
        time.sleep(self.slow)
        return self.inner.due()


class After(Method):
    """Takes what ``tiny-good`` found and trains it alone."""

    name = "tiny-after"
    follows = "tiny-good"
    summary = "trains what tiny-good found"

    def search(self, lab: Lab) -> Iterable[Candidate]:
        for i, (limit, architecture) in enumerate(lab.given):
            net = lab.supernet(only=architecture)
            Trainer(net, lab.recipe, SinglePath(), lab.seed).fit(
                lab.train_batches(1 / len(lab.given)), lab.checkpoint(f"train-{i}"), lab.progress
            )
            yield lab.candidate(net, architecture, origin="scratch", target=limit)
