"""Publication rules: pure checks over records, beyond those of ``integrity.validate``.

Each problem is one line that names the field. Nothing in a record is run or trusted. No torch.
"""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks import options, registry
from benchmarks.api import BUDGETED_KINDS, UsageError
from benchmarks.comparability.grouping import COUNTED
from benchmarks.hardware import profiles
from benchmarks.hardware.probe import ProbedGpu, ProbedMachine
from benchmarks.options import IGNORED
from benchmarks.records import attachments, integrity
from benchmarks.records.canonical import canonical
from benchmarks.records.record import Candidate, Figure, Latency, Record
from benchmarks.records.runtime_latencies import StoredLatency
from benchmarks.records.selection import P90_FROM
from benchmarks.records.spec import Spec, allowances, ruleset_of
from benchmarks.records.text import sanitize
from benchmarks.runs import repeat
from benchmarks.runs.user_declarations import restored
from benchmarks.stats import quantities
from benchmarks.tasks import get_task

OVER = {"seconds": 1.05}
"""Kind -> share of its allowance that a total may reach: a run is stopped at 102 % of its seconds."""
# Ends of figures under this recipe may pass their range: tables compute them anew from the figure's values.
_PLAIN_T = "|ci:t95-over-fine-tuning-seeds"
_SIGNED = re.compile(r"([\w.-]+\|)?[\w.-]+:[^|]+(\|[\w.-]+:[^|]+)+")
"""Form of a signature: the metric's name, then names with their values."""


def find_problems(record: Record, settings: Iterable[str] = (), methods: Iterable[str] = ()) -> list[str]:
    """Return a line for each reason against publishing one valid record.

    Args:
        record: valid (``integrity.validate``).
        settings: ``settings_sha256`` known otherwise than from this code: of records that are published and
            not in question themselves.
        methods: ``method_sha256``, likewise.
    """
    # A seal that was made anew over a changed field does not make that field's own hash anew.
    lines = [f"{field}: changed after writing" for field in integrity.tampered(record)]
    with restored(record):
        lines += [*_profile(record), *_settings(record, set(settings)), *_ledger(record)]
        for i, candidate in enumerate(record["candidates"]):
            lines += [f"candidates[{i}].{line}" for line in _candidate(record, candidate)]
        return [*lines, *repeat.obstacles(record, set(methods)), *_options(record), *_provenance(record)]


def find_latency_problems(latency: StoredLatency) -> Iterator[tuple[str, str]]:
    """Yield each reason against publishing a valid latency of another runtime, as ``(field, reason)``."""
    name, provenance = latency["profile"], latency["provenance"]
    if not profiles.is_known(name):
        yield "profile", f"'{sanitize(name, 60)}' is not declared; known: {' '.join(profiles.names())}"
    elif provenance is None or not isinstance(provenance["machine"], Mapping):
        yield "provenance.machine", "missing"
    else:
        for field, reason in machine_differences(name, provenance["machine"]):
            yield f"provenance.{field}", reason
    for field, reason in repeat.code_obstacles(provenance or {}):
        yield f"provenance.{field}", reason


def find_unequal_allowances(
    records: Sequence[Record], published: Sequence[Record] = ()
) -> dict[str, list[str]]:
    """Return record id -> a line for each allowance that differs inside a comparison.

    One task, tier, profile and settings have one allowance: the one that most of the published records have;
    without one of them, that most of the records have.

    Args:
        records: those in question.
        published: others, which are not.
    """
    apart: dict[tuple[str, ...], _Kinds] = {}
    for record in (*records, *published):
        spec = record["spec"]
        named = (spec[k] for k in ("task", "tier", "profile", "settings_sha256"))
        place = (*named, ruleset_of(spec))
        allowance = tuple(spec["budget"][kind] for kind in COUNTED)
        apart.setdefault(place, {}).setdefault(allowance, []).append(record["id"])
    known = {record["id"] for record in published}
    lines_of: dict[str, list[str]] = {}
    for kinds in apart.values():
        usual = _usual(kinds, known)
        for own_allowance, ids in kinds.items():
            lines = [
                f"spec.budget.{kind}: {_number(own)}, the others of this comparison have {_number(theirs)}"
                for kind, own, theirs in zip(COUNTED, own_allowance, usual, strict=True)
                if own != theirs
            ]
            lines_of |= {id: lines for id in ids if lines and id not in known}
    return lines_of


