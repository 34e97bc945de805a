"""Control: a standard Transformer as fairseq trains it, under the same allowance, recipe and scoring."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from baselines.standard_transformer import largest_within
from benchmarks.api import Candidate, Lab, Method, Skip, TaskInfo
from supernet.interop.fairseq import command


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
