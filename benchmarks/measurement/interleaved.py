"""Interleaved timing: networks warmed up, then timed in alternating rounds, alone on the machine."""

from __future__ import annotations

import copy
import gc
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

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
"""Untimed inferences of each network before the first round."""
MIN_ROUNDS = 8
"""Timed rounds below which no latency is reported."""
MAX_ATTEMPTS = 3
"""Times that disturbed rounds are timed, at most."""


class MeasurementRejectedError(Exception):
    """A figure that may not be reported; the message gives the reason."""


@contextmanager
def quiesced(threads: int | None) -> Iterator[None]:
    """Set the declared threads and true float32 arithmetic, stop garbage collection; undo all on exit.

    Args:
        threads: threads of torch; None keeps the current number.
    """
    before = torch.get_num_threads()
    precision, convolutions = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    if threads is not None and threads != before:
        torch.set_num_threads(threads)
    if precision != "highest":
        torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False  # a GPU's convolutions have a switch of their own
    collecting = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()
        torch.backends.cudnn.allow_tf32 = convolutions
        if precision != "highest":
            torch.set_float32_matmul_precision(precision)
        if torch.get_num_threads() != before:
            torch.set_num_threads(before)


def _prepare(module: nn.Module, device: str, precision: str) -> nn.Module:
    """Return ``module`` on the device, in the precision and evaluation mode; a copy if that changes it."""
    if precision not in PRECISIONS:
        raise ValueError(f"precision {precision!r}: choose one of {', '.join(PRECISIONS)}")
    dtype = PRECISIONS[precision]
    first = next(module.parameters(), None)
    if first is None:  # it is another runtime's
        return module.eval()
    if first.dtype != dtype or first.device.type != torch.device(device).type or module.training:
        module = copy.deepcopy(module).to(device, dtype)
    return module.eval()


class Timeable(Protocol):
    """Anything that ``time_interleaved`` can time."""

    def ms(self) -> float:
        """Time one inference, in milliseconds."""

    def warm_up(self) -> None:
        """Run ``WARM_UP`` inferences."""

    def check(self) -> None:
        """Raise ``MeasurementRejectedError`` if the outputs may not be timed."""


class TimedNetwork:
    """A network in torch with its workload, ready to be timed."""

    def __init__(self, module: nn.Module, workload: Workload, device: str, precision: str) -> None:
        self.module = _prepare(module, device, precision)
        self.source, self.kept = workload.source(device), workload.source(device)
        self.workload, self.cuda = workload, torch.device(device).type == "cuda"

    def run(self) -> Tensor:
        """Run one inference."""
        return self.workload.run(self.module, self.source)

    def ms(self) -> float:
        """Time one inference from a quiet device to a quiet device, in milliseconds."""
        if self.cuda:
            torch.cuda.synchronize()
        began = time.perf_counter()
        self.run()
        if self.cuda:
            torch.cuda.synchronize()
        return (time.perf_counter() - began) * 1e3

    def warm_up(self) -> None:
        """Run ``WARM_UP`` inferences."""
        for _ in range(WARM_UP):
            self.ms()

    def check(self) -> None:
        """Refuse outputs that no honest network gives.

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

    def __init__(self, serve: Callable[[], object]) -> None:
        self.serve = serve

    def ms(self) -> float:
        """Time one request, in milliseconds."""
        began = time.perf_counter()
        self.serve()
        return (time.perf_counter() - began) * 1e3

    def check(self) -> None:
        """Do nothing: the caller has compared the runtime's outputs before."""

    def warm_up(self) -> None:
        """Run ``WARM_UP`` requests."""
        for _ in range(WARM_UP):
            self.ms()


@dataclass(frozen=True)
class Conditions:
    """Conditions under which rounds were timed.

    Attributes:
        waited_seconds: seconds waited for the timing lock.
        others_cpu: processors' worth of time that other processes took meanwhile.
        attempts: times that all rounds were timed.
        threads: threads of torch.
    """

    waited_seconds: float
    others_cpu: float
    attempts: int
    threads: int


