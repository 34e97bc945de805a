"""What probes of a run measure: latency and energy of one network that no other run disturbs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager

from torch import nn

from benchmarks.hardware import threads, timing_lock
from benchmarks.lab.candidates import ContractViolationError, untouched_random_state
from benchmarks.measurement import latency, serving
from benchmarks.measurement.interleaved import MeasurementRejectedError
from benchmarks.measurement.workload import RUNTIMES, Workload

SECONDS = 0.3
"""Of inferences in a row, that a probe of energy takes."""


class LatencyProbe:
    """Times networks in turns with the task's reference network, and meters their energy.

    Args:
        workload: one inference.
        device: where it runs.
        reference: builds the reference network, when it is first needed.
        reference_ms: its latency; limits are shares of this one measurement, and so is a probe.
        pause: the run's clock stands for as long as this is entered, for the reason that it is given.
        say: takes one line for the user.

    Networks come as what builds them, for building draws random numbers that nobody is to see.
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
        self._told = False

    @property
    def precisions(self) -> tuple[str, ...]:
        """Those that the workload's runtime has here."""
        return RUNTIMES[self.workload.runtime]

    def ms(self, build: Callable[[], nn.Module], policy: Mapping[str, str] | None = None) -> float:
        """Milliseconds of one inference.

        Raises:
            ContractViolationError: it cannot be served under this policy here, or fails the parity checks.
        """
        with self._alone(build, policy) as module:
            if self._reference is None:
                self._reference = self._served(self._build_reference())
            share = latency.probe_latency(module, self.workload, self.device, self._reference)
        return float(self._reference_ms * share)

    def joules(self, build: Callable[[], nn.Module], policy: Mapping[str, str] | None = None) -> float:
        """Joules of one inference.

        Raises:
            ContractViolationError: as ``ms``, or nothing here tells of energy.
        """
        with self._alone(build, policy) as module:
            found = latency.measure_energy(
                module, self.workload, self.device, threads.applied(), seconds=SECONDS
            )
        if found["joules_per_sentence"] is None:
            raise ContractViolationError(f"no energy: {found['source']}")
        if not self._told:
            self._told = True
            self._say(f"energy of probes: {found['source']}")
        return float(found["joules_per_sentence"])

    @contextmanager
    def _alone(self, build: Callable[[], nn.Module], policy: Mapping[str, str] | None) -> Iterator[nn.Module]:
        """A network as it is measured, while all other runs of this machine stand still."""
        with untouched_random_state(self.device), ExitStack() as alone:
            module = self._served(build(), policy)
            with self._pause("timing lock"):
                alone.enter_context(timing_lock.exclusive())
            yield module

    def _served(self, plain: nn.Module, policy: Mapping[str, str] | None = None) -> nn.Module:
        """A network as it is timed; checked, where torch does not compute it as it stands."""
        if not policy and self.workload.runtime == "torch":
            return plain.to(self.device)
        if self.device != "cpu":
            raise ContractViolationError(
                f"low-precision layers run on the processor, this profile is {self.device}"
            )
        try:
            number = threads.declared()
            return serving.serve_checked(plain.requires_grad_(False).eval(), policy, self.workload, number)
        except MeasurementRejectedError as error:
            raise ContractViolationError(f"no latency: {error}") from None
