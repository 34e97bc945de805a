"""Measurements of the retraining study: networks trained on from inherited weights, and from nothing.

Supernets are trained first; the weights that their networks inherit lie in the cache. Each curve writes one
file. A command that is stopped goes on with what is left.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from benchmarks.api import UsageError
from benchmarks.lab.batches import derive_seed
from benchmarks.records.canonical import JsonObject
from benchmarks.records.store import write_text
from benchmarks.studies.mt_retraining.plan import NOTHING, Curve, RetrainingPlan, missing, read_plan
from benchmarks.studies.supernets import KINDS, Setting, check_kinds
from benchmarks.studies.trainings import Trainings
from supernet import export
from supernet.elastic import SuperNet
from supernet.train import SinglePath
from supernet.weights import SharedSlices

STUDY = "mt-retraining"


@dataclass(frozen=True)
class Inherited:
    """Place of the weights that the networks of a plan inherit, one folder a supernet and network."""

    folder: Path

    def of(self, start: str, seed: int, network: int) -> Path:
        """Return the folder of one network's weights."""
        return self.folder / f"{start}-seed{seed}" / str(network)


def measure(plan: RetrainingPlan, asked: Trainings) -> int:
    """Measure the curves whose files are absent in ``asked.out``; return the number of those left.

    Raises:
        UsageError: the plan names an unknown kind, or the folder has curves of another plan.
    """
    check_kinds(plan.starts)
    kept = asked.out / "plan.json"
    if kept.is_file() and not read_plan(kept).grows_into(plan):
        raise UsageError(f"{asked.out} has curves of another plan: give another folder, --out DIR")
    write_text(kept, json.dumps(plan.to_dict(), indent=1) + "\n")
    start = partial(Setting.prepared_for, plan.task, plan.tier, asked.cache, asked.data_dir, asked.device)
    start(asked.say)
    inherited = Inherited(asked.cache / STUDY / derive_folder(plan))
    curves = missing(plan, asked.out)
    needed = dict.fromkeys((c.start, c.seed) for c in curves if c.start != NOTHING)
    last = len(plan.architectures) - 1
    absent = [s for s in needed if not (inherited.of(*s, last) / "architecture.json").is_file()]
    for line in asked.in_turn(partial(_inherit, start, plan, inherited), absent):
        asked.say(line)
    ready = [
        c for c in curves
        if c.start == NOTHING or (inherited.of(c.start, c.seed, last) / "architecture.json").is_file()
    ]  # fmt: skip
    remaining = len(curves)
    for line in asked.in_turn(partial(_curve, start, plan, inherited, asked.out), ready):
        remaining -= 1
        asked.say(f"{line}, {remaining} curves left")
    return remaining


def derive_folder(plan: RetrainingPlan) -> str:
    """Return a name for the cached weights of a plan, and of the same one with other seeds."""
    return f"{derive_seed(json.dumps(replace(plan, seeds=1).to_dict())):x}"


def _inherit(
    prepare: Callable[[], Setting], plan: RetrainingPlan, inherited: Inherited, which: tuple[str, int]
) -> str:
    """Train one supernet and store what each network inherits; return a line about it."""
    (kind, seed), setting = which, prepare()
    source, sampling = KINDS[kind]
    began = time.monotonic()
    net = setting.network(source, derive_seed(seed, plan.task, STUDY))
    net, updates = setting.fit(net, sampling, plan.tokens, seed)
    for number, values in enumerate(plan.architectures):
        architecture = setting.space.architecture(values)
        folder = inherited.of(kind, seed, number)
        export.save(folder, net.export(architecture), net.family.spec(), architecture)
    return f"supernet {kind}, seed {seed}: {updates} updates in {time.monotonic() - began:.0f} s"


def _curve(
    prepare: Callable[[], Setting], plan: RetrainingPlan, inherited: Inherited, out: Path, curve: Curve
) -> str:
    """Measure one curve and write its file; return a line about it."""
    setting, points = prepare(), []
    began = time.monotonic()
    for share in plan.shares:
        net = _start(setting, plan, inherited, curve)
        rate = 1.0 if curve.start == NOTHING else float(setting.tier.settings["continue_rate"])
        start, updates = time.monotonic(), 0
        if share:
            tokens = share * plan.tokens
            net, updates = setting.fit(net, SinglePath(), tokens, curve.seed, batches="retraining", rate=rate)
        seconds = time.monotonic() - start
        score = setting.score(net, net.space.largest())
        points.append({"share": share, "updates": updates, "seconds": seconds, **score})
    facts: JsonObject = {**vars(curve), "points": points, "device": setting.device}
    write_text(out / f"{curve.name}.json", json.dumps(facts, indent=1) + "\n")
    reached = f"{points[0]['bleu']:.1f} to {points[-1]['bleu']:.1f} BLEU"
    return f"{curve.name}: {reached} in {time.monotonic() - began:.0f} s"


def _start(setting: Setting, plan: RetrainingPlan, inherited: Inherited, curve: Curve) -> SuperNet:
    """Return a curve's network before it is trained: the same for each share."""
    if curve.start == NOTHING:
        only = setting.space.architecture(plan.architectures[curve.network])
        return setting.network(SharedSlices, derive_seed(curve.seed, plan.task, STUDY, curve.network), only)
    stored = export.load(inherited.of(curve.start, curve.seed, curve.network))
    return export.network(*stored, setting.device)
