"""Published verdicts: ``results/verified/<record id>/<16 digits of the verdict's seal>.json``.

``supernet-bench verify`` writes them, whoever publishes the row commits them, the leaderboard shows them. A
file is a stranger's until it is checked: against its schema and seal, and against the record that it is
about. What it says was measured cannot be checked without running the row again. No torch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.records import attachments
from benchmarks.records.attachments import Attachment, FieldError, date
from benchmarks.records.record import Record
from benchmarks.records.text import sanitize
from benchmarks.verification import compare
from benchmarks.verification.compare import NO, UNKNOWN, YES, Verdict

FOLDER, WHAT = "verified", "verdict"
NOT_YET = "not verified"


def parts(verdict: Verdict) -> dict[str, Any]:
    """Return the fields of a verdict as plain JSON types."""
    return {
        **asdict(verdict),
        "differences": [
            {"field": name, "published": old, "now": new} for name, old, new in verdict.differences
        ],
        "code": [{"part": part, "published": old, "now": new} for part, old, new in verdict.code],
    }


def to_record(published: Record, again: Record | None, verdict: Verdict) -> Attachment:
    """The verdict as it is stored (``schema/verify-2.json``), sealed."""
    made: Attachment = {
        "schema": compare.SCHEMA,
        "record": published["id"],
        "record_seal": published["seal"],
        **parts(verdict),
        "digest": again["digest"] if again else None,
        "provenance": again["provenance"] if again else None,
    }
    return attachments.sealed(made)


def load(path: Path) -> Attachment:
    """A stored verdict, checked against its schema, its seal and itself.

    Raises:
        InvalidRecord: naming the file and what is wrong.
    """
    made = attachments.load(path, SCHEMAS, WHAT, lambda made: _contradiction(_current(made)))
    return _current(made)


SCHEMAS = {"supernet-bench/verify/1": "verify-1.json", compare.SCHEMA: "verify-2.json"}
PARTS = {"quality": "quality", "latency": "latency ratio"}
"""Each answer, and what its checks are called."""


def _current(made: Attachment) -> Attachment:
    """A verdict in the form of now; version 1 had one answer for quality and latency together."""
    if made["schema"] == compare.SCHEMA:
        return made
    told = {part: [c["holds"] for c in made["checks"] if c["what"] == what] for part, what in PARTS.items()}
    answers = {part: compare.answer(holds) for part, holds in told.items()}
    if made["answer"] == NO and NO not in answers.values() and not made["identical"]:
        answers["quality"] = NO  # other bits, or a second run that failed
    kept = {key: value for key, value in made.items() if key != "answer"}
    return {**kept, "schema": compare.SCHEMA, **answers, "code": []}


def _contradiction(made: Attachment) -> FieldError | None:
    """The first ``(field, what is wrong)`` where a verdict contradicts itself, or None."""
    for i, check in enumerate(made["checks"]):
        now, low, high = check["now"], check["low"], check["high"]
        known = None not in (now, low, high)
        inside = known and (low <= now <= high or (check["what"] == "quality" and now == check["published"]))
        if known and check["holds"] is not None and check["holds"] != inside:
            return (
                f"checks[{i}].holds",
                f"{check['holds']}, but {now:g} and [{low:g}, {high:g}] say otherwise",
            )
        if check["holds"] and now is None:
            return f"checks[{i}].holds", "true, but nothing was measured"
    for part, what in PARTS.items():
        answer, holds = made[part], [c["holds"] for c in made["checks"] if c["what"] == what]
        if answer == YES and (not holds or not all(holds)):
            return part, f"{YES}, but not every check holds"
        if answer == UNKNOWN and False in holds:
            return part, f"{UNKNOWN}, but a check does not hold"
        if answer == NO and False not in holds and (part == "latency" or not made["reasons"]):
            return part, f"{NO}, without a check that does not hold or a reason"
        if answer == NO and made["code"]:
            return part, f"{NO}, but under other code, which may be the reason"
    if made["quality"] == NO and made["identical"]:
        return "quality", f"{NO}, but the results are identical to the bit"
    holds = [check["holds"] for check in made["checks"]]
    if made["identical"] != (made["first_difference"] is None) and holds:
        return (
            "identical",
            f"{made['identical']}, first_difference: {sanitize(made['first_difference'], 60)}",
        )
    if {made[part] for part in PARTS} != {UNKNOWN} and attachments.ended(made) is None:
        return "provenance.ended", "no ISO time; a verdict says when and where it was made"
    return None


def paths(results: Path) -> dict[str, tuple[Path, ...]]:
    """Record id -> the files of its verdicts, as ``sealed.paths``."""
    return attachments.paths(results, FOLDER, WHAT)


def of_record(record: Record, files: Sequence[Path]) -> list[Attachment]:
    """The verdicts on one published record, the newest first; those on an earlier version of it left out.

    Raises:
        InvalidRecord: a file is damaged, misplaced, or does not fit the record.
    """
    return attachments.of_record(record, files, FOLDER, load, _misfit)


def _misfit(made: Attachment, record: Record) -> FieldError | None:
    """The first ``(field, what is wrong)`` where a verdict tells of figures that its record does not have."""
    due = compare.published_figures(record)
    told = {}
    for i, check in enumerate(made["checks"]):
        key = check["what"], check["limit"]
        if key not in due:
            return (
                f"checks[{i}]",
                f"the record has no {sanitize(key[0], 40)} at limit {sanitize(key[1], 40)}",
            )
        if check["published"] != due[key]:
            return f"checks[{i}].published", f"{check['published']}, the record says {due[key]}"
        told[key] = check
    for part, what in PARTS.items():
        left_out = [key for key in due if key[0] == what and key not in told]
        if made[part] == YES and left_out:
            return "checks", f"{part} {YES}, but {len(left_out)} figures of the record were not checked"
    return None


def machine(made: Attachment, there: object) -> str:
    """Where the second run ran, in a few words; ``there``: the fingerprint of the first run's machine."""
    here = (made["provenance"] or {}).get("machine")
    if not isinstance(here, Mapping):
        return "nowhere"
    if there is not None and here.get("fingerprint") == there:
        return "a machine alike"
    gpus = here.get("gpus")
    names = [g.get("name") for g in gpus if isinstance(g, Mapping)] if isinstance(gpus, list) else []
    what = ", ".join(map(str, names)) or here.get("cpu") or "unknown"
    return "another kind of machine: " + sanitize(what, 80)


