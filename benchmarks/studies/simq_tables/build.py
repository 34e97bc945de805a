"""Build tables: train a supernet and evaluate every point of its joint space.

``NAME.npz`` is the table, ``NAME.safetensors`` its supernet.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from benchmarks.api import UsageError
from benchmarks.records.canonical import JsonObject
from benchmarks.studies.simq_fronts.measure import real_tokens
from benchmarks.studies.simq_tables.recipes import SEED, TableRecipe, recipe_of
from benchmarks.studies.simq_tables.sources import SourceOptions, TableSource, prepare_source
from benchmarks.studies.simq_tables.training import accuracy, load_weights, named_weights
from benchmarks.tasks.datasets import Say
from simq.genome import JointSpace
from simq.tabular.build import build_table, layer_space, linear_space
from simq.tabular.sampled import SampledTable, build_sampled, write_sampled
from simq.tabular.table import Table, write_table
from supernet import allocator, supernet_file
from supernet.data.images import ImageBatch
from supernet.elastic import SuperNet
from supernet.model_family import ModelFamily
from supernet.quantization.calibration import calibrate
from supernet.quantization.fake_quantize import FakeQuantized
from supernet.quantization.precisions import STATIC


@dataclass(frozen=True)
class TableForm:
    """Joint space of a table, and the way in which it is filled.

    Attributes:
        precisions: alphabet; empty: the family's own.
        linear: every linear layer and convolution has a precision, not every layer or block.
        sampled: number of random points of a sampled table; 0: all points.
        supernets: folder of trained supernets, ``NAME.safetensors``; None: they are trained.
    """

    precisions: tuple[str, ...] = ()
    linear: bool = False
    sampled: int = 0
    supernets: Path | None = None

    @property
    def suffix(self) -> str:
        """Addition to the table's name; empty for the family's own alphabet and layers."""
        parts = [
            *self.precisions,
            *(["linear"] if self.linear else []),
            *(["sampled"] if self.sampled else []),
        ]
        return "".join(f"-{part}" for part in parts)

    def space(self, family: ModelFamily) -> JointSpace:
        """Return the joint space of a family."""
        return (linear_space if self.linear else layer_space)(family, self.precisions or None)


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
    form: TableForm | None = None,
) -> None:
    """Build some tables and write each with its supernet.

    Args:
        keys: of ``RECIPES``.
        commit: of this code, for the tables' heads.
        tokens: key -> tokens of the supernet's training that replace the recipe's.
        form: of the tables; by default all points of the families' own alphabets.

    Raises:
        UsageError: there is no supernet of a table where ``form`` has them.
    """
    form = form or TableForm()
    allocator.keep_freed()
    for key in keys:
        recipe = recipe_of(key, seed=options.seed, tokens=tokens.get(key), tiny=options.tiny)
        source = prepare_source(key, recipe, options, say)
        if form.supernets is None:
            source.train()
        else:
            load_trained(source, form.supernets / f"{recipe.name}.safetensors")
        recipe = replace(recipe, name=recipe.name + form.suffix)
        out.mkdir(parents=True, exist_ok=True)
        if form.sampled:
            write_sampled(
                sample_points(recipe, source, commit, options.seed, say, form), out / f"{recipe.name}.npz"
            )
        else:
            write_table(
                evaluate_all(recipe, source, commit, options.seed, say, form), out / f"{recipe.name}.npz"
            )
        supernet_file.save(out / f"{recipe.name}.safetensors", source.net, {"table": recipe.name})
        for file in (out / f"{recipe.name}{ending}" for ending in (".npz", ".safetensors")):
            say(f"wrote {file}, {file.stat().st_size:,} bytes")


def load_trained(source: TableSource, path: Path) -> None:
    """Load the weights and the calibration data of a finished table's supernet.

    Raises:
        UsageError: the file is missing, or its networks are others.
    """
    if not path.is_file():
        raise UsageError(f"'{path}' is not there: --supernets names the folder of NAME.safetensors")
    net, _ = supernet_file.load(path, str(source.net.device))
    if net.family.spec() != source.net.family.spec():
        raise UsageError(f"'{path}' has networks of another space or other data than this table's")
    load_weights(source.net, named_weights(net))
    source.net.statistics_batches = net.statistics_batches


def sample_points(
    recipe: TableRecipe, source: TableSource, commit: str, seed: int, say: Say, form: TableForm
) -> SampledTable:
    """Measure random points of a joint space and return the sampled table."""
    net, name = source.net, recipe.name
    table = build_sampled(
        net,
        form.space(net.family),
        source.search,
        source.held_out,
        table_head(recipe, source, commit, seed, say),
        form.sampled,
        seed,
        real=real_tokens,
        progress=progress_of(name, say),
    )
    loss, errors = table.columns["loss"], table.head["surrogate"]
    say(
        f"{name}: {len(loss)} points of {len(table.space.levels)} genes, loss {loss.min():.3f} to"
        f" {loss.max():.3f}; surrogate: median error {100 * errors['median_error']:.2f} %, rank correlation"
        f" {errors['rank_correlation']:.3f} on points that it has not seen"
    )
    return table


def table_head(recipe: TableRecipe, source: TableSource, commit: str, seed: int, say: Say) -> JsonObject:
    """Return the facts of a table's head, and report its largest and smallest network."""
    net, name, training = source.net, recipe.name, recipe.recipe
    for which in ("largest", "smallest"):
        search, held_out = (accuracy(net, batches, which) for batches in (source.search, source.held_out))
        say(f"{name}: {which} network {search:.1f} % on search data, {held_out:.1f} % held out")
    lesson = "in-place distillation"
    if recipe.teacher:
        lesson = f"mixed images taught by the largest network of table {recipe.teacher}"
    return source.head | {
        "name": name,
        "weights_sha256": supernet_file.digest(net.source),
        "commit": commit,
        "recipe": f"sandwich of 3, {lesson}, {recipe.tokens:g} tokens of passes, batches of"
        f" {training.batch_tokens}, rate {training.learning_rate:g}, label smoothing"
        f" {training.label_smoothing:g}, weight decay {training.weight_decay:g}, seed {seed}",
        "lengths": list(source.lengths),
        "torch": torch.__version__,
    }