def time_interleaved(
    timed: Sequence[Timeable],
    threads: int | None,
    *,
    min_n: int,
    min_seconds: float = 0.0,
    max_seconds: float,
) -> tuple[list[list[float]], Conditions]:
    """Time networks in alternating rounds, alone on the machine.

    Rounds under a load of more than ``DISTURBED`` are all timed anew, at most ``MAX_ATTEMPTS`` times. The
    least disturbed attempt counts.

    Args:
        timed: the network that is measured, then those that it is compared with.
        threads: threads of torch; None keeps the current number.
        min_n: fewest rounds.
        min_seconds: fewest seconds of timed rounds.
        max_seconds: seconds after which timing ends with fewer rounds, but at least ``MIN_ROUNDS``.

    Returns:
        Milliseconds ``[networks][rounds]``, and the conditions of the attempt that counts.

    Raises:
        MeasurementRejectedError: the first network fails its ``check`` before or after the rounds.
    """
    with exclusive() as waited, quiesced(threads), torch.inference_mode():
        timed[0].check()
        for network in timed:
            network.warm_up()
        used = torch.get_num_threads()
        times, load = time_rounds(timed, min_n, min_seconds, max_seconds)
        attempts = 1
        while load > DISTURBED and attempts < MAX_ATTEMPTS:
            # By load alone, whatever the times are: choosing among times would be tuning.
            stage.note(attempts, MAX_ATTEMPTS, "attempts (other programs are at work)")
            again = time_rounds(timed, min_n, min_seconds, max_seconds)
            times, load = min((times, load), again, key=lambda attempt: attempt[1])
            attempts += 1
        timed[0].check()
    return times, Conditions(round(waited, 3), load, attempts, used)


def time_rounds(
    timed: Sequence[Timeable], min_n: int, min_seconds: float, max_seconds: float
) -> tuple[list[list[float]], float]:
    """Return the milliseconds of each network in each round, and the load by other processes meanwhile."""
    times: list[list[float]] = [[] for _ in timed]
    others, began = OtherLoad(), time.perf_counter()
    while len(times[0]) < min_n or time.perf_counter() - began < min_seconds:
        if len(times[0]) >= MIN_ROUNDS and time.perf_counter() - began > max_seconds:
            break
        # The order rotates: a network finds the caches that the one before it filled.
        first, pairs = len(times[0]) % len(timed), list(zip(timed, times, strict=True))
        for network, kept in pairs[first:] + pairs[:first]:
            kept.append(network.ms())
    return times, others.read()


@dataclass(frozen=True)
class Percentiles:
    """Percentiles of one network's times, and their ratio to another network's.

    Attributes:
        p50, p90: as observed, in milliseconds; ``p90`` is None for too few rounds.
        p90_bound: MLPerf's early-stopping estimate, in milliseconds: 90 % of inferences stay under it, at
            99 % confidence. None for too few rounds.
        n: timed rounds.
        ratio, ratio_low, ratio_high: ratio of the two medians with its 95 % interval.
        beside_p50: median of the other network, in milliseconds.
    """

    p50: float
    p90: float | None
    p90_bound: float | None
    n: int
    ratio: float
    ratio_low: float
    ratio_high: float
    beside_p50: float


def summarize(times: Sequence[Sequence[float]]) -> Percentiles:
    """Return the percentiles of the first network's times and their ratio to the second's.

    Args:
        times: milliseconds ``[networks][rounds]``, of ``time_interleaved``.
    """
    ours, theirs = times[0], times[1]
    return Percentiles(
        float(np.median(ours)),
        quantile(ours, 0.9),
        bound(ours, 0.9),
        len(ours),
        *ratio(ours, theirs),
        float(np.median(theirs)),
    )
