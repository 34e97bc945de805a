"""Processes for runs: forked from one server that has imported torch once, killed as a group.

The server initialises no CUDA and starts no threads of its own, so its forks may do both. A worker ends with
its parent: no process of a killed command writes on.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerContext, SpawnContext
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from benchmarks import tasks
from benchmarks.hardware import profiles
from benchmarks.hardware.file_lock import lock
from benchmarks.hardware.probe import require_linux
from benchmarks.runs.channel import Channel
from benchmarks.runs.guard import GuardReport, guard, require_known_means
from benchmarks.runs.isolation import View, end_with_parent

if TYPE_CHECKING:
    from benchmarks.runs.job import IsolationJob, SearchJob

PRELOAD = "benchmarks.runs.preload"
"""Module that the server imports."""
ASK_TO_STOP = signal.SIGUSR1
"""Signal that asks a search to save and stop."""
SPINS = 5_000
"""GOMP_SPINCOUNT: turns for which a thread of GNU OpenMP spins before it sleeps, in place of 300,000.

Short spinning avoids oversubscription when several runs share cores: a spinning thread keeps a processor
from the one that it waits for. Beside other programs small networks train several times as fast; on an idle
machine speed and latencies stay the same. Fewer turns would change latencies.
``nox -s bench`` measures it.
"""

Job = TypeVar("Job")
GuardedJob = TypeVar("GuardedJob", bound="SearchJob | IsolationJob")


class WorkerProcess:
    """One process that runs ``target(job)``; its output goes to a log file."""

    def __init__(self, process: BaseProcess) -> None:
        self._process = process

    @property
    def pid(self) -> int:
        """Number of the process."""
        assert self._process.pid is not None
        return self._process.pid

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
        pid = self.pid
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


class GuardedProcess(WorkerProcess):
    """A worker of untrusted code, below a guard (``benchmarks.runs.guard``).

    Attributes:
        channel: the supervisor's end of the pipe to the worker.
    """

    def __init__(self, process: BaseProcess, channel: Connection, report: Connection) -> None:
        super().__init__(process)
        self.channel, self._report = channel, report

    def report(self) -> GuardReport:
        """Return the report of a guard that has ended; close the pipes."""
        report: GuardReport = {}
        with suppress(EOFError, OSError):
            while self._report.poll():
                report |= json.loads(self._report.recv_bytes())
        self._report.close()
        self.channel.close()
        return report


class Executor:
    """Starts workers. The first one starts the server, which takes as long as importing torch.

    Args:
        hash_seed: PYTHONHASHSEED of every worker, which is then a new interpreter. There is no server,
            because its forks would share its seed.
    """

    def __init__(self, hash_seed: str | None = None) -> None:
        require_linux()
        require_known_means()
        self._hash_seed = hash_seed
        # Sets iterate in the same order in every process: a resumed method must repeat itself.
        os.environ.setdefault("PYTHONHASHSEED", "0")
        if "OMP_WAIT_POLICY" not in os.environ:
            os.environ.setdefault("GOMP_SPINCOUNT", str(SPINS))
        # A folder `benchmarks` of the user's, where this command is typed, must not stand in for ours.
        os.environ["PYTHONSAFEPATH"] = "1"
        root, known = str(Path(__file__).resolve().parents[2]), os.environ.get("PYTHONPATH", "")
        if not site_packages(Path(root)) and root not in known.split(os.pathsep):
            os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (root, known)))
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
        from multiprocessing import forkserver, resource_tracker

        resource_tracker.ensure_running()  # its start ends with SIGINT unblocked
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            forkserver.ensure_running()  # a Ctrl-C before its first line of ours would print a traceback
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)

    def start(self, target: Callable[[Job], None], job: Job, log: Path) -> WorkerProcess:
        """Run ``target(job)`` in a process of its own.

        Args:
            target: a function of a module, so that it can be pickled.
            job: its argument, pickled too.
            log: file that the process's output is appended to.
        """
        return WorkerProcess(self._start(_enter, target, log, job, str(log)))

    def start_guarded(
        self, target: Callable[[GuardedJob, Channel], None], job: GuardedJob, log: Path, view: View | None
    ) -> GuardedProcess:
        """Run ``target(job, channel)``, which calls untrusted code, in a contained process.

        Args:
            target: a function of a module, so that it can be pickled.
            job: its argument, pickled too. Its folder is locked meanwhile.
            log: file that the process's output is appended to.
            view: part of the file system that the process has; None: it is not isolated.
        """
        channel, theirs = self._context.Pipe()
        report, set_report = self._context.Pipe(duplex=False)
        process = self._start(_enter_guarded, target, log, job, str(log), theirs, set_report, view)
        theirs.close()
        set_report.close()
        return GuardedProcess(process, channel, report)

    def _start(
        self, enter: Callable[..., None], target: Callable[..., None], log: Path, *more: object
    ) -> BaseProcess:
        log.parent.mkdir(parents=True, exist_ok=True)
        known = [declaration.unsealed() for declaration in tasks.declared()], profiles.declared()
        process = self._context.Process(target=enter, args=(known, target, *more), name=target.__name__)
        usual = os.environ["PYTHONHASHSEED"]
        if not self._hash_seed:
            self.warm_up()
        try:
            os.environ["PYTHONHASHSEED"] = self._hash_seed or usual
            process.start()
        finally:
            os.environ["PYTHONHASHSEED"] = usual
        return process


def end_server() -> None:
    """End the server at once, also while it imports, and with it all workers that are left."""
    from multiprocessing import forkserver

    pid = forkserver._forkserver._forkserver_pid  # type: ignore[attr-defined]
    if pid is not None:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def site_packages(folder: Path) -> bool:
    """Return whether Python looks into a folder for installed packages without being asked to."""
    return folder.name in ("site-packages", "dist-packages")


def wait_any(workers: list[WorkerProcess], seconds: float) -> None:
    """Return when one of the workers has ended, or after ``seconds``."""
    wait([worker.sentinel for worker in workers], seconds)


Known = tuple[Sequence[tasks.Declaration], Sequence[profiles.Profile]]
"""Tasks and profiles of the user's own, which a new process has to be given."""


