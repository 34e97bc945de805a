"""Random kills of a real command, ``python -m tests.robustness.crash``: what is typed again ends bit for bit.

A chain of three runs (HAT, then its winners trained alone and rounded to INT8, which follow it) is started in
a folder, disturbed at a random moment, and typed again, until all three have ended. Each final record has to
equal, in every field that its digest covers, the record of a chain that nothing happened to: architectures,
weights, validation and test figures, and all charges. No process may outlive its command, and no command may
print a traceback.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

import psutil

from benchmarks.records.assembly import read_json
from tests import ROOT
from tests.robustness import figures

WORDS = (
    *("run", "mt", "--task", str(Path(__file__).with_name("crash_task.py")) + ":Grammar"),
    *("--methods", "hat,scratch,int8-uniform", "--seeds", "1", "--profile", "undeclared"),
    *("--checkpoint-seconds", "1", "--results", "results"),
)
KINDS = (
    "SIGKILL of the group",
    "SIGTERM",
    "SIGINT",
    "SIGINT twice",
    "worker alone",
    "scorer alone",
    "full disk",
    "clock jump",
    "memory limit",
)
TARGETS = {"worker alone": "log.txt", "scorer alone": "score.txt", "memory limit": "log.txt"}
"""Kind of disturbance that needs a process -> the log of that process."""
FAKETIME = Path("/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1")
CGROUPS = Path("/sys/fs/cgroup/memory")
DISK = "400m"
"""Size of the file system that a chain has for itself, where one can be mounted."""
END_S = 600.0
"""Seconds after which a command counts as hanging."""


@dataclass
class Figures:
    """Result of a campaign; ``commands`` were typed, ``kills`` of them were disturbed, by kind."""

    seeds: list[int]
    kills: Counter[str] = field(default_factory=Counter)
    commands: int = 0
    chains: int = 0
    records: int = 0
    differing: list[str] = field(default_factory=list)
    tracebacks: list[str] = field(default_factory=list)
    survivors: list[str] = field(default_factory=list)
    hanging: list[str] = field(default_factory=list)
    means: dict[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, object]:
        """Return the figures for ``results/robustness.json``."""
        return {**asdict(self), "kills": dict(self.kills), "total_kills": self.kills.total()}

    @property
    def faults(self) -> int:
        """Number of all that must not be."""
        return sum(map(len, (self.differing, self.tracebacks, self.survivors, self.hanging)))


class Command:
    """One start of the command in a chain's folder, in a process group of its own."""

    def __init__(self, folder: Path, jumps: Path | None = None) -> None:
        self.folder, self.began = folder, time.monotonic()
        fixed = {"SUPERNET_BENCH_COMMIT": "crash", "OMP_NUM_THREADS": "1", "NO_COLOR": "1", "COLUMNS": "150"}
        environment = {**os.environ, **fixed, "PYTHONPATH": str(ROOT)}
        if jumps is not None:
            environment |= {
                "LD_PRELOAD": str(FAKETIME),
                "FAKETIME_TIMESTAMP_FILE": str(jumps),
                "FAKETIME_CACHE_DURATION": "1",
                "DONT_FAKE_MONOTONIC": "1",
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

    def wait_for(self, seconds: float, *logs: str) -> None:
        """Wait until a process writes to a log, or the command has ended."""
        end = time.monotonic() + seconds
        while self.running and time.monotonic() < end and not self.processes(*logs):
            time.sleep(0.05)

    def pause(self, seconds: float) -> None:
        """Wait for some seconds, or the command's end."""
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(seconds)


class Chain:
    """A folder in which the command is typed until all of its runs have ended.

    Args:
        start_s: seconds that the command takes here until its first run begins, on which moments depend.
    """

    def __init__(self, folder: Path, rng: random.Random, result: Figures, start_s: float) -> None:
        self.folder, self.rng, self.result, self.start_s = folder, rng, result, start_s
        self.kills = Counter[str]()

    def disturb(self, kind: str) -> bool:
        """Type the command and disturb it at a random moment; return whether it was still running then."""
        jumps = self.folder / "jumps"
        if kind == "clock jump":
            jumps.write_text("+0\n")
        command = Command(self.folder, jumps if kind == "clock jump" else None)
        disturbed = self._moment(command, kind) and self._act(command, kind, jumps)
        if disturbed:
            self.kills[kind] += 1
        elif command.running:  # the process that was meant has just ended
            self.kills["SIGKILL of the group"] += 1
            self._kill_all(command)
        self._end(command, f"{kind}, command {self.result.commands}")
        return disturbed

    def finish(self) -> int:
        """Type the command until it ends well, at most four times; return its last exit code."""
        for _ in range(4):
            command = Command(self.folder)
            self._end(command, f"undisturbed, command {self.result.commands}")
            if command.process.returncode == 0:
                break
        return int(command.process.returncode)

    def _moment(self, command: Command, kind: str) -> bool:
        """Wait for the moment of a disturbance; return False if the command ended before."""
        if kind in TARGETS:
            command.wait_for(300, TARGETS[kind])
            command.pause(self.rng.uniform(0, 0.1 * self.start_s))
            return command.running
        if self.rng.random() < 0.5:
            command.wait_for(300, "log.txt", "score.txt")
            command.pause(self.rng.uniform(0, 0.4 * self.start_s))
        else:
            command.pause(self.rng.uniform(0, 1.4 * self.start_s))
        return command.running

    def _act(self, command: Command, kind: str, jumps: Path) -> bool:
        """Disturb the command; return whether something was there to be disturbed."""
        rng = self.rng
        if kind == "SIGKILL of the group":
            self._kill_all(command)
        elif kind == "SIGTERM":
            os.kill(command.process.pid, signal.SIGTERM)
        elif kind.startswith("SIGINT"):
            command.send(signal.SIGINT)  # as Ctrl-C in a terminal
            if kind.endswith("twice"):
                command.pause(rng.uniform(0, 3))
                command.send(signal.SIGINT)
        elif kind in ("worker alone", "scorer alone"):
            processes = command.processes("score.txt" if kind == "scorer alone" else "log.txt")
            if not processes:
                return False
            with suppress(psutil.Error):
                rng.choice(processes).kill()
            self._go_on(command)
        elif kind == "clock jump":
            jumps.write_text(f"{rng.choice('+-')}{rng.randrange(60, 400 * 86400)}\n")
            self._go_on(command)
        elif kind == "full disk":
            with _filled(self.folder / "filler"):
                command.pause(rng.uniform(1, 0.3 * self.start_s + 1))
            self._go_on(command)
        elif kind == "memory limit":
            with _limited(command):
                command.pause(rng.uniform(1, 0.3 * self.start_s + 1))
            self._go_on(command)
        return True

    def _go_on(self, command: Command) -> None:
        """Let the command work on for some seconds, then end it: a chain that ends has no more kills."""
        command.pause(self.rng.uniform(0, 0.5 * self.start_s))
        if command.running:
            self.kills["SIGKILL of the group"] += 1
            self._kill_all(command)

    def _kill_all(self, command: Command) -> None:
        command.send(signal.SIGKILL)

    def _end(self, command: Command, what: str) -> None:
        """Wait for a command's end, and note what must not be."""
        self.result.commands += 1
        try:
            command.process.wait(END_S)
        except subprocess.TimeoutExpired:
            self.result.hanging.append(what)
            self._kill_all(command)
            command.process.wait()
        said = command.log.read_text(errors="replace")
        lasted = time.monotonic() - command.began
        code = command.process.returncode
        print(f"{what}: exit code {code} after {lasted:.1f} s", flush=True)
        if code not in (0, 1, 130, -signal.SIGKILL, -signal.SIGTERM):
            print(said[-600:], flush=True)
        if "Traceback (most recent call last)" in said:
            self.result.tracebacks.append(f"{what}: {said[-2000:]}")
        deadline = time.monotonic() + 20
        while (left := _working_in(self.folder)) and time.monotonic() < deadline:
            time.sleep(0.1)
        for process in left:
            self.result.survivors.append(what)
            with suppress(psutil.Error):
                process.kill()


def _working_in(folder: Path) -> list[psutil.Process]:
    """Return the processes whose working directory is a folder."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            if os.readlink(f"/proc/{process.pid}/cwd") == str(folder):
                found.append(process)
    return found


@contextmanager
def _filled(path: Path) -> Iterator[None]:
    """Fill the file system of ``path`` with that file while inside."""
    try:
        with path.open("wb") as file, suppress(OSError):
            while True:
                file.write(bytes(2**16))
                file.flush()
        yield
    finally:
        path.unlink(missing_ok=True)


@contextmanager
def _limited(command: Command) -> Iterator[None]:
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
def _disk(folder: Path) -> Iterator[bool]:
    """Mount a small file system at a folder, if that is allowed; return whether it was."""
    folder.mkdir(parents=True)
    words = ["mount", "-t", "tmpfs", "-o", f"size={DISK}", "tmpfs", str(folder)]
    mounted = shutil.which("mount") is not None and subprocess.run(words, capture_output=True).returncode == 0
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run(["umount", "-l", str(folder)], check=False)


def _records(folder: Path) -> dict[str, str]:
    """Return method -> digest of the final records: all that two runs of one spec share, charges included."""
    from benchmarks.records.store import load_all

    records = load_all(folder / "results" / "mt-smoke" / "records")
    return {r["spec"]["method"]: f"{r['status']} {r['digest']}" for r in records if r["status"] != "failed"}


def undisturbed(folder: Path) -> tuple[dict[str, str], float]:
    """Return method -> digest of an undisturbed chain, and the seconds until its first run began.

    A chain that is there already, of the same code, is taken as it is.
    """
    seconds = folder / "seconds.txt"
    if not seconds.exists():
        folder.mkdir(parents=True, exist_ok=True)
        command = Command(folder)
        command.wait_for(END_S, "log.txt")
        start_s = time.monotonic() - command.began
        if command.process.wait() or len(_records(folder)) != 3:
            raise SystemExit(f"the undisturbed chain failed: {command.log.read_text()[-3000:]}")
        seconds.write_text(f"{start_s}")
    return _records(folder), float(seconds.read_text())


def campaign(
    home: Path,
    reference: Path,
    kills: int,
    a_chain: int,
    seconds: float,
    seed: int,
    result: Figures,
    note: Callable[[Figures], None],
) -> None:
    """Add the figures of random kills in ever new chains to ``result``.

    Args:
        home: empty folder to work in.
        reference: folder of the undisturbed chain.
        kills: number of disturbances.
        a_chain: most disturbances of one chain.
        seconds: no chain begins after them.
        seed: of kinds and moments.
        result: figures so far.
        note: called after each chain.
    """
    began, rng = time.monotonic(), random.Random(seed)
    expected, start_s = undisturbed(reference)
    bag: list[str] = []
    while result.kills.total() < kills and time.monotonic() - began < seconds:
        folder = home / f"chain-{result.chains}"
        with _disk(folder) as own_disk:
            shutil.copytree(reference / "results/cache", folder / "results/cache")
            result.means = {
                "full disk": f"tmpfs of {DISK}" if own_disk else "not to be had: no right to mount",
                "clock jump": "libfaketime" if FAKETIME.exists() else "not to be had: no libfaketime",
                "memory limit": "cgroup" if os.access(CGROUPS, os.W_OK) else "rlimit of the worker",
            }
            chain = Chain(folder, rng, result, start_s)
            for _ in range(a_chain):
                if not bag:
                    bag = [
                        kind for kind in KINDS if not result.means.get(kind, "").startswith("not to be had")
                    ]
                    rng.shuffle(bag)
                if (result.kills + chain.kills).total() >= kills or time.monotonic() - began > seconds:
                    break
                if chain.disturb(bag[-1]):
                    bag.pop()
                elif len(_records(folder)) == 3:
                    break  # nothing is left to disturb; the kind is the next chain's first
            code = chain.finish()
            result.kills += chain.kills  # of chains that were followed to their end alone
            records = _records(folder)
            for method, digest in expected.items():
                result.records += 1
                if records.get(method) != digest:
                    said = (folder / "said.txt").read_text(errors="replace")[-1500:]
                    result.differing.append(f"chain {result.chains}, {method}: exit code {code}; {said}")
        result.chains += 1
        note(result)


def main() -> int:
    """Run a campaign; 1 if a record differs, a process survives, or a command hangs or prints a traceback."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--kills", type=int, default=200, help="disturbances (default: 200)")
    options.add_argument("--a-chain", type=int, default=18, help="most of them in one chain (default: 18)")
    options.add_argument("--seconds", type=float, default=36000, help="begin no disturbance after them")
    options.add_argument("--seed", type=int, default=1, help="of kinds and moments (default: 1)")
    options.add_argument("--out", type=Path, help="JSON file for the figures")
    options.add_argument(
        "--reference", type=Path, help="keep the undisturbed chain here for further campaigns"
    )
    options.add_argument("--more", action="store_true", help="add to the figures that --out has")
    chosen = options.parse_args()

    def note(result: Figures) -> None:
        shown = result.to_dict()
        print(json.dumps(shown), flush=True)
        if chosen.out:
            figures.store(chosen.out, "crash", shown)

    result = Figures([])
    if chosen.more and chosen.out and (stored := read_json(chosen.out).get("crash")):
        stored.pop("total_kills")
        result = Figures(**{**stored, "kills": Counter(stored["kills"])})
    result.seeds.append(chosen.seed)
    with tempfile.TemporaryDirectory(prefix="supernet-bench-crash-") as name:
        home = Path(name).resolve()
        reference = chosen.reference or home / "undisturbed"
        campaign(
            home, reference.resolve(), chosen.kills, chosen.a_chain, chosen.seconds, chosen.seed, result, note
        )
    return int(result.faults > 0)


if __name__ == "__main__":
    sys.exit(main())
