"""Processes for runs: forked from one server that has imported torch once, killed as a group.

The server initialises no CUDA and starts no threads of its own, so its forks may do both. A worker ends with
its parent: no process of a killed command writes on.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from multiprocessing.connection import wait
from multiprocessing.context import ForkServerContext, SpawnContext
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import TypeVar

from benchmarks import tasks
from benchmarks.hardware import profiles
from benchmarks.hardware.probe import require_linux
from supernet import allocator

PRELOAD = "benchmarks.runs.preload"
"""Module that the server imports."""
ASK_TO_STOP = signal.SIGUSR1
"""Signal that asks a search to save and stop."""
SPINS = 5_000
"""GOMP_SPINCOUNT: turns for which a thread of GNU OpenMP spins before it sleeps, in place of 300,000.

Short spinning avoids oversubscription when several runs share cores: a spinning thread keeps a processor
from the one that it waits for. Beside other programs small networks train several times as fast; on an idle
machine speed and latencies stay the same. Fewer turns would change latencies.
``tests.bench.contention`` measures it.
"""
PR_SET_PDEATHSIG = 1
"""Option of Linux's ``prctl``: the signal that a process gets when its parent ends."""

Job = TypeVar("Job")


class WorkerProcess:
    """One process that runs ``target(job)``; its output goes to a log file."""

    def __init__(self, process: BaseProcess) -> None:
        self._process = process

    @property
    def sentinel(self) -> int:
        """Handle that is ready once the process has ended, for ``wait_any``."""
        return self._process.sentinel

    @property
    def running(self) -> bool:
        """False once the process has ended."""
        return self._process.is_alive()

    @property
    def exitcode(self) -> int | None:
        """Exit code as of ``multiprocessing``: negative for a signal; None while the process runs."""
        return self._process.exitcode

    def signal(self, number: int) -> None:
        """Send a signal; SIGKILL goes to the whole group, so that nothing that the process started stays."""
        pid = self._process.pid
        assert pid is not None
        try:
            if number == signal.SIGKILL and os.getpgid(pid) == pid:
                os.killpg(pid, number)
            else:
                os.kill(pid, number)
        except ProcessLookupError:
            pass

    def join(self, seconds: float | None = None) -> bool:
        """Wait for the end; return False if the process still runs."""
        self._process.join(seconds)
        return not self.running


class Executor:
    """Starts workers. The first one starts the server, which takes as long as importing torch.

    Args:
        hash_seed: PYTHONHASHSEED of every worker, which is then a new interpreter. There is no server,
            because its forks would share its seed.
    """

    def __init__(self, hash_seed: str | None = None) -> None:
        require_linux()
        self._hash_seed = hash_seed
        # Sets iterate in the same order in every process: a resumed method must repeat itself.
        os.environ.setdefault("PYTHONHASHSEED", "0")
        if "OMP_WAIT_POLICY" not in os.environ:
            os.environ.setdefault("GOMP_SPINCOUNT", str(SPINS))
        # Asking for GPUs must not initialise CUDA in the process that others are forked from.
        os.environ.setdefault("PYTORCH_NVML_BASED_CUDA_CHECK", "1")
        self._context: SpawnContext | ForkServerContext
        if hash_seed:
            self._context = multiprocessing.get_context("spawn")
        else:
            self._context = multiprocessing.get_context("forkserver")
            self._context.set_forkserver_preload([PRELOAD])

    def warm_up(self) -> None:
        """Start the server now; return at once, while the server imports."""
        from multiprocessing.forkserver import ensure_running

        ensure_running()

    def start(self, target: Callable[[Job], None], job: Job, log: Path) -> WorkerProcess:
        """Run ``target(job)`` in a process of its own.

        Args:
            target: a function of a module, so that it can be pickled.
            job: its argument, pickled too.
            log: file that the process's output is appended to.
        """
        log.parent.mkdir(parents=True, exist_ok=True)
        known = [declaration.unsealed() for declaration in tasks.declared()], profiles.declared()
        arguments = target, job, str(log), known
        process = self._context.Process(target=_enter, args=arguments, name=target.__name__)
        usual = os.environ["PYTHONHASHSEED"]
        try:
            os.environ["PYTHONHASHSEED"] = self._hash_seed or usual
            process.start()
        finally:
            os.environ["PYTHONHASHSEED"] = usual
        return WorkerProcess(process)


def wait_any(workers: list[WorkerProcess], seconds: float) -> None:
    """Return when one of the workers has ended, or after ``seconds``."""
    wait([worker.sentinel for worker in workers], seconds)


Known = tuple[Sequence[tasks.Declaration], Sequence[profiles.Profile]]
"""Tasks and profiles of the user's own, which a new process has to be given."""


def _enter(target: Callable[[Job], None], job: Job, log: str, known: Known) -> None:
    """Run ``target(job)`` in the new process: own group, own log, and an end when the parent ends."""
    os.setsid()
    _end_with_parent()
    allocator.keep_freed()
    handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.dup2(handle, 1)
    os.dup2(handle, 2)
    sys.stdout = os.fdopen(1, "w", buffering=1, errors="replace")
    sys.stderr = os.fdopen(2, "w", buffering=1, errors="replace")
    for task in known[0]:
        tasks.declare(task)
    for profile in known[1]:
        profiles.declare(profile)
    target(job)


def _end_with_parent() -> None:
    """Arrange SIGKILL for this process at the end of the command, with which the server ends, too."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os.killpg(0, signal.SIGKILL)

    # For systems without prctl, and for processes that the method itself has started.
    threading.Thread(target=watch, name="parent-watch", daemon=True).start()
