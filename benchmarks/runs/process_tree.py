"""Work of a process tree, measured from outside: processor and GPU seconds, and threads at once. No torch.

The figures come from the kernel and the driver; nothing that the processes do or write changes them.
"""

from __future__ import annotations

import os
import threading
import time
from contextlib import suppress
from functools import cache
from pathlib import Path

import psutil

from benchmarks.records.record import Work

EVERY_S = 0.5
"""Seconds between two samples. A command takes them for each of its runs, also while another run times."""


class ProcessTree:
    """Meter of a process and all its descendants, which a thread samples until it is closed.

    Args:
        pid: the process.
        gpu: whether to meter GPUs.
    """

    def __init__(self, pid: int, gpu: bool = False) -> None:
        self._pid, self._gpus = pid, _all_gpus() if gpu else None
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
        are_listed = _lists_children()
        seconds, running = 0.0, 0
        waiting = [self._pid] if are_listed else descendants(self._pid)
        while waiting:
            own, ready, children = _measure(waiting.pop(), are_listed)
            seconds += own
            running += ready
            waiting += children
        # Never less: the time of an ended process shows up in its parent a moment later.
        self._cpu, self._threads = max(self._cpu, seconds), max(self._threads, running)
        now = time.perf_counter()
        if self._gpus is not None:
            self._gpu += (now - self._at) * self._gpus.busy()
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
        if self._gpus is not None:
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
    if not _lists_children():
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


def _measure(pid: int, with_children: bool) -> tuple[float, int, list[int]]:
    """Return processor seconds of a process and its ended children, its threads that run or could, and, if
    asked for, its children."""
    try:
        fields = _stat_fields(f"/proc/{pid}/stat")
        # utime, stime, cutime and cstime of proc(5), counted from the field after the name.
        seconds = sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")
        tasks = os.listdir(f"/proc/{pid}/task")
    except (OSError, ValueError, IndexError):
        return _seconds_without_proc(pid), 0, []
    running, children = 0, list[int]()
    for task in tasks:
        place = f"/proc/{pid}/task/{task}"
        with suppress(OSError, IndexError):
            running += _stat_fields(f"{place}/stat")[0] == b"R"
        if with_children:
            with suppress(OSError):
                children += map(int, _read_file(f"{place}/children").split())
    return seconds, running, children


@cache
def _lists_children() -> bool:
    """Return whether the kernel lists the children of each thread."""
    return os.path.exists(f"/proc/self/task/{os.getpid()}/children")


def _stat_fields(path: str) -> list[bytes]:
    """Return the fields of a ``stat`` file that come after the name, which may have any character."""
    return _read_file(path).rpartition(b")")[2].split()


def _read_file(path: str) -> bytes:
    """Read a whole file; for a file in /proc ``Path.read_text`` takes several times as long."""
    opened = os.open(path, os.O_RDONLY)
    try:
        content = b""
        while part := os.read(opened, 65536):
            content += part
        return content
    finally:
        os.close(opened)


def _seconds_without_proc(pid: int) -> float:
    if os.path.isdir("/proc/self"):
        return 0.0  # the process has ended
    try:
        return float(sum(psutil.Process(pid).cpu_times()[:4]))
    except psutil.Error:
        return 0.0


class _Gpus:
    """Meter of the GPUs' load; one reading serves the trees of all runs."""

    def __init__(self) -> None:
        self._lock, self._handles = threading.Lock(), list[object]()
        self._at, self._busy = float("-inf"), 0.0
        try:
            import pynvml

            pynvml.nvmlInit()
            self._handles = [pynvml.nvmlDeviceGetHandleByIndex(i) for i in range(pynvml.nvmlDeviceGetCount())]
        except Exception:  # third-party code, and no driver is no fault of the run's
            pass

    def busy(self) -> float:
        """Return the sum over GPUs of the share of recent time in which they were busy."""
        with self._lock:
            if time.perf_counter() - self._at > EVERY_S / 2:
                self._at, self._busy = time.perf_counter(), sum(map(_busy_share, self._handles))
            return self._busy


def _busy_share(handle: object) -> float:
    """Return the share of recent time in which a GPU was busy; 0 if the driver states none."""
    with suppress(Exception):
        import pynvml

        return float(pynvml.nvmlDeviceGetUtilizationRates(handle).gpu) / 100
    return 0.0


@cache
def _all_gpus() -> _Gpus | None:
    """Return the meter of all GPUs; None without the driver."""
    gpus = _Gpus()
    return gpus if gpus._handles else None
