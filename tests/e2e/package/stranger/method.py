"""The fastest of a few architectures, trained alone."""

from __future__ import annotations

from benchmarks.api import Method
from stranger.choice import fastest
from supernet.train import SinglePath, Trainer


class Stranger(Method):
    name = "stranger"
    version = "2"
    summary = "the fastest of four, trained alone"

    def search(self, lab):
        (_, index), drawn = fastest(lab, 4)
        net = lab.supernet(only=drawn[index])
        batches, checkpoint = lab.train_batches(), lab.checkpoint("train")
        net = Trainer(net, lab.recipe, SinglePath(), lab.seed).fit(batches, checkpoint, lab.progress)
        for limit in lab.limits:
            yield lab.candidate(net, drawn[index], origin="scratch", limit_ms=limit)
