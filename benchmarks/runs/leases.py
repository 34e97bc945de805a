"""Leases of runs to workers that share a results folder. No lock of the file system is needed.

A lease is a file ``claims/<run>.<number>.json``, which exactly one worker can create. The lease of the
highest number counts, and its owner alone rewrites it. A worker shows that it lives by the counter of its
own file in ``workers/``. Others judge a counter that stands still by their own clock; clocks are never
compared. A run is taken over by creating the next number, once its owner has ended or its counter stood
still for the length of the lease.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import socket
import tempfile
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from benchmarks.api import UsageError
from benchmarks.hardware.machine_part import are_apart
from benchmarks.records.canonical import JsonObject, JsonView

FOLDER = "claims"
"""Folder of leases in a results folder, by its name of before."""
LEASE_S = 120.0
"""Seconds without a beat after which a worker of another machine is dead; NFS caches names for up to 60."""
BEATS = 12
"""Beats a lease."""
LOST_SHARE = 0.75
"""Share of its lease after which a worker without a beat gives its own runs up."""
HELD, FREE = "held", "free"
ENDED = ("done", "failed", "stopped", "skipped")
"""States of leases: at work, given back, and the states in which runs end."""
LARGEST = 2**16
"""Bytes. A larger file is no lease and no worker."""


@dataclass(frozen=True)
class Lease:
    """The last lease of a run."""

    number: int
    worker: str
    state: str


@dataclass(frozen=True)
class Worker:
    """A worker as its file describes it.

    Attributes:
        beat: counter.
        lease_s: seconds for which a counter that stands still is believed.
        place: host, boot, process namespace, process id and its start.
        about: profile, jobs and whatever else ``status`` shows.
        ended: it has given back all runs.
    """

    name: str
    beat: int
    lease_s: float
    place: JsonView = field(default_factory=dict)
    about: JsonView = field(default_factory=dict)
    ended: bool = False


def read_leases(home: Path, known: Mapping[str, Lease] = MappingProxyType({})) -> dict[str, Lease]:
    """Return the last lease of each run; a lease that cannot be read yet is held by an unknown worker.

    Args:
        known: earlier answer; runs that have ended by it and have no later lease are not read again.
    """
    last: dict[str, int] = {}
    for name in _names(home / FOLDER):
        run, _, number = name.removesuffix(".json").rpartition(".")
        if name.endswith(".json") and run and number.isdigit():
            last[run] = max(last.get(run, 0), int(number))
    return {
        run: before
        if (before := known.get(run)) and before.number == number and before.state in ENDED
        else _read_lease(home, run, number)
        for run, number in last.items()
    }


def read_workers(home: Path) -> dict[str, Worker]:
    """Return all workers that have ever announced themselves, by name."""
    workers = (_read_worker(home / "workers" / name) for name in _names(home / "workers") if name[0] != ".")
    return {worker.name: worker for worker in workers if worker is not None}


class Liveness:
    """Judgement of which workers live, from their counters and this process's clock."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._here = _place(os.getpid())
        self._seen: dict[str, tuple[object, float]] = {}
        """Worker -> its last counter and the time at which that was first seen."""

    def is_dead(self, name: str) -> bool:
        """Return whether a worker has ended, died here, or has not beaten for its lease."""
        worker = _read_worker(self._home / "workers" / f"{name}.json")
        if worker is not None:
            if worker.ended:
                return True
            if self._is_here(worker):
                return worker.place != _place(int(worker.place["pid"]))
        return self.silent_s(name, worker) > (worker.lease_s if worker else LEASE_S)

    def silent_s(self, name: str, worker: Worker | None) -> float:
        """Return the seconds since this process has first seen the present counter of a worker."""
        now, beat = _now(), worker.beat if worker else None
        if name not in self._seen or self._seen[name][0] != beat:
            self._seen[name] = (beat, now)
        return now - self._seen[name][1]

    def _is_here(self, worker: Worker) -> bool:
        """Return whether the process of a worker can be looked up from here."""
        keys = ("host", "boot", "namespace")
        known = self._here["boot"] and self._here["namespace"] and isinstance(worker.place.get("pid"), int)
        return bool(known) and all(worker.place.get(key) == self._here[key] for key in keys)


