"""Timings of the study of precisions on a GPU: networks and stacks of linear layers, one file a GPU.

A precision is compared with bfloat16, in turns, at batch 1 and 64. All are compiled and replayed as CUDA
graphs. A command that is stopped goes on with the next network.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.api import UsageError
from benchmarks.hardware import profiles
from benchmarks.measurement.interleaved import (
    MeasurementRejectedError,
    TimedRequest,
    quiesced,
    time_interleaved,
)
from benchmarks.records.canonical import JsonObject
from benchmarks.records.provenance import source_state
from benchmarks.records.store import write_text
from benchmarks.stats.quantiles import ratio
from benchmarks.stats.rounding import six_digits_within
from benchmarks.studies.deployed_sizes.networks import NETWORKS, SizedNetwork
from benchmarks.studies.gpu_precision.compiled import Compiled
from benchmarks.studies.gpu_precision.timings import DEPTH, PRECISIONS, TimedOnGpu
from benchmarks.tasks.datasets import Say

FIXED, PARTS = ("profile", "torch", "rounds", "written"), ("networks", "stacks")
"""Facts that all timings of a file share, and its lists of timings."""
ROUNDS, SECONDS = 128, 20.0
"""Timed inferences of each precision, and seconds after which fewer do."""
BATCHES = (1, 64)
WIDTHS, TOKENS = (256, 512, 768, 1024, 2048, 4096), (128, 8192)
"""Widths of the linear layers, and rows that they are given."""


@dataclass(frozen=True)
class Subject:
    """One network at one batch, to be built and timed.

    Attributes:
        part: ``networks`` or ``stacks``, the list of a file that it belongs to.
        build: returns the network and its input.
    """

    part: str
    name: str
    batch: int
    build: Callable[[], tuple[nn.Module, Tensor]]


class DeviceFailedError(Exception):
    """A GPU that computes no more; the message is its first error."""


def measure(out: Path, say: Say) -> Path:
    """Time the networks that the file of this machine's GPU lacks; return the file.

    Args:
        out: folder of the files, one a declared profile.

    Raises:
        UsageError: this machine matches no declared GPU profile, or its file has timings of other code.
    """
    name = profiles.matching()
    if name is None or profiles.get(name).device != "cuda":
        raise UsageError(
            "study gpu-precision times on a declared GPU profile, and this machine is none:"
            " supernet-bench doctor lists the differences"
        )
    subjects = list(subjects_of(NETWORKS, WIDTHS))
    return complete(out / f"{name}.json", name, subjects, "cuda", ROUNDS, SECONDS, say)


def subjects_of(networks: Sequence[Callable[[], SizedNetwork]], widths: Sequence[int]) -> Iterator[Subject]:
    """Yield all networks at each batch, then stacks of each width at each number of rows."""
    for build in networks:
        name = build().name
        for batch in BATCHES:
            yield Subject("networks", name, batch, partial(_with_inputs, build, batch))
    for width in widths:
        for rows in TOKENS:
            yield Subject("stacks", f"linear {width}", rows, partial(stack, width, rows))


def complete(
    path: Path,
    profile: str,
    subjects: Sequence[Subject],
    device: str,
    rounds: int,
    seconds: float,
    say: Say,
) -> Path:
    """Time the subjects that a file lacks, and write it after each; tests use small ones on a processor.

    Raises:
        UsageError: the file has timings of another commit or torch, or the device failed or is full.
    """
    commit, changes = source_state()
    facts: JsonObject = {
        "profile": profile,
        "torch": torch.__version__.partition("+")[0],
        "rounds": rounds,
        "written": {"commit": commit, "dirty_sha256": changes},
        "planned": len(subjects),
        "networks": [],
        "stacks": [],
    }
    known: set[tuple[str, int]] = set()
    if path.is_file():
        facts, known = _resumed(path, facts)
    for number, subject in enumerate(subjects, 1):
        if (subject.name, subject.batch) in known:
            continue
        say(f"{number} of {len(subjects)}: {subject.name}, batch {subject.batch}")
        module, inputs = subject.build()
        try:
            timed = time_network(subject.name, subject.batch, module, inputs, device, rounds, seconds)
        except (DeviceFailedError, torch.OutOfMemoryError) as error:
            reason = str(error).strip().partition("\n")[0][:200]
            raise UsageError(
                f"{subject.name}, batch {subject.batch}: {reason}\nfree the GPU and type the same command"
                " again: it goes on there"
            ) from error
        facts[subject.part] += [six_digits_within(asdict(figure)) for figure in timed]
        write_text(path, json.dumps(facts, indent=1) + "\n")
    return path


def _resumed(path: Path, facts: JsonObject) -> tuple[JsonObject, set[tuple[str, int]]]:
    """Return the content of a file that was begun by this code and torch, and what it has.

    Raises:
        UsageError: it was begun by others.
    """
    try:
        kept: JsonObject = json.loads(path.read_text(encoding="utf-8"))
        differing = [name for name in FIXED if kept[name] != facts[name]]
        known = {(str(timed["network"]), int(timed["batch"])) for part in PARTS for timed in kept[part]}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        differing, known = ["content"], set()
    if differing:
        what = "commit, or local changes" if differing == ["written"] else differing[0]
        raise UsageError(f"{path} was begun with another {what}: move it away and time again")
    return {**kept, "planned": facts["planned"]}, known


def _with_inputs(build: Callable[[], SizedNetwork], batch: int) -> tuple[nn.Module, Tensor]:
    network = build()
    return network.module, network.inputs(batch)


def stack(width: int, tokens: int) -> tuple[nn.Module, Tensor]:
    """Return ``DEPTH`` linear layers of ``width`` with outputs of the inputs' size, and rows for them."""
    random = torch.Generator().manual_seed(width)
    layers = []
    for _ in range(DEPTH):
        layer = nn.Linear(width, width, bias=False, device="meta").to_empty(device="cpu")
        layer.weight.data.normal_(0, width**-0.5, generator=random)
        layers.append(layer)
    module = nn.Sequential(*layers).requires_grad_(False).eval()
    return module, torch.randn(tokens, width, generator=random)


