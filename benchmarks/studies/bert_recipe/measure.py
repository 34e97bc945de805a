"""Measurements of the pilots: train each, and record loss, masked words and rank of three sub-networks.

Each pilot writes one file into a folder, parents their weights too. A command that is stopped goes on with
the next one.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import cast

import numpy as np
import torch

from benchmarks.api import UsageError
from benchmarks.lab.batches import derive_seed, recipe_of
from benchmarks.records.canonical import JsonObject
from benchmarks.records.provenance import source_state
from benchmarks.records.store import write_text
from benchmarks.studies.bert_recipe.plan import NOTHING, Pilot
from benchmarks.studies.supernets import encoder_kind, parent_space
from benchmarks.studies.trainings import Tokens, Trainings
from benchmarks.tasks import Prepared, get_task
from benchmarks.tasks.bert import BertTask
from benchmarks.tasks.datasets import Say
from benchmarks.tasks.finetuning import FinetunedScore
from benchmarks.tasks.tiers import Tier
from mos.mixture import Mixture
from supernet import cost, export
from supernet.bert import Bert, BertFamily
from supernet.bert_states import effective_rank, unigram_loss
from supernet.data.masked_text import PackedText
from supernet.elastic import SuperNet
from supernet.interop.bert_start import Parent, start_from
from supernet.space import Architecture, SearchSpace, get_space
from supernet.train import Trainer

SINGLE_PATH = ("parent", "single-path")
"""Kinds that are trained as HAT's supernet is, a network of one architecture included."""
HEALTHY = 0.1
"""Nats below the loss of word frequencies from which a network has learnt more than these."""
ROUTED = 64
"""Random architectures that a mixture is asked to route."""
ROWS = 64
"""Rows of validation text whose states are looked at."""


def measure(pilots: Sequence[Pilot], asked: Trainings) -> int:
    """Run the pilots whose files are absent in ``asked.out``, parents first; return the number of those left.

    Raises:
        UsageError: the folder has a file of another pilot with the same name.
    """
    out = asked.out
    for pilot in pilots:
        kept = out / f"{pilot.name}.json"
        if kept.is_file() and json.loads(kept.read_text(encoding="utf-8"))["pilot"] != pilot.to_dict():
            raise UsageError(f"{kept} is of another pilot: give another folder, --out DIR")
    out.mkdir(parents=True, exist_ok=True)
    remaining = [pilot for pilot in pilots if not (out / f"{pilot.name}.json").is_file()]
    about = asked.cache, asked.data_dir, asked.device
    for pilot in remaining:
        tier = _tier(pilot, asked.device)[1]
        if pilot.finetune and not tier.finetune:
            raise UsageError(
                f"{pilot.task} {tier.name} fine-tunes nothing: take finetune out of {pilot.name}"
            )
    for length in sorted({pilot.length for pilot in remaining}):  # prepared once, before processes share it
        _setting(next(pilot for pilot in remaining if pilot.length == length), *about, asked.say)
    count = len(remaining)
    for parents in (True, False):
        wave = [pilot for pilot in remaining if (pilot.kind == "parent") is parents]
        ready = [p for p in wave if p.start == NOTHING or (out / f"{p.start}.json").is_file()]
        for line in asked.in_turn(partial(_run, out, *about), ready):
            count -= 1
            asked.say(f"{line}, {count} pilots left")
    return count


def _setting(
    pilot: Pilot, cache: Path, data_dir: Path | None, device: str, say: Say = lambda line: None
) -> tuple[BertTask, Tier, Prepared]:
    """Return task, tier and prepared data with the rows of a pilot."""
    task, tier = _tier(pilot, device)
    return task, tier, task.prepare(tier, cache, data_dir, say)


def _tier(pilot: Pilot, device: str) -> tuple[BertTask, Tier]:
    """Return task and tier with the rows of a pilot.

    Raises:
        UsageError: the task has no masked words.
    """
    task: object = get_task(pilot.task)
    if not isinstance(task, BertTask):
        raise UsageError(f"task {pilot.task}: not one of masked words, such as bert-enwiki")
    tier = task.tier(pilot.tier, device)
    model = {**tier.model, "max_positions": max(pilot.length, tier.model["max_positions"])}
    return task, replace(tier, data={**tier.data, "length": pilot.length}, model=model)


def space_of(pilot: Pilot, tier: Tier) -> SearchSpace:
    """Return the space of a pilot's network."""
    if pilot.kind == "parent":
        return parent_space(tier)
    return get_space(tier.space if pilot.space == "task" else tier.settings["autodistil"]["one"][0])


def three_of(family: BertFamily) -> dict[str, Architecture]:
    """Return largest, typical and smallest architecture: typical is the median size of 101 random ones."""
    space, rng = family.space, np.random.default_rng(0)
    if space.size() == 1:
        return {"largest": space.largest()}
    drawn = sorted((space.sample(rng) for _ in range(101)), key=partial(cost.parameters, family))
    return {"largest": space.largest(), "typical": drawn[50], "smallest": space.smallest()}


