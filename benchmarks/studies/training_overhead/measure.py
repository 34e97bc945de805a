"""Measurements of the overhead study: updates of each kind of supernet, timed in turns on this machine.

All kinds train on the same batches, and the same random architectures, in the recipe and the precision of a
tier. A file holds one task and tier on one declared machine.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

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
from benchmarks.tasks.datasets import Say
from supernet.objective import Batch
from supernet.train import Trainer

KINDS = ("sandwich", "hat", "mos-layer", "mos-neuron", "mos-neuron-4")
"""Supernets that are timed; the first is what all others are compared with."""
BUILDS = 6
"""Times that every supernet is built, from another seed each. Two builds lie elsewhere in memory, and draw
other architectures."""
DONE = 0.5
"""Share of training at which all updates are made, in the middle of the schedule of the learning rate."""


@dataclass(frozen=True)
class Amount:
    """Updates of a supernet in one build.

    Attributes:
        warm: untimed ones before. On a GPU most variants of sub-layers are recorded in them.
        turns: turns in which all kinds are timed, in a random order each.
        updates: updates of a turn, from a quiet device to a quiet device.
    """

    warm: int
    turns: int
    updates: int


AMOUNTS = {"cpu": Amount(2, 8, 1), "cuda": Amount(60, 8, 10)}
"""Device -> updates. A GPU is kept busy over a turn, as it is in training."""


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
    """Time the updates of a task and tier on this machine; return the file that was written.

    Args:
        prepare: returns the setting for a device.
        out: folder of the files of ``file_name``.
        device: ``cpu`` or ``cuda``.

    Raises:
        UsageError: this machine matches no declared profile of that device.
    """
    profile = declared(device)
    state = source_state()  # before: code that changes meanwhile is not what runs
    setting = prepare(device)
    facts = timings(setting, profile, kinds, builds, AMOUNTS[device], say)
    path = out / file_name(setting.task.name, setting.tier.name, profile.name)
    written = {"commit": state[0], "dirty_sha256": state[1]}
    write_text(path, json.dumps({**facts, "written": written}, indent=1) + "\n")
    return path


def file_name(task: str, tier: str, profile: str) -> str:
    """Return the name of the file of one task and tier on one machine."""
    return f"{task}.{tier}.{profile}.json"


def declared(device: str) -> Profile:
    """Return the declared profile that this machine matches.

    Raises:
        UsageError: it matches none, or one of another device.
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


def timings(
    setting: Setting, profile: Profile, kinds: Sequence[str], builds: int, amount: Amount, say: Say
) -> JsonObject:
    """Return seconds an update ``[builds][turns]`` of each kind, its trained numbers and peak memory."""
    recipe = recipe_of(setting.tier.recipe)
    seconds: dict[str, list[list[float]]] = {kind: [] for kind in kinds}
    numbers: dict[str, int] = {}
    peaks: dict[str, int] = {}
    loads = []
    began = time.monotonic()
    devices = [torch.device(setting.device)] if setting.device == "cuda" else []
    for seed in range(1, builds + 1):
        rng = np.random.default_rng(seed)
        groups = grouped(setting, seed, recipe.batch_tokens, recipe.accumulate)
        warm = [*islice(groups, amount.warm)]
        turns = [[*islice(groups, amount.updates)] for _ in range(amount.turns)]
        with exclusive(), quiesced(profile.threads), torch.random.fork_rng(devices=devices):
            others, nets = OtherLoad(), {}
            for kind in kinds:
                before = _memory(setting.device, reset=True)
                nets[kind] = TrainedSupernet(setting, kind, seed)
                nets[kind].train(warm)
                peaks.setdefault(kind, _memory(setting.device) - before)
                numbers[kind] = nets[kind].numbers
            for kind, values in timed_turns(nets, turns, rng).items():
                seconds[kind].append([six_digits(value / amount.updates) for value in values])
            loads.append(others.read())
        del nets
        remaining_s = (time.monotonic() - began) / seed * (builds - seed)
        say(f"{seed} of {builds} builds: about {remaining_s / 60:.0f} min left")
    return {
        "task": setting.task.name,
        "tier": setting.tier.name,
        "space": setting.space.name,
        "profile": profile.name,
        "precision": recipe.precision,
        "batch_tokens": recipe.batch_tokens * recipe.accumulate,
        "torch": torch.__version__.partition("+")[0],
        "seconds": seconds,
        "numbers": numbers,
        "peak_bytes": peaks if setting.device == "cuda" else {},
        "others_cpu": max(loads),
    }


def timed_turns(
    nets: dict[str, Any], turns: Sequence[Sequence[list[Batch]]], rng: np.random.Generator
) -> dict[str, list[float]]:
    """Return the seconds of each turn of every supernet; a turn trains all of them on the same batches.

    Args:
        rng: draws the order of each turn.
    """
    seconds: dict[str, list[float]] = {kind: [] for kind in nets}
    kinds = [*nets]
    for groups in turns:
        for i in rng.permutation(len(kinds)):
            began = time.perf_counter()
            nets[kinds[i]].train(groups)
            seconds[kinds[i]].append(time.perf_counter() - began)
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


def _memory(device: str, reset: bool = False) -> int:
    """Return the bytes that tensors take on a GPU: now, or at most since the last ``reset``; else 0."""
    if device != "cuda":
        return 0
    torch.cuda.synchronize()
    if reset:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        return torch.cuda.memory_allocated()
    return torch.cuda.max_memory_allocated()
