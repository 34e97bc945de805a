"""Isolation by Landlock, where a container forbids namespaces: rights to files are given up for good.

A process keeps the right to read what its view shows and to write what is its own; a look into the memory of
other processes is refused. Newer kernels refuse more: truncating a file that may only be read from version 3
of Landlock (Linux 6.2), TCP from version 4 (6.7), signals to other processes and their abstract sockets from
version 6 (6.12). It sees that other processes exist, and no file is put in place of a hidden one. See
landlock(7). No torch.
"""

from __future__ import annotations

import ctypes
import os
import stat
import struct
from collections.abc import Iterator
from pathlib import Path

from benchmarks.runs.isolation import CACHES, DEVICES, PRIVATE, View

NAME = "landlock"
"""Isolation of a search, as records state it."""
SYS_CREATE_RULESET, SYS_ADD_RULE, SYS_RESTRICT_SELF = 444, 445, 446
"""Numbers of the system calls, the same on all architectures."""
CREATE_RULESET_VERSION, RULE_PATH_BENEATH = 1, 1
EXECUTE, WRITE_FILE, READ_FILE, READ_DIR, TRUNCATE = 1 << 0, 1 << 1, 1 << 2, 1 << 3, 1 << 14
READ = EXECUTE | READ_FILE | READ_DIR
FILE = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE
"""Rights that a rule about a file, not a folder, may give."""
FILES_OF_VERSION = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1}
"""Version of Landlock -> all rights to files that it has; devices keep their ioctl in any."""
TCP_FROM, SCOPE_FROM = 4, 6
"""First versions that confine TCP, and sockets and signals."""


def confine(view: View) -> None:
    """Confine this process and all that it starts to a view, for good; it has no way to gain rights already.

    Its temporary files and its home are in the first writable folder.

    Raises:
        OSError: this system has no Landlock, or too old a one.
    """
    version = _call(SYS_CREATE_RULESET, None, 0, CREATE_RULESET_VERSION)
    handled = FILES_OF_VERSION[min(version, max(FILES_OF_VERSION))]
    tcp, scope = 0b11 if version >= TCP_FROM else 0, 0b11 if version >= SCOPE_FROM else 0
    attributes = struct.pack("3Q", handled, tcp, scope)
    size = 24 if version >= SCOPE_FROM else 16 if version >= TCP_FROM else 8
    rules = _call(SYS_CREATE_RULESET, attributes, size, 0)
    own = view.writable[0]
    for name in CACHES:
        os.environ.pop(name, None)
    os.environ["TMPDIR"] = os.environ["HOME"] = str(own)
    for path in _readable(Path("/"), _hidden(view)):
        _allow(rules, path, READ & handled)
    for path in view.shown:
        _allow_shown(rules, path, view, handled)
    for path in view.writable:
        _allow(rules, path, handled)
    for pattern in DEVICES:
        for path in Path("/dev").glob(pattern):
            _allow(rules, path, handled)
    # CUDA names its threads there, without which it does not start.
    _allow(rules, Path("/proc/self/task"), (READ | WRITE_FILE | TRUNCATE) & handled)
    _call(SYS_RESTRICT_SELF, rules, 0)
    os.close(rules)


def _hidden(view: View) -> frozenset[Path]:
    """Return the folders whose files are refused."""
    folders = [Path("/dev"), Path.home(), *map(Path, PRIVATE)]
    return frozenset({*view.hidden, *(folder.resolve() for folder in folders)} - {Path("/")})


def _allow_shown(rules: int, path: Path, view: View, handled: int) -> None:
    """Allow reading a shown folder, but for hidden ones below it."""
    below = frozenset(hidden for hidden in view.hidden if path != hidden)
    for part in _readable(path, below):
        _allow(rules, part, READ & handled)


def _readable(path: Path, hidden: frozenset[Path]) -> Iterator[Path]:
    """Yield the largest parts of a folder without anything hidden; links lead to other parts."""
    if path in hidden or path.is_symlink():
        return
    if not any(path in folder.parents for folder in hidden):
        yield path
        return
    try:
        children = sorted(path.iterdir())
    except OSError:
        return
    for child in children:
        yield from _readable(child, hidden)


def _allow(rules: int, path: Path, rights: int) -> None:
    """Add a rule for a folder and all below it, or for a file; a path that cannot be opened has no rule."""
    try:
        handle = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    try:
        if not stat.S_ISDIR(os.fstat(handle).st_mode):
            rights &= FILE
        _call(SYS_ADD_RULE, rules, RULE_PATH_BENEATH, struct.pack("=Qi", rights, handle), 0)
    finally:
        os.close(handle)


def _call(number: int, *arguments: int | bytes | None) -> int:
    result: int = ctypes.CDLL(None, use_errno=True).syscall(number, *arguments)
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, f"landlock: {os.strerror(error)}")
    return result
