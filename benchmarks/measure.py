"""The only place where latency, memory and energy per sentence are measured.

What is timed is what would be deployed: the exported sub-network with baked weights, in evaluation
mode without autograd, in one stated precision, warmed up, synchronised, on the declared threads,
eager (on a GPU the step-by-step decoder is bound by kernel launches; that is part of what PyTorch
deploys). Timed rounds alternate with a frozen reference network, so that the ratio of the two
medians survives a machine that drifts, and one timing at a time has the machine.
"""

from __future__ import annotations

import copy
import gc
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import psutil
import torch
from torch import Tensor, nn

from benchmarks import profiles
from benchmarks.energy import EnergyMeter
from benchmarks.live_bytes import LiveBytes
from benchmarks.percentiles import DISTURBED, bound, quantile, ratio
from benchmarks.timing_lock import exclusive
from supernet import quantize
from supernet.decode import forced_steps

__all__ = ["Refused", "Workload", "energy", "exclusive", "latency", "peak_memory", "quick"]

PROTOCOL = "0.1"
"""Version of this protocol; part of every signature."""
PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
WARM_UP = 3
QUICK = 10
FEWEST = 8
"""Timed rounds below which there is no latency at all."""
ATTEMPTS = 3
IMAGE_SEED = 0
RUNTIMES: dict[str, tuple[str, ...]] = {"torch": tuple(quantize.PRECISIONS), "ort": ("fp32", "int8", "w4")}
"""Runtime -> the precisions that it has kernels for on the processor."""


class Refused(Exception):
    """A latency that may not be reported; the message says why."""


@dataclass(frozen=True)
class Workload:
    """One sentence of ``source_len`` tokens, then ``steps`` decoder steps of ``beam`` rows.

    No tokens are chosen and no beams reordered (``search:no`` in the signature): see
    ``supernet.decode.forced_steps``. Without steps it is an encoder that is timed, up to the state of the
    sentence's first token, which is what classifiers read. With ``image`` it is a classifier of images of so
    many pixels on each side and so many ``channels``: one of them, from pixels to classes, with a ``text`` of
    so many tokens where that is more than none. ``runtime`` says what serves it: see ``benchmarks.runtimes``.
    """

    source_len: int
    steps: int
    beam: int
    image: int = 0
    channels: int = 0
    text: int = 0
    runtime: str = "torch"

    def __post_init__(self) -> None:
        if self.runtime not in RUNTIMES:
            raise ValueError(f"runtime {self.runtime!r}: choose one of {', '.join(RUNTIMES)}")

    @classmethod
    def of(cls, value: Workload | Mapping[str, Any]) -> Workload:
        """A workload from a tier's table, whose other entries do not concern it."""
        if isinstance(value, Workload):
            return value
        names = "image", "channels", "text"
        optional: dict[str, Any] = {name: int(value[name]) for name in names if name in value}
        optional |= {"runtime": str(value["runtime"])} if "runtime" in value else {}
        return cls(int(value["source_len"]), int(value["steps"]), int(value["beam"]), **optional)

    @property
    def target_len(self) -> int:
        """Positions that are predicted."""
        return max(1, self.steps)

    def run(self, module: nn.Module, source: Tensor) -> Tensor:
        """Serve ``source`` once: ``[beam, ...]``."""
        if self.steps:
            return forced_steps(module, source, self.steps, self.beam)
        if self.image:
            logits: Tensor = module(*self.inputs(source))
            return logits
        encoder: Any = module
        state: Tensor = encoder.encode(source)[:, 0]
        return state

    def inputs(self, source: Tensor) -> tuple[Tensor, ...]:
        """What a network is called with for ``source``: with it, and the text where there is one."""
        return (source, source.new_ones((1, self.text), dtype=torch.long)) if self.text else (source,)

    def source(self, device: str) -> Tensor:
        """The sentence: ``[1, source_len]``, one ordinary token over and over (as in HAT), then the end; or
        the image, noise of a fixed seed: ``[1, channels, image, image]``."""
        if self.image:
            generator = torch.Generator().manual_seed(IMAGE_SEED)
            shape = 1, self.channels, self.image, self.image
            return torch.randn(shape, generator=generator).to(device)
        tokens = torch.full((1, self.source_len), 4, dtype=torch.long)
        tokens[0, -1] = 2
        return tokens.to(device)


