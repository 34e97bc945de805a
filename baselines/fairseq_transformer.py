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
    """For each latency the largest standard Transformer that meets it, with one width, one feed-forward width
    and one number of heads; ``fairseq-train`` trains it in a process and an environment of its own.

    Its sizes are those of the task's space, but that heads fill the width, as fairseq's do. What it trains on
    are the batches that any method is handed for an even split of all tokens, each sentence once.
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
    """Weights after one pass of fairseq over ``share`` of the tokens."""
    from supernet.interop.fairseq import training

    pairs = training.pairs_of(lab.train_batches(share))
    seed = int(lab.rng.integers(2**31))
    folder = lab.scratch / f"fairseq-{number}"
    return training.train(folder, net.family, pairs, lab.recipe, seed, lab.device, lab.progress)


def largest_within(lab: Lab) -> list[tuple[Any, Architecture]]:
    """The largest standard Transformer for each limit that one of them meets; widest limits first."""
    left = sorted(standard(lab), key=lab.size, reverse=True)
    chosen = []
    for limit in sorted(lab.limits, reverse=True):
        meets = False
        while left and not meets and lab.budget.left("probes"):
            meets = lab.fits(left[0], limit)
            left = left if meets else left[1:]  # what misses this limit misses a narrower one
        if meets:
            chosen.append((limit, left[0]))
        else:
            lab.say(f"no standard Transformer of this space's sizes found within {limit:g} ms")
    return chosen


def standard(lab: Lab) -> list[Architecture]:
    """Every standard Transformer of the space's widths, feed-forward widths and decoder depths, with as many
    heads as its widest."""
    options = {choice.name: choice.options for choice in lab.space.choices}
    found = []
    for width, ffn, depth in product(
        options["encoder_embed_dim"], options["encoder_ffn"], options["decoder_layers"]
    ):
        heads = max((n for n in options["encoder_heads"] if width % n == 0), default=1)
        layers = {"encoder": max(options["encoder_layers"]), "decoder": depth}
        space = standard_space(width, layers, dict.fromkeys(layers, heads), dict.fromkeys(layers, ffn))
        found.append(space.largest())
    return found
