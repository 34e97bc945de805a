"""Counted latencies, for the searches of a tier that declares prices.

Operators that a workload launches, and multiply-accumulates, each at its price. The Transformers of
translation's smoke tier are bound by launches, so two prices rank them as a clock on an idle machine does. No
other program moves a count, so a search repeats to the bit. Convolutions cost more than their launch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch._ops import OpOverload
from torch.utils._python_dispatch import TorchDispatchMode

from benchmarks.measurement.workload import Workload
from supernet.cost import cost


class OperatorCounter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Count of the operators that the dispatcher runs while it is entered, by name."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.calls: dict[str, int] = {}

    @property
    def total(self) -> int:
        """Operators of all names."""
        return sum(self.calls.values())

    def __torch_dispatch__(
        self,
        func: OpOverload,
        types: Sequence[type],
        args: tuple[object, ...] = (),
        kwargs: dict[str, object] | None = None,
    ) -> object:
        name = str(func.overloadpacket)
        self.calls[name] = self.calls.get(name, 0) + 1
        return func(*args, **(kwargs or {}))


def milliseconds(
    family: Any, architecture: Any, workload: Workload, device: str, prices: Mapping[str, float]
) -> float:
    """Return the counted latency of one sub-network of ``family``, in milliseconds.

    Args:
        workload: one inference.
        device: ``cpu`` or ``cuda``, where the operators are launched.
        prices: ``operator_us``, microseconds an operator, and ``macs_per_us``.
    """
    module = family.build(architecture).to(device).eval()
    with torch.inference_mode(), OperatorCounter() as launches:
        workload.run(module, workload.source(device))
    counts = cost(family, architecture, source_len=workload.source_len, target_len=workload.target_len)
    microseconds = launches.total * prices["operator_us"] + counts.macs / prices["macs_per_us"]
    return float(1e-3 * microseconds)