@contextmanager
def _still(threads: int | None) -> Iterator[None]:
    """Declared threads, true float32 products, no garbage collection; all put back afterwards."""
    before = torch.get_num_threads()
    precision = torch.get_float32_matmul_precision()
    if threads is not None and threads != before:
        torch.set_num_threads(threads)
    if precision != "highest":
        torch.set_float32_matmul_precision("highest")
    collecting = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()
        if precision != "highest":
            torch.set_float32_matmul_precision(precision)
        if torch.get_num_threads() != before:
            torch.set_num_threads(before)


def _in(module: nn.Module, device: str, precision: str) -> nn.Module:
    """``module`` on the device in the precision and evaluation mode; a copy where that changes it."""
    if precision not in PRECISIONS:
        raise ValueError(f"precision {precision!r}: choose one of {', '.join(PRECISIONS)}")
    dtype = PRECISIONS[precision]
    first = next(module.parameters(), None)
    if first is None:  # it is another runtime's
        return module.eval()
    if first.dtype != dtype or first.device.type != torch.device(device).type or module.training:
        module = copy.deepcopy(module).to(device, dtype)
    return module.eval()


class _Timed:
    """One network and its workload, ready to be timed."""

    def __init__(self, module: nn.Module, workload: Workload, device: str, precision: str) -> None:
        self.module = _in(module, device, precision)
        self.source, self.kept = workload.source(device), workload.source(device)
        self.workload, self.cuda = workload, torch.device(device).type == "cuda"

    def run(self) -> Tensor:
        return self.workload.run(self.module, self.source)

    def ms(self) -> float:
        """Time one inference from a quiet device to a quiet device."""
        if self.cuda:
            torch.cuda.synchronize()
        began = time.perf_counter()
        self.run()
        if self.cuda:
            torch.cuda.synchronize()
        return (time.perf_counter() - began) * 1e3

    def warm_up(self) -> None:
        for _ in range(WARM_UP):
            self.ms()

    def check(self) -> None:
        """Refuse what no honest network does.

        Raises:
            Refused: outputs that are no numbers or not of the expected shape, or a changed input.
        """
        out = self.run()
        if out.ndim != 2 or out.shape[0] != self.workload.beam:
            raise Refused(f"gave outputs of shape {list(out.shape)}: one row of scores a beam is due")
        if not bool(torch.isfinite(out).all()):
            raise Refused("gave outputs that are not finite numbers (NaN or infinity)")
        if not torch.equal(self.source, self.kept):
            raise Refused("changed its input")


def quick(
    module: nn.Module,
    workload: Workload | Mapping[str, Any],
    device: str,
    beside: nn.Module | None = None,
) -> float:
    """A probe, good for a search and no claim: median milliseconds of ten inferences after warm-up.

    With ``beside``, timed in turns with it: how many times its median. On a machine that drifts, two
    processes find the same network up to twice as slow, but agree on ratios.

    Takes ``exclusive`` itself where the caller has not.
    """
    timed = [_Timed(x, Workload.of(workload), device, "fp32") for x in (module, beside) if x is not None]
    with exclusive(), _still(profiles.declared_threads()), torch.inference_mode():
        for one in timed:
            one.warm_up()
        times = [[one.ms() for one in timed] for _ in range(QUICK)]
    medians = np.median(np.array(times), axis=0)
    return float(medians[0] if beside is None else medians[0] / medians[1])


