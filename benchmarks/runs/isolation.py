"""Isolation of a search: Linux namespaces in which it sees and writes nothing but its own. No torch.

A contained process has its own mounts, processes, network and shared memory. Everything is read-only but the
folders of ``View.writable``; folders of ``View.hidden`` are empty but for ``View.shown`` and those. Without
the right to make namespaces (other systems, locked-down containers) there is no isolation, and records state
it. The calls are those of namespaces(7), mount_setattr(2) and capabilities(7).
"""

from __future__ import annotations

import ctypes
import os
import socket
import struct
import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

NONE = "none"
"""Isolation of a search without any."""
FLAGS = {
    "ipc": 0x08000000,
    "mount": 0x00020000,
    "network": 0x40000000,
    "pid": 0x20000000,
    "user": 0x10000000,
}
"""Namespace -> its flag of ``unshare``."""
FULL = ("ipc", "mount", "network", "pid")
ATTEMPTS = (FULL, ("ipc", "mount", "network"))
"""Namespaces, best first; containers that mask parts of /proc allow no process namespace of one's own."""
PRIVATE = ("/tmp", "/var/tmp", "/dev/shm", "/run")
"""Folders that a contained process has an empty, writable one of, as well as its home."""
CACHES = (
    "CUDA_CACHE_PATH",
    "MPLCONFIGDIR",
    "TMPDIR",
    "TORCHINDUCTOR_CACHE_DIR",
    "TORCH_EXTENSIONS_DIR",
    "TRITON_CACHE_DIR",
    "TRITON_HOME",
    "XDG_CACHE_HOME",
)
"""Variables that name folders for files of no consequence; without them the home or /tmp holds those."""
DEVICES = ("null", "zero", "full", "random", "urandom", "tty", "nvidia*", "dri", "kfd")
"""Patterns of device files that a contained process sees."""

KERNEL = ("bus", "fs", "irq", "sys", "sysrq-trigger")
"""Parts of /proc that are the kernel's, not a process's: read-only, as container runtimes have them."""

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_BIND, MS_REC, MS_PRIVATE = 1, 2, 4, 8, 4096, 16384, 1 << 18
SYS_MOUNT_SETATTR, AT_RECURSIVE, MOUNT_ATTR_RDONLY = 442, 0x8000, 1
PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_SECUREBITS = 1, 4, 28
PR_CAPBSET_DROP, PR_SET_SUBREAPER, PR_SET_NO_NEW_PRIVS = 24, 36, 38
SECURE_NOROOT = 0b11
"""Securebits: an executed program gains no capability from uid 0, for good."""
CAP_DAC_OVERRIDE, CAP_FOWNER, CAP_LAST = 1, 3, 40
CAP_VERSION = 0x20080522
SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 1


@dataclass(frozen=True)
class View:
    """Part of the file system that a contained process has.

    Attributes:
        writable: folders and files that it may change.
        hidden: folders that are empty for it.
        shown: folders and files below hidden ones that it may read.
    """

    writable: tuple[Path, ...] = ()
    hidden: tuple[Path, ...] = ()
    shown: tuple[Path, ...] = ()

    def resolved(self) -> View:
        """Return the view with real, existing paths, each once."""

        def real(paths: Iterable[Path]) -> tuple[Path, ...]:
            return tuple(dict.fromkeys(p.resolve() for p in paths if p.exists()))

        return View(real(self.writable), real(self.hidden), real(self.shown))

    def forget(self) -> None:
        """Drop all paths in this process, where no object may lead to what is hidden."""
        for name in ("writable", "hidden", "shown"):
            object.__setattr__(self, name, ())


def program_paths(sources: Iterable[Path] = ()) -> tuple[Path, ...]:
    """Return the folders that a Python process needs, wherever they lie: interpreter, packages, ``sources``.

    Args:
        sources: source files of the method.
    """
    packages = [Path(entry or ".") for entry in sys.path]
    libraries = [Path(entry) for entry in os.environ.get("LD_LIBRARY_PATH", "").split(":") if entry]
    project = Path(__file__).parents[2]
    folders = [file.parent for file in sources]
    return (Path(sys.prefix), Path(sys.base_prefix), project, *packages, *libraries, *folders)


def unshare(namespaces: Sequence[str]) -> None:
    """Move this process into new namespaces; a process without privileges gets a user namespace as well.

    Raises:
        OSError: the system does not allow it.
    """
    flags = sum(FLAGS[name] for name in namespaces)
    if sys.platform != "linux":
        raise OSError("no namespaces on this system")
    uid, gid = os.getuid(), os.getgid()
    if uid == 0 and _libc().unshare(flags) == 0:
        return
    _check(_libc().unshare(flags | FLAGS["user"]), "unshare")
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{uid} {uid} 1")
    Path("/proc/self/gid_map").write_text(f"{gid} {gid} 1")