def find_unequal_references(records: Sequence[Record], published: Sequence[Record] = ()) -> dict[str, str]:
    """Return record id -> a line for each record that was scored on other test files than its comparison.

    One task, tier, settings and data have one digest of test files: the one that most of the published
    records have; without one of them, that most of the records have.

    Args:
        records: those in question.
        published: others, which are not.
    """
    digests: dict[str, _Kinds] = {}
    for record in (*records, *published):
        spec, digest = record["spec"], record.get("oversight", {}).get("references_sha256")
        if digest:
            data = canonical(dict(record["provenance"]["data"])).decode()
            place = "/".join((spec["task"], spec["tier"], spec["settings_sha256"], data))
            digests.setdefault(place, {}).setdefault((str(digest),), []).append(record["id"])
    known = {record["id"] for record in published}
    lines: dict[str, str] = {}
    for kinds in digests.values():
        (usual,) = _usual(kinds, known)
        for (own,), ids in kinds.items():
            line = f"oversight.references_sha256: {own[:12]}, the others of this comparison have {usual[:12]}"
            lines |= {id: line for id in ids if own != usual and id not in known}
    return lines


_Kinds = dict[tuple[Any, ...], list[str]]
"""Values of which a comparison has one -> ids of the records that have them."""


def _usual(kinds: _Kinds, known: Container[str]) -> tuple[Any, ...]:
    """Return the values that most records with a known id have, then that most have, then the largest."""

    def votes(values: tuple[Any, ...]) -> tuple[int, int, list[object]]:
        ids = kinds[values]
        return sum(id in known for id in ids), len(ids), [v is not None and v for v in values]

    return max(kinds, key=votes)


def _number(value: float | None) -> str:
    return "no limit" if value is None else f"{value:,.10g}"


def _profile(record: Record) -> Iterator[str]:
    name, machine = record["spec"]["profile"], record["provenance"]["machine"]
    if name == profiles.UNDECLARED:
        yield "spec.profile: undeclared, and tables of undeclared machines are not published"
        return
    if not profiles.is_known(name):
        yield f"spec.profile: no profile '{sanitize(name, 80)}'; known: {' '.join(profiles.names())}"
        return
    for field, reason in machine_differences(name, machine):
        yield f"provenance.{field}: {reason}"


