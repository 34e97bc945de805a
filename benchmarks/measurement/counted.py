"""Latencies that are counted, not timed, for the searches of a tier that declares prices.

Operators that a workload launches, and multiply-accumulates, each at its price. The Transformers of
translation's smoke tier are bound by launches, so two prices rank them as a clock on an idle machine does; no
other program moves them, and a search repeats itself to the bit. Convolutions cost more than their launch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from benchmarks.measurement.workload import Workload
from supernet.cost import cost


class Launches(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the operators that run while it is entered."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.number = 0

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        self.number += 1
        return func(*args, **(kwargs or {}))


def milliseconds(
    family: Any, architecture: Any, workload: Workload, device: str, prices: Mapping[str, float]
) -> float:
    """Return the counted latency of one sub-network of ``family``.

    Args:
        workload: one inference.
        device: where its operators are launched.
        prices: ``operator_us``, microseconds an operator, and ``macs_per_us``.
    """
    module = family.build(architecture).to(device).eval()
    with torch.inference_mode(), Launches() as launches:
        workload.run(module, workload.source(device))
    counts = cost(family, architecture, source_len=workload.source_len, target_len=workload.target_len)
    microseconds = launches.number * prices["operator_us"] + counts.macs / prices["macs_per_us"]
    return float(1e-3 * microseconds)
