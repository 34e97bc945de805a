"""The runs behind the rows of the site: files of a hundred, with provenance and commands, for rows' pages.

Written while records are read, by many processes: imports neither pandas nor matplotlib.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import records as store
from benchmarks import verified
from benchmarks.records import Record
from benchmarks.report import rows, site_data, standing

RUNS_A_FILE = 100

_CANDIDATE = ("index", "origin", "architecture", "policy", "weights_sha256", "test", "valid", "latency",
              "memory", "cost")  # fmt: skip


def write_runs(folder: Path, first: int, records: Sequence[Record], verdicts: standing.Verdicts) -> None:
    """Write the pages' data of up to ``RUNS_A_FILE`` records.

    Args:
        folder: of the site.
        first: number of the first of them among all records of the leaderboard; starts a file.
        records: those of this file, in order.
        verdicts: of second runs of any records.
    """
    file = f"runs-{first // RUNS_A_FILE}"
    part = [_run(record, verdicts.get(record["id"], ())) for record in records]
    site_data.write(folder / "data" / f"{file}.js", "runs", {"id": file, **_pooled(part)}, exact=True)


def _run(record: Record, verdicts: Sequence[verified.Stored]) -> dict[str, Any]:
    """One run with its whole provenance, what second runs said, and the commands that make it again."""
    path = f"results/records/{store.relative_path(record)}"
    made, spec = record["provenance"], record["spec"]
    headline = [
        {"limit": str(limit)} | {k: c.get(k) for k in _CANDIDATE}
        for limit, c in rows.by_limit(record["candidates"]).items()
    ]
    return {
        "id": record["id"], "status": record["status"],
        "message": rows.plain(record["message"], site_data.TEXT_LIMIT),
        "path": path, "digest": record["digest"], "seal": record["seal"], "spec": spec,
        "totals": record["ledger"]["totals"], "energy": record["energy"], "candidates": headline,
        "made": {k: v for k, v in made.items() if k not in ("command", "started", "ended")},
        "started": made.get("started"), "ended": made.get("ended"),
        "command": shlex.join(str(word) for word in made.get("command") or ()),
        "again": shlex.join(_again(spec)),
        "verify": shlex.join(["supernet-bench", "verify", path]),
        "verdicts": [standing.texts(one, made["machine"].get("fingerprint")) for one in verdicts],
    }  # fmt: skip


def _again(spec: Mapping[str, Any]) -> list[str]:
    """The command that makes a run like this one."""
    words = ["supernet-bench", "run", spec["suite"], "--task", spec["task"], "--tier", spec["tier"]]
    words += ["--methods", spec["method"], "--profile", spec["profile"], "--seeds", f"{spec['seed']},"]
    for name, value in sorted(spec["options"].items()):
        words += ["--option", f"{spec['method']}.{name}={value}"]
    return words


def _pooled(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """The runs of one file, provenance that several share standing there once."""
    pool: dict[bytes, int] = {}
    kept = []
    for run in runs:
        made = run.pop("made")
        text = store.canonical(made)
        if text not in pool:
            pool[text] = len(pool)
            kept.append(made)
        run["made"] = pool[text]
    return {"runs": runs, "made": kept}