def differing(made: Attachment) -> str:
    """What differed, in one line: nothing, or where the results part and which provenance does."""
    if made["identical"]:
        told = ["results identical to the bit"]
    else:
        first = made["first_difference"]
        told = [f"results differ, first in {sanitize(first, 60)}"] if first else []
    told += [f"code of the {line['part']}" for line in made["code"]]
    names = [sanitize(line["field"], 60) for line in made["differences"]]
    told.append(("provenance: " + ", ".join(names)) if names else "provenance alike")
    return "; ".join(told)


def deciding_verdict(verdicts: Sequence[Attachment], part: str) -> Attachment | None:
    """Return the verdict that counts for one of ``PARTS``: the newest that answers, else the newest."""
    return next((made for made in verdicts if made[part] != UNKNOWN), verdicts[0] if verdicts else None)


def words(made: Attachment) -> str:
    """Return both answers of a verdict in a few words."""
    how = " to the bit" if made["identical"] and made["quality"] == YES else ""
    under = " under other code" if made["code"] and made["quality"] == YES else ""
    return f"quality {made['quality']}{how}{under}; latency {made['latency']}"


def row_status(of_runs: Sequence[Sequence[Attachment]]) -> str:
    """Return in words what may be said of a row, given the verdicts on each of its runs, newest first.

    One run that does not reproduce outweighs those that do, and one that does those that nobody can tell of.
    """
    told, dates = [], []
    for part in PARTS:
        counted = [made for verdicts in of_runs if (made := deciding_verdict(verdicts, part)) is not None]
        for answer in (NO, YES, UNKNOWN):
            ours = [made for made in counted if made[part] == answer]
            if ours:
                other = answer == YES and part == "quality" and all(made["code"] for made in ours)
                told.append(f"{part} {answer}" + (" under other code" if other else ""))
                dates += [date(made) for made in ours]
                break
    if not told:
        return NOT_YET
    verified_ = sum(bool(verdicts) for verdicts in of_runs)
    runs = f"{verified_} of {len(of_runs)} run{'s' if len(of_runs) != 1 else ''}"
    return f"{'; '.join(told)}: {runs}" + (f", {max(dates)}" if max(dates) else "")