def latency(
    module: nn.Module,
    reference: nn.Module,
    workload: Workload | Mapping[str, Any],
    device: str,
    profile: profiles.Profile,
    *,
    precision: str = "fp32",
    plain: nn.Module | None = None,
    min_n: int = 64,
    min_seconds: float = 0.0,
    max_seconds: float = 600.0,
) -> dict[str, Any]:
    """Time ``module`` in turns with ``reference``, both warmed up, until n and seconds are reached.

    Args:
        precision: ``fp32`` (true float32 products, no TF32), ``bf16`` or ``fp16``; of all networks, but for
            what ``supernet.quantize`` made of layers of ``module``.
        plain: of a quantised ``module`` the same network in float32, to be timed in turns with both.
        min_n: rounds, at least; below 64 there is no p90.
        min_seconds: of timed rounds, at least.
        max_seconds: after which it ends with fewer rounds (but at least 8) and so without a p90.

    Returns:
        Milliseconds ``p50``, ``p90`` (as observed; None below 64 rounds), ``p90_bound`` (MLPerf's
        early-stopping estimate: 90 % of inferences stay under it, at 99 % confidence) and
        ``reference_p50``; ``n``; ``ratio`` of the medians with ``ratio_low`` and ``ratio_high``
        (95 %); ``waited_seconds`` for the lock; ``others_cpu``: processors' worth of time that
        other processes took meanwhile; ``attempts``: where that was more than ``DISTURBED`` all rounds
        are timed anew, at most ``ATTEMPTS`` times, and the least disturbed ones count; ``signature``. With
        ``plain`` also ``fp32_p50`` and ``fp32_ratio``, ``fp32_ratio_low`` and ``fp32_ratio_high``: how many
        times its own float32 self's median.

    Raises:
        Refused: the module changed its input or gave outputs that are not finite.
    """
    workload = Workload.of(workload)
    ours = _Timed(module, workload, device, precision)
    timed = [ours, *(_Timed(x, workload, device, precision) for x in (reference, plain) if x is not None)]
    with exclusive() as waited, _still(profile.threads), torch.inference_mode():
        ours.check()
        for one in timed:
            one.warm_up()
        threads = torch.get_num_threads()
        times, load = _rounds(timed, min_n, min_seconds, max_seconds)
        attempts = 1
        while load > DISTURBED and attempts < ATTEMPTS:
            # By load alone, whatever the times say: choosing among times would be tuning.
            again = _rounds(timed, min_n, min_seconds, max_seconds)
            times, load = min((times, load), again, key=lambda found: found[1])
            attempts += 1
        ours.check()
    n, tail = len(times[0]), quantile(times[0], 0.9)
    centre, low, high = ratio(times[0], times[1])
    fields = {
        "lat": "p50" if tail is None else "p90",
        "n": n,
        "b": 1,
        "beam": workload.beam,
        "len": workload.source_len,
        "steps": workload.steps,
        **({"img": f"{workload.channels}x{workload.image}"} if workload.image else {}),
        **({"txt": workload.text} if workload.text else {}),
        "search": "no",
        "prec": precision,
        **quantize.recipe(ours.module),
        "mode": "eager" if workload.runtime == "torch" else "graph",
        "thr": threads,
        "prof": profile.name,
        "v": PROTOCOL,
    }
    found = {
        "p50": float(np.median(times[0])),
        "p90": tail,
        "p90_bound": bound(times[0], 0.9),
        "n": n,
        "ratio": centre,
        "ratio_low": low,
        "ratio_high": high,
        "reference_p50": float(np.median(times[1])),
        "waited_seconds": round(waited, 3),
        "others_cpu": load,
        "attempts": attempts,
        "signature": "|".join(f"{key}:{value}" for key, value in fields.items()),
    }
    if plain is not None:
        centre, low, high = ratio(times[0], times[2])
        found |= {"fp32_p50": float(np.median(times[2]))}
        found |= {"fp32_ratio": centre, "fp32_ratio_low": low, "fp32_ratio_high": high}
    return found


