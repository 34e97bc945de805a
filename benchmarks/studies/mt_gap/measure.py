"""Measurements of the gap study: train each supernet and each network alone, and score every network.

Each training writes one file of scores into a folder. A command that is stopped goes on with the next one.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar, cast

import torch

from benchmarks.api import UsageError
from benchmarks.lab.batches import derive_seed, recipe_of
from benchmarks.records.store import write_text
from benchmarks.studies.mt_gap.plan import ALONE, GapPlan, Job, missing
from benchmarks.studies.trainings import Source, Tokens, Trainings
from benchmarks.tasks import Prepared, get_task
from benchmarks.tasks.datasets import Say
from mos.mixture import Mixture
from supernet.elastic import SuperNet
from supernet.space import Architecture, SearchSpace
from supernet.train import Sampling, Sandwich, SinglePath, Trainer
from supernet.weights import SharedSlices

if TYPE_CHECKING:
    from benchmarks.tasks.mt import MTTask
    from benchmarks.tasks.tiers import Tier

J = TypeVar("J")
KINDS: dict[str, tuple[Source, Sampling]] = {
    "hat": (SharedSlices, SinglePath()),
    "sandwich": (SharedSlices, Sandwich()),
    "mos-layer": (partial(Mixture, neuron_wise=False), Sandwich()),
    "mos-neuron": (Mixture, Sandwich()),
    "mos-neuron-constant": (partial(Mixture, constant=True), Sandwich()),
    "mos-neuron-1": (partial(Mixture, experts=1), Sandwich()),
    "mos-neuron-4": (partial(Mixture, experts=4), Sandwich()),
}
"""Supernet -> source of its weights and rule of sampling; two experts where the name has no number."""


@dataclass(frozen=True)
class Setting:
    """Task, data and device of all trainings of a plan."""

    plan: GapPlan
    task: MTTask
    tier: Tier
    prepared: Prepared
    device: str

    @classmethod
    def prepared_for(
        cls, plan: GapPlan, cache: Path, data_dir: Path | None, device: str, say: Say = lambda line: None
    ) -> Setting:
        """Return the setting of a plan; its data is prepared once and read from ``cache`` from then on."""
        task = cast("MTTask", get_task(plan.task))
        tier = task.tier(plan.tier, device)
        return cls(plan, task, tier, task.prepare(tier, cache, data_dir, say), device)

    def train(self, job: Job, space: SearchSpace) -> SuperNet:
        """Return the trained supernet, or the trained network, of ``job``.

        One seed gives all kinds the same batches. Initial weights follow from the seed alone.
        """
        family = self.task.family(self.tier, self.prepared)
        kind: tuple[Source, Sampling] = KINDS.get(job.kind, (SharedSlices, SinglePath()))
        source, sampling = kind
        if job.network is not None:
            family = family.restrict_to(space.architecture(self.plan.architectures[job.network]))
        seed = derive_seed(job.seed, self.plan.task, "mt-gap", job.network)
        net = SuperNet(family, source(family, torch.Generator().manual_seed(seed), self.device))
        recipe = recipe_of(self.tier.recipe)
        pairs = self.task.training(self.prepared)
        stream = self.task.batches(
            pairs, recipe.batch_tokens, derive_seed(job.seed, self.plan.task, "batches"), self.device
        )
        return Trainer(net, recipe, sampling, job.seed).fit(Tokens(stream, self.plan.tokens))

    def score(self, net: SuperNet, architecture: Architecture) -> dict[str, float]:
        """Return test BLEU and chrF of the first test set, and the losses of both splits."""
        module = net.export(architecture).to(self.device)
        scored = self.task.score(module, self.prepared, self.tier, self.device)
        first = next(iter(scored["test"].values()))
        valid = self.task.evaluate(module, self.task.validation(self.prepared), self.device).loss
        return {
            "bleu": first["bleu"]["value"],
            "chrf": first["chrf"]["value"],
            "test_loss": scored["test_loss"],
            "valid_loss": valid,
        }


def measure(plan: GapPlan, asked: Trainings) -> int:
    """Run the trainings whose files are absent in ``asked.out``; return the number of those left.

    Raises:
        UsageError: the plan names an unknown kind, or the folder has scores of another plan.
    """
    if unknown := set(plan.kinds) - set(KINDS):
        raise UsageError(f"kinds {', '.join(sorted(unknown))}: choose of {', '.join(KINDS)}")
    registered = json.dumps(plan.to_dict(), indent=1) + "\n"
    kept = asked.out / "plan.json"
    if kept.is_file() and kept.read_text(encoding="utf-8") != registered:
        raise UsageError(f"{asked.out} has scores of another plan: give another folder, --out DIR")
    write_text(kept, registered)
    start = partial(Setting.prepared_for, plan, asked.cache, asked.data_dir, asked.device)
    start(asked.say)
    jobs = missing(plan, [path.stem for path in asked.out.glob("*.json")])
    remaining = len(jobs)
    for line in asked.in_turn(partial(_run, start, asked.out), jobs):
        remaining -= 1
        asked.say(f"{line}, {remaining} trainings left")
    return remaining


def _run(prepare: Callable[[], Setting], out: Path, job: Job) -> str:
    """Do one training and write its scores; return a line about it."""
    setting = prepare()
    space = setting.task.family(setting.tier, setting.prepared).space
    start = time.monotonic()
    net = setting.train(job, space)
    trained = time.monotonic() - start
    numbers = range(len(setting.plan.architectures)) if job.network is None else (job.network,)
    scores = {}
    for number in numbers:
        architecture = space.architecture(setting.plan.architectures[number])
        scores[number] = setting.score(net, net.space.largest() if job.kind == ALONE else architecture)
    facts = {**vars(job), "scores": scores, "train_seconds": trained, "device": setting.device}
    write_text(out / f"{job.name}.json", json.dumps(facts, indent=1) + "\n")
    memory = torch.cuda.max_memory_reserved() / 1e9 if setting.device == "cuda" else 0
    held = f", {memory:.1f} GB of its memory" if memory else ""
    return f"{job.name}: {trained:.0f} s, scored in {time.monotonic() - start - trained:.0f} s{held}"