def _enter(known: Known, target: Callable[[Job], None], job: Job, log: str) -> None:
    """Run ``target(job)`` in the new process: own group, own log, and an end when the parent ends."""
    _begin(log, known)
    _watch_parent()
    target(job)


def _enter_guarded(
    known: Known,
    target: Callable[[GuardedJob, Channel], None],
    job: GuardedJob,
    log: str,
    connection: Connection,
    report: Connection,
    view: View | None,
) -> None:
    """Run ``target(job, channel)`` below a guard, which this process becomes."""
    _begin(log, known)
    with hold_lock(job.folder):
        guard(partial(target, job, Channel(connection)), view, report, _watch_parent)


def _begin(log: str, known: Known) -> None:
    """Give the new process its own group and log, and the user's own tasks and profiles."""
    os.setsid()
    end_with_parent()
    from supernet import allocator  # imports torch, which the command itself needs not

    allocator.keep_freed()
    handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.dup2(handle, 1)
    os.dup2(handle, 2)
    os.close(handle)
    os.close(null)
    sys.stdout = os.fdopen(1, "w", buffering=1, errors="replace")
    sys.stderr = os.fdopen(2, "w", buffering=1, errors="replace")
    for task in known[0]:
        tasks.declare(task)
    for profile in known[1]:
        profiles.declare(profile)


@contextmanager
def hold_lock(folder: Path) -> Iterator[None]:
    """Wait until no other process works on a run, and hold its lock; kept until its processes have ended."""
    with (folder / "lock").open("w") as file:
        lock(file)
        yield


def _watch_parent() -> None:
    """End this process's group when the command ends, with which the fork server ends, too."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os.killpg(0, signal.SIGKILL)

    # For systems without prctl, and for processes that the method itself has started.
    threading.Thread(target=watch, name="parent-watch", daemon=True).start()