def _rounds(
    timed: Sequence[_Timed], min_n: int, min_seconds: float, max_seconds: float
) -> tuple[list[list[float]], float]:
    """Milliseconds of each network, timed in turns, and what other processes took meanwhile."""
    times: list[list[float]] = [[] for _ in timed]
    others, began = _OtherLoad(), time.perf_counter()
    while len(times[0]) < min_n or time.perf_counter() - began < min_seconds:
        if len(times[0]) >= FEWEST and time.perf_counter() - began > max_seconds:
            break
        # Who goes first alternates: the next one finds caches that the one before it left.
        first, turns = len(times[0]) % len(timed), list(zip(timed, times, strict=True))
        for one, kept in turns[first:] + turns[:first]:
            kept.append(one.ms())
    return times, others.read()


def energy(
    module: nn.Module,
    workload: Workload | Mapping[str, Any],
    device: str,
    profile: profiles.Profile,
    *,
    precision: str = "fp32",
    seconds: float = 2.0,
) -> dict[str, Any]:
    """Joules of the whole machine for one sentence of the workload, batch 1, over a block of many.

    Mean power over the block times the time of one sentence: what the meter takes to start and stop
    is no part of it.

    Returns:
        ``joules_per_sentence`` (None: see ``source``), ``source``, ``sentences`` and ``seconds`` of the
        block, ``others_cpu`` as ``latency`` has it.
    """
    timed = _Timed(module, Workload.of(workload), device, precision)
    meter = EnergyMeter(profile)
    meter.ready()
    with exclusive(), _still(profile.threads), torch.inference_mode():
        timed.warm_up()
        meter.start()
        others, began, sentences = _OtherLoad(), time.perf_counter(), 0
        while sentences == 0 or time.perf_counter() - began < seconds:
            timed.ms()
            sentences += 1
        passed, load = time.perf_counter() - began, others.read()
        read = meter.stop()
    joules = None
    if read["joules"] is not None and read["covered_seconds"] > 0:
        joules = read["joules"] / read["covered_seconds"] * passed / sentences
    return {
        "joules_per_sentence": joules,
        "source": read["source"],
        "sentences": sentences,
        "seconds": round(passed, 3),
        "others_cpu": load,
    }


class _OtherLoad:
    """Processors' worth of time that others than this process take: a disturbed timing shows."""

    def __init__(self) -> None:
        self._began, self._busy = time.perf_counter(), self._others()

    @staticmethod
    def _others() -> float:
        machine, own = psutil.cpu_times(), psutil.Process().cpu_times()
        idle = machine.idle + getattr(machine, "iowait", 0.0)
        guest = getattr(machine, "guest", 0.0) + getattr(machine, "guest_nice", 0.0)  # in user time, too
        return float(sum(machine) - idle - guest - own.user - own.system)

    def read(self) -> float:
        passed = max(time.perf_counter() - self._began, 1e-9)
        return round(max(0.0, self._others() - self._busy) / passed, 2)


def peak_memory(
    module: nn.Module, workload: Workload | Mapping[str, Any], device: str, *, precision: str = "fp32"
) -> dict[str, Any]:
    """Bytes that the weights and the workload need at their height, and how they were counted."""
    timed = _Timed(module, Workload.of(workload), device, precision)
    weights = _bytes([*timed.module.parameters(), *timed.module.buffers()])
    weights += quantize.packed_bytes(timed.module)
    with torch.inference_mode():
        if timed.cuda:
            timed.run()  # libraries allocate their workspaces once
            torch.cuda.synchronize()
            rest = torch.cuda.memory_allocated() - weights
            torch.cuda.reset_peak_memory_stats()
            timed.run()
            torch.cuda.synchronize()
            peak = torch.cuda.max_memory_allocated() - rest
            source = "weights and workload, torch.cuda.max_memory_allocated"
            return {"peak_bytes": int(peak), "source": source}
        with LiveBytes() as live:
            timed.run()
    source = "weights and live tensors of the workload, counted at every operator, kernels' scratch left out"
    return {"peak_bytes": weights + _bytes([timed.source]) + live.peak, "source": source}


def _bytes(tensors: Sequence[Tensor]) -> int:
    """Of the storages behind ``tensors``, each counted once."""
    return sum({s.data_ptr(): s.nbytes() for s in (t.untyped_storage() for t in tensors)}.values())
