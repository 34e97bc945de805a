"""Make the tables of ``simq/tables``: train a supernet and write down every point of its joint space.

``python -m tests.bench.tabulate --prepare-only --data-dir DIR --cache FOLDER`` makes the data, on any
machine; ``python -m tests.bench.tabulate --cache FOLDER --out FOLDER --commit HASH`` trains and tabulates, on
a GPU. With ``--tiny`` everything is small enough for a test; such a table says nothing.
"""

from __future__ import annotations

import argparse
import hashlib
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.streams import recipe_of
from benchmarks.tasks import Prepared
from benchmarks.tasks.tiers import Tier
from simq.table import Table, write
from simq.tabulate import fill, layer_space
from supernet.elastic import SuperNet
from supernet.space import SearchSpace, layered_space
from supernet.train import Sandwich, Trainer
from supernet.weights import SharedSlices

SEED = 1
LENGTH = 64
"""Tokens of a row of text."""


@dataclass(frozen=True)
class Kind:
    """A table to be made. ``units``: images or rows of validation data; ``tokens``: of training."""

    name: str
    task: str
    tokens: float
    units: int
    batch_tokens: int
    learning_rate: float


KINDS = {
    "vit": Kind("simq-vit", "vision-cifar10", 200e6, 1000, 33280, 1e-3),
    "text": Kind("simq-text", "bert-enwiki", 120e6, 500, 32768, 1.5e-3),
}


def task_of(kind: Kind) -> Any:
    """The harness's task, whose data and batches are used."""
    if kind.task.startswith("vision"):
        from benchmarks.tasks.vision import cifar10, digits

        return digits if kind.task == "vision-digits" else cifar10
    from benchmarks.tasks.bert import enwiki, synthetic

    return synthetic if kind.task == "bert-synthetic-en" else enwiki


def settings(kind: Kind, device: str, tiny: bool) -> tuple[Any, Tier, SearchSpace]:
    """Task, tier and closed space of a table."""
    vision = kind.task.startswith("vision")
    if tiny:
        kind = replace(kind, task="vision-digits" if vision else "bert-synthetic-en")
        task, shape = task_of(kind), {"hidden": 32, "head_dim": 32}
        tier = task.tier("check", device)
        if not vision:
            tier = replace(tier, finetune={})
        layers, ffn, patch = (1, 2), (32, 64), 2
    else:
        task, shape = task_of(kind), {"hidden": 256, "head_dim": 64}
        tier = task.tier("small", device)
        if not vision:
            data = tier.data | {"length": LENGTH, "train_characters": 3e7, "valid_characters": 3e5}
            tier = replace(tier, data=data, model=tier.model | {"max_positions": LENGTH}, finetune={})
        layers, ffn, patch = (2, 3, 4), (256, 1024), 4
    heads = (1, 2) if tiny else (2, 4)
    extra = {"patch": patch} if vision else {}
    space = layered_space(kind.name, layers=layers, heads=heads, ffn=ffn, **shape, **extra)
    return task, tier, space


class Stream:
    """Batches up to a number of tokens of passes."""

    def __init__(self, source: Any, passes: float, total: float) -> None:
        self.source, self.passes, self.total, self.spent = source, passes, total, 0.0

    def __iter__(self) -> Iterator[Any]:
        for batch in self.source:
            if self.spent >= self.total:
                return
            self.spent += self.passes * batch.tokens
            batch.prepaid = self.passes
            yield batch

    def state(self) -> dict[str, Any]:
        return {}

    def restore(self, state: Any) -> None: ...


def trained(
    task: Any, tier: Tier, prepared: Prepared, space: SearchSpace, kind: Kind, device: str
) -> SuperNet:
    """The supernet after sandwich training with in-place distillation."""
    family = task.family(tier, prepared, space)
    net = SuperNet(family, SharedSlices(family, torch.Generator().manual_seed(SEED), device))
    recipe = replace(recipe_of(tier.recipe), batch_tokens=kind.batch_tokens, learning_rate=kind.learning_rate)
    sampling = Sandwich(distill=True)
    batches = task.batches(task.training(prepared), recipe.batch_tokens, SEED, device)
    return Trainer(net, recipe, sampling, SEED).fit(Stream(batches, sampling.passes, kind.tokens))


def make(kind: Kind, args: argparse.Namespace) -> Table:
    """Train and fill."""
    device = args.device
    task, tier, space = settings(kind, device, args.tiny)
    prepared = task.prepare(tier, args.cache / kind.name, args.data_dir, print)
    start = time.monotonic()
    net = trained(task, tier, prepared, space, kind, device)
    print(f"{kind.name}: trained in {time.monotonic() - start:.0f} s", flush=True)
    some = task.validation(prepared)
    rows = some.first(min(kind.units, len(some)))
    batches = task.validation_batches(rows, device)
    weights = hashlib.sha256(net.source.flat.detach().cpu().numpy().tobytes()).hexdigest()
    head = {
        "name": kind.name,
        "task": task.name,
        "weights_sha256": weights,
        "commit": args.commit,
        "data_sha256": dict(prepared.digests),
        "recipe": f"sandwich of 3, in-place distillation, {kind.tokens:g} tokens of passes, batches of"
        f" {kind.batch_tokens}, rate {kind.learning_rate:g}, seed {SEED}",
        "validation": f"the first {len(rows)} validation {'images' if 'vit' in kind.name else 'rows'}",
        "metric": task.metric,
        "torch": torch.__version__,
    }
    start = time.monotonic()

    def progress(done: int, total: int) -> None:
        spent = time.monotonic() - start
        left = spent / max(done, 1) * (total - done)
        print(f"{kind.name}: {done} of {total} points, {left:.0f} s left", flush=True)

    table = fill(net, layer_space(net.family), batches, head, progress=progress)
    spent = time.monotonic() - start
    loss = table.columns["loss"]
    print(f"{kind.name}: {len(loss)} points in {spent:.0f} s, loss {loss.min():.3f} to {loss.max():.3f}")
    best = int(np.argmin(loss))
    print(f"{kind.name}: best accuracy {100 * table.columns['hits'][best] / table.head['labels']:.1f} %")
    return table


def main(words: list[str] | None = None) -> None:
    """One or both tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("kinds", nargs="*", help=f"of {', '.join(KINDS)}; default both")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("."))
    parser.add_argument("--commit", default="unknown")
    parser.add_argument("--prepare-only", action="store_true")
    parser.add_argument("--tiny", action="store_true")
    args = parser.parse_args(words)
    for name in args.kinds or KINDS:
        kind = KINDS[name]
        if args.tiny:
            kind = replace(kind, tokens=3e4, units=20, batch_tokens=512)
        if args.prepare_only:
            task, tier, _ = settings(kind, args.device, args.tiny)
            task.prepare(tier, args.cache / kind.name, args.data_dir, print)
            continue
        table = make(kind, args)
        args.out.mkdir(parents=True, exist_ok=True)
        write(table, args.out / f"{kind.name}.npz")
        print(f"wrote {args.out / kind.name}.npz, {(args.out / f'{kind.name}.npz').stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
