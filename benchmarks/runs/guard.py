"""The process between a command and an untrusted search: contain it, end all that it started, account for it.

The guard itself runs nothing of the method's. Below it stand a keeper, which is the first process of the
search's process namespace, and the search. A search that ends, however it does, leaves no process behind. The
guard then reports the isolation and the processor seconds of the whole tree, measured by the kernel.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import struct
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection
from types import FrameType
from typing import TypedDict

from benchmarks.runs import isolation, landlock
from benchmarks.runs.isolation import View
from benchmarks.runs.process_tree import descendants
from benchmarks.suggestions import unknown

RELAYED = (signal.SIGUSR1, signal.SIGTERM, signal.SIGINT)
"""Signals that the guard passes on to the search."""
CANNOT = 96
"""Exit code of a keeper that could not isolate the search."""
MEANS_VARIABLE = "SUPERNET_BENCH_ISOLATION"
"""Names the means to try, such as ``landlock`` or ``none``; unset: all, the best first."""
MEANS = (*isolation.ATTEMPTS, (landlock.NAME,))
"""Means of isolation, the best first."""


class GuardReport(TypedDict, total=False):
    """The guard's report on a search.

    ``isolation``: its namespaces, or ``none``. ``cpu_seconds``: of all of its processes; absent if the guard
    was killed.
    """

    isolation: str
    cpu_seconds: float


def guard(
    run: Callable[[], None], view: View | None, report: Connection, watch: Callable[[], None] = lambda: None
) -> None:
    """Run a search in a process of its own, contained if possible; end as it ends, without returning.

    Args:
        run: the search.
        view: its part of the file system; None: it is not isolated.
        report: receives the parts of a ``GuardReport`` as JSON: the isolation first, processor seconds last.
        watch: called once no process will be forked any more, to start threads.
    """
    relay = _Relay()
    isolation.adopt_orphans()  # of a keeper that the search has killed
    for means in attempts(view):
        pipes = _Pipes()
        keeper = os.fork()
        if keeper == 0:
            report.close()
            pipes.close_reading()
            _keep(run, view, means, pipes)
        pipes.close_writing()
        if pipes.read("ready", 1) or not means:
            break
        os.waitpid(keeper, 0)
    watch()
    _send(report, {"isolation": ",".join(means) or isolation.NONE})
    relay.to = keeper
    relay.wait()
    _end_all()
    stated = pipes.read("ended", 4)
    status = struct.unpack("i", stated)[0] if len(stated) == 4 else int(signal.SIGKILL)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    _send(report, {"cpu_seconds": round(used.ru_utime + used.ru_stime, 3)})
    _end_like(status)


def attempts(view: View | None) -> Sequence[tuple[str, ...]]:
    """Return the means of isolation, the best first: namespaces, Landlock, none."""
    named = os.environ.get(MEANS_VARIABLE, "").split()
    known = [means for means in MEANS if not named or ",".join(means) in named]
    return (*known, ()) if view is not None else ((),)


def require_known_means() -> None:
    """Refuse a word in ``MEANS_VARIABLE`` that names no means, which would leave a search unconfined.

    Raises:
        UsageError: the first such word.
    """
    known = [*map(",".join, MEANS), isolation.NONE]
    for word in os.environ.get(MEANS_VARIABLE, "").split():
        if word not in known:
            then = f"set {MEANS_VARIABLE} to some of them, with blanks between, or unset it to try all"
            raise unknown("means of isolation", word, known, then)


def _send(report: Connection, part: GuardReport) -> None:
    with suppress(OSError):  # the command has ended
        report.send_bytes(json.dumps(part).encode())


class _Pipes:
    """Pipes from a keeper to its guard: ``ready`` when the search begins, ``ended`` with its wait status."""

    def __init__(self) -> None:
        self._reading: dict[str, int] = {}
        self._writing: dict[str, int] = {}
        for name in ("ready", "ended"):
            self._reading[name], self._writing[name] = os.pipe()

    def read(self, name: str, size: int) -> bytes:
        """Read a message, empty if the keeper has ended without one; close that pipe."""
        handle = self._reading.pop(name)
        try:
            return os.read(handle, size)
        finally:
            os.close(handle)

    def write(self, name: str, message: bytes) -> None:
        """Write a message."""
        os.write(self._writing[name], message)

    def close_reading(self) -> None:
        """Close the guard's ends."""
        while self._reading:
            os.close(self._reading.popitem()[1])

    def close_writing(self) -> None:
        """Close the keeper's ends."""
        while self._writing:
            os.close(self._writing.popitem()[1])


class _Relay:
    """Signals for a search, which wait until its process exists."""

    def __init__(self) -> None:
        self.to: int | None = None
        self._waiting: list[int] = []
        for number in RELAYED:
            signal.signal(number, self._pass_on)

    def _pass_on(self, number: int, _frame: FrameType | None) -> None:
        if self.to is None:
            self._waiting.append(number)
        else:
            with suppress(ProcessLookupError):
                os.kill(self.to, number)

    def wait(self) -> int:
        """Wait for the end of the process, and return its wait status."""
        assert self.to is not None
        for number in self._waiting:
            self._pass_on(number, None)
        return os.waitpid(self.to, 0)[1]


def _keep(run: Callable[[], None], view: View | None, means: Sequence[str], pipes: _Pipes) -> None:
    """Isolate the search, run it in a child, and end all that it left; never return."""
    namespaces = [name for name in means if name in isolation.FLAGS]
    isolation.end_with_parent()
    try:
        if namespaces:
            assert view is not None
            isolation.unshare(namespaces)
            isolation.end_with_parent()  # new credentials have cleared it
        if "pid" in namespaces:
            relay = _Relay()
            relay.to = os.fork()
            if relay.to != 0:
                pipes.close_writing()
                relay.wait()
                os._exit(0)
            isolation.end_with_parent()
        if namespaces:
            assert view is not None
            isolation.arrange(view, own_processes="pid" in namespaces)
    except OSError:
        os._exit(CANNOT)
    isolation.adopt_orphans()
    relay = _Relay()
    relay.to = os.fork()
    if relay.to == 0:
        for number in RELAYED:
            signal.signal(number, signal.SIG_DFL)
        isolation.end_with_parent()
        isolation.drop_rights()
        if landlock.NAME in means:
            assert view is not None
            try:
                landlock.confine(view)
            except OSError:
                os._exit(CANNOT)
        if view is not None:
            view.forget()
        pipes.write("ready", b"+")
        pipes.close_writing()
        _run(run)
    isolation.hide_memory()
    status = relay.wait()
    _end_all()
    pipes.write("ended", struct.pack("i", status))
    os._exit(0)


def _run(run: Callable[[], None]) -> None:
    """Run the search and leave the process with the exit code of a Python program."""
    code = 1
    try:
        run()
        code = 0
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError):
                stream.flush()
        os._exit(code)


def _end_all() -> None:
    """Kill and reap every process that the search has left behind."""
    while len(pids := descendants(os.getpid())) > 1:
        for pid in pids[1:]:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        with suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        time.sleep(0.002)  # what had just been started is found in the next round


def _end_like(status: int) -> None:
    """End this process with the exit code or by the signal of a wait status."""
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # no memory image of the guard
        if number != signal.SIGKILL:
            signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
    os._exit(os.WEXITSTATUS(status))
