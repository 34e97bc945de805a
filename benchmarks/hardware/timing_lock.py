"""Timing lock of a machine: one timing at a time, while all other processes pause. No torch.

There are two lock files, in one folder of the machine whatever ``TMPDIR`` is: two jobs of one node must meet.
A process at work (training, evaluating, translating) shares the *machine* lock and checks the *gate* between
two steps. A process that times takes the gate, at which workers stop and release the machine, and then the
machine. The kernel releases the locks of a process that ends.
"""

from __future__ import annotations

import errno
import fcntl
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.api import UsageError

MACHINE, GATE = "supernet-bench-timing.lock", "supernet-bench-timing.gate"
FOLDER_VARIABLE = "SUPERNET_BENCH_LOCKS"
"""Names the folder of the locks, such as one that all containers of a node mount."""
FOLDERS = ("/dev/shm", "/tmp", "/var/tmp")
"""Folders of the locks; the first one that exists counts."""

PATIENCE_S, AGAIN_S = 120.0, 1800.0
"""Seconds of waiting after which the holder of a lock is named, and between two such messages."""


class _State:
    """Locks that this process holds. One thread of a process works or times."""

    timing = 0
    work: int | None = None
    gate = -1
    sharing = False


_mine = _State()


@contextmanager
def working() -> Iterator[None]:
    """Share the machine with other workers, and stop for timings at every ``yield_to_timing``."""
    _mine.work, _mine.gate = _open_lock(MACHINE), _open_lock(GATE)
    try:
        yield_to_timing()
        yield
    finally:
        os.close(_mine.work)
        os.close(_mine.gate)
        _mine.work, _mine.sharing = None, False


def timing_requested() -> bool:
    """Return whether ``yield_to_timing`` would wait: another process times or has asked to."""
    if _mine.work is None or _mine.timing:
        return False
    try:
        fcntl.flock(_mine.gate, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    fcntl.flock(_mine.gate, fcntl.LOCK_UN)
    return not _mine.sharing


def yield_to_timing(settle: Callable[[], object] | None = None) -> None:
    """Let waiting timings run first; called between two steps of work.

    Args:
        settle: waits for what was launched on a device, called before the machine is let go.
    """
    if _mine.work is None or not timing_requested():
        return
    if settle is not None:
        settle()
    fcntl.flock(_mine.work, fcntl.LOCK_UN)
    _wait(_mine.gate, fcntl.LOCK_SH)
    fcntl.flock(_mine.gate, fcntl.LOCK_UN)
    _wait(_mine.work, fcntl.LOCK_SH)
    _mine.sharing = True


@contextmanager
def exclusive() -> Iterator[float]:
    """Hold the machine alone; yield the seconds waited for it.

    One lock for all devices: timing on a GPU is bound by the processor that launches its kernels.
    It may be nested. A worker that times releases its share, and takes it again at its next
    ``yield_to_timing``.
    """
    if _mine.timing:
        _mine.timing += 1
        try:
            yield 0.0
        finally:
            _mine.timing -= 1
        return
    began = time.perf_counter()
    if _mine.work is not None:
        fcntl.flock(_mine.work, fcntl.LOCK_UN)
        _mine.sharing = False
    gate, machine = _open_lock(GATE), _open_lock(MACHINE)
    try:
        _wait(gate, fcntl.LOCK_EX)
        _wait(machine, fcntl.LOCK_EX)
        _mine.timing = 1
        try:
            yield time.perf_counter() - began
        finally:
            _mine.timing = 0
    finally:
        os.close(machine)
        os.close(gate)


def files() -> tuple[Path, ...]:
    """Create the lock files that this user's processes open, and return them."""
    paths = []
    for lock in (MACHINE, GATE):
        os.close(_open_lock(lock))
        paths += [path for name in _names(lock) if (path := _folder() / name).exists()]
    return tuple(paths)


def _folder() -> Path:
    """Return the folder of the locks."""
    named = os.environ.get(FOLDER_VARIABLE)
    return Path(named or next((name for name in FOLDERS if os.path.isdir(name)), "/tmp"))


def _names(lock: str) -> tuple[str, str]:
    """Return the names of a lock's file: that of all users, and this user's own."""
    return lock, f"{lock}.{os.getuid()}"


def _wait(file: int, kind: int) -> None:
    """Take a lock; while it is not to be had, tell who holds it, first after ``PATIENCE_S``."""
    began, last_told = time.monotonic(), 0.0
    while True:
        try:
            fcntl.flock(file, kind | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            waited = time.monotonic() - began
        if waited - last_told >= (AGAIN_S if last_told else PATIENCE_S):
            last_told = waited
            print(_blocked(file, waited), file=sys.stderr, flush=True)
        time.sleep(min(0.02, 0.001 + waited / 20))


def _blocked(file: int, seconds: float) -> str:
    """Return the message about a lock that others have held for so long, with the ids of their processes."""
    try:
        name, inode = os.readlink(f"/proc/self/fd/{file}"), os.fstat(file).st_ino
        lines = [line.split() for line in Path("/proc/locks").read_text().splitlines()]
    except OSError:
        name, inode, lines = "its file", -1, []
    held = [line for line in lines if len(line) >= 6 and line[1] == "FLOCK"]  # "->" stands before who waits
    holders = sorted({line[4] for line in held if line[5].endswith(f":{inode}")})
    who = f"process {', '.join(holders)}" if holders else "another process"
    return (
        f"timing lock: {who} has held {name} for {seconds:,.0f} s; all timings of this machine wait for it."
        f" If it is no run of supernet-bench, end it, or set {FOLDER_VARIABLE} to a folder of your own"
    )


def _open_lock(lock: str) -> int:
    """Open the lock file shared by all users; this user's own if another's may not be opened."""
    folder = _folder()
    for name in _names(lock):
        for flags in (0, os.O_CREAT):
            try:
                opened = os.open(folder / name, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | flags, 0o666)
            except OSError:
                continue
            try:
                fcntl.flock(opened, fcntl.LOCK_SH | fcntl.LOCK_NB)
                fcntl.flock(opened, fcntl.LOCK_UN)
            except BlockingIOError:
                pass  # held by somebody else, so it can be locked
            except OSError as error:
                os.close(opened)
                raise _unusable(folder, error.errno) from None
            return opened
    raise _unusable(folder, errno.EACCES)


def _unusable(folder: Path, number: int | None) -> UsageError:
    """Return the error of a folder that holds no timing locks."""
    reason = os.strerror(number) if number else "no locks"
    advice = f"set {FOLDER_VARIABLE} to a writable folder of this machine, the same one for all its jobs"
    return UsageError(f"cannot lock the machine for timings in {folder} ({reason}): {advice}")


def identity() -> str:
    """Return the identity of a machine lock: processes that see the same one never time at once."""
    opened = _open_lock(MACHINE)
    try:
        stat = os.fstat(opened)
    finally:
        os.close(opened)
    return f"{stat.st_dev}:{stat.st_ino}"
