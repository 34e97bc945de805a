"""Probe of this machine: processor, memory and GPUs that this process may use. Imports no torch."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

from benchmarks.api import UsageError

if TYPE_CHECKING:
    from types import ModuleType

GPU_QUERY_SECONDS = 20
"""Seconds that ``nvidia-smi`` may take before the machine counts as one without a GPU."""


class ProbedGpu(TypedDict):
    """One usable GPU."""

    name: str
    memory_gib: float | None
    driver: str
    uuid: str


class ProbedMachine(TypedDict):
    """Hardware that this process may use.

    ``cpus`` counts hardware threads, ``cpu`` is the model's name, ``isa`` the sorted flags.
    """

    arch: str
    cpus: int
    cpu: str
    isa: list[str]
    memory_gib: float
    gpus: list[ProbedGpu]


def require_linux() -> None:
    """Refuse to run on another system, whose clocks, locks and process groups were never tried.

    Raises:
        UsageError: this is not Linux.
    """
    if problem := other_system():
        raise UsageError(f"{problem}\nrun in a container or a virtual machine: docker run -it python:3.12")


def other_system() -> str:
    """Return one line on what works on this system; empty on Linux."""
    name = platform.system() or sys.platform
    works = "plan, report, compare and the leaderboard work here"
    return "" if sys.platform == "linux" else f"runs need Linux, and this is {name}: {works}"


@cache
def probe() -> ProbedMachine:
    """Return the hardware that this process may use; probed once a process."""
    cpu, isa = _cpuinfo()
    return {
        "arch": platform.machine(),
        "cpus": usable_cpus(),
        "cpu": cpu,
        "isa": isa,
        "memory_gib": round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30, 1),
        "gpus": _visible(_gpus()),
    }


def machine_name() -> str:
    """Return host name and hardware of this machine, for people."""
    machine = probe()
    kinds = [gpu["name"] for gpu in machine["gpus"]]
    cards = [f"{kinds.count(kind)} x {kind}" for kind in dict.fromkeys(kinds)]
    return ", ".join([platform.node(), f"{machine['cpus']} threads", *cards])


def _cpuinfo(path: Path = Path("/proc/cpuinfo")) -> tuple[str, list[str]]:
    """Return model name and flags of the first processor; empty if the system states none."""
    model, flags = "", ""
    try:
        lines = path.read_text("utf-8", "replace").split("\n\n", 1)[0].splitlines()
    except OSError:
        return platform.processor(), []
    for line in lines:
        key, _, value = line.partition(":")
        if key.strip() == "model name":
            model = value.strip()
        elif key.strip() in ("flags", "Features"):
            flags = value
    return model or platform.processor(), sorted(set(flags.split()))


def usable_cpus() -> int:
    """Return the number of hardware threads of this process: its affinity, cut to its container's quota."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _quota(Path("/sys/fs/cgroup"), Path("/proc/self/cgroup"))
    return count if quota is None else max(1, min(count, int(quota + 0.01)))


LIMIT_2, LIMIT_1 = ("cpu.max",), ("cpu.cfs_quota_us", "cpu.cfs_period_us")
"""Files of a control group of version 2 and 1 that hold its quota and period, in microseconds."""


def _quota(root: Path, membership: Path) -> float | None:
    """Return the least processor time a second that this process' control groups allow; None without limit.

    A limit may stand at any group above the process' own: all are read, in version 2 and in version 1.

    Args:
        root: where control groups are mounted.
        membership: ``/proc/self/cgroup``, lines of ``hierarchy:controllers:path``.
    """
    quotas = []
    for version, group in _groups(membership):
        top, names = (root, LIMIT_2) if version == 2 else (root / "cpu", LIMIT_1)
        parts = [part for part in group.split("/") if part not in ("", ".", "..")]
        for depth in range(len(parts) + 1):
            try:
                folder = top.joinpath(*parts[:depth])
                words = " ".join((folder / name).read_text("ascii") for name in names).split()
                allowed, period = float(words[0]), float(words[1])
            except (OSError, ValueError, IndexError):
                continue  # no such file, or "max": no limit
            if allowed > 0 and period > 0:
                quotas.append(allowed / period)
    return min(quotas, default=None)


def _groups(membership: Path) -> list[tuple[int, str]]:
    """Return version and path of the control groups that limit this process' time, with the roots."""
    groups = [(2, "/"), (1, "/")]
    try:
        lines = membership.read_text("utf-8", "replace").splitlines()
    except OSError:
        return groups
    for line in lines:
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if number == "0" and not controllers:
            groups.append((2, path))
        elif "cpu" in controllers.split(","):
            groups.append((1, path))
    return groups


def _gpus() -> list[ProbedGpu]:
    """Return the NVIDIA GPUs of the machine, by the driver's library or else by ``nvidia-smi``."""
    try:
        import pynvml
    except ImportError:
        return _nvidia_smi()
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return _nvidia_smi()
    try:
        return [_nvml_device(pynvml, i) for i in range(pynvml.nvmlDeviceGetCount())]
    except pynvml.NVMLError:
        return _nvidia_smi()
    finally:
        pynvml.nvmlShutdown()


def _nvml_device(nvml: ModuleType, index: int) -> ProbedGpu:
    def text(value: str | bytes) -> str:
        return value.decode() if isinstance(value, bytes) else value

    handle = nvml.nvmlDeviceGetHandleByIndex(index)
    return {
        "name": text(nvml.nvmlDeviceGetName(handle)),
        "memory_gib": round(nvml.nvmlDeviceGetMemoryInfo(handle).total / 2**30, 1),
        "driver": text(nvml.nvmlSystemGetDriverVersion()),
        "uuid": text(nvml.nvmlDeviceGetUUID(handle)),
    }


def _nvidia_smi() -> list[ProbedGpu]:
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    query = [program, "--query-gpu=name,memory.total,driver_version,uuid", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(query, capture_output=True, text=True, timeout=GPU_QUERY_SECONDS, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    rows = [[word.strip() for word in line.split(",")] for line in done.stdout.splitlines()]
    return [
        {
            "name": row[0],
            "memory_gib": round(int(row[1]) / 1024, 1) if row[1].isdigit() else None,
            "driver": row[2],
            "uuid": row[3],
        }
        for row in rows
        if len(row) == 4
    ]


def _visible(gpus: list[ProbedGpu]) -> list[ProbedGpu]:
    """Return the ``gpus`` that ``CUDA_VISIBLE_DEVICES`` leaves to this process."""
    allowed = os.environ.get("CUDA_VISIBLE_DEVICES")
    if allowed is None:
        return gpus
    kept: list[ProbedGpu] = []
    for word in allowed.split(","):
        word = word.strip()
        if word.isdigit():
            match = gpus[int(word) : int(word) + 1]
        else:
            match = [g for g in gpus if word and g["uuid"].startswith(word)]
        if not match:
            break  # as the driver has it: nothing after the first name that is not one
        kept += match[:1]
    return kept
