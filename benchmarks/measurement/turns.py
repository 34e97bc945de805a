"""Networks of another runtime timed in turns, many at once, on inputs that are new each time.

Every round times all of them, one inference each, the float32 anchor among them: a machine that drifts slows
all alike, so that what counts is a network's time over the anchor's. The clock is the processor's time of
this process (``clk:cpu``): one thread waits for nothing, and what other programs take in between is left out.
Nothing is timed that has not passed the gates of ``benchmarks.measurement.serving``.
"""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.hardware.timing_lock import exclusive
from benchmarks.measurement.interleaved import MeasurementRejectedError
from benchmarks.stats.quantiles import ratio

WARM_UP = 2
Array = NDArray[np.float64]
Inputs = Sequence[Tensor]
Network = Callable[..., Any]


@dataclass(frozen=True)
class Turns:
    """Milliseconds of every network in every round ``[networks, rounds]``, the anchor's first."""

    ms: Array

    def least(self) -> Array:
        """Of each network but the anchor, its shortest time over the anchor's shortest: other programs can
        only add to a time, so the shortest of enough rounds is the machine's own. For fitting."""
        best = self.ms.min(axis=1)
        ratios: Array = best[1:] / best[0]
        return ratios

    def median(self, network: int) -> tuple[float, float, float]:
        """Of one network, its median over the anchor's, with a 95 % interval; 0 is the anchor."""
        return ratio(self.ms[network].tolist(), self.ms[0].tolist())


def in_turns(networks: Sequence[Network], fresh: Callable[[int], Inputs], rounds: int) -> Turns:
    """Time networks one after the other, on one core, round after round, each from another one on.

    Args:
        networks: the anchor first; called with what ``fresh`` gives.
        fresh: round -> inputs, the same for all networks of a round.

    Raises:
        MeasurementRejectedError: one changed its input.
    """
    times = np.empty((len(networks), rounds))
    collecting = gc.isenabled()
    with exclusive(), _pinned(), torch.inference_mode():
        gc.collect()
        gc.disable()
        try:
            for i in range(-WARM_UP, rounds):
                inputs = fresh(i + WARM_UP)
                kept = [x.clone() for x in inputs]
                for k in range(len(networks)):
                    at = (k + i) % len(networks)
                    began = time.process_time()
                    networks[at](*inputs)
                    passed = time.process_time() - began
                    if not all(map(torch.equal, inputs, kept)):
                        raise MeasurementRejectedError(f"network {at} changed its input")
                    if i >= 0:
                        times[at, i] = 1e3 * passed
        finally:
            if collecting:
                gc.enable()
    return Turns(times)


@contextmanager
def _pinned() -> Iterator[None]:
    """This thread on one core, where the system can be asked for that."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(allowed)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)