def refuse_if_active(home: Path) -> None:
    """Refuse to go on while a worker that may be alive has runs of a folder.

    Raises:
        UsageError: naming it.
    """
    liveness = Liveness(home)
    for lease in read_leases(home).values():
        if lease.state == HELD and not liveness.is_dead(lease.worker):
            raise UsageError(
                f"{lease.worker or 'a worker'} works in {home}:"
                " wait for it, or use another folder: --results DIR\n"
                "if it is dead, type its command again, which takes its runs over"
            )


def refuse_rivals(home: Path, about: JsonView) -> None:
    """Refuse to work beside a worker that shares this part of the machine and not its timing lock.

    Args:
        about: ``lock`` (``timing_lock.identity()``), ``cores`` and ``gpus`` of this process.

    Raises:
        UsageError: such a worker is alive; the two would time at once.
    """
    liveness = Liveness(home)
    boot = _place(os.getpid())["boot"]
    rivals = [
        worker
        for worker in read_workers(home).values()
        if not worker.ended and boot and worker.place.get("boot") == boot
        if worker.about.get("lock") != about["lock"] and not are_apart(worker.about, about)
    ]
    for worker in rivals:
        limit = _now() + 3 * worker.lease_s / BEATS
        while not liveness.is_dead(worker.name) and _now() < limit:
            current = _read_worker(home / "workers" / f"{worker.name}.json")
            if current is not None and current.beat != worker.beat:
                raise UsageError(
                    f"{worker.name} works on this machine with another timing lock, so both could time at"
                    " once: let both see one folder, named by SUPERNET_BENCH_LOCKS, or give each cores"
                    " (taskset) and GPUs (CUDA_VISIBLE_DEVICES) of its own"
                )
            time.sleep(0.2)


class Leases:
    """Context manager: one worker with its beat, its leases, and its view of those of others.

    Args:
        home: results folder of a suite and tier, which all workers share.
        about: plain values for ``status``.
        lease_s: seconds after which others take over from this worker when it is silent.
    """

    def __init__(self, home: Path, about: JsonView, lease_s: float = LEASE_S) -> None:
        self.home, self.lease_s = home, lease_s
        self.worker = f"{socket.gethostname()[:40]}-{os.getpid()}-{secrets.token_hex(4)}"
        self.about = dict(about)
        self.known: dict[str, Lease] = {}
        """Last leases as of ``refresh``."""
        self._mine: dict[str, int] = {}
        self._again: dict[str, int] = {}
        self._liveness = Liveness(home)
        self._dead: dict[str, bool] = {}
        self._beat, self._at = 0, _now()
        self._silent = False
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._keep_beating, name="lease", daemon=True)

    def __enter__(self) -> Leases:
        for name in (FOLDER, "workers"):
            (self.home / name).mkdir(parents=True, exist_ok=True)
        self._write_beat()
        self.refresh()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        for run in list(self._mine):
            with contextlib.suppress(OSError):
                self.end(run, FREE)
        self._closed.set()
        self._thread.join()
        with contextlib.suppress(OSError):
            self._write_beat(ended=True)

    def refresh(self) -> None:
        """Read the last leases of all runs."""
        self.known = read_leases(self.home, self.known)
        self._dead.clear()

    def allow_again(self, runs: Iterable[str]) -> None:
        """Let runs that have ended be leased once more, unless another worker is faster."""
        for run in runs:
            lease = self.known.get(run)
            if lease is not None and lease.state in ENDED:
                self._again[run] = lease.number

    def ended(self, run: str) -> bool:
        """Return whether a run has ended, as of ``refresh``, and is not to be run again."""
        lease = self.known.get(run)
        return lease is not None and lease.state in ENDED and self._again.get(run) != lease.number

    def take(self, run: str) -> bool:
        """Lease a run; return False if another worker has it or it has ended."""
        lease = self.known.get(run)
        if lease is not None:
            if lease.state == HELD and not self._is_dead(lease.worker):
                return False
            if self.ended(run):
                return False
        number = lease.number + 1 if lease else 1
        taken = self._create(run, number)
        self.known[run] = Lease(number, self.worker, HELD) if taken else _read_lease(self.home, run, number)
        if taken:
            self._mine[run] = number
        return taken

    def _is_dead(self, worker: str) -> bool:
        """Return whether a worker is dead, looked up once after each ``refresh``."""
        if worker not in self._dead:
            self._dead[worker] = self._liveness.is_dead(worker)
        return self._dead[worker]

    def holds(self, run: str) -> bool:
        """Return whether this worker still has a run that it took: nobody has created a later lease."""
        number = self._mine.get(run)
        return number is not None and not self._path(run, number + 1).exists()

    def end(self, run: str, state: str) -> None:
        """Give a run back, or note the state in which it ended."""
        number = self._mine.pop(run)
        self._again.pop(run, None)
        self.known[run] = Lease(number, self.worker, state)
        _replace(self._path(run, number), self._text(state))

    def lost(self) -> bool:
        """Return once whether this worker was silent for so long that others may have its runs."""
        silent = self._silent or _now() - self._at > LOST_SHARE * self.lease_s
        self._silent = False
        if silent:
            self._write_beat()
        return silent

    def _create(self, run: str, number: int) -> bool:
        """Create a lease that does not exist; a hard link is atomic on network file systems too."""
        path, text = self._path(run, number), self._text(HELD)
        handle, fresh = tempfile.mkstemp(prefix=".", dir=path.parent)
        try:
            with os.fdopen(handle, "w") as file:
                file.write(text)
            try:
                os.link(fresh, path)
            except FileExistsError:
                # A server's answer may be lost after the link was made, and the call repeated.
                return _read_lease(self.home, run, number).worker == self.worker
            except OSError:  # no hard links here
                return _create_exclusively(path, text)
            return True
        finally:
            os.unlink(fresh)

    def _path(self, run: str, number: int) -> Path:
        return self.home / FOLDER / f"{run}.{number}.json"

    def _text(self, state: str) -> str:
        return json.dumps({"worker": self.worker, "state": state})

    def _keep_beating(self) -> None:
        while not self._closed.wait(self.lease_s / BEATS):
            if _now() - self._at > LOST_SHARE * self.lease_s:
                self._silent = True
            with contextlib.suppress(OSError):
                self._write_beat()

    def _write_beat(self, ended: bool = False) -> None:
        self._beat += 1
        state = {"name": self.worker, "beat": self._beat, "lease_s": self.lease_s, "ended": ended}
        state |= {"place": _place(os.getpid()), "about": self.about | {"runs": sorted(self._mine)}}
        _replace(self.home / "workers" / f"{self.worker}.json", json.dumps(state))
        self._at = _now()


