"""How a latency is timed: warmed up, in turns with what it is compared with, alone on the machine."""

from __future__ import annotations

import copy
import gc
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks import stage
from benchmarks.hardware.load import OtherLoad
from benchmarks.hardware.timing_lock import exclusive
from benchmarks.measurement.workload import Workload
from benchmarks.stats.quantiles import DISTURBED, bound, quantile, ratio

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
WARM_UP = 3
MIN_ROUNDS = 8
"""Timed rounds below which there is no latency at all."""
MAX_ATTEMPTS = 3


class MeasurementRejectedError(Exception):
    """A latency that may not be reported; the message says why."""


@contextmanager
def quiesced(threads: int | None) -> Iterator[None]:
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


def _prepare(module: nn.Module, device: str, precision: str) -> nn.Module:
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


class TimedNetwork:
    """One network and its workload, ready to be timed."""

    def __init__(self, module: nn.Module, workload: Workload, device: str, precision: str) -> None:
        self.module = _prepare(module, device, precision)
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
            MeasurementRejectedError: outputs are not finite, not of the expected shape, or the input changed.
        """
        out = self.run()
        if out.ndim != 2 or out.shape[0] != self.workload.beam:
            raise MeasurementRejectedError(
                f"gave outputs of shape {list(out.shape)}: one row of scores a beam is due"
            )
        if not bool(torch.isfinite(out).all()):
            raise MeasurementRejectedError("gave outputs that are not finite numbers (NaN or infinity)")
        if not torch.equal(self.source, self.kept):
            raise MeasurementRejectedError("changed its input")


class TimedRequest:
    """One request to another runtime, ready to be timed."""

    def __init__(self, serve: Callable[[], Any]) -> None:
        self.serve = serve

    def ms(self) -> float:
        """Time one request."""
        began = time.perf_counter()
        self.serve()
        return (time.perf_counter() - began) * 1e3

    def check(self) -> None:
        """Nothing: what it answers was compared before."""

    def warm_up(self) -> None:
        for _ in range(WARM_UP):
            self.ms()


def time_interleaved(
    timed: Sequence[TimedNetwork | TimedRequest],
    threads: int | None,
    *,
    min_n: int,
    min_seconds: float = 0.0,
    max_seconds: float,
) -> tuple[list[list[float]], dict[str, Any]]:
    """Milliseconds of each network, timed in turns and alone, and how that went.

    Args:
        timed: the first is what is measured, the second what it is compared with.
        threads: of torch; None leaves them.
        min_n: rounds, at least.
        min_seconds: of timed rounds, at least.
        max_seconds: after which it ends with fewer rounds, but at least ``MIN_ROUNDS``.

    Returns:
        The times; ``waited_seconds`` for the lock, ``others_cpu`` (processors' worth of time that other
        processes took meanwhile) and ``attempts``: where that was more than ``DISTURBED`` all rounds are
        timed anew, at most ``MAX_ATTEMPTS`` times, and the least disturbed ones count; ``threads`` of torch.

    Raises:
        MeasurementRejectedError: as ``check``.
    """
    with exclusive() as waited, quiesced(threads), torch.inference_mode():
        timed[0].check()
        for one in timed:
            one.warm_up()
        used = torch.get_num_threads()
        times, load = time_rounds(timed, min_n, min_seconds, max_seconds)
        attempts = 1
        while load > DISTURBED and attempts < MAX_ATTEMPTS:
            # By load alone, whatever the times say: choosing among times would be tuning.
            stage.note(attempts, MAX_ATTEMPTS, "attempts (other programs are at work)")
            again = time_rounds(timed, min_n, min_seconds, max_seconds)
            times, load = min((times, load), again, key=lambda found: found[1])
            attempts += 1
        timed[0].check()
    how = {"waited_seconds": round(waited, 3), "others_cpu": load, "attempts": attempts}
    return times, how | {"threads": used}


def summarize(times: Sequence[Sequence[float]], beside: str) -> dict[str, Any]:
    """What a record keeps of times in turns: percentiles of the first, their ratio to the second, and the
    second's median under the name ``beside``."""
    ours, theirs = times[0], times[1]
    centre, low, high = ratio(ours, theirs)
    return {
        "p50": float(np.median(ours)),
        "p90": quantile(ours, 0.9),
        "p90_bound": bound(ours, 0.9),
        "n": len(ours),
        "ratio": centre,
        "ratio_low": low,
        "ratio_high": high,
        beside: float(np.median(theirs)),
    }


def time_rounds(
    timed: Sequence[TimedNetwork | TimedRequest], min_n: int, min_seconds: float, max_seconds: float
) -> tuple[list[list[float]], float]:
    """Milliseconds of each network, timed in turns, and what other processes took meanwhile."""
    times: list[list[float]] = [[] for _ in timed]
    others, began = OtherLoad(), time.perf_counter()
    while len(times[0]) < min_n or time.perf_counter() - began < min_seconds:
        if len(times[0]) >= MIN_ROUNDS and time.perf_counter() - began > max_seconds:
            break
        # Who goes first alternates: the next one finds caches that the one before it left.
        first, turns = len(times[0]) % len(timed), list(zip(timed, times, strict=True))
        for one, kept in turns[first:] + turns[:first]:
            kept.append(one.ms())
    return times, others.read()
