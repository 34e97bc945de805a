"""Hooks: other programs that follow runs, such as a tracker; ``run --hook NAME``.

A hook is an entry point of ``supernet_bench.hooks``: a class with ``handle(event)`` and maybe ``close()``. It
runs in a process of its own, which is given one JSON object a line. It sees progress and results, and can
neither change, stop nor slow a run: an event that it does not take in time is dropped.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
import traceback
from collections.abc import Sequence
from importlib.metadata import EntryPoint, entry_points
from typing import Protocol

from benchmarks.api import UsageError
from benchmarks.records.canonical import JsonView
from benchmarks.runs.heartbeat import Beat
from benchmarks.runs.plan import PlannedRun
from benchmarks.suggestions import unknown

GROUP = "supernet_bench.hooks"
EVERY_S = 5.0
"""Seconds between two events of one phase of a run."""
LONGEST = 4096
"""Bytes of an event, at most: a pipe takes so many at once or none."""
CLOSE_S = 10.0
"""Seconds that a hook gets to end."""


def installed() -> dict[str, EntryPoint]:
    """Return all installed hooks by name."""
    return {entry.name: entry for entry in entry_points(group=GROUP)}


def require(names: Sequence[str]) -> None:
    """Refuse names that no installed hook has.

    Raises:
        UsageError: for the first such name.
    """
    known = installed()
    for name in names:
        if name not in known:
            raise unknown("hook", name, known, f"a hook is an entry point of {GROUP}: docs/scaling.md")


class Hook(Protocol):
    """A hook's class; ``close()``, if it has one, is called at the end."""

    def handle(self, event: JsonView) -> None:
        """Take one event."""


class Hooks:
    """Context manager that keeps the processes of some hooks, and sends them events."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = names
        self._processes: list[subprocess.Popen[bytes]] = []
        self._sent: dict[str, tuple[str, float]] = {}

    def __enter__(self) -> Hooks:
        for name in self._names:
            words = [sys.executable, "-m", "benchmarks.runs.hooks", name]
            process = subprocess.Popen(
                words, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, start_new_session=True
            )
            assert process.stdin is not None
            os.set_blocking(process.stdin.fileno(), False)
            self._processes.append(process)
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes:
            assert process.stdin is not None
            with contextlib.suppress(OSError):
                process.stdin.close()
        for process in self._processes:
            try:
                process.wait(CLOSE_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def update(self, run: PlannedRun, stage: str, beat: Beat) -> None:
        """Send the progress of a run, at most every ``EVERY_S`` seconds within a phase."""
        if not self._processes:
            return
        phase, now = str(beat.get("phase", stage)), time.monotonic()
        last, at = self._sent.get(run.spec.id, ("", 0.0))
        if phase == last and now - at < EVERY_S:
            return
        self._sent[run.spec.id] = phase, now
        log = beat.get("search_log") or ()
        loss = {"valid_loss": log[-1]["best_valid_loss"]} if log else {}
        share = dict(beat["ledger"]["share"]) if "ledger" in beat else {}
        progress = list(beat.get("progress") or ())[:2]
        self.send("progress", run, stage=stage, phase=phase, progress=progress, spent=share, **loss)

    def finish(self, run: PlannedRun, message: str) -> None:
        """Send the end of a run, with the figures of its headline candidates."""
        results = []
        record = run.record
        for candidate in record["candidates"] if record is not None else ():
            latency, pooled = candidate.get("latency") or {}, (candidate.get("test") or {}).get("pooled", {})
            scores = {name: figure["value"] for name, figure in pooled.items()}
            results.append({"target": candidate.get("limit_share"), "ratio": latency.get("ratio"), **scores})
        self.send("end", run, state=run.state, message=message, results=results[:20])

    def send(self, kind: str, run: PlannedRun, **values: object) -> None:
        """Send one event to all hooks; drop it where it is too long or the hook is busy."""
        spec = run.spec
        about = {"id": spec.id, "task": spec.task, "method": spec.method, "seed": spec.seed}
        about |= {"options": dict(spec.options), "profile": spec.profile}
        line = json.dumps({"event": kind, "run": about, **values}).encode() + b"\n"
        for process in self._processes:
            if process.stdin is not None and len(line) <= LONGEST:
                with contextlib.suppress(OSError, ValueError):
                    os.write(process.stdin.fileno(), line)


def follow(name: str) -> None:
    """Give events of standard input to a hook, until the input ends. Errors of the hook are shown once."""
    hook: Hook = installed()[name].load()()
    shown = False
    for line in sys.stdin:
        event: JsonView = json.loads(line)
        try:
            hook.handle(event)
        except Exception:
            if not shown:
                traceback.print_exc()
            shown = True
    close = getattr(hook, "close", None)
    if close is not None:
        close()


if __name__ == "__main__":
    try:
        follow(sys.argv[1])
    except (UsageError, KeyError, ImportError) as problem:
        sys.exit(f"hook {sys.argv[1]}: {problem}")
