"""Processor time of other programs on this machine, and of a run's own processes. No torch."""

from __future__ import annotations

import resource
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from benchmarks.hardware.machine_part import cores_apart
from benchmarks.hardware.probe import usable_cpus
from benchmarks.stats.quantiles import DISTURBED

SAMPLES, SAMPLE_S = 10, 0.1
"""Number of samples in a load measurement, and seconds between two."""
CHILDREN_EVERY_S = 5.0
"""Seconds between two readings of running children: each reads the table of all processes."""


class OtherLoad:
    """Meter of the processors' worth of time that other processes use; it shows a disturbed timing.

    Of a process that is confined to cores and GPUs (``machine_part``), what others use of these cores.
    """

    def __init__(self) -> None:
        self._cores = cores_apart()
        self._began, self._busy = time.perf_counter(), self._others()

    def _others(self) -> float:
        each = psutil.cpu_times(percpu=True) if self._cores else [psutil.cpu_times()]
        own = psutil.Process().cpu_times()
        counted = [each[core] for core in self._cores if core < len(each)] or each
        return sum(map(_busy, counted)) - own.user - own.system

    def read(self) -> float:
        """Return the processors' worth of time since the meter was made."""
        passed = max(time.perf_counter() - self._began, 1e-9)
        return round(max(0.0, self._others() - self._busy) / passed, 2)


def _busy(processor: Any) -> float:
    """Return the seconds in which a processor, or all of them, ran something."""
    idle = processor.idle + getattr(processor, "iowait", 0.0)
    guest = getattr(processor, "guest", 0.0) + getattr(processor, "guest_nice", 0.0)  # in user time, too
    return float(sum(processor) - idle - guest)


class TreeSeconds:
    """Meter of processor seconds, user and system, of this process and all its children, ended or not."""

    def __init__(self) -> None:
        self._children, self._at = 0.0, float("-inf")

    def read(self) -> float:
        """Return the seconds so far; those of children that still run are up to ``CHILDREN_EVERY_S`` old."""
        own = [resource.getrusage(which) for which in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        if time.monotonic() - self._at >= CHILDREN_EVERY_S:
            self._children, self._at = _running_children(), time.monotonic()
        return sum(use.ru_utime + use.ru_stime for use in own) + self._children


def _running_children() -> float:
    seconds = 0.0
    for child in psutil.Process().children(recursive=True):
        try:
            seconds += sum(child.cpu_times()[:4])  # with those of its own ended children
        except psutil.Error:
            continue  # it has just ended: its parent has its time now
    return seconds


@dataclass(frozen=True)
class MachineLoad:
    """Present load of this machine by other programs."""

    cpus: int
    used: float
    """Processors' worth of time that other programs use."""
    ready: float
    """Their threads that run or wait for a processor, on average; no less than ``used``."""

    def slowdown(self, threads: int) -> float:
        """Return the factor by which work of so many threads is slower, with processors shared evenly."""
        return max(1.0, (self.ready + min(threads, self.cpus)) / self.cpus)

    def line(self, threads: int) -> str:
        """Return the load in one line, with the expected slowdown of runs of so many threads."""
        cores = f"{self.cpus} core{'s' * (self.cpus != 1)}"
        line = f"load: {cores}, other programs use {self.used:.1f} of {'them' if self.cpus != 1 else 'it'}"
        if self.used <= DISTURBED:
            return line
        factor = self.slowdown(threads)
        times = "twice" if 1.75 <= factor < 2.25 else f"{factor:.2g} times"
        expect = f"about {times} the time" if factor >= 1.15 else "the usual time"
        return f"{line}: expect {expect}; latencies will be marked as disturbed"


def measure_load(samples: int = SAMPLES, every: float = SAMPLE_S) -> MachineLoad:
    """Measure the load of the machine for about a second."""
    others, ready = OtherLoad(), []
    for _ in range(samples):
        time.sleep(every)
        ready.append(_ready())
    used = others.read()
    if apart := cores_apart():  # threads that wait are known of the whole machine alone
        return MachineLoad(len(apart), used, used)
    return MachineLoad(psutil.cpu_count() or usable_cpus(), used, max(used, sum(ready) / len(ready)))


def _ready(path: Path = Path("/proc/loadavg")) -> float:
    """Return the threads that run or wait for a processor, without this one; 0 if the system states none."""
    try:
        return max(0.0, float(path.read_text("ascii").split()[3].partition("/")[0]) - 1)
    except (OSError, ValueError, IndexError):
        return 0.0
