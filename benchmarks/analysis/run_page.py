"""Contents of a run's page: its record with provenance, files beside it, and commands that make it again.

Computed while records are read, by many processes: imports neither pandas nor matplotlib.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeVar

import orjson

from benchmarks.analysis.attachment_columns import Attached, verdict_texts
from benchmarks.analysis.search_progress import search_steps
from benchmarks.comparability.run_summary import RunSummary
from benchmarks.records import runtime_latencies, store
from benchmarks.records.attachments import date
from benchmarks.records.canonical import canonical, sorted_text
from benchmarks.records.record import Record
from benchmarks.records.runtime_latencies import StoredLatency
from benchmarks.records.text import sanitize
from benchmarks.runs import repeat

Point = TypeVar("Point")

TRACED = 60
"""Points of a line that are shown."""
LONGEST_TEXT = 2000
"""Characters of a text that are shown."""

_CANDIDATE = ("index", "origin", "architecture", "policy", "weights_sha256", "test", "valid", "latency",
              "memory", "cost")  # fmt: skip


@dataclass(frozen=True)
class RunPage:
    """A run as JSON-like data; texts may be hostile."""

    id: str
    path: str
    """Path of its record, as commands name it."""
    method: str
    """Its method's name."""
    fields: Mapping[str, object] | bytes
    """Fields of the run itself, as JSON if it can hold them."""
    origin: bytes
    """JSON of its provenance without command and times, keys sorted; many runs share one."""


def run_page(run: RunSummary, record: Record, attached: Attached, records_root: str) -> RunPage:
    """Return a run's page.

    Args:
        run: summary of the record.
        record: of the run.
        attached: contents of the files beside it.
        records_root: folder of the records as commands name it, such as ``results/records``.
    """
    path = f"{records_root}/{store.place(record)}"
    provenance, spec = record["provenance"], record["spec"]
    origin = {k: v for k, v in provenance.items() if k not in ("command", "started", "ended")}
    numbered = {candidate["index"]: candidate for candidate in record["candidates"]}
    headline = [
        {"limit": str(head.limit)} | {k: numbered[head.number].get(k) for k in _CANDIDATE}
        for head in run.headlines
    ]
    fingerprint = provenance["machine"].get("fingerprint")
    fields = {
        "id": record["id"], "status": record["status"],
        "message": sanitize(record["message"], LONGEST_TEXT),
        "path": path, "digest": record["digest"], "seal": record["seal"], "spec": spec,
        "totals": record["ledger"]["totals"], "cpu": record["ledger"].get("cpu_seconds"),
        "energy": record["energy"], "candidates": headline,
        "trace": trace_of(record), "isolation": _isolation(record),
        "started": provenance.get("started"), "ended": provenance.get("ended"),
        "command": shlex.join(str(word) for word in provenance.get("command") or ()),
        "again": repeat.repeat_command(record),
        "verify": shlex.join(["supernet-bench", "verify", path]),
        "verdicts": [verdict_texts(stored, fingerprint) for stored in attached.verdicts],
        "elsewhere": [_latency_texts(stored, spec["profile"]) for stored in attached.latencies],
    }  # fmt: skip
    return RunPage(record["id"], path, spec["method"], _json(fields), _sorted(origin))


@lru_cache(maxsize=256)
def _name(text: str) -> str:
    """Return a phase or a kind of spending as it is shown."""
    return sanitize(text, 32)


def _sorted(origin: Mapping[str, object]) -> bytes:
    """Return a provenance as JSON; as Python writes it if a number has more than 64 bits."""
    try:
        return sorted_text(origin)
    except TypeError:
        return canonical(origin)


def _json(fields: Mapping[str, object]) -> Mapping[str, object] | bytes:
    """Return fields as JSON; as they are if a number has more than 64 bits or data are nested too deep."""
    try:
        return orjson.dumps(fields)
    except TypeError:
        return fields


def _isolation(record: Record) -> str:
    """Return how the method was confined, in words."""
    oversight = record.get("oversight")
    if oversight is None:
        return "not recorded: an older run, read as not isolated"
    return sanitize(oversight["isolation"], 200)


def trace_of(record: Record) -> dict[str, object]:
    """Return the course of a run: loss by evaluations, tokens by seconds with the phase, amounts by phase."""
    log = search_steps(record)
    timeline = [
        [point["at"], point["tokens"], _name(point["phase"])]
        for point in thinned(record["ledger"]["timeline"])
    ]
    spent: dict[str, dict[str, float]] = {}
    for entry in record["ledger"]["entries"]:
        phases = spent.setdefault(_name(entry["kind"]), {})
        name = _name(entry["phase"])
        phases[name] = phases.get(name, 0.0) + entry["amount"]
    return {"log": thinned([list(step) for step in log]), "timeline": timeline, "spent": spent}


def thinned(points: Sequence[Point], most: int = TRACED) -> list[Point]:
    """Return at most ``most`` points, the first and the last among them."""
    if len(points) <= most:
        return list(points)
    return [points[round(i * (len(points) - 1) / (most - 1))] for i in range(most)]


def _latency_texts(stored: StoredLatency, profile: str) -> dict[str, object]:
    """Return one latency of another runtime as plain data."""
    latency, provenance = stored["latency"], stored["provenance"]
    return {
        "what": runtime_latencies.heading(stored, profile),
        "candidate": stored["candidate"],
        "p50": [latency[k] for k in ("p50", "p50_low", "p50_high")],
        "p90": latency["p90"],
        "times PyTorch": [latency[k] for k in ("ratio", "ratio_low", "ratio_high")],
        "PyTorch, ms": latency["pytorch_p50"],
        "other programs meanwhile, processors": latency["others_cpu"],
        "made as": sanitize(latency["signature"]),
        "profile": stored["profile"],
        "on": date(stored),
        "compared": [
            f"{sanitize(x['what'], 60)}: {sanitize(x['value'], 60)} ({sanitize(x['signature'], 160)})"
            for x in stored["checks"]
        ],
        "commit": sanitize((provenance and provenance.get("commit")) or "none", 64),
    }
