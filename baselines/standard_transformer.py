"""Control: standard Transformers trained alone, the largest that meets each limit."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import product
from typing import Any

from benchmarks.api import Candidate, Lab, Method, Need
from supernet.interop.fairseq.checkpoint import standard_space
from supernet.pipeline import train
from supernet.search import InfeasibleError
from supernet.space import Architecture
from supernet.train import SinglePath


class StandardTransformer(Method):
    """Control: for each latency the largest standard Transformer that meets it, trained on an even split.

    The architectures are those of ``fairseq-transformer``; training is that of every other method.
    """

    name = "standard-transformer"
    suite = "mt"
    summary = "control: the largest standard Transformer within each limit, trained alone"
    needs = (Need("probes", 1, each=True, timed=True, why="the test whether a network meets a limit"),)

    def search(self, lab: Lab) -> Iterable[Candidate]:
        with lab.phase("search"):
            chosen = largest_within(lab)
        if not chosen:
            raise InfeasibleError("no standard Transformer of this space's sizes meets a limit")
        for i, (limit, architecture) in enumerate(chosen):
            with lab.phase("train"):
                net = train(lab, lab.supernet(only=architecture), SinglePath(), 1 / len(chosen), f"train-{i}")
                yield lab.candidate(net, architecture, origin="scratch", target=limit)


def largest_within(lab: Lab) -> list[tuple[Any, Architecture]]:
    """Return the largest standard Transformer for each limit that one of them meets; widest limits first."""
    candidates = sorted(standard_transformers(lab), key=lab.size, reverse=True)
    chosen = []
    for limit in sorted(lab.limits, reverse=True):
        meets = False
        while candidates and not meets and lab.budget.left("probes"):
            meets = lab.fits(candidates[0], limit)
            candidates = candidates if meets else candidates[1:]  # it misses narrower limits too
        if meets:
            chosen.append((limit, candidates[0]))
        else:
            lab.say(f"no standard Transformer of this space's sizes found within {limit:g} ms")
    return chosen


def standard_transformers(lab: Lab) -> list[Architecture]:
    """Return every standard Transformer of the space's widths, feed-forward widths and decoder depths.

    Each has the largest number of heads of the space that divides its width.
    """
    options = {choice.name: choice.options for choice in lab.space.choices}
    architectures = []
    for width, ffn, depth in product(
        options["encoder_embed_dim"], options["encoder_ffn"], options["decoder_layers"]
    ):
        heads = max((n for n in options["encoder_heads"] if width % n == 0), default=1)
        layers = {"encoder": max(options["encoder_layers"]), "decoder": depth}
        space = standard_space(width, layers, dict.fromkeys(layers, heads), dict.fromkeys(layers, ffn))
        architectures.append(space.largest())
    return architectures
