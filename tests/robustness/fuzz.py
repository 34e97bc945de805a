"""Mutated files for every reader, ``python -m tests.robustness.fuzz``: no traceback, hang or execution.

Sound files of each kind are changed at random and given to the code that a command reads them with. A reader
may return, or raise what the commands print as one message. It must not raise anything else, use more than
``LIMIT_S`` seconds or ``LIMIT_MIB`` of memory, execute a file, start a program, open a connection, or write
outside of its folder. Readers run in forked processes, so that one that crashes ends no campaign.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import json
import mmap
import os
import random
import re
import resource
import shutil
import signal
import struct
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.api import UsageError
from benchmarks.records.assembly import read_json
from tests import ROOT
from tests.robustness import figures
from tests.robustness.readers import KINDS, Files, Kind

LIMIT_S = 10.0
LIMIT_MIB = 512
BATCH = 200
"""Inputs that one forked process reads."""
FORBIDDEN = (
    *("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork", "os.forkpty", "pty.spawn"),
    *("socket.connect", "socket.bind", "ctypes.dlopen", "os.kill", "os.symlink", "os.link"),
)
"""Audit events that no reader may raise."""
WRITES = {
    "os.mkdir": ((0, 2),),
    "os.rename": ((0, 2), (1, 3)),
    "os.remove": ((0, 1),),
    "os.rmdir": ((0, 1),),
    "os.chmod": ((0, 2),),
    "os.truncate": ((0, None),),
    "shutil.rmtree": ((0, 1),),
}
"""Audit events whose paths must lie in the folder ``out`` -> places of each path and of its folder."""


@dataclass
class Result:
    """Figures of one kind: ``faults`` is place and error of what must not be, with one input's number."""

    inputs: int = 0
    refused: int = 0
    slowest_s: float = 0.0
    peak_mib: float = 0.0
    faults: dict[str, list[int]] = field(default_factory=dict)

    def fault(self, what: str, number: int) -> None:
        """Count a fault under its place."""
        self.faults.setdefault(what, []).append(number)


class Sandbox:
    """Folders of one process: ``in`` holds the input, ``out`` is all that a reader may write."""

    def __init__(self, home: Path) -> None:
        self.home, self.input, self.out = home, home / "in", home / "out"
        self.violation = ""
        self.armed = False
        self._written: dict[str, bytes] = {}

    def fill(self, files: Files) -> None:
        """Put an input's files into the folder ``in``, and empty the folder ``out``."""
        for folder in (self.input, self.out):
            folder.mkdir(exist_ok=True)
        for name in self._written.keys() - files.keys():
            (self.input / name).unlink(missing_ok=True)
        for name, data in files.items():
            if self._written.get(name) != data:
                path = self.input / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)
        for path in self.input.iterdir():  # folders of another example
            if path.is_dir() and not any(name.startswith(f"{path.name}/") for name in files):
                shutil.rmtree(path)
        self._written = dict(files)
        if any(self.out.iterdir()):
            shutil.rmtree(self.out)
            self.out.mkdir()

    def watch(self) -> None:
        """Note every event that no reader may raise."""

        def hook(event: str, arguments: tuple[object, ...]) -> None:
            if not self.armed:
                return
            if event in FORBIDDEN:
                self.violation = self.violation or f"{event} {str(arguments)[:80]}"
            elif event == "open":
                path, mode, flags = (*arguments, None, None, None)[:3]
                writes = isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
                if writes and not self._inside(path):
                    self.violation = self.violation or f"wrote {str(path)[:80]} ({mode})"
            elif event in WRITES:
                for at, folder in WRITES[event]:
                    if not self._inside(_path(arguments, at, folder)):
                        self.violation = self.violation or f"{event} {str(arguments[at])[:80]}"
            elif event == "exec":
                name = str(getattr(arguments[0], "co_filename", ""))
                if name.startswith(str(self.home)):
                    self.violation = self.violation or f"executed {name[:80]}"

        sys.addaudithook(hook)

    def _inside(self, path: object) -> bool:
        if isinstance(path, int) or path is None:
            return True
        name = os.path.realpath(os.fsdecode(path))  # type: ignore[arg-type]
        # An archive's lock and its folders lie in `out`; memory and null devices are no files.
        device = name.startswith(("/dev/", "/proc/")) and not name.startswith("/dev/shm/")
        return device or name.startswith((f"{self.out}", f"{self.home / 'tmp'}"))


