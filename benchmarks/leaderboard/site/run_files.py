"""The runs behind the rows of the site: files of a hundred, with provenance and commands, for rows' pages.

Written while records are read, by many processes: imports neither pandas nor matplotlib.
"""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import orjson

from benchmarks.analysis import attachment_columns, row_status
from benchmarks.analysis.attachment_columns import Beside
from benchmarks.leaderboard.site import data_files
from benchmarks.records import selection, store
from benchmarks.records.canonical import canonical
from benchmarks.records.record import Record
from benchmarks.records.text import sanitize
from benchmarks.runs import repeat

RUNS_A_FILE = 100

_CANDIDATE = ("index", "origin", "architecture", "policy", "weights_sha256", "test", "valid", "latency",
              "memory", "cost")  # fmt: skip


class File:
    """A file of up to ``RUNS_A_FILE`` runs, made record by record; what several were made from is there once.

    Args:
        folder: of the site.
        first: number of its first run among all records of the leaderboard.
    """

    def __init__(self, folder: Path, first: int) -> None:
        self._name = f"runs-{first // RUNS_A_FILE}"
        self._path = folder / "data" / f"{self._name}.js"
        self._runs: list[orjson.Fragment] = []
        self._made: dict[bytes, int] = {}

    def add(self, record: Record, given: Beside) -> None:
        """The next run, with what lies beside it."""
        made = {k: v for k, v in record["provenance"].items() if k not in ("command", "started", "ended")}
        place = self._made.setdefault(canonical(made), len(self._made))
        self._runs.append(data_files.exact(_run(record, given) | {"made": place}))

    def write(self) -> None:
        """Write it."""
        made = [data_files.exact(json.loads(text)) for text in self._made]
        data_files.write(self._path, "runs", {"id": self._name, "runs": self._runs, "made": made})


def _run(record: Record, given: Beside) -> dict[str, Any]:
    """One run with its whole provenance, what lies beside it, and the commands that make it again."""
    path = f"results/records/{store.place(record)}"
    made, spec = record["provenance"], record["spec"]
    headline = [
        {"limit": str(limit)} | {k: c.get(k) for k in _CANDIDATE}
        for limit, c in selection.headline_candidates(record["candidates"]).items()
    ]
    return {
        "id": record["id"], "status": record["status"],
        "message": sanitize(record["message"], data_files.TEXT_LIMIT),
        "path": path, "digest": record["digest"], "seal": record["seal"], "spec": spec,
        "totals": record["ledger"]["totals"], "cpu": record["ledger"].get("cpu_seconds"),
        "energy": record["energy"], "candidates": headline,
        "started": made.get("started"), "ended": made.get("ended"),
        "command": shlex.join(str(word) for word in made.get("command") or ()),
        "again": repeat.command(record),
        "verify": shlex.join(["supernet-bench", "verify", path]),
        "verdicts": [row_status.texts(one, made["machine"].get("fingerprint")) for one in given.verdicts],
        "elsewhere": [attachment_columns.texts(one, spec["profile"]) for one in given.latencies],
    }  # fmt: skip
