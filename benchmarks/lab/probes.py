"""Latency and energy probes of a run: one network at a time, undisturbed by other runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager

from torch import nn

from benchmarks.hardware import threads, timing_lock
from benchmarks.lab.candidates import ContractViolationError, untouched_random_state
from benchmarks.measurement import latency, serving
from benchmarks.measurement.interleaved import MeasurementRejectedError
from benchmarks.measurement.workload import RUNTIMES, Workload
from supernet.quantization.calibration import calibrate, store_ranges
from supernet.quantization.precisions import needs_ranges

SECONDS = 0.3
"""Seconds of back-to-back inferences in an energy probe."""


class LatencyProbe:
    """Probe that times networks interleaved with the task's reference network, and meters their energy.

    Networks are passed as functions that build them, because building draws random numbers, which must move
    no state that the method draws from.

    Args:
        workload: one inference.
        device: ``cpu`` or ``cuda``.
        reference: builds the reference network; called when it is first needed.
        reference_ms: its latency in milliseconds; limits and probes are shares of this one measurement.
        pause: ``(reason)`` -> context manager that stops the run's clock.
        say: shows one line to the user.
    """

    def __init__(
        self,
        workload: Workload,
        device: str,
        reference: Callable[[], nn.Module],
        reference_ms: float,
        pause: Callable[[str], AbstractContextManager[None]],
        say: Callable[[str], None],
    ) -> None:
        self.workload, self.device = workload, device
        self._build_reference, self._reference_ms = reference, reference_ms
        self._pause, self._say = pause, say
        self._reference: nn.Module | None = None
        self._announced = False

    @property
    def precisions(self) -> tuple[str, ...]:
        """Precisions that the workload's runtime has on the processor."""
        return RUNTIMES[self.workload.runtime]

    def ms(self, build: Callable[[], nn.Module], policy: Mapping[str, str] | None = None) -> float:
        """Time one inference, in milliseconds.

        Raises:
            ContractViolationError: it cannot be served under this policy here, or fails the parity checks.
        """
        with self._alone(build, policy) as module:
            if self._reference is None:
                self._reference = self._serve(self._build_reference())
            share = latency.probe_latency(module, self.workload, self.device, self._reference)
        return float(self._reference_ms * share)

    def joules(self, build: Callable[[], nn.Module], policy: Mapping[str, str] | None = None) -> float:
        """Meter one inference, in joules.

        Raises:
            ContractViolationError: as ``ms``, or nothing here meters energy.
        """
        with self._alone(build, policy) as module:
            metered = latency.measure_energy(
                module, self.workload, self.device, threads.applied(), seconds=SECONDS
            )
        joules = metered["joules_per_sentence"]
        if joules is None:
            raise ContractViolationError(f"no energy: {metered['source']}")
        if not self._announced:
            self._announced = True
            self._say(f"energy of probes: {metered['source']}")
        return float(joules)

    @contextmanager
    def _alone(self, build: Callable[[], nn.Module], policy: Mapping[str, str] | None) -> Iterator[nn.Module]:
        """Build a network and serve it as it is measured, while all other runs of this machine wait."""
        with untouched_random_state(self.device), ExitStack() as alone:
            module = self._serve(build(), policy)
            with self._pause("timing lock"):
                alone.enter_context(timing_lock.exclusive())
            yield module

    def _serve(self, plain: nn.Module, policy: Mapping[str, str] | None = None) -> nn.Module:
        """Return a network as it is timed, checked unless torch runs it as it stands."""
        if not policy and self.workload.runtime == "torch":
            return plain.to(self.device)
        if self.device != "cpu":
            raise ContractViolationError(
                f"low-precision layers run on the processor, this profile is {self.device}"
            )
        plain = plain.requires_grad_(False).eval()
        try:
            if needs_ranges(policy):
                # No latency depends on the ranges: those of the workload's own input do.
                source = self.workload.inputs(self.workload.source("cpu"))
                store_ranges(plain, calibrate(plain, [source]))
            number = threads.declared()
            return serving.serve_checked(plain, policy, self.workload, number)
        except (MeasurementRejectedError, ValueError) as error:
            raise ContractViolationError(f"no latency: {error}") from None