def _path(arguments: tuple[object, ...], at: int, folder: int | None) -> object:
    """Return the path of an audit event, in the folder of which a descriptor may be another argument."""
    path = arguments[at]
    descriptor = arguments[folder] if folder is not None and len(arguments) > folder else -1
    if isinstance(path, int) or not isinstance(descriptor, int) or descriptor < 0:
        return path
    return Path(os.readlink(f"/proc/self/fd/{descriptor}"), os.fsdecode(path))  # type: ignore[arg-type]


def place_of(error: BaseException) -> str:
    """Return error type and the innermost line of this repository, the identity of a fault."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename.startswith(str(ROOT))]
    own = [f for f in frames if "/tests/" not in f.filename] or frames
    where = f"{Path(own[-1].filename).relative_to(ROOT)}:{own[-1].lineno}" if own else "?"
    return f"{type(error).__name__} at {where}: {str(error)[:80]!r}"


def draw(kind: Kind, examples: Sequence[Files], seed: int, number: int) -> Files:
    """Return input ``number`` of a kind; equal numbers give equal inputs."""
    rng = random.Random(f"{kind.name} {seed} {number}")
    try:
        return kind.mutate(rng, rng.choice(examples), examples)
    except (ValueError, RecursionError, OverflowError):  # the mutation, not the reader
        return rng.choice(examples)


def read_batch(
    kind: Kind, examples: Sequence[Files], seed: int, numbers: range, home: Path, shared: mmap.mmap
) -> Result:
    """Read inputs in this process, which is a forked one; note the number of each before it begins."""
    sandbox, result = Sandbox(home), Result()
    for folder in ("tmp", "cwd"):
        (home / folder).mkdir(parents=True, exist_ok=True)
    os.chdir(home / "cwd")
    tempfile.tempdir = str(home / "tmp")
    sandbox.watch()
    sandbox.fill(examples[0])
    expected = (UsageError, OSError, *kind.expected)
    try:
        kind.read(sandbox.input, sandbox.out)  # imports what it needs
    except expected:
        pass
    before = _without_freed_memory()
    most = resource.getrlimit(resource.RLIMIT_DATA)[1]
    resource.setrlimit(resource.RLIMIT_DATA, (_data_bytes() + LIMIT_MIB * 2**20, most))
    for number in numbers:
        files = draw(kind, examples, seed, number)
        try:
            sandbox.fill(files)
        except (OSError, ValueError):
            continue
        shared[:8] = struct.pack("q", number)
        began = time.process_time()
        signal.setitimer(signal.ITIMER_PROF, LIMIT_S)
        signal.setitimer(signal.ITIMER_REAL, 12 * LIMIT_S)  # waits on nothing, on however busy a machine
        sandbox.armed, bloated = True, False
        try:
            kind.read(sandbox.input, sandbox.out)
        except expected:
            result.refused += 1
        except MemoryError:
            bloated = True
        except BaseException as error:
            result.fault(place_of(error), number)
        sandbox.armed = False
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)
        result.inputs += 1
        result.slowest_s = max(result.slowest_s, time.process_time() - began)
        grown = _peak_mib() - before
        result.peak_mib = max(result.peak_mib, grown)
        if sandbox.violation:
            result.fault(sandbox.violation, number)
            sandbox.violation = ""
        if bloated or grown > LIMIT_MIB:
            result.fault(f"memory above {LIMIT_MIB} MiB", number)
            break
    strays = {p.name for p in home.iterdir()} - {"in", "out", "tmp", "cwd"}
    strays |= {p.name for p in (home / "cwd").iterdir()}
    strays |= {p.name for p in home.parent.iterdir()} - {home.name}
    if strays:
        result.fault(f"left {sorted(strays)[:3]}", numbers[0])
    return result


def _without_freed_memory() -> float:
    """Return freed memory to the system, begin the peak of resident memory anew, and return it in MiB.

    A parent that called ``supernet.allocator.keep_freed`` has room for hundreds of MiB, in which a reader
    would take none that is seen.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    return _peak_mib()


