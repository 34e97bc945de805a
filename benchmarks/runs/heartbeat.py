"""What a search process tells its supervisor, and what remains of it when it is killed. No torch.

A thread writes ``heartbeat.json`` twice a second: where the clock stands, what is spent, how far
the phase is. The supervisor stops a run by it, and writes the outcome of a killed one from it.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from benchmarks.lab.journal import CorruptFileError, Journal
from benchmarks.records.assembly import SEARCH_FILE
from benchmarks.records.record import SearchOutcome
from benchmarks.records.store import write_text
from benchmarks.stage import EVERY_S

HEARTBEAT, JOURNAL = "heartbeat.json", "journal.jsonl"


class Heartbeat:
    """Writes the state of a run at short intervals until closed.

    Args:
        folder: of the run.
        read: gives the state as plain JSON types; called from the thread.
    """

    def __init__(self, folder: Path, read: Callable[[], Mapping[str, Any]]) -> None:
        self.path = folder / HEARTBEAT
        self._read = read
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)
        self.write()
        self._thread.start()

    def _beat(self) -> None:
        while not self._closed.wait(EVERY_S):
            self.write()

    def write(self) -> None:
        """Write now; ``at`` is on the machine's monotonic clock, which processes share."""
        with self._lock:
            state = {"at": time.monotonic(), **self._read()}
            fresh = self.path.with_suffix(".tmp")
            # Not synced to disk: after a power failure the journal and the checkpoints count.
            fresh.write_text(json.dumps(state))
            os.replace(fresh, self.path)

    def close(self) -> None:
        """Write a last time and stop."""
        self._closed.set()
        self._thread.join()
        self.write()


def read_heartbeat(folder: Path) -> dict[str, Any]:
    """The last heartbeat of a run; empty where there is none that can be read."""
    try:
        state = json.loads((folder / HEARTBEAT).read_text())
    except (OSError, ValueError):
        return {}
    return state if isinstance(state, dict) else {}


def elapsed(beat: Mapping[str, Any], now: float) -> float:
    """Seconds on the run's account at ``now`` (monotonic), also when the heart has stopped."""
    return float(beat["clock"] + (0.0 if beat["pause"] else max(0.0, now - beat["at"])))


def write_outcome(folder: Path, status: str, message: str, seconds: float = 0.0) -> SearchOutcome:
    """Write ``search.json``, the outcome of a search, from what the run has left on disk.

    The same for a search that ended and for one that was killed; ``seconds`` is then the time on its
    account as its supervisor has it: they were what stopped it.
    """
    beat = read_heartbeat(folder)
    try:
        with Journal(folder / JOURNAL) as journal:
            candidates = journal.candidates(beat.get("proposals", 0))
    except (CorruptFileError, KeyError) as error:
        status, message, candidates = "failed", f"{message}; {error}".lstrip("; "), []
    fields = (
        "index",
        "architecture",
        "policy",
        "origin",
        "limit_ms",
        "limit_share",
        "weights_sha256",
        "spent",
        "valid",
    )
    ledger = beat.get("ledger") or {"entries": [], "totals": {}, "share": {}, "timeline": []}
    unseen = seconds - ledger["totals"].get("seconds", 0.0)
    if beat and unseen > 0:
        ledger["entries"].append({"phase": beat["phase"], "kind": "seconds", "amount": unseen})
        ledger["share"]["seconds"] *= seconds / ledger["totals"]["seconds"]
        ledger["totals"]["seconds"] = seconds
    ledger |= {"harness_seconds": beat.get("off", {}), "lost_seconds": max(0.0, beat.get("lost", 0.0))}
    if "cpu" in beat:
        ledger["cpu_seconds"] = {"search": round(beat["cpu"], 3)}
    stopped_by = "seconds" if seconds else beat.get("stopped_by")
    outcome: Any = {
        "status": status,
        "message": message,
        **({"stopped_by": stopped_by} if status == "budget" and stopped_by else {}),
        "ledger": ledger,
        "candidates": [
            {name: entry.get(name) for name in fields}
            | {name: entry[name] for name in ("trial", "window", "space") if name in entry}
            for entry in candidates
        ],
        "search_log": beat.get("search_log", []),
    }
    write_text(folder / SEARCH_FILE, json.dumps(outcome, indent=1))
    return outcome  # type: ignore[no-any-return]
