"""Measurements of the overhead study: updates of each kind of supernet, timed in turns on this machine.

All kinds train on the same batches, and the same random architectures, in the recipe and the precision of a
tier. A file holds one task and tier on one declared machine, and is written after each build.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Protocol

import numpy as np
import torch

from benchmarks.api import UsageError
from benchmarks.hardware import profiles
from benchmarks.hardware.load import OtherLoad
from benchmarks.hardware.profiles import Profile
from benchmarks.hardware.timing_lock import exclusive
from benchmarks.lab.batches import derive_seed, recipe_of
from benchmarks.measurement.interleaved import quiesced
from benchmarks.records.canonical import JsonObject
from benchmarks.records.provenance import source_state
from benchmarks.records.store import write_text
from benchmarks.stats.rounding import six_digits
from benchmarks.studies.supernets import Setting
from benchmarks.studies.training_overhead.study import BUILDS
from benchmarks.tasks.datasets import Say
from supernet.objective import Batch
from supernet.train import Trainer

KINDS = ("sandwich", "hat", "mos-layer", "mos-neuron", "mos-neuron-4")
"""Supernets that are timed; the first is what all others are compared with."""
DONE = 0.5
"""Share of training at which all updates are made, in the middle of the schedule of the learning rate."""
FIXED = ("task", "tier", "space", "profile", "precision", "batch_tokens", "torch", "written")
"""Facts of a file that all its builds share."""


@dataclass(frozen=True)
class Amount:
    """Updates of a supernet in one build.

    Attributes:
        warm: untimed ones before.
        turns: turns in which all kinds are timed, in a random order or the reverse of the one before.
        updates: updates of a turn, from a quiet device to a quiet device.
    """

    warm: int
    turns: int
    updates: int


AMOUNTS = {"cpu": Amount(2, 8, 1), "cuda": Amount(20, 8, 10)}
"""Device -> updates. A GPU is kept busy over a turn, as it is in training."""


class Timeable(Protocol):
    """Anything that trains on batches in turns."""

    def rehearse(self, groups: Sequence[list[Batch]]) -> None:
        """Prepare the updates of ``train``."""

    def train(self, groups: Sequence[list[Batch]]) -> None:
        """Make one update on each group of batches; return when the device is done."""


class TrainedSupernet:
    """Supernet in training, ready to be timed.

    Attributes:
        numbers: trained numbers, of experts and routers too.
    """

    def __init__(self, setting: Setting, kind: str, seed: int) -> None:
        source, sampling = setting.kind(kind)
        net = setting.network(source, seed, setting.family())
        recipe = recipe_of(setting.tier.recipe)
        self.trainer = Trainer(net, recipe, sampling, seed)
        self.numbers = net.source.flat.numel()
        net.precision(recipe.precision)
        net.model.train()

    def rehearse(self, groups: Sequence[list[Batch]]) -> None:
        """Make the updates once untimed, on a GPU: sub-layers of new shapes are recorded as graphs there.

        In a training of thousands of updates recording is over after the first hundreds. The architectures
        of an update follow from its number, which is set back.
        """
        if self.trainer.flat.is_cuda:
            before = self.trainer.updates
            self.train(groups)
            self.trainer.updates = before

    def train(self, groups: Sequence[list[Batch]]) -> None:
        """Make one update on each group of batches; return when the device is done.

        Raises:
            FloatingPointError: the loss is not finite.
        """
        for group in groups:
            loss = self.trainer.update(group, DONE)
        self.trainer.look(loss)


def measure(
    prepare: Callable[[str], Setting],
    out: Path,
    device: str,
    say: Say,
    kinds: Sequence[str] = KINDS,
    builds: int = BUILDS,
) -> Path:
    """Time the updates of a task and tier on this machine; return the file. It goes on where it was stopped.

    Args:
        prepare: returns the setting for a device.
        out: folder of the files of ``file_name``.
        device: ``cpu`` or ``cuda``.

    Raises:
        UsageError: this machine matches no declared profile of that device, or its file has builds of other
            code or settings.
    """
    profile = declared(device)
    commit, changes = source_state()  # before: code that changes meanwhile is not what runs
    setting = prepare(device)
    recipe = recipe_of(setting.tier.recipe)
    path = out / file_name(setting.task.name, setting.tier.name, profile.name)
    fixed: JsonObject = {
        "task": setting.task.name,
        "tier": setting.tier.name,
        "space": setting.space.name,
        "profile": profile.name,
        "precision": recipe.precision,
        "batch_tokens": recipe.batch_tokens * recipe.accumulate,
        "torch": torch.__version__.partition("+")[0],
        "written": {"commit": commit, "dirty_sha256": changes},
    }
    facts = begun(path, fixed, kinds, builds)
    for seed in range(len(facts["others_cpu"]) + 1, builds + 1):
        began = time.monotonic()
        facts["numbers"], seconds, load = time_build(setting, profile, kinds, seed, AMOUNTS[device])
        for kind, values in seconds.items():
            facts["seconds"][kind].append(values)
        facts["others_cpu"].append(load)
        write_text(path, json.dumps(facts, indent=1) + "\n")
        left_min = (time.monotonic() - began) * (builds - seed) / 60
        say(f"{seed} of {builds} builds: about {left_min:.0f} min left")
    return path


def begun(path: Path, fixed: JsonObject, kinds: Sequence[str], builds: int) -> JsonObject:
    """Return the content of the file so far, with no builds if there is no file.

    Raises:
        UsageError: the file has builds of other code or settings, or none that can be read.
    """
    if not path.is_file():
        return {**fixed, "numbers": {}, "seconds": {kind: [] for kind in kinds}, "others_cpu": []}
    try:
        facts: JsonObject = json.loads(path.read_text(encoding="utf-8"))
        differing = [name for name in FIXED if facts[name] != fixed[name]]
        counts = {len(facts["others_cpu"]), *(len(facts["seconds"][kind]) for kind in kinds)}
    except (OSError, ValueError, KeyError, TypeError):
        differing, counts = ["content"], set()
    if differing:
        what = "commit, or of local changes" if differing == ["written"] else differing[0]
        raise UsageError(f"{path} has builds of another {what}: move it away and time again")
    if len(counts) != 1 or max(counts) > builds:
        raise UsageError(f"{path} has other builds than {builds} of each supernet: move it away")
    return facts


def file_name(task: str, tier: str, profile: str) -> str:
    """Return the name of the file of one task and tier on one machine."""
    return f"{task}.{tier}.{profile}.json"


def declared(device: str) -> Profile:
    """Return the declared profile that this machine matches.

    Raises:
        UsageError: it matches no profile, or one of another device.
    """
    name = profiles.matching()
    profile = profiles.get(name) if name else None
    if profile is None or profile.device != device:
        raise UsageError(
            f"study training-overhead times {device} on a declared profile, and this machine matches"
            f" {f'{name}, of {profile.device}' if profile else 'none'}: supernet-bench doctor lists the"
            " differences"
        )
    return profile


def time_build(
    setting: Setting, profile: Profile, kinds: Sequence[str], seed: int, amount: Amount
) -> tuple[dict[str, int], dict[str, list[float]], float]:
    """Build every kind from a seed and time its updates.

    Returns:
        Trained numbers of each kind, seconds an update in each turn, and processors that others took.
    """
    recipe = recipe_of(setting.tier.recipe)
    groups = grouped(setting, seed, recipe.batch_tokens, recipe.accumulate)
    warm = [*islice(groups, amount.warm)]
    turns = [[*islice(groups, amount.updates)] for _ in range(amount.turns)]
    devices = [torch.device(setting.device)] if setting.device == "cuda" else []
    with exclusive(), quiesced(profile.threads), torch.random.fork_rng(devices=devices):
        nets = {}
        for kind in kinds:
            nets[kind] = TrainedSupernet(setting, kind, seed)
            nets[kind].train(warm)
        others = OtherLoad()
        times = timed_turns(nets, turns, np.random.default_rng(seed))
        load = others.read()
    seconds = {
        kind: [six_digits(value / amount.updates) for value in values] for kind, values in times.items()
    }
    return {kind: net.numbers for kind, net in nets.items()}, seconds, load


def timed_turns(
    nets: Mapping[str, Timeable], turns: Sequence[Sequence[list[Batch]]], rng: np.random.Generator
) -> dict[str, list[float]]:
    """Return the seconds of each turn of every supernet; a turn trains all of them on the same batches.

    Args:
        rng: draws the order of every other turn; the next one has its reverse, so that no kind has more often
            than another the caches that the one before left.
    """
    seconds: dict[str, list[float]] = {kind: [] for kind in nets}
    order = [*nets]
    for number, groups in enumerate(turns):
        for net in nets.values():
            net.rehearse(groups)
        order = order[::-1] if number % 2 else [[*nets][i] for i in rng.permutation(len(nets))]
        for kind in order:
            began = time.perf_counter()
            nets[kind].train(groups)
            seconds[kind].append(time.perf_counter() - began)
    return seconds


def grouped(setting: Setting, seed: int, batch_tokens: int, accumulate: int) -> Iterator[list[Batch]]:
    """Yield the batches of each update, endlessly; equal for all kinds of a seed."""
    stream = iter(
        setting.task.batches(
            setting.task.training(setting.prepared),
            batch_tokens,
            derive_seed(seed, setting.task.name, "training-overhead"),
            setting.device,
        )
    )
    while True:
        yield [*islice(stream, accumulate)]
