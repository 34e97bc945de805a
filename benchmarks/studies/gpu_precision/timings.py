"""Timings of networks and of stacks of linear layers on a GPU. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass

PRECISIONS = ("bf16", "fp32", "int8", "fp8")
"""The first is what all others are compared with."""
DEPTH = 16
"""Linear layers in a stack."""


@dataclass(frozen=True)
class TimedOnGpu:
    """One network at one batch in one precision.

    Attributes:
        network: its name.
        batch: samples, or rows of a stack of linear layers.
        precision: one of ``PRECISIONS``.
        ms: median milliseconds.
        ratio, low, high: over bfloat16's, with its 95 % interval.
        kernels: calls of low-precision kernels an inference.
        others_cpu: processors that other programs took meanwhile.
        n: timed inferences.
        failed: why it is not timed; else empty.
    """

    network: str
    batch: int
    precision: str
    ms: float = 0.0
    ratio: float = 0.0
    low: float = 0.0
    high: float = 0.0
    kernels: int = 0
    others_cpu: float = 0.0
    n: int = 0
    failed: str = ""


@dataclass(frozen=True)
class GpuTimings:
    """All timings of one GPU.

    Attributes:
        profile: declared machine.
        signature: how the latencies were measured.
        commit: of the code that timed, with a word on local changes.
        planned: networks and stacks that were to be timed, at each batch.
        networks, stacks: timings of networks and of linear layers.
    """

    profile: str
    signature: str
    commit: str
    planned: int
    networks: tuple[TimedOnGpu, ...]
    stacks: tuple[TimedOnGpu, ...]

    @property
    def timed(self) -> tuple[TimedOnGpu, ...]:
        """Timings of networks and of linear layers."""
        return self.networks + self.stacks
