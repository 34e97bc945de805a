"""Build tables: train a supernet and evaluate every point of its joint space.

``NAME.npz`` is the table, ``NAME.safetensors`` its supernet.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from benchmarks.api import UsageError
from benchmarks.records.canonical import JsonObject
from benchmarks.studies.simq_fronts.measure import read_supernet, real_tokens
from benchmarks.studies.simq_tables.recipes import SEED, TableRecipe, recipe_of
from benchmarks.studies.simq_tables.sources import SourceOptions, TableSource, prepare_source
from benchmarks.studies.simq_tables.training import accuracy, load_weights, named_weights
from benchmarks.tasks.datasets import Say
from simq.genome import JointSpace
from simq.tabular.build import build_table, check_precisions, extreme_points, layer_space, linear_space
from simq.tabular.enumerate import check_enumerable
from simq.tabular.sampled import MIN_POINTS, SampledTable, build_sampled, draw_points, write_sampled
from simq.tabular.table import NotFiniteError, Table, enumerate_points, write_table
from supernet import allocator, supernet_file
from supernet.data.images import ImageBatch
from supernet.elastic import SuperNet
from supernet.model_family import ModelFamily
from supernet.quantization.calibration import calibrate
from supernet.quantization.fake_quantize import FakeQuantized
from supernet.quantization.precisions import STATIC

NOT_RECORDED = "not recorded"
"""Recipe and start of supernets whose files are older than these entries of their metadata."""


@dataclass(frozen=True)
class TableForm:
    """Joint space of a table, and the way in which it is filled.

    Attributes:
        precisions: alphabet; empty: the family's own.
        linear: every linear layer and convolution has a precision, not every layer or block.
        sampled: number of random points of a sampled table; 0: all points.
        supernets: folder of trained supernets, ``NAME.safetensors``; None: they are trained.

    Raises:
        UsageError: too few sampled points.
    """

    precisions: tuple[str, ...] = ()
    linear: bool = False
    sampled: int = 0
    supernets: Path | None = None

    def __post_init__(self) -> None:
        """Refuse a sample that has no points to test its surrogate with."""
        if 0 < self.sampled < MIN_POINTS:
            raise UsageError(
                f"--sampled {self.sampled}: at least {MIN_POINTS} points, some of which test the surrogate"
            )

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


@dataclass(frozen=True)
class PendingTable:
    """A table whose data and space have been checked, and whose supernet may still be untrained.

    Attributes:
        recipe: with the form in its name.
        facts: recipe and start of a trained supernet, for the table's head; None if it is to be trained.
    """

    recipe: TableRecipe
    source: TableSource
    space: JointSpace
    facts: JsonObject | None


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

    All tables are checked before the first supernet is trained, and each supernet is written before its
    networks are evaluated.

    Args:
        keys: of ``RECIPES``.
        commit: of this code, for the tables' heads.
        tokens: key -> tokens of the supernet's training that replace the recipe's.
        form: of the tables; by default all points of the families' own alphabets.

    Raises:
        UsageError: a supernet of ``form`` or a teacher is missing or damaged, a space cannot be a table of
            that form, or a loss is not finite.
    """
    form = form or TableForm()
    out.mkdir(parents=True, exist_ok=True)
    allocator.keep_freed()
    recipes = [recipe_of(key, seed=options.seed, tokens=tokens.get(key), tiny=options.tiny) for key in keys]
    teachers = [
        teacher_file(recipe, keys[:i], options, out, form.suffix) if recipe.teacher else None
        for i, recipe in enumerate(recipes)
    ]
    waiting = []
    for i, (key, recipe, teacher) in enumerate(zip(keys, recipes, teachers, strict=True)):
        source = prepare_source(key, recipe, replace(options, teacher=teacher), say)
        facts = None
        if form.supernets is not None:
            facts = load_trained(recipe, source, trained_file(form.supernets, recipe.name, form.suffix))
        elif options.teacher is not None or recipe.teacher not in keys[:i]:
            source.check_teacher()
        recipe = replace(recipe, name=recipe.name + form.suffix)
        space = checked_space(recipe.name, form, source.net.family, options.seed)
        waiting.append(PendingTable(recipe, source, space, facts))
    for table in waiting:
        write_files(table, out, commit, options.seed, say, form.sampled)


def write_files(table: PendingTable, out: Path, commit: str, seed: int, say: Say, sampled: int) -> None:
    """Train a supernet if it is untrained and write it, then evaluate and write its table.

    Raises:
        UsageError: a loss is not finite.
    """
    source, recipe, facts = table.source, table.recipe, table.facts
    if facts is None:
        source.train()
        facts = training_facts(recipe, source, seed)
    supernet, path = (out / f"{recipe.name}{ending}" for ending in (".safetensors", ".npz"))
    supernet_file.save(supernet, source.net, {"table": recipe.name, "training": json.dumps(facts)})
    say(f"wrote {supernet}, {supernet.stat().st_size:,} bytes")
    head = table_head(recipe, source, commit, say) | facts
    try:
        if sampled:
            write_sampled(sample_points(table, head, sampled, seed, say), path)
        else:
            write_table(evaluate_all(table, head, say), path)
    except NotFiniteError as error:
        raise UsageError(
            f"{path} is not written: {error}\nits supernet is {supernet}: train another one with --seed N or"
            " --tokens TABLE=N, or leave that precision out with --precisions LIST"
        ) from None
    say(f"wrote {path}, {path.stat().st_size:,} bytes")


