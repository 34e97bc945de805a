"""Control: HAT's winners trained alone on the whole token allowance, with no supernet."""

from __future__ import annotations

from collections.abc import Iterable

from benchmarks.api import Candidate, Lab, Method
from supernet.pipeline import train
from supernet.train import SinglePath


class Scratch(Method):
    """Control: the architectures that HAT found with the same seed, trained alone on an even split.

    Their search is charged to HAT, not to this method.
    """

    name = "scratch"
    summary = "control: HAT's winners trained alone, no supernet"
    follows = "hat"

    def search(self, lab: Lab) -> Iterable[Candidate]:
        if not lab.given:
            raise RuntimeError("hat proposed nothing with this seed: there is no architecture to train")
        for i, (limit, architecture) in enumerate(lab.given):
            with lab.phase("train"):
                net = train(
                    lab, lab.supernet(only=architecture), SinglePath(), 1 / len(lab.given), f"train-{i}"
                )
                yield lab.candidate(net, architecture, origin="scratch", target=limit)