def progress_of(name: str, say: Say) -> Callable[[int, int], None]:
    """Return a function that reports about ten times how much is done and what remains."""
    start, due = time.monotonic(), [0]

    def progress(done: int, total: int) -> None:
        if done >= due[0]:
            due[0] += max(total // 10, 1)
            took = time.monotonic() - start
            say(f"{name}: {done} of {total}, {took / max(done, 1) * (total - done):.0f} s to go")

    return progress


def evaluate_all(
    recipe: TableRecipe, source: TableSource, commit: str, seed: int, say: Say, form: TableForm
) -> Table:
    """Evaluate every point of the joint space of a trained supernet and return the table."""
    net, name, start = source.net, recipe.name, time.monotonic()
    head = table_head(recipe, source, commit, seed, say)
    table = build_table(
        net,
        form.space(net.family),
        source.search,
        source.held_out,
        head,
        lengths=source.lengths,
        progress=progress_of(name, say),
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


def largest_difference(net: SuperNet, table: Table, batches: Sequence[ImageBatch]) -> float:
    """Return the largest difference in loss between eight points of a table and their networks run alone.

    Networks run alone compute fp32 products exactly, without TF32.
    """
    genomes = table.space.sample(8, np.random.default_rng(SEED))
    losses = []
    for genome in genomes:
        architecture, policy = table.space.decode(genome.tolist())
        exported, ranges = net.export(architecture).to(net.device), None
        if STATIC in table.space.alphabet:
            ranges = calibrate(exported, [inputs for inputs, _ in net.statistics_batches])
        fake = FakeQuantized(exported, ranges=ranges)
        module, total = fake.select([policy]), 0.0
        with torch.inference_mode():
            for batch in batches:
                if net.family.kind == "bert-sentences":
                    fake.pad((batch.inputs[0] != 0)[..., None])
                total += float(F.cross_entropy(module(*batch.inputs), batch.labels, reduction="sum"))
        losses.append(total / sum(len(batch.labels) for batch in batches))
    return float(np.abs(table.values_of(["loss"], genomes)[:, 0] - losses).max())
