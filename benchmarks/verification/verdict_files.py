"""Published verdicts: ``results/verified/<record id>/<16 digits of the verdict's seal>.json``.

``supernet-bench verify`` writes them, the submitter of a row commits them, and the leaderboard shows them. A
file is a stranger's until it is checked: against its schema and seal, and against the record that it is
about. Its measured figures cannot be checked without running the row again. No torch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TypedDict

from benchmarks.records import attachments, integrity
from benchmarks.records.attachments import Attachment, AttachmentKind, FieldError, date
from benchmarks.records.canonical import JsonObject
from benchmarks.records.record import Record
from benchmarks.records.text import sanitize
from benchmarks.verification import compare
from benchmarks.verification.compare import NO, UNKNOWN, YES, Verdict

NOT_YET = "self-reported"
PARTS = {"quality": "quality", "latency": "latency ratio"}
"""Each answer of a verdict -> the ``what`` of its checks."""


class StoredCheck(TypedDict):
    """JSON form of ``compare.FigureCheck``."""

    what: str
    limit: str
    published: float | None
    now: float | None
    low: float | None
    high: float | None
    how: str
    holds: bool | None


class StoredDifference(TypedDict):
    """A field of the provenance with both values."""

    field: str
    published: object
    now: object


class CodeDifference(TypedDict):
    """``task`` or ``substrate`` with the digests of its code."""

    part: str
    published: str
    now: str


class VerdictFields(TypedDict):
    """JSON form of ``compare.Verdict``."""

    quality: str
    latency: str
    reasons: list[str]
    checks: list[StoredCheck]
    identical: bool
    first_difference: str | None
    repeated_timings: bool
    differences: list[StoredDifference]
    code: list[CodeDifference]


class StoredVerdict(Attachment, VerdictFields):
    """A verdict as ``schema/verify-2.json`` states it; ``digest`` is the second record's."""

    digest: str | None


def to_fields(verdict: Verdict) -> VerdictFields:
    """Return a verdict as JSON types."""
    fields: JsonObject = {
        **asdict(verdict),
        "differences": [
            {"field": name, "published": old, "now": new} for name, old, new in verdict.differences
        ],
        "code": [{"part": part, "published": old, "now": new} for part, old, new in verdict.code],
    }
    stored: VerdictFields = fields  # type: ignore[assignment]
    return stored


def to_attachment(published: Record, again: Record | None, verdict: Verdict) -> StoredVerdict:
    """Return a verdict as it is stored, sealed."""
    fields: JsonObject = {
        "schema": compare.SCHEMA,
        "record": published["id"],
        "record_seal": published["seal"],
        **to_fields(verdict),
        "digest": again["digest"] if again else None,
        "provenance": again["provenance"] if again else None,
    }
    stored: StoredVerdict = integrity.with_seal(fields)  # type: ignore[assignment]
    return stored


def answer_of(verdict: VerdictFields, part: str) -> str:
    """Return a verdict's answer for one of ``PARTS``."""
    return verdict["quality"] if part == "quality" else verdict["latency"]


def _upgraded(parsed: JsonObject) -> StoredVerdict:
    """Return a verdict of today's schema; version 1 had one answer for quality and latency together."""
    fields = parsed
    if parsed["schema"] != compare.SCHEMA:
        answers = {part: compare.answer(_holds(parsed["checks"], what)) for part, what in PARTS.items()}
        if parsed["answer"] == NO and NO not in answers.values() and not parsed["identical"]:
            answers["quality"] = NO  # other bits, or a second run that failed
        kept = {key: value for key, value in parsed.items() if key != "answer"}
        fields = {**kept, "schema": compare.SCHEMA, **answers, "code": []}
    stored: StoredVerdict = fields  # type: ignore[assignment]
    return stored


def _holds(checks: Sequence[StoredCheck], what: str) -> list[bool | None]:
    return [check["holds"] for check in checks if check["what"] == what]


def _contradiction(verdict: StoredVerdict) -> FieldError | None:
    """Return the first field in which a verdict contradicts itself, and its fault; None if none does."""
    for i, check in enumerate(verdict["checks"]):
        now, low, high = check["now"], check["low"], check["high"]
        if check["holds"] and now is None:
            return f"checks[{i}].holds", "true, but nothing was measured"
        if now is None or check["holds"] is None:
            continue
        same = check["what"] == "quality" and now == check["published"]
        if low is not None and high is not None:
            if check["holds"] != (low <= now <= high or same):
                fault = f"{check['holds']}, against {now:g} and [{low:g}, {high:g}]"
                return f"checks[{i}].holds", fault
        elif not (check["holds"] and same):
            return f"checks[{i}].holds", f"{check['holds']}, but {now:g} was held against no interval"
    for part, what in PARTS.items():
        answer, holds = answer_of(verdict, part), _holds(verdict["checks"], what)
        if answer == YES and (not holds or not all(holds)):
            return part, f"{YES}, but not every check holds"
        if answer == UNKNOWN and False in holds:
            return part, f"{UNKNOWN}, but a check does not hold"
        if answer == NO and False not in holds and (part == "latency" or not verdict["reasons"]):
            return part, f"{NO}, without a check that does not hold or a reason"
        if answer == NO and verdict["code"]:
            return part, f"{NO}, but under other code, which may be the reason"
    if verdict["quality"] == NO and verdict["identical"]:
        return "quality", f"{NO}, but the results are identical to the bit"
    if verdict["identical"] != (verdict["first_difference"] is None) and verdict["checks"]:
        difference = sanitize(verdict["first_difference"], 60)
        return "identical", f"{verdict['identical']}, first_difference: {difference}"
    if {answer_of(verdict, part) for part in PARTS} != {UNKNOWN} and attachments.ended(verdict) is None:
        return "provenance.ended", "no ISO time; a verdict needs time and place of its run"
    return None


