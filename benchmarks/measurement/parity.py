"""Parity checks of quantised networks, before any figure of theirs counts.

Graphs that fall back to float32, overflow, or lose half of their layers on the way are fast and wrong; each
of them has been published as a speed-up somewhere.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from benchmarks.measurement.interleaved import MeasurementRejectedError
from benchmarks.measurement.operator_counter import OperatorCounter
from benchmarks.measurement.workload import Workload
from benchmarks.records.canonical import JsonView
from supernet.quantization.precisions import OPERATORS, Policy

MAX_DISTANCE = 0.5
"""Relative distance of outputs above which a quantised network is broken rather than imprecise.

It is the norm of the difference over the norm of the float32 outputs: about 1.4 for unrelated outputs, 1 for
zeros."""


def check_quantized(
    quantized: nn.Module, plain: nn.Module, policy: Policy, workload: Workload | JsonView
) -> float:
    """Run both networks once on the workload's input and compare outputs and kernels.

    Args:
        quantized: ``plain`` under ``policy``, on the processor.
        plain: the network in float32.
        policy: precision of each layer by name.
        workload: one inference, or a tier's table of it.

    Returns:
        The distance of their outputs, as ``MAX_DISTANCE`` defines it.

    Raises:
        MeasurementRejectedError: the outputs are farther apart than ``MAX_DISTANCE``, the input changed, or
            kernels ran that the policy does not imply.
    """
    workload = Workload.of(workload)
    source = workload.source("cpu")
    with torch.inference_mode():
        due, expected = _due_calls(plain, policy, lambda: workload.run(plain, source.clone()))
        with OperatorCounter() as ran:
            outputs = workload.run(quantized, source)
    if not torch.equal(source, workload.source("cpu")):
        raise MeasurementRejectedError("quantised, it changed its input")
    for operator, calls in due.items():
        actual = ran.calls.get(operator, 0)
        if actual != calls:
            raise MeasurementRejectedError(
                f"quantised, it ran {operator} {actual} times where its policy makes it {calls}"
            )
    return check_distance(outputs, expected)


def check_distance(outputs: torch.Tensor, expected: torch.Tensor) -> float:
    """Return the distance of outputs, as ``MAX_DISTANCE`` defines it.

    Raises:
        MeasurementRejectedError: it is larger than ``MAX_DISTANCE``.
    """
    apart = float((outputs - expected).norm() / expected.norm())
    if not apart <= MAX_DISTANCE:
        raise MeasurementRejectedError(
            f"quantised, its outputs are {apart:.2f} of their length from those in fp32, more"
            f" than {MAX_DISTANCE}"
        )
    return apart


def _due_calls(
    plain: nn.Module, policy: Policy, run: Callable[[], torch.Tensor]
) -> tuple[dict[str, int], torch.Tensor]:
    """Call ``run``, and count the low-precision calls that the policy implies for it, by operator."""
    due = dict.fromkeys(OPERATORS.values(), 0)

    def hook(operator: str) -> Callable[..., None]:
        def count(*_: object) -> None:
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
        for handle in hooks:
            handle.remove()
