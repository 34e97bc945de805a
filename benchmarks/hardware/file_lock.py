"""Locks on files, which the kernel gives up when their process ends."""

from __future__ import annotations

import errno
import fcntl
from pathlib import Path
from typing import IO

from benchmarks.api import UsageError

UNSUPPORTED = frozenset({errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP})
"""Errors of file systems without locks, such as some network and cluster ones."""


def lock(file: IO[str], *, wait: bool = True, shared: bool = False) -> None:
    """Lock an open file for this process alone, until it is closed.

    Args:
        shared: lock it together with other processes that share it.
        wait: False: raise at once if another process holds the lock.

    Raises:
        BlockingIOError: another process holds the lock.
        UsageError: the file system has no locks.
    """
    try:
        kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
        fcntl.flock(file, kind | (0 if wait else fcntl.LOCK_NB))
    except OSError as error:
        if error.errno not in UNSUPPORTED:
            raise
        folder = Path(file.name).parent
        raise UsageError(
            f"{folder} is on a file system without locks ({error.strerror}): two runs could overwrite"
            " each other there; write to a local disk instead: --results DIR"
        ) from None
