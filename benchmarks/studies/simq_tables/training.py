"""Training of the supernets of tables, outside the Lab: no ledger, progress as lines of text."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

import torch

from benchmarks.api import State
from benchmarks.tasks.datasets import Say
from supernet.data.images import ImageBatch
from supernet.elastic import SuperNet
from supernet.model_family import ModelFamily
from supernet.train import Batch, Objective, Recipe, Sandwich, SinglePath, Trainer
from supernet.weights import SharedSlices

REPORTS = 8
"""Progress lines of one training."""


class LimitedBatches:
    """Batches up to a number of tokens of passes, marked as paid for."""

    def __init__(self, source: Iterable[Batch], passes: float, total: float) -> None:
        self.source, self.passes, self.total, self.spent = source, passes, total, 0.0

    def __iter__(self) -> Iterator[Batch]:
        for batch in self.source:
            if self.spent >= self.total:
                return
            self.spent += self.passes * batch.tokens
            batch.prepaid = self.passes
            yield batch

    def state(self) -> State:
        return {}

    def restore(self, state: Mapping[str, object]) -> None: ...


def new_supernet(family: ModelFamily, device: str, seed: int) -> SuperNet:
    """Return an untrained supernet with shared slices."""
    return SuperNet(family, SharedSlices(family, torch.Generator().manual_seed(seed), device))


def named_weights(net: SuperNet) -> dict[str, torch.Tensor]:
    """Return all weights by name, as views."""
    return {name: view for name, (view, _) in net.source.master.views.items()}


def load_weights(net: SuperNet, weights: Mapping[str, torch.Tensor]) -> None:
    """Replace all weights of a supernet of ``new_supernet``."""
    assert isinstance(net.source, SharedSlices)
    net.source.load(weights)


def fit(
    name: str,
    net: SuperNet,
    recipe: Recipe,
    batches: Iterable[Batch],
    tokens: float,
    validation: Sequence[ImageBatch],
    seed: int,
    say: Say,
    objective: Objective | None = None,
) -> None:
    """Train a supernet by the sandwich rule with in-place distillation, a single network by itself.

    Args:
        name: in the progress lines.
        tokens: of training, all passes counted.
        validation: batches on which the largest network's accuracy is reported; may be empty.
        objective: by default labels, and the largest network's logits for the others.
    """
    sampling: SinglePath | Sandwich = SinglePath() if net.space.size() == 1 else Sandwich(distill=True)
    precision = "bf16" if net.device.type == "cuda" else "fp32"
    start, due = time.monotonic(), [tokens / REPORTS]

    def progress(spent: float, total: float, text: str) -> None:
        if spent < due[0]:
            return
        due[0] += total / REPORTS
        largest = f"{accuracy(net, validation):.1f} %" if validation else "not evaluated"
        took = time.monotonic() - start
        remaining = took * (total / spent - 1)
        say(f"{name}: {took:.0f} s, {remaining:.0f} s to go, {text}, largest network {largest}")

    trainer = Trainer(net, replace(recipe, precision=precision), sampling, seed, objective)
    trainer.fit(LimitedBatches(batches, sampling.passes, tokens), progress=progress)
    took = time.monotonic() - start
    say(f"{name}: trained in {took:.0f} s, {trainer.updates} updates")


def accuracy(net: SuperNet, batches: Sequence[ImageBatch], which: str = "largest") -> float:
    """Return the accuracy in percent of the ``largest`` or ``smallest`` network, in float32."""
    precision = net.source.dtype
    net.source.precision(torch.float32)
    module = net.export(getattr(net.space, which)()).to(net.device)
    net.source.precision(precision)
    with torch.inference_mode():
        hits = [(module(*batch.inputs).argmax(-1) == batch.labels).float().sum() for batch in batches]
    return 100 * float(sum(hits)) / sum(len(batch.labels) for batch in batches)
