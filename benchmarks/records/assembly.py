"""From what the processes of a run leave in its folder to its record."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.records.text import sanitize

OUTCOME = "search.json"
"""File in which a search leaves how it ended."""


def assemble(
    spec: Mapping[str, Any], outcome: Mapping[str, Any], scores: Mapping[str, Any], origin: Mapping[str, Any]
) -> dict[str, Any]:
    """One record from what was asked, what the search left, what scoring found and where it ran."""
    ledger = dict(outcome["ledger"])
    joules = outcome.get("joules", {})
    if joules:
        booked = [{"phase": phase, "kind": "joules", "amount": amount} for phase, amount in joules.items()]
        ledger["entries"] = [e for e in ledger["entries"] if e["kind"] != "joules"] + booked
        ledger["totals"] = ledger["totals"] | {"joules": sum(joules.values())}
    ledger["harness_seconds"] = dict(ledger.get("harness_seconds", {})) | dict(
        scores.get("harness_seconds", {})
    )
    if "cpu_seconds" in ledger or "cpu_seconds" in scores:
        ledger["cpu_seconds"] = ledger.get("cpu_seconds", {}) | scores.get("cpu_seconds", {})
    scored = {entry["index"]: entry for entry in scores.get("candidates", [])}
    return {
        "spec": dict(spec),
        "status": outcome["status"],
        "message": outcome["message"],
        **({"stopped_by": outcome["stopped_by"]} if "stopped_by" in outcome else {}),
        "ledger": ledger,
        "candidates": joined(outcome["candidates"], scored),
        "search_log": outcome.get("search_log", []),
        "energy": outcome.get("energy"),
        "provenance": dict(origin),
    }


def joined(
    proposed: Sequence[Mapping[str, Any]], scored: Mapping[int, Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Candidates as a record keeps them: as proposed, with what scoring found, by index."""
    candidates = []
    for made in proposed:
        valid = made["valid"]
        flat = {"loss": valid["loss"], **{k: v for k, v in valid.get("metrics", {}).items()}}
        candidates.append({**made, "valid": flat, **_measured(scored.get(made["index"], {}), flat)})
    return candidates


def _measured(scored: Mapping[str, Any], valid: Mapping[str, Any]) -> dict[str, Any]:
    """What scoring adds to a candidate; a validation score of its own joins the search's."""
    found = {k: v for k, v in scored.items() if k not in ("index", "valid_bleu", "failed")}
    if scored.get("valid_bleu") is not None:
        found["valid"] = {**valid, "bleu": scored["valid_bleu"]}
    return found


def failure(message: str) -> dict[str, Any]:
    """The outcome of a run that has left nothing."""
    empty: dict[str, Any] = {"entries": [], "totals": {}, "share": {}, "timeline": []}
    return {"status": "failed", "message": message, "ledger": empty, "candidates": []}


def finished_search(folder: Path) -> dict[str, Any] | None:
    """The outcome of a search that needs no more than scoring."""
    outcome = read_json(folder / OUTCOME)
    return outcome if outcome and outcome.get("status") != "failed" and outcome.get("candidates") else None


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file; empty where there is none that can be read."""
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def last_line(log: Path) -> str:
    """The end of a log, for a message."""
    lines = log.read_text(errors="replace").strip().splitlines() if log.exists() else []
    return sanitize(lines[-1], 200) if lines else "its process left no word"


def now() -> str:
    """Time of day, for provenance."""
    return datetime.now(UTC).isoformat(timespec="seconds")