def _misfit(verdict: StoredVerdict, record: Record) -> FieldError | None:
    """Return the first check of a figure that its record does not have, and its fault; None if all fit."""
    figures = compare.published_figures(record)
    checked = set()
    for i, check in enumerate(verdict["checks"]):
        key = check["what"], check["limit"]
        if key not in figures:
            return f"checks[{i}]", f"the record has no {sanitize(key[0], 40)} at limit {sanitize(key[1], 40)}"
        if check["published"] != figures[key]:
            return f"checks[{i}].published", f"{check['published']}, the record has {figures[key]}"
        checked.add(key)
    for part, what in PARTS.items():
        omitted = [key for key in figures if key[0] == what and key not in checked]
        if answer_of(verdict, part) == YES and omitted:
            return "checks", f"{part} {YES}, but {len(omitted)} figures of the record were not checked"
    return None


VERDICTS: AttachmentKind[StoredVerdict] = AttachmentKind(
    folder="verified",
    noun="verdict",
    schemas={"supernet-bench/verify/1": "verify-1.json", compare.SCHEMA: "verify-2.json"},
    contradiction=_contradiction,
    misfit=_misfit,
    upgrade=_upgraded,
)
"""The verdicts under ``results/verified``."""


def describe_machine(verdict: StoredVerdict, fingerprint: object) -> str:
    """Return the machine of a second run in a few words; ``fingerprint`` is the first machine's."""
    machine: object = verdict["provenance"] and verdict["provenance"].get("machine")
    if not isinstance(machine, Mapping):
        return "nowhere"
    if fingerprint is not None and machine.get("fingerprint") == fingerprint:
        return "a machine alike"
    gpus = machine.get("gpus")
    names = [g.get("name") for g in gpus if isinstance(g, Mapping)] if isinstance(gpus, list) else []
    hardware = ", ".join(map(str, names)) or machine.get("cpu") or "unknown"
    return "another kind of machine: " + sanitize(hardware, 80)


def describe_differences(verdict: StoredVerdict) -> str:
    """Return in one line where results, code and provenance of the two runs differ."""
    if verdict["identical"]:
        parts = ["results identical to the bit"]
    else:
        first = verdict["first_difference"]
        parts = [f"results differ, first in {sanitize(first, 60)}"] if first else []
    parts += [f"code of the {line['part']}" for line in verdict["code"]]
    names = [sanitize(line["field"], 60) for line in verdict["differences"]]
    parts.append(("provenance: " + ", ".join(names)) if names else "provenance alike")
    return "; ".join(parts)


def deciding_verdict(verdicts: Sequence[StoredVerdict], part: str) -> StoredVerdict | None:
    """Return the verdict on a run that counts for one of ``PARTS``; None if there is none.

    Of each machine the newest that answers stands. One that does not reproduce outweighs those that do: only
    a newer verdict of the same machine withdraws it. Without an answer the newest counts.

    Args:
        verdicts: on one run, newest first.
        part: of ``PARTS``.
    """
    standing: dict[object, StoredVerdict] = {}
    for verdict in verdicts:
        if answer_of(verdict, part) != UNKNOWN:
            standing.setdefault(_machine(verdict), verdict)
    answering = sorted(standing.values(), key=lambda verdict: answer_of(verdict, part) != NO)
    return next(iter([*answering, *verdicts]), None)


def _machine(verdict: StoredVerdict) -> object:
    """Return the fingerprint of a second run's machine; of one without it the verdict's own seal."""
    machine: object = verdict["provenance"] and verdict["provenance"].get("machine")
    fingerprint = machine.get("fingerprint") if isinstance(machine, Mapping) else None
    return fingerprint if isinstance(fingerprint, str) else (verdict["seal"],)


def describe(verdict: VerdictFields) -> str:
    """Return both answers of a verdict in a few words."""
    how = " to the bit" if verdict["identical"] and verdict["quality"] == YES else ""
    under = " under other code" if verdict["code"] and verdict["quality"] == YES else ""
    return f"quality {verdict['quality']}{how}{under}; latency {verdict['latency']}"


def row_status(of_runs: Sequence[Sequence[StoredVerdict]]) -> str:
    """Return the status of a row in words, given the verdicts on each of its runs, newest first.

    One run that does not reproduce outweighs all that do; one that does outweighs those without an answer.
    """
    answers, dates = [], []
    for part in PARTS:
        deciding = [v for verdicts in of_runs if (v := deciding_verdict(verdicts, part)) is not None]
        for answer in (NO, YES, UNKNOWN):
            agreeing = [verdict for verdict in deciding if answer_of(verdict, part) == answer]
            if agreeing:
                other = answer == YES and part == "quality" and all(v["code"] for v in agreeing)
                answers.append(f"{part} {answer}" + (" under other code" if other else ""))
                dates += [date(verdict) for verdict in agreeing]
                break
    if not answers:
        return NOT_YET
    verified = sum(bool(verdicts) for verdicts in of_runs)
    runs = f"{verified} of {len(of_runs)} run{'s' if len(of_runs) != 1 else ''}"
    return f"{'; '.join(answers)}: {runs}" + (f", {max(dates)}" if max(dates) else "")
