"""Measurements of the retraining studies: networks trained on from inherited weights, and from nothing.

Parents are trained first, where starts begin from one, then supernets; the weights that their networks
inherit lie in the cache. Each curve writes one file. A command that is stopped goes on with what is left.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from benchmarks.api import UsageError
from benchmarks.lab.batches import derive_seed
from benchmarks.records.canonical import JsonObject
from benchmarks.records.store import write_text
from benchmarks.studies.retraining.plan import NOTHING, PARENT, Curve, RetrainingPlan, missing, read_plan
from benchmarks.studies.supernets import Setting, check_kinds
from benchmarks.studies.trainings import Trainings
from supernet import export
from supernet.elastic import SuperNet
from supernet.interop.bert_start import Parent, start_from
from supernet.space import Architecture
from supernet.train import SinglePath
from supernet.weights import SharedSlices

Weights = tuple[str, int]
"""Start and seed of a supernet, or of a parent, whose weights networks inherit."""


@dataclass(frozen=True)
class Inherited:
    """Place of the weights that the networks of a plan inherit, one folder a start, seed and network."""

    folder: Path

    def of(self, start: str, seed: int, network: int) -> Path:
        """Return the folder of one network's weights."""
        return self.folder / f"{start}-seed{seed}" / str(network)

    def parent(self, seed: int) -> Path:
        """Return the folder of a parent's own weights."""
        return self.folder / f"{PARENT}-seed{seed}" / "whole"


def measure(study: str, plan: RetrainingPlan, asked: Trainings) -> int:
    """Measure the curves whose files are absent in ``asked.out``; return the number of those left.

    Args:
        study: name of the study, from which initial weights are drawn.

    Raises:
        UsageError: the plan names an unknown kind, or the folder has curves of another plan.
    """
    check_kinds(start for start in plan.starts if start != PARENT)
    kept = asked.out / "plan.json"
    if kept.is_file() and not read_plan(kept).grows_into(plan):
        raise UsageError(f"{asked.out} has curves of another plan: give another folder, --out DIR")
    write_text(kept, json.dumps(plan.to_dict(), indent=1) + "\n")
    about = plan.task, plan.tier, asked.cache, asked.data_dir, asked.device
    start = partial(Setting.prepared_for, *about, space=plan.space)
    start(say=asked.say)
    inherited = Inherited(asked.cache / study / derive_folder(plan))
    curves = missing(plan, asked.out)
    last = len(plan.architectures) - 1

    def absent(weights: Sequence[Weights]) -> list[Weights]:
        return [w for w in weights if not (inherited.of(*w, last) / "architecture.json").is_file()]

    needed = list(dict.fromkeys((c.start, c.seed) for c in curves if c.start != NOTHING))
    parents = [(PARENT, seed) for seed in dict.fromkeys(seed for _, seed in needed)] if plan.parent else []
    for line in asked.in_turn(partial(_parent, study, start, plan, inherited), absent(parents)):
        asked.say(line)
    late = {seed for _, seed in absent(parents)}
    begun = [w for w in absent(needed) if w[0] != PARENT and w[1] not in late]
    for line in asked.in_turn(partial(_inherit, study, start, plan, inherited), begun):
        asked.say(line)
    waiting = set(absent(needed))
    ready = [c for c in curves if (c.start, c.seed) not in waiting]
    remaining = len(curves)
    for line in asked.in_turn(partial(_curve, study, start, plan, inherited, asked.out), ready):
        remaining -= 1
        asked.say(f"{line}, {remaining} curves left")
    return remaining


def derive_folder(plan: RetrainingPlan) -> str:
    """Return a name for the cached weights of a plan, and of the same one with other seeds."""
    return f"{derive_seed(json.dumps(replace(plan, seeds=1).to_dict())):x}"


def _parent(
    study: str, prepare: Callable[[], Setting], plan: RetrainingPlan, inherited: Inherited, which: Weights
) -> str:
    """Train one parent, store it and each network that is cut from it; return a line about it."""
    (kind, seed), setting = which, prepare()
    began = time.monotonic()
    drawn = derive_seed(seed, plan.task, study, kind)
    net = setting.network(SharedSlices, drawn, setting.parent_family())
    net, updates = setting.fit(net, SinglePath(), plan.parent, seed, batches=kind)
    _store(net, net.space.largest(), inherited.parent(seed))
    parent = Parent.of(net)
    for number, values in enumerate(plan.architectures):
        only = setting.space.architecture(values)
        network = setting.network(SharedSlices, drawn, setting.family(only))
        start_from(network, parent)
        _store(network, only, inherited.of(kind, seed, number))
    return f"parent, seed {seed}: {updates} updates in {time.monotonic() - began:.0f} s"


def _inherit(
    study: str, prepare: Callable[[], Setting], plan: RetrainingPlan, inherited: Inherited, which: Weights
) -> str:
    """Train one supernet and store what each network inherits; return a line about it."""
    (kind, seed), setting = which, prepare()
    source, sampling = setting.kind(kind)
    began = time.monotonic()
    net = setting.network(source, derive_seed(seed, plan.task, study), setting.family())
    if plan.parent:
        start_from(net, Parent.of(export.network(*export.load(inherited.parent(seed)), setting.device)))
    net, updates = setting.fit(net, sampling, plan.tokens, seed)
    for number, values in enumerate(plan.architectures):
        _store(net, setting.space.architecture(values), inherited.of(kind, seed, number))
    return f"supernet {kind}, seed {seed}: {updates} updates in {time.monotonic() - began:.0f} s"


def _store(net: SuperNet, architecture: Architecture, folder: Path) -> None:
    """Store one sub-network of a trained network."""
    export.save(folder, net.export(architecture), net.family.spec(), architecture)


def _curve(
    study: str,
    prepare: Callable[[], Setting],
    plan: RetrainingPlan,
    inherited: Inherited,
    out: Path,
    curve: Curve,
) -> str:
    """Measure one curve and write its file; return a line about it."""
    setting, points = prepare(), []
    began = time.monotonic()
    for share in plan.shares:
        net = _start(study, setting, plan, inherited, curve)
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
    reached = f"{plan.metric} {points[0][plan.metric]:.1f} to {points[-1][plan.metric]:.1f}"
    return f"{curve.name}: {reached} in {time.monotonic() - began:.0f} s"


def _start(
    study: str, setting: Setting, plan: RetrainingPlan, inherited: Inherited, curve: Curve
) -> SuperNet:
    """Return a curve's network before it is trained: the same for each share."""
    if curve.start == NOTHING:
        only = setting.family(setting.space.architecture(plan.architectures[curve.network]))
        return setting.network(SharedSlices, derive_seed(curve.seed, plan.task, study, curve.network), only)
    stored = export.load(inherited.of(curve.start, curve.seed, curve.network))
    return export.network(*stored, setting.device)
