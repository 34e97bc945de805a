"""Disturbances of a real command: the command in a folder of its own, a full disk, a memory limit."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from tests import ROOT

WORDS = (
    *("run", "mt", "--task", str(Path(__file__).with_name("crash_task.py")) + ":Grammar"),
    *("--methods", "hat,scratch,int8-uniform", "--seeds", "1", "--profile", "undeclared"),
    *("--checkpoint-seconds", "1", "--results", "results"),
)
FAKETIME = Path("/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1")
CGROUPS = Path("/sys/fs/cgroup/memory")
DISK = "400m"
"""Size of the file system that a chain has for itself, where one can be mounted."""
MOUNTS = os.geteuid() == 0 and shutil.which("mount") is not None
MEANS = {
    **({"full disk": f"tmpfs of {DISK}"} if MOUNTS else {}),
    **({"clock jump": "libfaketime"} if FAKETIME.exists() and shutil.which("cc") else {}),
    "memory limit": "cgroup" if os.access(CGROUPS, os.W_OK) else "rlimit of the worker",
}
"""Kind of disturbance -> its means on this machine; a kind that has none is left out."""


class Command:
    """One start of the command in a chain's folder, in a process group of its own."""

    def __init__(self, folder: Path, jumps: Path | None = None) -> None:
        self.folder, self.began = folder, time.monotonic()
        fixed = {"SUPERNET_BENCH_COMMIT": "crash", "OMP_NUM_THREADS": "1", "NO_COLOR": "1", "COLUMNS": "150"}
        locks = folder.with_name("locks")  # latencies are counted: no need to wait for others' timings
        locks.mkdir(exist_ok=True)
        environment = {**os.environ, **fixed, "PYTHONPATH": str(ROOT), "SUPERNET_BENCH_LOCKS": str(locks)}
        if jumps is not None:
            environment |= {
                "LD_PRELOAD": f"{real_sleep(folder.with_name('real_sleep.so'))}:{FAKETIME}",
                "FAKETIME_TIMESTAMP_FILE": str(jumps),
                "FAKETIME_CACHE_DURATION": "1",
                "DONT_FAKE_MONOTONIC": "1",  # a clock that jumps is the wall clock
            }
        self.log = folder / "said.txt"
        with self.log.open("w") as said:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "benchmarks", *WORDS],
                cwd=folder,
                env=environment,
                stdout=said,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
                # A campaign in the background of a shell ignores SIGINT, and its children would, too.
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
            )

    @property
    def running(self) -> bool:
        """False once the command has ended."""
        return self.process.poll() is None

    def send(self, number: int) -> None:
        """Send a signal to the command's whole group."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)

    def processes(self, *logs: str) -> list[psutil.Process]:
        """Return the processes below the command that write to a log: of a search, or of a scoring."""
        found = []
        with suppress(psutil.Error):
            for process in psutil.Process(self.process.pid).children(recursive=True):
                with suppress(OSError):
                    if Path(os.readlink(f"/proc/{process.pid}/fd/1")).name in logs:
                        found.append(process)
        return found

    def wait_for(self, seconds: float, *logs: str) -> bool:
        """Wait until a process writes to a log, or the command has ended; return whether one writes."""
        end = time.monotonic() + seconds
        while self.running and time.monotonic() < end:
            if self.processes(*logs):
                return True
            time.sleep(0.05)
        return False

    def pause(self, seconds: float) -> None:
        """Wait for some seconds, or the command's end."""
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(seconds)


def real_sleep(library: Path) -> Path:
    """Compile the library that lets Python sleep under libfaketime, unless it is there."""
    if not library.exists():
        source = Path(__file__).with_name("real_sleep.c")
        subprocess.run(["cc", "-shared", "-fPIC", "-o", str(library), str(source)], check=True)
    return library


def working_in(folder: Path) -> list[psutil.Process]:
    """Return the processes whose working directory is a folder."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            if os.readlink(f"/proc/{process.pid}/cwd") == str(folder):
                found.append(process)
    return found


@contextmanager
def filled(path: Path) -> Iterator[None]:
    """Fill the file system of ``path`` with that file while inside."""
    try:
        with path.open("wb", buffering=0) as file, suppress(OSError):
            while True:
                file.write(bytes(2**16))
        yield
    finally:
        path.unlink(missing_ok=True)


@contextmanager
def limited(command: Command) -> Iterator[None]:
    """Leave the command and all its processes no memory beyond what they use, while inside."""
    group = CGROUPS / f"supernet-bench-crash-{os.getpid()}"
    try:
        group.mkdir()
        pids = [command.process.pid]
        with suppress(psutil.Error):
            pids += [p.pid for p in psutil.Process(pids[0]).children(recursive=True)]
        for pid in pids:
            with suppress(OSError):
                (group / "cgroup.procs").write_text(str(pid))
        limit = 2**20  # charged from here on: what was used before stays with the group before
        with suppress(OSError):
            (group / "memory.limit_in_bytes").write_text(str(40 * limit))
        yield
    except OSError:
        for process in command.processes("log.txt", "score.txt"):
            with suppress(psutil.Error):
                used = process.memory_info().vms
                process.rlimit(psutil.RLIMIT_AS, (used, psutil.RLIM_INFINITY))
        yield
    finally:
        with suppress(OSError):
            (group / "memory.limit_in_bytes").write_text("-1")
            for pid in (group / "cgroup.procs").read_text().split():
                with suppress(OSError):
                    (CGROUPS / "cgroup.procs").write_text(pid)
            time.sleep(0.2)
            group.rmdir()


@contextmanager
def mounted(folder: Path) -> Iterator[None]:
    """Give a folder a small file system of its own, which stays where a campaign is killed."""
    folder.mkdir(parents=True, exist_ok=True)
    if MOUNTS and not folder.is_mount():
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK}", "tmpfs", str(folder)], check=True)
    yield
    if MOUNTS:
        subprocess.run(["umount", "-l", str(folder)], check=True)