def _run(out: Path, cache: Path, data_dir: Path | None, device: str, pilot: Pilot) -> str:
    """Do one pilot and write its file; return a line about it."""
    commit, dirty = source_state()
    task, tier, prepared = _setting(pilot, cache, data_dir, device)
    family = task.family(tier, prepared, space_of(pilot, tier))
    source, sampling = encoder_kind("hat" if pilot.kind in SINGLE_PATH else pilot.kind)
    seed = derive_seed(pilot.seed, pilot.task, "bert-recipe")
    net = SuperNet(family, source(family, torch.Generator().manual_seed(seed), device))
    if pilot.start != NOTHING:
        start_from(net, Parent.of(export.network(*export.load(out / pilot.start), device)))
    changed = {"learning_rate": pilot.learning_rate, "batch_tokens": pilot.batch_tokens}
    recipe = recipe_of({**tier.recipe, **changed})
    rows = task.training(prepared)
    stream = task.batches(rows, pilot.batch_tokens, derive_seed(pilot.seed, pilot.task, "batches"), device)
    began = time.monotonic()
    batches = Tokens(stream, pilot.tokens / sampling.passes)
    net = Trainer(net, recipe, sampling, pilot.seed).fit(batches)
    seconds = time.monotonic() - began
    valid = task.validation(prepared)
    frequencies = unigram_loss(rows.rows, valid.rows, rows.vocab)
    networks = {
        name: describe(net, a, task, valid, device, frequencies) for name, a in three_of(family).items()
    }
    if pilot.kind == "parent":
        largest = family.space.largest()
        export.save(out / pilot.name, net.export(largest), family.spec(), largest)
    finetuned = {
        name: {str(n): finetune(net, task, tier, prepared, name, n, device) for n in epochs}
        for name, epochs in pilot.finetune.items()
    }
    facts: JsonObject = {
        "pilot": pilot.to_dict(),
        "commit": commit,
        "dirty_sha256": dirty,
        "device": torch.cuda.get_device_name() if device == "cuda" else device,
        "updates": int(batches.spent // pilot.batch_tokens),
        "tokens": batches.spent * sampling.passes,
        "seconds": seconds,
        "unigram_loss": frequencies,
        "networks": networks,
    }
    if finetuned:
        facts["finetuned"] = finetuned
    if isinstance(net.source, Mixture):
        facts["mixture"] = describe_mixture(net, net.source)
    write_text(out / f"{pilot.name}.json", json.dumps(facts, indent=1) + "\n")
    words = " / ".join(f"{network['accuracy']:.1f}" for network in networks.values())
    return f"{pilot.name}: {words} % in {seconds:.0f} s"


def finetune(
    net: SuperNet, task: BertTask, tier: Tier, prepared: Prepared, name: str, epochs: int, device: str
) -> dict[str, FinetunedScore]:
    """Return the scores of the largest network, fine-tuned as the tier has it but for so many epochs."""
    changed = replace(tier, finetune={**tier.finetune, "epochs": epochs})
    module = cast("Bert", net.export(net.space.largest()).to(device))
    return task.finetune(module, prepared, changed, name, device)


@torch.no_grad()
def describe_mixture(net: SuperNet, mixture: Mixture) -> JsonObject:
    """Return how far experts are apart, and by how much coefficients differ between architectures.

    ``experts_apart``: deviation over experts, in deviations of their mean's weights; ``coefficients_apart``:
    deviation of a mixing coefficient over random architectures. Both are means over all weights.
    """
    apart = []
    for group in mixture.groups:
        weight = mixture.experts_of(group)[0].float()
        mean = weight.mean(1)
        apart.append(weight.std(1, correction=0).square().mean().sqrt() / mean.std(correction=0))
    rng = np.random.default_rng(0)
    routed = [mixture.route(net.space.sample(rng)) for _ in range(ROUTED)]
    spread = [torch.stack([r[g] for r in routed]).std(0, correction=0).mean() for g in mixture.groups]
    return {
        "experts_apart": float(torch.stack(apart).mean()),
        "coefficients_apart": float(torch.stack(spread).mean()),
    }


def describe(
    net: SuperNet,
    architecture: Architecture,
    task: BertTask,
    valid: PackedText,
    device: str,
    frequencies: float,
) -> JsonObject:
    """Return size, loss, masked-word accuracy and rank of final states of one sub-network."""
    module = cast("Bert", net.export(architecture).to(device))
    measured = task.evaluate(module, valid, device)
    with torch.no_grad():
        states = module.encode(valid.first(ROWS).rows.long().to(device))
    return {
        "architecture": architecture.to_dict(),
        "parameters": cost.parameters(net.family, architecture),
        "loss": measured.loss,
        "accuracy": measured.metrics[task.metric],
        "effective_rank": effective_rank(states.float().cpu()),
        "learnt": measured.loss < frequencies - HEALTHY,
    }
