"""Counted latencies, for the searches of a tier that declares prices.

Operators that a workload launches, and multiply-accumulates, each at its price. The networks of smoke tiers
are bound by launches, so few prices rank them as a clock on an idle machine does. No other program moves a
count, so a search repeats to the bit. Operators that cost more than their launch, convolutions and quantised
products, have prices of their own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, Self

import torch
from torch import nn

from benchmarks.measurement import serving
from benchmarks.measurement.operator_counter import OperatorCounter
from benchmarks.measurement.workload import Workload
from supernet.cost import CountedFamily, cost
from supernet.quantization.precisions import Policy
from supernet.space import Architecture


@dataclass(frozen=True)
class Prices:
    """Microseconds of an operator and multiply-accumulates of a microsecond, as a tier declares them."""

    operator_us: float
    macs_per_us: float
    operators_us: Mapping[str, float] = field(default_factory=dict)
    """Microseconds of each operator with a price of its own, by name (``conv1d``, ``linear_dynamic``)."""

    @classmethod
    def of(cls, table: Mapping[str, Any]) -> Self:
        """Return the prices of a tier's table ``counted``."""
        return cls(**table)

    def microseconds(self, calls: Mapping[str, int], macs: int) -> float:
        """Return the price of operators, by full name (``aten.conv1d``), and multiply-accumulates."""
        own, plain = 0.0, 0
        for name, count in calls.items():
            price = self.operators_us.get(name.rpartition(".")[2])
            if price is None:
                plain += count
            else:
                own += count * price
        return plain * self.operator_us + own + macs / self.macs_per_us


class BuildingFamily(CountedFamily, Protocol):
    """Model family whose sub-networks can be built and counted."""

    def build(self, architecture: Architecture) -> nn.Module: ...


def milliseconds(
    family: BuildingFamily,
    architecture: Architecture,
    workload: Workload,
    device: str,
    prices: Prices,
    policy: Policy | None = None,
) -> float:
    """Return the counted latency of one sub-network of ``family``, in milliseconds.

    Args:
        workload: one inference.
        device: ``cpu`` or ``cuda``, where the operators are launched.
        policy: precision of each layer by name; None for float32.
    """
    module = serving.serve(family.build(architecture).eval(), policy, workload, device)
    with torch.inference_mode(), OperatorCounter() as launches:
        workload.run(module, workload.source(device))
    macs = cost(family, architecture, source_len=workload.source_len, target_len=workload.target_len).macs
    return 1e-3 * prices.microseconds(launches.calls, macs)