def time_network(
    name: str, batch: int, module: nn.Module, inputs: Tensor, device: str, rounds: int, seconds: float
) -> list[TimedOnGpu]:
    """Time a network in all precisions, in turns; those that fail a gate are named with the reason."""
    # Graphs of earlier networks go: there is a largest number of them for one function.
    torch._dynamo.reset()
    built: dict[str, Compiled] = {}
    failed = []
    module, inputs = module.to(device), inputs.to(device)
    with quiesced(None):  # graphs keep the arithmetic under which they were recorded
        with torch.inference_mode():
            expected = module(inputs).float()
        for precision in PRECISIONS:
            try:
                built[precision] = Compiled.of(module, precision, inputs, expected)
            except torch.OutOfMemoryError:
                raise
            except (MeasurementRejectedError, ValueError, RuntimeError) as error:
                reason = str(error).strip().partition("\n")[0][:200]
                if not _computes(device):
                    raise DeviceFailedError(reason) from error
                failed.append(TimedOnGpu(name, batch, precision, failed=reason))
    plain = PRECISIONS[0]
    if plain not in built:
        reason = f"{plain} failed, so there is nothing to compare with"
        return failed + [TimedOnGpu(name, batch, precision, failed=reason) for precision in built]
    requests = [TimedRequest(network.serve) for network in built.values()]
    times, conditions = time_interleaved(requests, None, min_n=rounds, max_seconds=seconds)
    return [
        TimedOnGpu(
            *(name, batch, precision, float(np.median(ours)), *ratio(ours, times[0])),
            *(network.kernels, conditions.others_cpu, len(ours)),
        )
        for (precision, network), ours in zip(built.items(), times, strict=True)
    ] + failed


def _computes(device: str) -> bool:
    """Return whether a device still computes: after some errors a process' GPU does nothing more."""
    try:
        return float(torch.ones(1, device=device) + 1) == 2
    except RuntimeError:
        return False