def machine_differences(name: str, machine: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    """Yield each difference of a recorded machine from a declared profile, as ``(field, difference)``."""
    declared = profiles.get(name)
    facts: dict[str, type | tuple[type, ...]] = {"arch": str, "cpus": int, "gpus": list, "fingerprint": str}
    missing = [k for k, kind in facts.items() if not isinstance(machine.get(k), kind)]
    if missing:
        yield "machine", f"lacks {', '.join(missing)}"
        return
    listed, cpus = machine["gpus"], machine["cpus"]
    cpu = str(machine.get("cpu") or "")
    gpus = [g for g in listed if isinstance(g, Mapping)] if isinstance(listed, list) else []
    # Of the processor's flags a record keeps a hash: they were compared where it ran, not again here.
    stated = ProbedMachine(
        arch=sanitize(machine["arch"], 40),
        cpus=cpus if isinstance(cpus, int) else 0,
        cpu=cpu if cpu == declared.machine.get("cpu") else sanitize(cpu, 80),
        isa=[*declared.machine.get("isa", ())],
        memory_gib=0.0,
        gpus=[
            ProbedGpu(
                name=sanitize(g.get("name"), 80), memory_gib=_size(g.get("memory_gib")), driver="", uuid=""
            )
            for g in gpus
        ],
    )
    for what, wanted, is_ in profiles.differences(declared, stated):
        yield "machine", f"{what} is {is_}, profile {name} declares {wanted}"


def _size(value: object) -> float:
    return float(value) if isinstance(value, int | float) else 0.0


class TierFacts(NamedTuple):
    """Search space and allowance of a tier."""

    space: str
    budget: Mapping[str, float]


@cache
def former_settings() -> Mapping[tuple[str, str, str], TierFacts]:
    """Return task, tier and ``settings_sha256`` of former settings of our tiers -> what went with them."""
    text = Path(__file__).with_name("former_settings.toml").read_text("utf-8")
    return {
        (entry["task"], entry["tier"], entry["sha256"]): TierFacts(entry["space"], entry["budget"])
        for entry in tomllib.loads(text)["settings"]
    }


def _settings(record: Record, known: set[str]) -> Iterator[str]:
    """Yield settings and allowances that neither this code has or had, nor a published record."""
    spec = record["spec"]
    former = former_settings().get((spec["task"], spec["tier"], spec["settings_sha256"]))
    if former is not None:
        yield from _of_tier(spec, former)
        return
    try:
        task = get_task(spec["task"])
        device = profiles.get(spec["profile"]).device if profiles.is_known(spec["profile"]) else "cpu"
        tier = task.tier(spec["tier"], device)
    except UsageError as error:
        if spec["settings_sha256"] not in known:
            yield f"spec.task: {sanitize(str(error).splitlines()[0], 160)}"
        return
    if spec["settings_sha256"] == tier.sha256:
        yield from _of_tier(spec, TierFacts(tier.space, tier.budget))
    elif spec["settings_sha256"] not in known:
        yield (
            f"spec.settings_sha256: {spec['settings_sha256'][:12]} is neither this code's settings of"
            f" {spec['task']} {spec['tier']} ({tier.sha256[:12]}), nor former ones, nor those of another"
            " published record: run it again with this version"
        )


def _of_tier(spec: Spec, facts: TierFacts) -> Iterator[str]:
    """Yield allowances and a search space that are not those of the run's tier."""
    for kind in COUNTED:
        own, due = spec["budget"].get(kind), facts.budget[kind] * allowances(spec)
        if own != due:
            yield f"spec.budget.{kind}: {_number(own)}, the tier's allowance is {_number(due)}"
    if spec["space"] != facts.space:
        yield f"spec.space: {sanitize(spec['space'], 80)}, the tier's is {facts.space}"


def _options(record: Record) -> Iterator[str]:
    """Yield options without effect, which would make a row look like another one's."""
    spec = record["spec"]
    try:
        ref = registry.find(spec["method"])
    except UsageError:
        ref = None
    if ref is not None and ref.sha256 == spec["method_sha256"]:
        try:
            kept = options.checked(ref.name, ref.options, spec["options"], "spec.options.")
            for name in sorted(set(spec["options"]) - set(kept)):
                yield f"spec.options.{sanitize(name, 40)}: stands at its default: run it without"
        except UsageError as error:
            yield sanitize(str(error).splitlines()[0], 200).replace("=", ": ", 1)
    if (at := record["message"].find(IGNORED)) >= 0 and spec["options"]:
        yield f"message: {sanitize(record['message'][at:], 120)}: they had no effect: run it without"


def _ledger(record: Record) -> Iterator[str]:
    totals, share, budget = record["ledger"]["totals"], record["ledger"]["share"], record["spec"]["budget"]
    for kind in BUDGETED_KINDS:
        allowance, total = budget.get(kind), totals.get(kind, 0.0)
        if allowance is None:
            yield f"spec.budget.{kind}: no limit; only runs with an allowance are compared"
            continue
        if total > allowance * OVER.get(kind, 1.0) + 1e-6:
            yield f"ledger.totals.{kind}: {total:,.10g}, the allowance is {allowance:,.10g}"
        stated = share.get(kind)
        if kind not in OVER and (problem := quantities.FIGURES[kind].trespass(stated)):
            yield f"ledger.share.{kind}: {problem}"
        if allowance > 0 and stated is not None and not math.isclose(stated, total / allowance, abs_tol=1e-6):
            due = total / allowance
            yield f"ledger.share.{kind}: {stated:g}, but {total:,.10g} of {allowance:,.10g} is {due:g}"
    booked = math.fsum(e["amount"] for e in record["ledger"]["entries"] if e["kind"] == "seconds")
    if not math.isclose(booked, totals.get("seconds", 0.0), rel_tol=1e-6, abs_tol=1e-3):
        yield f"ledger.totals.seconds: {totals.get('seconds', 0.0):g} but the entries sum to {booked:g}"
    if record["status"] != "failed" and not totals.get("tokens") and not totals.get("evaluations"):
        yield "ledger.totals: candidates without a token trained or an evaluation made"
    for entry in record["ledger"]["entries"]:
        if entry["amount"] < 0:
            field = f"ledger.entries.{sanitize(entry['phase'], 40)}.{entry['kind']}"
            yield f"{field}: {entry['amount']:g} is below 0"
    energy = record["energy"]
    if energy and energy.get("joules") is not None and not sanitize(energy["source"]):
        yield "energy.source: empty; every figure needs its source"


def _candidate(record: Record, candidate: Candidate) -> Iterator[str]:
    for name, metrics in (candidate.get("test") or {}).items():
        for metric, figure in metrics.items():
            yield from _scored(f"test.{sanitize(name, 40)}.{sanitize(metric, 40)}", metric, figure)
    latency = candidate.get("latency")
    if latency:
        yield from _latency(record, latency)
    for field, name, value in _figures(candidate):
        if problem := quantities.FIGURES[name].trespass(value):
            yield f"{field}: {problem}"
    memory, energy = candidate.get("memory"), candidate.get("energy")
    if memory and memory.get("peak_bytes") is not None and not sanitize(memory["source"]):
        yield "memory.source: empty; every figure needs its source"
    if energy and energy.get("joules_per_sentence") is not None and not sanitize(energy["source"]):
        yield "energy.source: empty; every figure needs its source"


_INTERVALS = {"ratio_low": "ratio", "ratio_high": "ratio", "p50_low": "p50", "p50_high": "p50"}
"""End of a latency's interval -> its quantity."""


def _figures(candidate: Candidate) -> Iterator[tuple[str, str, float | None]]:
    """Yield field, quantity and value of every figure of a candidate but its scores."""
    latency, cost = candidate.get("latency") or {}, candidate.get("cost") or {}
    for name in ("p50", "p90", "ratio", "reference_p50", *_INTERVALS):
        yield f"latency.{name}", _INTERVALS.get(name, name), _value(latency, name)
    yield from ((f"cost.{name}", name, _value(cost, name)) for name in ("params", "macs", "bytes"))
    yield "valid.loss", "valid_loss", candidate["valid"]["loss"]
    yield "memory.peak_bytes", "peak_bytes", (candidate.get("memory") or {}).get("peak_bytes")
    yield "energy.joules_per_sentence", "joules", (candidate.get("energy") or {}).get("joules_per_sentence")
    for name in ("limit_ms", "limit_share"):
        yield name, name, _value(candidate, name)


def _value(part: Mapping[str, object], name: str) -> float | None:
    """Return a figure of a part of a record; None if it has none."""
    value = part.get(name)
    return value if isinstance(value, int | float) else None


def _scored(field: str, metric: str, figure: Figure) -> Iterator[str]:
    value, low, high = (_value(figure, side) for side in ("value", "low", "high"))
    if value is None:
        return
    if not _SIGNED.fullmatch(figure["signature"]):
        yield f"{field}.signature: {sanitize(figure['signature'], 60)!r} is no recipe of a figure"
    elif "version:" not in figure["signature"]:
        yield f"{field}.signature: names no version"
    for side in ("value",) if _PLAIN_T in figure["signature"] else ("value", "low", "high"):
        if problem := quantities.of_metric(metric).trespass(_value(figure, side)):
            yield f"{field}.{side}: {problem}"
    if low is not None and high is not None and not low <= value <= high:
        yield f"{field}: {value:g} is outside its own interval [{low:g}, {high:g}]"


def _latency(record: Record, latency: Latency) -> Iterator[str]:
    parts = dict(p.partition(":")[::2] for p in str(latency.get("signature", "")).split("|"))
    if not {"lat", "n", "prof"} <= {*parts}:
        yield "latency.signature: must give lat, n and prof, as in lat:p90|n:64|...|prof:cpu-2core-avx512.v1"
    else:
        ours = record["spec"]["profile"]
        if parts["prof"] != ours:
            yield f"latency.signature: profile {sanitize(parts['prof'], 60)}, the run's is {ours}"
        if parts["n"] != str(latency["n"]):
            yield f"latency.signature: n is {sanitize(parts['n'], 20)}, and {latency['n']} in the field n"
    p50, p90, n = latency["p50"], latency.get("p90"), latency["n"]
    if p90 is not None and p90 < p50:
        yield f"latency.p90: {p90:g} ms is below the median of {p50:g} ms"
    if p90 is not None and n < P90_FROM:
        yield f"latency.n: {n} timings, a p90 takes at least {P90_FROM}"
    ratio, low, high = (_value(latency, name) for name in ("ratio", "ratio_low", "ratio_high"))
    if ratio is None or latency.get("reference_p50") is None:
        yield "latency.ratio: missing; latencies are compared as ratios to the reference network"
        return
    if low is not None and high is not None and not low <= ratio <= high:
        yield f"latency.ratio: {ratio:g} is outside its own interval [{low:g}, {high:g}]"
    if not math.isclose(ratio * latency["reference_p50"], p50, rel_tol=0.05):
        yield f"latency.ratio: {ratio:g} x {latency['reference_p50']:g} ms is not the median of {p50:g} ms"


def _provenance(record: Record) -> Iterator[str]:
    provenance = record["provenance"]
    if record["status"] != "failed" and not provenance["data"]:
        yield "provenance.data: no checksums of the data"
    try:
        began, ended = (datetime.fromisoformat(provenance[k]) for k in ("started", "ended"))
        if ended < began:
            yield f"provenance.ended: {sanitize(provenance['ended'], 40)} is before it started"
        if attachments.in_future(attachments.moment(provenance["ended"])):
            yield f"provenance.ended: {sanitize(provenance['ended'], 40)} {attachments.IN_FUTURE}"
    except (ValueError, TypeError, OverflowError):
        yield "provenance.started, provenance.ended: not two ISO times of one kind"