def _data_bytes() -> int:
    """Return the bytes of this process that ``RLIMIT_DATA`` counts: heap and private writable mappings."""
    (kib,) = re.findall(r"VmData:\s*(\d+)", Path("/proc/self/status").read_text())
    return 1024 * int(kib)


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def forked(kind: Kind, examples: Sequence[Files], seed: int, numbers: range, total: Result) -> int:
    """Read a batch in a forked process, add its result, and return the number with which to go on."""
    shared = mmap.mmap(-1, 8)
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="supernet-bench-fuzz-", dir=memory) as top:
        answer = Path(top).with_name(Path(top).name + ".json")
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                null = os.open(os.devnull, os.O_WRONLY)
                os.dup2(null, 1)
                os.dup2(null, 2) if not os.environ.get("FUZZ_SHOW") else None
                home = Path(top).resolve() / "home"
                home.mkdir()
                result = read_batch(kind, examples, seed, numbers, home, shared)
                answer.write_text(json.dumps(asdict(result)))
                code = 0
            except BaseException:
                if os.environ.get("FUZZ_SHOW"):
                    traceback.print_exc()
            finally:
                os._exit(code)
        status = os.waitpid(pid, 0)[1]
        at = struct.unpack("q", shared[:8])[0]
        if os.WIFSIGNALED(status):
            name = signal.Signals(os.WTERMSIG(status)).name
            hang = name in ("SIGPROF", "SIGALRM")
            total.fault(f"hangs above {LIMIT_S:g} s" if hang else f"killed by {name}", at)
            total.inputs += at - numbers[0] + 1
            return at + 1
        if not answer.exists():
            total.fault("the process of the readers failed", at)
            return numbers[-1] + 1
        own = json.loads(answer.read_text())
        answer.unlink()
    total.inputs += own["inputs"]
    total.refused += own["refused"]
    total.slowest_s = max(total.slowest_s, own["slowest_s"])
    total.peak_mib = max(total.peak_mib, own["peak_mib"])
    for what, found in own["faults"].items():
        for number in found:
            total.fault(what, number)
    return int(at + 1) if any(what.startswith("memory above") for what in own["faults"]) else numbers[-1] + 1


def campaign(kind: Kind, count: int, seed: int) -> Result:
    """Read ``count`` mutated inputs of one kind."""
    total = Result()
    with tempfile.TemporaryDirectory() as name:
        examples = kind.examples(Path(name).resolve())
    at = 0
    while at < count:
        at = forked(kind, examples, seed, range(at, min(at + BATCH, count)), total)
    return total


def main() -> int:
    """Run a campaign; 1 if any input does what none may."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--inputs", type=int, default=100_000, help="of all kinds (default: 100000)")
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--kind", action="append", help="this kind's part of them alone; repeatable")
    options.add_argument(
        "--save", nargs=2, metavar=("NUMBER", "DIR"), help="write one input of --kind, and end"
    )
    options.add_argument("--out", type=Path, help="JSON file for the figures")
    chosen = options.parse_args()
    kinds = [kind for kind in KINDS if not chosen.kind or kind.name in chosen.kind]
    if chosen.save:
        with tempfile.TemporaryDirectory() as name:
            examples = kinds[0].examples(Path(name).resolve())
        Sandbox(Path(chosen.save[1])).fill(draw(kinds[0], examples, chosen.seed, int(chosen.save[0])))
        return 0
    shares = sum(kind.share for kind in KINDS)
    measured: dict[str, Any] = {}
    for kind in kinds:
        began = time.monotonic()
        result = campaign(kind, -int(-chosen.inputs * kind.share // shares), chosen.seed)
        measured[kind.name] = {
            **{k: v for k, v in asdict(result).items() if k != "faults"},
            "slowest_s": round(result.slowest_s, 2),
            "peak_mib": round(result.peak_mib, 1),
            "faults": {what: len(numbers) for what, numbers in result.faults.items()},
        }
        print(f"{kind.name}: {json.dumps(measured[kind.name])} {time.monotonic() - began:.0f} s", flush=True)
        for what, numbers in result.faults.items():
            print(f"   {len(numbers)} x {what}, first input {numbers[0]}", flush=True)
    if chosen.out:
        known = read_json(chosen.out).get("fuzz", {}).get("kinds", {}) if chosen.kind else {}
        every = {**known, **measured}
        total = sum(int(kind["inputs"]) for kind in every.values())
        limits = {"seconds": LIMIT_S, "mib": LIMIT_MIB}
        figures.store(
            chosen.out, "fuzz", {"seed": chosen.seed, "inputs": total, "limits": limits, "kinds": every}
        )
    return int(any(kind["faults"] for kind in measured.values()))


if __name__ == "__main__":
    sys.exit(main())
