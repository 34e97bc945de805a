"""Whether a quantised network is what it claims to be, before any figure of it counts.

Graphs that fall back to float32, overflow, or lose half of their layers on the way are fast and wrong; each
of them has been published as a speed-up somewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from benchmarks.measurement.interleaved import MeasurementRejectedError
from benchmarks.measurement.workload import Workload
from supernet.quantization.precisions import OPERATORS, Policy

MAX_DISTANCE = 0.5
"""Distance between the outputs of a quantised network and its float32 self, over the length of the latter's,
above which it is broken and not imprecise: of two unrelated outputs it is 1.4, of zeros 1."""


def check(
    quantized: nn.Module, plain: nn.Module, policy: Policy, workload: Workload | Mapping[str, Any]
) -> float:
    """Run both networks on the workload's input, once.

    Args:
        quantized: ``plain`` under ``policy``, on the processor as that is.

    Returns:
        the distance of their outputs, as ``MAX_DISTANCE`` has it.

    Raises:
        MeasurementRejectedError: the outputs are farther apart than ``MAX_DISTANCE``, the input changed, or
            kernels ran that the policy does not imply.
    """
    workload = Workload.of(workload)
    source = workload.source("cpu")
    with torch.inference_mode():
        due, expected = _calls(plain, policy, lambda: workload.run(plain, source.clone()))
        with _Operators() as ran:
            found = workload.run(quantized, source)
    if not torch.equal(source, workload.source("cpu")):
        raise MeasurementRejectedError("quantised, it changed its input")
    for operator, calls in due.items():
        seen = ran.calls.get(operator, 0)
        if seen != calls:
            raise MeasurementRejectedError(
                f"quantised, it ran {operator} {seen} times where its policy makes it {calls}"
            )
    return near(found, expected)


def near(found: torch.Tensor, expected: torch.Tensor) -> float:
    """The distance of outputs, as ``MAX_DISTANCE`` has it.

    Raises:
        MeasurementRejectedError: it is larger than that.
    """
    apart = float((found - expected).norm() / expected.norm())
    if not apart <= MAX_DISTANCE:
        raise MeasurementRejectedError(
            f"quantised, its outputs are {apart:.2f} of their length from those in fp32, more"
            f" than {MAX_DISTANCE}"
        )
    return apart


def _calls(plain: nn.Module, policy: Policy, run: Callable[[], Any]) -> tuple[dict[str, int], Any]:
    """How often each low-precision operator is due by what ``run`` asks of the policy's layers, and what
    ``run`` gives."""
    due = dict.fromkeys(OPERATORS.values(), 0)

    def hook(operator: str) -> Callable[..., None]:
        def count(*_: Any) -> None:
            due[operator] += 1

        return count

    layers = dict(plain.named_modules())
    hooks = [
        layers[name].register_forward_hook(hook(operator))
        for name, precision in policy.items()
        if (operator := OPERATORS.get(precision)) is not None
    ]
    try:
        return due, run()
    finally:
        for one in hooks:
            one.remove()


class _Operators(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the operators that the dispatcher runs."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.calls: dict[str, int] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = str(func.overloadpacket)
        self.calls[name] = self.calls.get(name, 0) + 1
        return func(*args, **(kwargs or {}))
