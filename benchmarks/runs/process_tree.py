"""Work of a process tree, measured from outside: processor and GPU seconds, and threads at once. No torch.

The figures come from the kernel and the driver; nothing that the processes do or write changes them.
"""

from __future__ import annotations

import os
import threading
import time
from contextlib import suppress
from pathlib import Path

import psutil

from benchmarks.records.record import Work

EVERY_S = 0.5
"""Seconds between two samples."""


class ProcessTree:
    """Meter of a process and all its descendants, which a thread samples until it is closed.

    Args:
        pid: the process.
        gpu: whether to meter GPUs.
    """

    def __init__(self, pid: int, gpu: bool = False) -> None:
        self._pid, self._gpus = pid, _gpus() if gpu else []
        self._began = self._at = time.perf_counter()
        self._cpu, self._threads, self._gpu = 0.0, 0, 0.0
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="process-tree", daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        while not self._closed.wait(EVERY_S):
            self.sample()

    def sample(self) -> None:
        """Take one sample now."""
        with self._lock:
            self._sample()

    def _sample(self) -> None:
        pids = descendants(self._pid)
        seconds, running = 0.0, 0
        for pid in pids:
            own, ready = _seconds_and_threads(pid)
            seconds += own
            running += ready
        # Never less: the time of an ended process shows up in its parent a moment later.
        self._cpu, self._threads = max(self._cpu, seconds), max(self._threads, running)
        now = time.perf_counter()
        self._gpu += (now - self._at) * _busy(self._gpus)
        self._at = now

    def cpu_seconds(self) -> float:
        """Return the processor seconds, at most half a sample's distance old."""
        if time.perf_counter() - self._at > EVERY_S / 2:
            self.sample()
        return self._cpu

    def close(self, cpu_seconds: float | None = None) -> Work:
        """Stop sampling and return the work.

        Args:
            cpu_seconds: the kernel's final sum; None if there is none, and the last sample counts.
        """
        self._closed.set()
        self._thread.join()
        work: Work = {
            "cpu_seconds": round(self._cpu if cpu_seconds is None else cpu_seconds, 3),
            "threads": self._threads,
            "wall_seconds": round(time.perf_counter() - self._began, 3),
        }
        if self._gpus:
            work["gpu_seconds"] = round(self._gpu, 3)
        return work


def added(before: Work, now: Work) -> Work:
    """Return the work of two sessions of one run."""
    total: Work = {
        "cpu_seconds": round(before.get("cpu_seconds", 0.0) + now["cpu_seconds"], 3),
        "threads": max(before.get("threads", 0), now["threads"]),
        "wall_seconds": round(before.get("wall_seconds", 0.0) + now["wall_seconds"], 3),
    }
    if "gpu_seconds" in now or "gpu_seconds" in before:
        total["gpu_seconds"] = round(before.get("gpu_seconds", 0.0) + now.get("gpu_seconds", 0.0), 3)
    return total


def descendants(pid: int) -> list[int]:
    """Return a process and all processes below it."""
    if not os.path.exists(f"/proc/{pid}/task/{pid}/children"):
        with suppress(psutil.Error):
            return [pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))]
        return []
    tree, waiting = [], [pid]
    while waiting:
        current = waiting.pop()
        tree.append(current)
        with suppress(OSError):
            for task in os.listdir(f"/proc/{current}/task"):
                waiting += map(int, Path(f"/proc/{current}/task/{task}/children").read_text().split())
    return tree


def _seconds_and_threads(pid: int) -> tuple[float, int]:
    """Return processor seconds of a process and its ended children, and its threads that run or could."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
        # utime, stime, cutime and cstime of proc(5), counted from the field after the name.
        seconds = sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")
        tasks = [Path(f"/proc/{pid}/task/{task}/stat") for task in os.listdir(f"/proc/{pid}/task")]
    except (OSError, ValueError, IndexError):
        return _seconds_without_proc(pid), 0
    running = 0
    for task in tasks:
        with suppress(OSError, IndexError):
            running += task.read_text(errors="replace").rpartition(")")[2].split()[0] == "R"
    return seconds, running


def _seconds_without_proc(pid: int) -> float:
    if os.path.isdir("/proc/self"):
        return 0.0  # the process has ended
    try:
        return float(sum(psutil.Process(pid).cpu_times()[:4]))
    except psutil.Error:
        return 0.0


def _gpus() -> list[object]:
    """Return NVML's handles of all GPUs; none without the driver."""
    try:
        import pynvml

        pynvml.nvmlInit()
        return [pynvml.nvmlDeviceGetHandleByIndex(i) for i in range(pynvml.nvmlDeviceGetCount())]
    except Exception:  # third-party code, and no driver is no fault of the run's
        return []


def _busy(gpus: list[object]) -> float:
    """Return the sum over GPUs of the share of recent time in which they were busy."""
    total = 0.0
    for handle in gpus:
        with suppress(Exception):
            import pynvml

            total += float(pynvml.nvmlDeviceGetUtilizationRates(handle).gpu) / 100
    return total