def trained_file(folder: Path, name: str, suffix: str) -> Path:
    """Return the file of a table's supernet in a folder.

    Supernets do not depend on the form of their table: if none is named after the form, it is the one
    without a suffix.
    """
    own, plain = folder / f"{name}{suffix}.safetensors", folder / f"{name}.safetensors"
    return own if own.is_file() or not plain.is_file() else plain


def teacher_file(
    recipe: TableRecipe, earlier: Sequence[str], options: SourceOptions, out: Path, suffix: str
) -> Path:
    """Return the file of a recipe's teacher: the one given, else that of its table of the same seed.

    Args:
        earlier: keys of the tables that are built before.
    """
    if options.teacher is not None:
        return options.teacher
    name = recipe_of(recipe.teacher, seed=options.seed, tiny=options.tiny).name
    if recipe.teacher in earlier:
        return out / f"{name}{suffix}.safetensors"
    return trained_file(out, name, suffix)


def checked_space(name: str, form: TableForm, family: ModelFamily, seed: int) -> JointSpace:
    """Return the joint space of a table after checking that networks can be evaluated at all of its points.

    Raises:
        UsageError: a layer does not support a precision, the space has too few or too many points, or no
            table of all points can have these precisions.
    """
    words = [f"--precisions {','.join(form.precisions)}"] if form.precisions else []
    words += [f"--sampled {form.sampled}"] if form.sampled else []
    try:
        space = form.space(family)
        if not form.sampled:
            check_enumerable(family, space)
        points = (
            draw_points(space, form.sampled, np.random.default_rng(seed))
            if form.sampled
            else enumerate_points(space)
        )
        check_precisions(family, space, np.concatenate([points, extreme_points(space)]))
    except ValueError as error:
        raise UsageError(
            f"{' '.join((*words, 'table', name))}: {error}\n"
            "choose other points by --precisions LIST or --sampled N"
        ) from None
    return space


def training_facts(recipe: TableRecipe, source: TableSource, seed: int) -> JsonObject:
    """Return the fields of a table's head about the training of its supernet; its file keeps them, too."""
    training, lesson = recipe.recipe, "in-place distillation"
    if recipe.teacher:
        lesson = f"mixed images taught by the largest network of table {recipe.teacher}"
    text = (
        f"sandwich of 3, {lesson}, {recipe.tokens:g} tokens of passes, batches of"
        f" {training.batch_tokens}, rate {training.learning_rate:g}, label smoothing"
        f" {training.label_smoothing:g}, weight decay {training.weight_decay:g}, seed {seed}"
    )
    return {"recipe": text} | {name: source.head[name] for name in ("pretraining",) if name in source.head}


def load_trained(recipe: TableRecipe, source: TableSource, path: Path) -> JsonObject:
    """Load the weights and the calibration data of a finished table's supernet.

    Returns:
        ``training_facts`` that its file keeps; ``NOT_RECORDED`` in older files.

    Raises:
        UsageError: the file is missing or damaged, its networks are others, or it started from another
            encoder.
    """
    if not path.is_file():
        raise UsageError(f"'{path}' is not there: --supernets names the folder of NAME.safetensors")
    net, about = read_supernet(path, str(source.net.device))
    if net.family.spec() != source.net.family.spec():
        raise UsageError(f"'{path}' has networks of another space or other data than this table's")
    recorded: JsonObject = json.loads(about["training"]) if "training" in about else {}
    facts: JsonObject = {"recipe": recorded.get("recipe", NOT_RECORDED)}
    if start := source.head.get("pretraining"):
        facts["pretraining"] = recorded.get("pretraining", [NOT_RECORDED])
        if recipe.starts and facts["pretraining"] not in ([NOT_RECORDED], start):
            raise UsageError(
                f"'{path}' started from {facts['pretraining'][0]}: --start-from must name that encoder, whose"
                f" word pieces its sentences are in, not {start[0]}"
            )
    load_weights(source.net, named_weights(net))
    source.net.statistics_batches = net.statistics_batches
    return facts


def sample_points(pending: PendingTable, head: JsonObject, count: int, seed: int, say: Say) -> SampledTable:
    """Measure random points of a joint space and return the sampled table."""
    source, name = pending.source, pending.recipe.name
    table = build_sampled(
        *(source.net, pending.space, source.search, source.held_out, head, count, seed),
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


def table_head(recipe: TableRecipe, source: TableSource, commit: str, say: Say) -> JsonObject:
    """Return the facts of a table's head, and report its largest and smallest network."""
    net, name = source.net, recipe.name
    for which in ("largest", "smallest"):
        search, held_out = (accuracy(net, batches, which) for batches in (source.search, source.held_out))
        say(f"{name}: {which} network {search:.1f} % on search data, {held_out:.1f} % held out")
    return source.head | {
        "name": name,
        "weights_sha256": supernet_file.digest(net.source),
        "commit": commit,
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


def evaluate_all(pending: PendingTable, head: JsonObject, say: Say) -> Table:
    """Evaluate every point of the joint space of a trained supernet and return the table."""
    source, name, start = pending.source, pending.recipe.name, time.monotonic()
    net = source.net
    table = build_table(
        *(net, pending.space, source.search, source.held_out, head),
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
