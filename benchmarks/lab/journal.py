"""The append-only journal of a run: what was measured and proposed, so that no answer is lost.

One JSON object a line. A method that starts again after an interruption asks the same questions in
the same order; each is answered from here under its number. No torch.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

PROBES = {"probe": "ms", "energy": "joules"}
"""Call that a probe is -> what its answer is kept as."""


class Diverged(Exception):
    """A resumed method asked something else than before: its choices do not follow from its seed."""


class Corrupt(Exception):
    """A file of the run is damaged; the message says which and how."""


class Journal:
    """Numbered calls (evaluations, probes, candidates) and their answers, on disk at once.

    Args:
        path: the file; a last line cut short by a crash is dropped.

    Raises:
        Corrupt: a line other than the last cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.next = 0
        """Number of the coming call. A checkpoint keeps it and sets it back."""
        self._known: dict[int, dict[str, Any]] = {}
        self.yields: list[int] = []
        """Candidate indices in the order in which the method proposed them, all sessions."""
        for entry in self._read():
            if entry["call"] == "yield":
                self.yields.append(entry["index"])
            else:
                self._known[entry["n"]] = entry
        self._file = path.open("a", encoding="utf-8")

    def _read(self) -> list[dict[str, Any]]:
        raw = self.path.read_bytes() if self.path.exists() else b""
        whole, _, rest = raw.rpartition(b"\n")
        if rest:
            os.truncate(self.path, len(raw) - len(rest))
        entries = []
        for number, line in enumerate(whole.split(b"\n") if whole else (), 1):
            try:
                entry = json.loads(line)
                entry["call"], entry["index" if entry["call"] == "yield" else "n"]
            except (ValueError, KeyError, TypeError):
                raise Corrupt(f"{self.path.name}, line {number}: not a journal entry") from None
            entries.append(entry)
        return entries

    def known(self, call: str, key: str) -> dict[str, Any] | None:
        """The stored answer to the coming call, or None where it is asked for the first time.

        Raises:
            Diverged: an earlier session asked something else under this number.
        """
        entry = self._known.get(self.next)
        if entry is not None and (entry["call"], entry["key"]) != (call, key):
            raise Diverged(
                f"call {self.next} was {entry['call']}({entry['key']}) before the interruption and is "
                f"{call}({key}) now: the method does not repeat itself. Draw from lab.rng only, and decide "
                "nothing by time"
            )
        if entry is not None:
            self.next += 1
        return entry

    def add(self, call: str, key: str, **answer: Any) -> None:
        """Store the answer to the coming call."""
        entry = {"n": self.next, "call": call, "key": key, **answer}
        self._append(entry)
        self._known[self.next] = entry
        self.next += 1

    def proposed(self, order: int, index: int) -> None:
        """The method yielded candidate ``index`` as its ``order``-th proposal."""
        if order < len(self.yields):
            if self.yields[order] != index:
                raise Diverged(
                    f"proposal {order} was candidate {self.yields[order]} before the interruption and is "
                    f"{index} now: the method does not repeat itself"
                )
            return
        self._append({"call": "yield", "index": index})
        self.yields.append(index)

    def candidates(self, proposals: int) -> list[dict[str, Any]]:
        """The stored entries of the first ``proposals`` yielded candidates."""
        made = {e["index"]: e for e in self._known.values() if e["call"] == "candidate"}
        return [made[index] for index in self.yields[:proposals]]

    def probes(self) -> list[list[Any]]:
        """Every probe as ``[number of the call, architecture's key, milliseconds or joules]``."""
        asked = sorted((n, e) for n, e in self._known.items() if e["call"] in PROBES)
        return [[n, e["key"], e[PROBES[e["call"]]]] for n, e in asked]

    def _append(self, entry: dict[str, Any]) -> None:
        # One write of one line: a killed process leaves it whole or leaves it out.
        self._file.write(json.dumps(entry) + "\n")
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
