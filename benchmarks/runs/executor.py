"""Processes for runs: forked from one server that has imported torch once, killed as a group.

The server initialises no CUDA and starts no threads of its own, so what is forked from it may. A
worker ends with its parent: a killed command leaves nobody behind that writes on.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Mapping
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

from supernet import allocator

PRELOAD = "benchmarks.runs.preload"
ASK_TO_STOP = signal.SIGUSR1
"""Save and stop, please."""
SPINS = 5_000
"""Turns for which a thread of GNU OpenMP waits awake for the others, in place of its own 300,000. Whoever
waits awake keeps a processor from the one it waits for: beside other programs small networks train several
times as fast this way, and as fast as ever on an idle machine, where latencies stay the same too (fewer turns
change them). ``tests.bench.contention`` measures it."""
PR_SET_PDEATHSIG = 1
"""Of Linux: the signal a process gets when its parent ends."""

Job = Mapping[str, Any]


class WorkerProcess:
    """One process that runs ``target(job)``; its output goes to a log file."""

    def __init__(self, process: Any) -> None:
        self._process = process

    @property
    def sentinel(self) -> int:
        """TaskContext once the process has ended, for ``wait_any``."""
        return int(self._process.sentinel)

    @property
    def running(self) -> bool:
        """False once it has ended."""
        return bool(self._process.is_alive())

    @property
    def exitcode(self) -> int | None:
        """As ``multiprocessing``: negative for a signal; None while it runs."""
        code: int | None = self._process.exitcode
        return code

    def signal(self, number: int) -> None:
        """Send a signal; to the whole group where it is to end, so that nothing it started stays."""
        pid = self._process.pid
        try:
            if number == signal.SIGKILL and os.getpgid(pid) == pid:
                os.killpg(pid, number)
            else:
                os.kill(pid, number)
        except ProcessLookupError:
            pass

    def join(self, seconds: float | None = None) -> bool:
        """Wait for the end; False when it still runs."""
        self._process.join(seconds)
        return not self.running


class Executor:
    """Starts workers. The first one starts the server, which takes as long as importing torch.

    Args:
        hash_seed: every worker is a new interpreter under this PYTHONHASHSEED, and there is no server:
            what is forked from one shares its seed.
    """

    def __init__(self, hash_seed: str | None = None) -> None:
        self._hash_seed = hash_seed
        # Sets iterate in the same order in every process: a resumed method must repeat itself.
        os.environ.setdefault("PYTHONHASHSEED", "0")
        if "OMP_WAIT_POLICY" not in os.environ:
            os.environ.setdefault("GOMP_SPINCOUNT", str(SPINS))
        # Asking for GPUs must not initialise CUDA in the process that others are forked from.
        os.environ.setdefault("PYTORCH_NVML_BASED_CUDA_CHECK", "1")
        self._context: Any = multiprocessing.get_context("spawn" if hash_seed else "forkserver")
        if not hash_seed:
            self._context.set_forkserver_preload([PRELOAD])

    def warm_up(self) -> None:
        """Start the server now; returns at once, while it imports."""
        from multiprocessing.forkserver import ensure_running

        ensure_running()

    def start(self, target: Callable[[Job], None], job: Job, log: Path) -> WorkerProcess:
        """Run ``target(job)`` in a process of its own."""
        log.parent.mkdir(parents=True, exist_ok=True)
        process = self._context.Process(
            target=_enter, args=(target, dict(job), str(log)), name=target.__name__
        )
        usual = os.environ["PYTHONHASHSEED"]
        try:
            os.environ["PYTHONHASHSEED"] = self._hash_seed or usual
            process.start()
        finally:
            os.environ["PYTHONHASHSEED"] = usual
        return WorkerProcess(process)


def wait_any(workers: list[WorkerProcess], seconds: float) -> None:
    """Return when one of them has ended, or after ``seconds``."""
    wait([worker.sentinel for worker in workers], seconds)


def _enter(target: Callable[[Job], None], job: Job, log: str) -> None:
    """In the new process: own group, own log, and an end when the parent ends."""
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
    target(job)


def _end_with_parent() -> None:
    """SIGKILL for this process once the command is gone: the server ends with it, and we with the server."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os.killpg(0, signal.SIGKILL)

    # Also where the system has no such call, and for what the method itself has started.
    threading.Thread(target=watch, name="parent-watch", daemon=True).start()