def _names(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)
    except FileNotFoundError:
        return []


def _read(path: Path) -> JsonObject:
    """Return a JSON object; empty if there is none that can be read."""
    try:
        with path.open("rb") as file:
            value = json.loads(file.read(LARGEST))
    except (OSError, ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _read_lease(home: Path, run: str, number: int) -> Lease:
    value = _read(home / FOLDER / f"{run}.{number}.json")
    state = value.get("state")
    worker = str(value.get("worker", "")).replace("/", "")
    return Lease(number, worker, state if state in (FREE, *ENDED) else HELD)


def _read_worker(path: Path) -> Worker | None:
    value = _read(path)
    try:
        return Worker(
            path.name.removesuffix(".json"),
            int(value["beat"]),
            min(max(float(value["lease_s"]), 0.0), 86400.0),
            dict(value["place"]),
            dict(value["about"]),
            bool(value["ended"]),
        )
    except (KeyError, TypeError, ValueError):
        return None


def _replace(path: Path, text: str) -> None:
    """Replace a small file in one step; not synced, as it need not outlive a crash of the machine."""
    fresh = path.with_name(f".{path.name}.{threading.get_ident()}")
    fresh.write_text(text)
    os.replace(fresh, path)


def _create_exclusively(path: Path, text: str) -> bool:
    try:
        handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
    except FileExistsError:
        return False
    with os.fdopen(handle, "w") as file:
        file.write(text)
    return True


def _now() -> float:
    """Return seconds that also pass while the machine sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()


def _place(pid: int) -> JsonObject:
    """Return the identity of a process of this machine; ``started`` is empty if it does not run."""
    boot, namespace, started = "", "", ""
    with contextlib.suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        namespace = os.readlink("/proc/self/ns/pid")
    with contextlib.suppress(OSError, IndexError):
        # The name of the program, in brackets, may hold spaces.
        words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        started = "" if words[0] in "ZX" else words[19]
    return {
        "host": socket.gethostname(),
        "boot": boot,
        "namespace": namespace,
        "pid": pid,
        "started": started,
    }