def arrange(view: View, *, own_processes: bool) -> None:
    """Arrange the mounts of a new mount namespace, and bring up the loopback network.

    Args:
        view: see ``View.resolved``.
        own_processes: this process has a process namespace of its own, and gets its own /proc.

    Raises:
        OSError: the system does not allow it.
    """
    _mount(None, "/", None, MS_REC | MS_PRIVATE)
    folder = os.getcwd()
    _arrange_devices()
    home = Path(os.path.expanduser("~")).resolve()
    private = tuple(Path(name) for name in PRIVATE if os.path.isdir(name))
    within = any(home.is_relative_to(place) for place in private)  # then it is hidden with that folder
    if home.is_dir() and len(home.parts) > 1:
        private = private if within else (*private, home)
    else:
        os.environ["HOME"] = "/tmp"
    for name in CACHES:
        os.environ.pop(name, None)
    kept = replace(view, hidden=(*private, *view.hidden))
    handles = {path: os.open(path, os.O_PATH) for path in (*kept.shown, *kept.writable)}
    # Deeper paths come later: what is shown below a hidden folder is put back into it.
    places = sorted({*kept.hidden, *handles}, key=lambda path: (len(path.parts), path in handles))
    for path in places:
        if path in kept.hidden and path.exists():  # below another hidden folder it is gone already
            _mount("tmpfs", str(path), "tmpfs", MS_NOSUID | MS_NODEV, "mode=0755")
        if path in handles:
            _put_back(path, handles[path])
    for handle in handles.values():
        os.close(handle)
    if within:
        home.mkdir(parents=True, exist_ok=True)
    if own_processes:
        _mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)
    for path in (Path("/proc") / name for name in KERNEL):
        if path.exists():
            _mount(str(path), str(path), None, MS_BIND | MS_REC)
    _set_read_only("/", True, AT_RECURSIVE)
    # CUDA names its threads in /proc/self/task, without which it does not start.
    for path in (Path("/proc"), *private, *kept.writable):
        _set_read_only(str(path), False, 0)
    with suppress(OSError):  # a hidden folder: the root is where this process stands
        os.chdir(folder)
    _raise_loopback()


def _arrange_devices() -> None:
    """Replace /dev by the few devices of ``DEVICES``."""
    handles = {
        path: os.open(path, os.O_PATH) for pattern in DEVICES for path in sorted(Path("/dev").glob(pattern))
    }
    shared = os.open("/dev/shm", os.O_PATH) if os.path.isdir("/dev/shm") else None
    _mount("tmpfs", "/dev", "tmpfs", MS_NOSUID, "mode=0755")
    for path, handle in handles.items():
        _put_back(path, handle)
        os.close(handle)
    if shared is not None:
        _put_back(Path("/dev/shm"), shared)
        os.close(shared)
    for name, target in (("fd", "/proc/self/fd"), ("stdin", "fd/0"), ("stdout", "fd/1"), ("stderr", "fd/2")):
        os.symlink(target, f"/dev/{name}")


def _put_back(path: Path, handle: int) -> None:
    """Bind an open file or folder to its own path, which a mount may have hidden since."""
    source = f"/proc/self/fd/{handle}"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        if os.path.isdir(source):
            path.mkdir()
        else:
            path.touch()
    _mount(source, str(path), None, MS_BIND | MS_REC)


def drop_rights() -> None:
    """Give up all capabilities of this process for good, but the one to open files of its own root user."""
    if sys.platform != "linux":
        return
    libc = _libc()
    root = os.getuid() == 0 and not _in_user_namespace()
    kept = {CAP_DAC_OVERRIDE, CAP_FOWNER} if root else set[int]()
    libc.prctl(PR_SET_SECUREBITS, SECURE_NOROOT, 0, 0, 0)
    for capability in range(CAP_LAST + 1):
        if capability not in kept:
            libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)
    mask = sum(1 << capability for capability in kept)
    header = struct.pack("Ii", CAP_VERSION, 0)
    data = struct.pack("6I", mask, mask, 0, 0, 0, 0)
    libc.capset(header, data)
    libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)


def _in_user_namespace() -> bool:
    """Return whether this process is in a user namespace other than the machine's."""
    try:
        return Path("/proc/self/uid_map").read_text().split() != ["0", "0", "4294967295"]
    except OSError:
        return False


def end_with_parent() -> None:
    """Arrange SIGKILL for this process at the end of its parent (Linux)."""
    _prctl(PR_SET_PDEATHSIG, 9)


def adopt_orphans() -> None:
    """Become the parent of all processes that a descendant leaves behind (Linux)."""
    _prctl(PR_SET_SUBREAPER, 1)


def hide_memory() -> None:
    """Refuse other processes of this user a look into this process's memory and open files (Linux)."""
    _prctl(PR_SET_DUMPABLE, 0)


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        _libc().prctl(option, value, 0, 0, 0)


def _raise_loopback() -> None:
    import fcntl

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        request = struct.pack("16sH14s", b"lo", 0, b"")
        flags = struct.unpack("16sH14s", fcntl.ioctl(any_socket, SIOCGIFFLAGS, request))[1]
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sH14s", b"lo", flags | IFF_UP, b""))


def _set_read_only(path: str, read_only: bool, flags: int) -> None:
    attribute = MOUNT_ATTR_RDONLY
    change = struct.pack("4Q", attribute if read_only else 0, 0 if read_only else attribute, 0, 0)
    done = _libc().syscall(SYS_MOUNT_SETATTR, -100, path.encode(), flags, change, len(change))
    _check(done, f"mount_setattr {path}")


def _mount(source: str | None, target: str, kind: str | None, flags: int, data: str | None = None) -> None:
    words = [word.encode() if word is not None else None for word in (source, target, kind, data)]
    done = _libc().mount(words[0], words[1], words[2], ctypes.c_ulong(flags), words[3])
    _check(done, f"mount {target}")


def _check(result: int, call: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{call}: {os.strerror(number)}")


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)
