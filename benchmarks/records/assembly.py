"""Assembly of a record from the files that the processes of a run leave in its folder."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.records.canonical import JsonObject
from benchmarks.records.integrity import digest
from benchmarks.records.record import (
    Candidate,
    CandidateScore,
    LedgerEntry,
    Provenance,
    ScoreOutcome,
    SearchOutcome,
    UnsealedRecord,
    Validation,
)
from benchmarks.records.spec import Spec
from benchmarks.records.text import sanitize

SEARCH_FILE, SCORE_FILE = "search.json", "score.json"
"""Files of a run's folder that hold the ``SearchOutcome`` and the ``ScoreOutcome``."""


def assemble_record(
    spec: Spec, outcome: SearchOutcome, scores: ScoreOutcome, origin: Provenance
) -> UnsealedRecord:
    """Return one record from a run's specification, search, scores and provenance."""
    ledger = outcome["ledger"].copy()
    joules = outcome.get("joules", {})
    if joules:
        booked: list[LedgerEntry] = [
            {"phase": phase, "kind": "joules", "amount": amount} for phase, amount in joules.items()
        ]
        ledger["entries"] = [e for e in ledger["entries"] if e["kind"] != "joules"] + booked
        ledger["totals"] = ledger["totals"] | {"joules": sum(joules.values())}
    # Both the search and the scoring wait for the timing lock.
    waited = Counter(ledger.get("harness_seconds", {}))
    waited.update(scores.get("harness_seconds", {}))
    ledger["harness_seconds"] = dict(waited)
    if "cpu_seconds" in ledger or "cpu_seconds" in scores:
        ledger["cpu_seconds"] = {**ledger.get("cpu_seconds", {}), **scores.get("cpu_seconds", {})}
    scored = {entry["index"]: entry for entry in scores.get("candidates", [])}
    fields: JsonObject = {
        "spec": spec,
        "status": outcome["status"],
        "message": outcome["message"],
        **({"stopped_by": outcome["stopped_by"]} if "stopped_by" in outcome else {}),
        "ledger": ledger,
        "candidates": merge_scores(outcome["candidates"], scored),
        "search_log": outcome.get("search_log", []),
        "energy": outcome.get("energy"),
        "provenance": origin,
        **({"oversight": outcome["oversight"]} if "oversight" in outcome else {}),
    }
    record: UnsealedRecord = fields  # type: ignore[assignment]
    return record


def outcome_digest(outcome: SearchOutcome) -> str:
    """Return the digest of a search's result, wherever it ran."""
    nothing: JsonObject = {}
    record = assemble_record(nothing, outcome, {}, nothing)  # type: ignore[arg-type]
    return digest(record)


def merge_scores(proposed: Sequence[Candidate], scored: Mapping[int, CandidateScore]) -> list[Candidate]:
    """Return the candidates as a record stores them: proposals with their scores, matched by index."""
    candidates = []
    for proposal in proposed:
        stored: JsonObject = {**proposal, "valid": _flat(proposal["valid"])}
        score = scored.get(proposal["index"], CandidateScore())
        stored |= {k: v for k, v in score.items() if k not in ("index", "valid_bleu", "failed")}
        if score.get("valid_bleu") is not None:
            stored["valid"] = {**stored["valid"], "bleu": score["valid_bleu"]}
        candidate: Candidate = stored  # type: ignore[assignment]
        candidates.append(candidate)
    return candidates


def _flat(valid: Validation) -> Validation:
    """Return validation scores with the task's metrics beside the loss; a search stores them apart."""
    flat: Validation = {"loss": valid["loss"], **valid.get("metrics", {})}  # type: ignore[typeddict-item]
    return flat


def failed_outcome(message: str) -> SearchOutcome:
    """Return the outcome of a run that has left nothing."""
    return {
        "status": "failed",
        "message": message,
        "ledger": {"entries": [], "totals": {}, "share": {}, "timeline": []},
        "candidates": [],
    }


def read_search(folder: Path) -> SearchOutcome | None:
    """Return the outcome of a run's search; None if its folder has none that can be read."""
    outcome: SearchOutcome | None = read_json(folder / SEARCH_FILE) or None  # type: ignore[assignment]
    return outcome


def finished_search(folder: Path) -> SearchOutcome | None:
    """Return the outcome of a search that lacks nothing but scoring; None if there is none."""
    outcome = read_search(folder)
    return outcome if outcome and outcome.get("status") != "failed" and outcome.get("candidates") else None


def read_scores(folder: Path) -> ScoreOutcome:
    """Return the scores of a run; empty if its folder has none that can be read."""
    scores: ScoreOutcome = read_json(folder / SCORE_FILE)  # type: ignore[assignment]
    return scores


def read_json(path: Path) -> JsonObject:
    """Return the JSON object in a file; empty if there is none that can be read."""
    try:
        parsed = json.loads(path.read_text())
    except (OSError, ValueError, RecursionError):
        return {}
    return parsed if isinstance(parsed, dict) else {}


def last_line(log: Path) -> str:
    """Return the end of a log, for a message."""
    lines = log.read_text(errors="replace").strip().splitlines() if log.exists() else []
    return sanitize(lines[-1], 200) if lines else "its process wrote no message"


def now() -> str:
    """Return the time of day in UTC, ISO, for provenance."""
    return datetime.now(UTC).isoformat(timespec="seconds")
