"""Interleaved timing in processor time: many networks of another runtime, on new inputs every round.

Every round times one inference of each network, the float32 anchor among them. A machine that drifts slows
all alike, so a network's figure is its time over the anchor's. The clock is the processor time of this
process (``clk:cpu``) on one thread, which leaves out time that other programs take in between. Networks must
have passed the gates of ``benchmarks.measurement.serving`` before.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.hardware.timing_lock import exclusive
from benchmarks.measurement.interleaved import MeasurementRejectedError, quiesced
from benchmarks.stats.quantiles import ratio

WARM_UP = 2
"""Untimed rounds."""
Array = NDArray[np.float64]
Inputs = Sequence[Tensor]
Network = Callable[..., object]


@dataclass(frozen=True)
class RoundTimes:
    """Milliseconds of every network in every round ``[networks, rounds]``, the anchor's first."""

    ms: Array

    def least(self) -> Array:
        """Return each network's shortest time over the anchor's shortest ``[networks - 1]``, for fitting.

        Other programs can only add to a time, so the shortest of enough rounds is the machine's own.
        """
        best = self.ms.min(axis=1)
        ratios: Array = best[1:] / best[0]
        return ratios

    def median(self, network: int) -> tuple[float, float, float]:
        """Return a network's median over the anchor's, with its 95 % interval; network 0 is the anchor."""
        return ratio(self.ms[network].tolist(), self.ms[0].tolist())


def time_networks(networks: Sequence[Network], fresh: Callable[[int], Inputs], rounds: int) -> RoundTimes:
    """Time networks one after the other on one core; each round starts at the next network.

    Args:
        networks: the anchor first; called with the inputs that ``fresh`` returns.
        fresh: round -> inputs, the same for all networks of a round.
        rounds: timed rounds.

    Raises:
        MeasurementRejectedError: a network changed its input.
    """
    times = np.empty((len(networks), rounds))
    with exclusive(), _pinned(), torch.inference_mode(), quiesced(None):
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
    return RoundTimes(times)


@contextmanager
def _pinned() -> Iterator[None]:
    """Keep this thread on one core, where the system allows it."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(allowed)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)
