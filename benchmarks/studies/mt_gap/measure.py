"""Measurements of the gap study: train each supernet and each network alone, and score every network.

Each training writes one file of scores into a folder. A command that is stopped goes on with the next one.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch

from benchmarks.api import UsageError
from benchmarks.lab.batches import derive_seed
from benchmarks.records.store import write_text
from benchmarks.studies.mt_gap.plan import ALONE, GapPlan, Job, missing, read_plan
from benchmarks.studies.supernets import KINDS, Setting, check_kinds
from benchmarks.studies.trainings import Trainings
from supernet.elastic import SuperNet
from supernet.train import SinglePath
from supernet.weights import SharedSlices


def train(setting: Setting, plan: GapPlan, job: Job) -> SuperNet:
    """Return the trained supernet, or the trained network, of ``job``.

    One seed gives all kinds the same batches. Initial weights follow from the seed alone.
    """
    source, sampling = KINDS.get(job.kind, (SharedSlices, SinglePath()))
    only = None if job.network is None else setting.space.architecture(plan.architectures[job.network])
    seed = derive_seed(job.seed, plan.task, "mt-gap", job.network)
    net = setting.network(source, seed, setting.family(only))
    return setting.fit(net, sampling, plan.tokens, job.seed)[0]


def measure(plan: GapPlan, asked: Trainings) -> int:
    """Run the trainings whose files are absent in ``asked.out``; return the number of those left.

    Raises:
        UsageError: the plan names an unknown kind, or the folder has scores of another plan.
    """
    check_kinds(plan.kinds)
    kept = asked.out / "plan.json"
    if kept.is_file() and not read_plan(kept).grows_into(plan):
        raise UsageError(f"{asked.out} has scores of another plan: give another folder, --out DIR")
    write_text(kept, json.dumps(plan.to_dict(), indent=1) + "\n")
    start = partial(Setting.prepared_for, plan.task, plan.tier, asked.cache, asked.data_dir, asked.device)
    start(asked.say)
    jobs = missing(plan, [path.stem for path in asked.out.glob("*.json")])
    remaining = len(jobs)
    for line in asked.in_turn(partial(_run, start, plan, asked.out), jobs):
        remaining -= 1
        asked.say(f"{line}, {remaining} trainings left")
    return remaining


def _run(prepare: Callable[[], Setting], plan: GapPlan, out: Path, job: Job) -> str:
    """Do one training and write its scores; return a line about it."""
    setting = prepare()
    space = setting.space
    start = time.monotonic()
    net = train(setting, plan, job)
    trained = time.monotonic() - start
    numbers = range(len(plan.architectures)) if job.network is None else (job.network,)
    scores = {}
    for number in numbers:
        architecture = space.architecture(plan.architectures[number])
        scores[number] = setting.score(net, net.space.largest() if job.kind == ALONE else architecture)
    facts = {**vars(job), "scores": scores, "train_seconds": trained, "device": setting.device}
    write_text(out / f"{job.name}.json", json.dumps(facts, indent=1) + "\n")
    memory = torch.cuda.max_memory_reserved() / 1e9 if setting.device == "cuda" else 0
    held = f", {memory:.1f} GB of its memory" if memory else ""
    return f"{job.name}: {trained:.0f} s, scored in {time.monotonic() - start - trained:.0f} s{held}"
