"""Build tables: train a supernet and evaluate every point of its joint space.

``NAME.npz`` is the table, ``NAME.safetensors`` its supernet.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from benchmarks.studies.simq_tables.recipes import SEED, TableRecipe, recipe_of
from benchmarks.studies.simq_tables.sources import SourceOptions, TableSource, prepare_source
from benchmarks.studies.simq_tables.training import accuracy
from benchmarks.tasks.datasets import Say
from simq.tabular.build import build_table, layer_space
from simq.tabular.table import Table, write_table
from supernet import allocator, supernet_file
from supernet.data.images import ImageBatch
from supernet.elastic import SuperNet
from supernet.quantization.fake_quantize import FakeQuantized


def prepare(keys: Sequence[str], options: SourceOptions, say: Say) -> None:
    """Prepare the data of some tables in the cache, which needs no GPU."""
    for key in keys:
        prepare_source(key, recipe_of(key, seed=options.seed, tiny=options.tiny), options, say)


def build(
    keys: Sequence[str],
    options: SourceOptions,
    out: Path,
    commit: str,
    tokens: dict[str, float],
    say: Say,
) -> None:
    """Build some tables and write each with its supernet.

    Args:
        keys: of ``RECIPES``.
        commit: of this code, for the tables' heads.
        tokens: key -> tokens of the supernet's training that replace the recipe's.
    """
    allocator.keep_freed()
    for key in keys:
        recipe = recipe_of(key, seed=options.seed, tokens=tokens.get(key), tiny=options.tiny)
        source = prepare_source(key, recipe, options, say)
        source.train()
        table = evaluate_all(recipe, source, commit, options.seed, say)
        out.mkdir(parents=True, exist_ok=True)
        write_table(table, out / f"{recipe.name}.npz")
        supernet_file.save(out / f"{recipe.name}.safetensors", source.net, {"table": recipe.name})
        for file in (out / f"{recipe.name}{ending}" for ending in (".npz", ".safetensors")):
            say(f"wrote {file}, {file.stat().st_size:,} bytes")


def evaluate_all(recipe: TableRecipe, source: TableSource, commit: str, seed: int, say: Say) -> Table:
    """Evaluate every point of the joint space of a trained supernet and return the table."""
    net, name, training = source.net, recipe.name, recipe.recipe
    for which in ("largest", "smallest"):
        search, held_out = (accuracy(net, batches, which) for batches in (source.search, source.held_out))
        say(f"{name}: {which} network {search:.1f} % on search data, {held_out:.1f} % held out")
    head = source.head | {
        "name": name,
        "weights_sha256": supernet_file.digest(net.source),
        "commit": commit,
        "recipe": f"sandwich of 3, in-place distillation, {recipe.tokens:g} tokens of passes, batches of"
        f" {training.batch_tokens}, rate {training.learning_rate:g}, label smoothing"
        f" {training.label_smoothing:g}, weight decay {training.weight_decay:g}, seed {seed}",
        "lengths": list(source.lengths),
        "torch": torch.__version__,
    }
    start, due = time.monotonic(), [0]

    def progress(done: int, total: int) -> None:
        if done >= due[0]:
            due[0] += total // 10
            took = time.monotonic() - start
            say(f"{name}: {done} of {total}, {took / done * (total - done):.0f} s to go")

    table = build_table(
        net,
        layer_space(net.family),
        source.search,
        source.held_out,
        head,
        lengths=source.lengths,
        progress=progress,
    )
    took, loss = time.monotonic() - start, table.columns["loss"]
    best = int(np.argmin(loss))
    difference = largest_difference(net, table, source.search)
    say(f"{name}: loss of points run alone differs by {difference:.1e} at most")
    counted = (("hits", "labels"), ("held_hits", "held_out_labels"))
    search, held_out = (100 * table.columns[hits][best] / table.head[n] for hits, n in counted)
    say(f"{name}: {len(loss)} points in {took:.0f} s, loss {loss.min():.3f} to {loss.max():.3f}")
    say(f"{name}: accuracy at the lowest loss {search:.1f} %, held out {held_out:.1f} %")
    return table


def largest_difference(net: SuperNet, table: Table, batches: Sequence[ImageBatch], count: int = 8) -> float:
    """Return the largest difference in loss between some points of a table and their networks run alone.

    Networks run alone compute fp32 products exactly, without TF32.
    """
    genomes = table.space.sample(count, np.random.default_rng(SEED))
    losses = []
    for genome in genomes:
        architecture, policy = table.space.decode(genome.tolist())
        fake = FakeQuantized(net.export(architecture).to(net.device))
        module, total = fake.select([policy]), 0.0
        with torch.inference_mode():
            for batch in batches:
                if net.family.kind == "bert-sentences":
                    fake.pad((batch.inputs[0] != 0)[..., None])
                total += float(F.cross_entropy(module(*batch.inputs), batch.labels, reduction="sum"))
        losses.append(total / sum(len(batch.labels) for batch in batches))
    return float(np.abs(table.values_of(["loss"], genomes)[:, 0] - losses).max())
