"""Heartbeat of a search process, and the outcome that is written from the files of its run. No torch.

A thread writes ``heartbeat.json`` twice a second: clock, charges and progress of the phase. The supervisor
stops a run by its heartbeat, and writes the outcome of a killed run from the last one.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

from benchmarks.lab.journal import CorruptFileError, Journal
from benchmarks.records.assembly import SEARCH_FILE, read_json
from benchmarks.records.record import Ledger, SearchOutcome, SearchPoint
from benchmarks.records.store import write_text
from benchmarks.stage import EVERY_S, PROGRESS

if TYPE_CHECKING:
    from benchmarks.runs.books import Books

HEARTBEAT, JOURNAL = "heartbeat.json", "journal.jsonl"
"""Files in a run's folder."""
CANDIDATE_FIELDS = (
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
"""Fields of a journal's candidate that an outcome always has."""
OPTIONAL_FIELDS = ("trial", "window", "space")
"""Fields that it has if the journal has them."""


class Beat(TypedDict, total=False):
    """State of a search process, as ``heartbeat.json`` stores it. All times in seconds.

    Attributes:
        at: machine's monotonic clock, which processes share.
        clock: time on the run's account.
        active: unpaused time of this session.
        active_before: unpaused time of earlier sessions.
        lost: time of earlier sessions whose work was repeated.
        off: time off the account, by reason.
        pause: reason why the clock stands still; empty while it runs.
        cpu: processor time, all sessions.
        stopped_by: kind of allowance that ended the search.
        progress: done, total and a note of the phase.
        proposals: number of candidates proposed.
        messages: lines for the user.
    """

    at: float
    clock: float
    active: float
    active_before: float
    lost: float
    off: dict[str, float]
    pause: str
    cpu: float
    stopped_by: str | None
    phase: str
    progress: tuple[float, float, str]
    proposals: int
    search_log: list[SearchPoint]
    messages: list[str]
    ledger: Ledger


class Heartbeat:
    """Thread that writes the state of a run at short intervals until closed.

    Args:
        folder: of the run.
        read: returns the state as plain JSON types; called from the thread.
    """

    def __init__(self, folder: Path, read: Callable[[], Mapping[str, object]]) -> None:
        self.path = folder / HEARTBEAT
        self._read = read
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)
        self.write()
        self._thread.start()

    def _beat(self) -> None:
        while not self._closed.wait(EVERY_S):
            try:
                self.write()
            except FileNotFoundError:
                return  # the run's folder is gone, and with it all readers
            except OSError:
                pass  # a full disk: the next beat or the end shows it

    def write(self) -> None:
        """Write the state now, with the time as ``at``."""
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


def read_heartbeat(folder: Path) -> Beat:
    """Return the last heartbeat of a run; empty if there is none that can be read."""
    beat: Beat = read_json(folder / HEARTBEAT)  # type: ignore[assignment]
    return beat


def read_scoring(folder: Path) -> Beat:
    """Return the progress of a run's scoring: ``at`` and ``progress`` alone; empty if there is none."""
    beat: Beat = read_json(folder / PROGRESS)  # type: ignore[assignment]
    return beat


def elapsed(beat: Beat, now: float) -> float:
    """Return the seconds on the run's account at ``now`` (monotonic), also after the last heartbeat."""
    return float(beat["clock"] + (0.0 if beat["pause"] else max(0.0, now - beat["at"])))


def write_outcome(
    folder: Path, status: str, message: str, seconds: float = 0.0, books: Books | None = None
) -> SearchOutcome:
    """Write ``search.json``, the outcome of a search, from its last heartbeat and its journal.

    Args:
        folder: of the run, whose search ended or was killed.
        status: ``done``, ``budget`` or ``failed``.
        message: for the record.
        seconds: time on its account by the supervisor's clock, if the seconds stopped it; else 0.
        books: the supervisor's books, which count in place of these files.
    """
    beat = read_heartbeat(folder) if books is None else books.beat()
    try:
        if books is not None:
            candidates = books.journal.candidates(books.proposals)
        else:
            with Journal(folder / JOURNAL) as journal:
                candidates = journal.candidates(beat.get("proposals", 0))
    except (CorruptFileError, KeyError) as error:
        status, message, candidates = "failed", f"{message}; {error}".lstrip("; "), []
    ledger: Ledger = beat.get("ledger") or {"entries": [], "totals": {}, "share": {}, "timeline": []}
    unbooked = seconds - ledger["totals"].get("seconds", 0.0)
    if beat and unbooked > 0:
        ledger["entries"].append({"phase": beat["phase"], "kind": "seconds", "amount": unbooked})
        ledger["share"]["seconds"] *= seconds / ledger["totals"]["seconds"]
        ledger["totals"]["seconds"] = seconds
    ledger["harness_seconds"] = beat.get("off", {})
    ledger["lost_seconds"] = max(0.0, beat.get("lost", 0.0))
    if "cpu" in beat:
        ledger["cpu_seconds"] = {"search": round(beat["cpu"], 3)}
    stopped_by = "seconds" if seconds else beat.get("stopped_by")
    outcome: SearchOutcome = {
        "status": status,
        "message": message,
        **({"stopped_by": stopped_by} if status == "budget" and stopped_by else {}),  # type: ignore[typeddict-item]
        "ledger": ledger,
        "candidates": [
            {name: entry.get(name) for name in CANDIDATE_FIELDS}  # type: ignore[misc]
            | {name: entry[name] for name in OPTIONAL_FIELDS if name in entry}
            for entry in candidates
        ],
        "search_log": beat.get("search_log", []),
    }
    write_text(folder / SEARCH_FILE, json.dumps(outcome, indent=1))
    return outcome
