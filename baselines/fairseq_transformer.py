"""Control: a standard Transformer as fairseq trains it, under the same allowance, recipe and scoring."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import product
from typing import Any

from benchmarks.api import Candidate, Lab, Method, Skip, TaskInfo
from supernet.interop.fairseq import command
from supernet.interop.fairseq.checkpoint import standard_space
from supernet.space import Architecture


class FairseqTransformer(Method):
    """Control: for each latency the largest standard Transformer that meets it, trained by fairseq.

    It has one width, one feed-forward width and one number of heads, of the task's space, with heads that
    fill the width, as fairseq's do. ``fairseq-train`` runs in a process and an environment of its own, on the
    batches that any method gets for an even split of all tokens, each sentence once.
    """

    name = "fairseq-transformer"
    suite = "mt"
    summary = "control: standard Transformers that meet the limits, trained by fairseq 0.12.2"

    def supports(self, task: TaskInfo) -> Skip | None:
        if (other := super().supports(task)) is not None:
            return other
        try:
            command.interpreter()
        except LookupError as missing:
            return Skip(str(missing))
        return None

    def search(self, lab: Lab) -> Iterable[Candidate]:
        with lab.phase("search"):
            chosen = largest_within(lab)
        if not chosen:
            raise RuntimeError("no standard Transformer of this space's sizes meets a limit")
        for i, (limit, architecture) in enumerate(chosen):
            with lab.phase("train"):
                net = lab.supernet(space=architecture.space)
                net.source.load(trained(lab, net, 1 / len(chosen), i))
                yield lab.candidate(net, architecture, origin="scratch", target=limit)


def trained(lab: Lab, net: Any, share: float, number: int) -> Any:
    """Train by one pass of fairseq over ``share`` of the tokens and return the weights."""
    from supernet.interop.fairseq import training

    pairs = training.pairs_of(lab.train_batches(share))
    seed = int(lab.rng.integers(2**31))
    folder = lab.scratch / f"fairseq-{number}"
    return training.train(folder, net.family, pairs, lab.recipe, seed, lab.device, lab.progress)


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
