"""The append-only journal of a run: measurements and proposals, so that no answer is lost. No torch.

One JSON object a line. A method that starts again after an interruption repeats its calls in the same order;
each is answered from here under its number.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from benchmarks.records.canonical import JsonObject

PROBES = {"probe": "ms", "energy": "joules"}
"""Call of a probe -> field of its answer."""
RESTORED, UNKNOWN = "restored", "unknown"
"""Answers of ``Journal.loading``: the checkpoint counts; no session has saved it."""
Entry = JsonObject
"""One line of the journal: ``call``; of a proposal ``index``, else ``n``, ``key`` and the answer's fields."""


class ReplayDivergedError(Exception):
    """A resumed method made another call than before: its choices do not follow from its seed."""


class CorruptFileError(Exception):
    """A file of the run is damaged; the message names it and the damage."""


class Journal:
    """Numbered calls (evaluations, probes, candidates) and their answers, on disk at once.

    Args:
        path: the file; a last line cut short by a crash is dropped.
        writable: False for a file that another process keeps: new entries are not written.

    Attributes:
        next_call: number of the coming call. A checkpoint keeps it and sets it back.
        proposed: candidate indices in the order in which the method proposed them, all sessions.

    Raises:
        CorruptFileError: a line other than the last cannot be read.
    """

    def __init__(self, path: Path, writable: bool = True) -> None:
        self.path, self._writable = path, writable
        self.next_call = 0
        self._known: dict[int, Entry] = {}
        self.proposed: list[int] = []
        for entry in self._read():
            if entry["call"] == "yield":
                self.proposed.append(entry["index"])
            else:
                self._known[entry["n"]] = entry
        self._file = path.open("a", encoding="utf-8") if writable else None

    def __len__(self) -> int:
        """Return the number of calls that have an answer."""
        return len(self._known)

    def _read(self) -> list[Entry]:
        raw = self.path.read_bytes() if self.path.exists() else b""
        complete, _, rest = raw.rpartition(b"\n")
        if rest and self._writable:
            os.truncate(self.path, len(raw) - len(rest))
        entries = []
        for number, line in enumerate(complete.split(b"\n") if complete else (), 1):
            try:
                entry = json.loads(line)
                entry["call"], entry["index" if entry["call"] == "yield" else "n"]
            except (ValueError, KeyError, TypeError, RecursionError):
                raise CorruptFileError(f"{self.path.name}, line {number}: not a journal entry") from None
            entries.append(entry)
        return entries

    def replay(self, call: str, key: str) -> Entry | None:
        """Return the stored answer to the coming call, or None if no earlier session made it.

        Raises:
            ReplayDivergedError: an earlier session made another call under this number.
        """
        entry = self._known.get(self.next_call)
        if entry is not None and (entry["call"], entry["key"]) != (call, key):
            raise ReplayDivergedError(
                f"call {self.next_call} was {entry['call']}({entry['key']}) before the interruption and is "
                f"{call}({key}) now: the method does not repeat itself. Draw from lab.rng only, and decide "
                "nothing by time"
            )
        if entry is not None:
            self.next_call += 1
        return entry

    def record(self, call: str, key: str, **answer: object) -> None:
        """Store the answer to the coming call."""
        entry = {"n": self.next_call, "call": call, "key": key, **answer}
        self._append(entry)
        self._known[self.next_call] = entry
        self.next_call += 1

    def record_proposal(self, order: int, index: int) -> None:
        """Store that the method's ``order``-th proposal is candidate ``index``.

        Raises:
            ReplayDivergedError: an earlier session proposed another candidate then.
        """
        if order < len(self.proposed):
            if self.proposed[order] != index:
                raise ReplayDivergedError(
                    f"proposal {order} was candidate {self.proposed[order]} before the interruption and is "
                    f"{index} now: the method does not repeat itself"
                )
            return
        self._append({"call": "yield", "index": index})
        self.proposed.append(index)

    def candidates(self, proposals: int) -> list[Entry]:
        """Return the stored entries of the first ``proposals`` proposed candidates."""
        entries = {e["index"]: e for e in self._known.values() if e["call"] == "candidate"}
        return [entries[index] for index in self.proposed[:proposals]]

    def probes(self) -> list[tuple[int, str, float]]:
        """Return every probe as ``(number of the call, architecture's key, milliseconds or joules)``."""
        probes = sorted((n, e) for n, e in self._known.items() if e["call"] in PROBES)
        return [(n, e["key"], e[PROBES[e["call"]]]) for n, e in probes]

    def _append(self, entry: Entry) -> None:
        assert self._file is not None
        # One write of one line: a process that is killed leaves all of it or nothing.
        self._file.write(json.dumps(entry) + "\n")
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()

    def saving(self, name: str, digest: str) -> None:
        """Note that a checkpoint with this digest is about to be saved."""

    def loading(self, name: str, digest: str) -> str:
        """Return ``restored`` if a checkpoint may be loaded, ``unknown`` or another reason if it may not."""
        return RESTORED

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
