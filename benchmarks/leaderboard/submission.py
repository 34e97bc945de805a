"""What a record must be to be published: pure checks over records, beyond what ``records.validate`` refuses.

Each problem is one line that names the field. Nothing here runs or trusts what a record says. No torch.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from benchmarks import options, registry
from benchmarks.api import LIMITED, UsageError
from benchmarks.comparability.grouping import COUNTED
from benchmarks.hardware import profiles
from benchmarks.hardware.probe import ProbedGpu, ProbedMachine
from benchmarks.options import IGNORED
from benchmarks.records import integrity
from benchmarks.records.record import Record
from benchmarks.records.selection import P90_FROM
from benchmarks.records.spec import allowances, ruleset_of
from benchmarks.records.text import sanitize
from benchmarks.runs import repeat
from benchmarks.runs.plan import scale_budget
from benchmarks.stats import quantities
from benchmarks.tasks import get_task

OVER = {"seconds": 1.05}
"""Share of an allowance that a total may reach: a run is stopped at 102 % of its seconds, with a grace."""
# Ends of figures under this recipe may pass their range: tables compute them anew from the figure's values.
_PLAIN_T = "|ci:t95-over-fine-tuning-seeds"
_SIGNED = re.compile(r"([\w.-]+\|)?[\w.-]+:[^|]+(\|[\w.-]+:[^|]+)+")
"""A signature: what the metric is called, then names with their values."""


def problems(record: Record, settings: Iterable[str] = (), methods: Iterable[str] = ()) -> list[str]:
    """What forbids publishing one valid record, a line each.

    Args:
        record: valid (``records.validate``).
        settings: ``settings_sha256`` known otherwise than from this code: of the published records.
        methods: ``method_sha256``, likewise.
    """
    # A seal that was made anew over a changed field does not make that field's own hash anew.
    found = [f"{field}: changed after writing" for field in integrity.tampered(record)]
    found += [*_profile(record), *_settings(record, set(settings)), *_ledger(record)]
    for i, candidate in enumerate(record["candidates"]):
        found += [f"candidates[{i}].{line}" for line in _candidate(record, candidate)]
    return [*found, *repeat.obstacles(record, set(methods)), *_options(record), *_provenance(record)]


def elsewhere(made: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What forbids publishing a valid latency of another runtime, as ``(field, what is wrong)``."""
    name, told = made["profile"], made["provenance"]
    if name not in profiles.names():
        yield "profile", f"'{sanitize(name, 60)}' is not declared; known: {' '.join(profiles.names())}"
    elif not isinstance(told["machine"], Mapping):
        yield "provenance.machine", "says nothing"
    else:
        yield from ((f"provenance.{field}", said) for field, said in unlike(name, told["machine"]))
    yield from ((f"provenance.{field}", said) for field, said in repeat.code_obstacles(told))


def unequal(records: Sequence[Record]) -> dict[str, list[str]]:
    """Record id -> problems of allowances that differ inside a comparison.

    One task, tier, profile and settings have one allowance: the one that most of the records have.
    """
    apart: dict[tuple[str, ...], dict[tuple[Any, ...], list[Record]]] = {}
    for record in records:
        spec = record["spec"]
        named = (spec[k] for k in ("task", "tier", "profile", "settings_sha256"))
        place = (*named, ruleset_of(spec))
        allowance = tuple(spec["budget"][kind] for kind in COUNTED)
        apart.setdefault(place, {}).setdefault(allowance, []).append(record)
    found: dict[str, list[str]] = {}
    for kinds in apart.values():
        usual = max(kinds, key=lambda a: (len(kinds[a]), [v is not None and v for v in a]))
        for allowance, group in kinds.items():
            lines = [
                f"spec.budget.{kind}: {_number(own)}, the others of this comparison have {_number(theirs)}"
                for kind, own, theirs in zip(COUNTED, allowance, usual, strict=True)
                if own != theirs
            ]
            for record in group if lines else ():
                found[record["id"]] = lines
    return found


def _number(value: float | None) -> str:
    return "no limit" if value is None else f"{value:,.10g}"


def _profile(record: Record) -> Iterator[str]:
    name, machine = record["spec"]["profile"], record["provenance"]["machine"]
    if name == profiles.UNDECLARED:
        yield "spec.profile: undeclared, and tables of undeclared machines are not published"
        return
    if name not in profiles.names():
        yield f"spec.profile: no profile '{sanitize(name, 80)}'; known: {' '.join(profiles.names())}"
        return
    for field, said in unlike(name, machine):
        yield f"provenance.{field}: {said}"


def unlike(name: str, machine: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Where a machine, as provenance tells of it, is not what a declared profile says."""
    declared = profiles.get(name)
    facts: dict[str, type | tuple[type, ...]] = {"arch": str, "cpus": int, "gpus": list, "fingerprint": str}
    missing = [k for k, kind in facts.items() if not isinstance(machine.get(k), kind)]
    if missing:
        yield "machine", f"says nothing of {', '.join(missing)}"
        return
    gpus = [g for g in machine["gpus"] if isinstance(g, Mapping)]
    # Of the processor's flags a record keeps a hash: they were compared where it ran, not again here.
    stated = ProbedMachine(
        arch=sanitize(machine["arch"], 40),
        cpus=machine["cpus"],
        cpu="",
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


def _size(value: Any) -> float:
    return float(value) if isinstance(value, int | float) else 0.0


def _settings(record: Record, known: set[str]) -> Iterator[str]:
    """The tier's settings and allowance are those of this code, or of a published record."""
    spec = record["spec"]
    try:
        task = get_task(spec["task"])
        device = profiles.get(spec["profile"]).device if spec["profile"] in profiles.names() else "cpu"
        tier = task.tier(spec["tier"], device)
    except UsageError as error:
        if spec["settings_sha256"] not in known:
            yield f"spec.task: {sanitize(str(error).splitlines()[0], 160)}"
        return
    if spec["settings_sha256"] == tier.sha256:
        allowance = scale_budget(tier.budget, allowances(spec))
        for kind in COUNTED:
            own, due = spec["budget"].get(kind), allowance[kind]
            if own != due:
                yield f"spec.budget.{kind}: {_number(own)}, the tier's allowance is {_number(due)}"
        if spec["space"] != tier.space:
            yield f"spec.space: {sanitize(spec['space'], 80)}, the tier's is {tier.space}"
    elif spec["settings_sha256"] not in known:
        yield (
            f"spec.settings_sha256: {spec['settings_sha256'][:12]} is neither this code's settings of"
            f" {spec['task']} {spec['tier']} ({tier.sha256[:12]}) nor those of a published record"
        )


def _options(record: Record) -> Iterator[str]:
    """Options that had no effect would make a row look like another one's."""
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
    for kind in LIMITED:
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
        yield "energy.source: empty; every figure says where it comes from"


def _candidate(record: Record, candidate: Mapping[str, Any]) -> Iterator[str]:
    for name, metrics in (candidate.get("test") or {}).items():
        for metric, figure in metrics.items():
            yield from _scored(f"test.{sanitize(name, 40)}.{sanitize(metric, 40)}", metric, figure)
    latency = candidate.get("latency")
    if latency:
        yield from _latency(record, latency)
    for field, name, value in _figures(candidate):
        if problem := quantities.FIGURES[name].trespass(value):
            yield f"{field}: {problem}"
    for name, amount in (("memory", "peak_bytes"), ("energy", "joules_per_sentence")):
        part = candidate.get(name)
        if part and part.get(amount) is not None and not sanitize(part["source"]):
            yield f"{name}.source: empty; every figure says where it comes from"


_INTERVALS = {"ratio_low": "ratio", "ratio_high": "ratio", "p50_low": "p50", "p50_high": "p50"}
"""End of a latency's interval -> the quantity that it is of."""


def _figures(candidate: Mapping[str, Any]) -> Iterator[tuple[str, str, float | None]]:
    """Field, quantity and value of every figure of a candidate but its scores."""
    latency, cost = candidate.get("latency") or {}, candidate.get("cost") or {}
    for name in ("p50", "p90", "ratio", "reference_p50", *_INTERVALS):
        yield f"latency.{name}", _INTERVALS.get(name, name), latency.get(name)
    yield from ((f"cost.{name}", name, cost.get(name)) for name in ("params", "macs", "bytes"))
    yield "valid.loss", "valid_loss", candidate["valid"]["loss"]
    yield "memory.peak_bytes", "peak_bytes", (candidate.get("memory") or {}).get("peak_bytes")
    yield "energy.joules_per_sentence", "joules", (candidate.get("energy") or {}).get("joules_per_sentence")
    for name in ("limit_ms", "limit_share"):
        yield name, name, candidate.get(name)


def _scored(field: str, metric: str, figure: Mapping[str, Any]) -> Iterator[str]:
    value, low, high = (figure.get(k) for k in ("value", "low", "high"))
    if value is None:
        return
    if not _SIGNED.fullmatch(figure["signature"]):
        yield f"{field}.signature: {sanitize(figure['signature'], 60)!r} does not say how the figure was made"
    elif "version:" not in figure["signature"]:
        yield f"{field}.signature: names no version"
    for side in ("value",) if _PLAIN_T in figure["signature"] else ("value", "low", "high"):
        if problem := quantities.of_metric(metric).trespass(figure.get(side)):
            yield f"{field}.{side}: {problem}"
    if low is not None and high is not None and not low <= value <= high:
        yield f"{field}: {value:g} is outside its own interval [{low:g}, {high:g}]"


def _latency(record: Record, latency: Mapping[str, Any]) -> Iterator[str]:
    parts = dict(p.partition(":")[::2] for p in str(latency.get("signature", "")).split("|"))
    if not {"lat", "n", "prof"} <= {*parts}:
        yield "latency.signature: must give lat, n and prof, as in lat:p90|n:64|...|prof:cpu-2core-avx512.v1"
    else:
        ours = record["spec"]["profile"]
        if parts["prof"] != ours:
            yield f"latency.signature: profile {sanitize(parts['prof'], 60)}, the run's is {ours}"
        if parts["n"] != str(latency["n"]):
            yield f"latency.signature: n is {sanitize(parts['n'], 20)}, the field n says {latency['n']}"
    p50, p90, n = latency["p50"], latency.get("p90"), latency["n"]
    if p90 is not None and p90 < p50:
        yield f"latency.p90: {p90:g} ms is below the median of {p50:g} ms"
    if p90 is not None and n < P90_FROM:
        yield f"latency.n: {n} timings, a p90 takes at least {P90_FROM}"
    ratio, low, high = (latency.get(k) for k in ("ratio", "ratio_low", "ratio_high"))
    if ratio is None or latency.get("reference_p50") is None:
        yield "latency.ratio: missing; latencies are compared as ratios to the reference network"
        return
    if low is not None and high is not None and not low <= ratio <= high:
        yield f"latency.ratio: {ratio:g} is outside its own interval [{low:g}, {high:g}]"
    if not math.isclose(ratio * latency["reference_p50"], p50, rel_tol=0.05):
        yield f"latency.ratio: {ratio:g} x {latency['reference_p50']:g} ms is not the median of {p50:g} ms"


def _provenance(record: Record) -> Iterator[str]:
    made = record["provenance"]
    if record["status"] != "failed" and not made["data"]:
        yield "provenance.data: no checksums of the data"
    try:
        began, ended = (datetime.fromisoformat(made[k]) for k in ("started", "ended"))
        if ended < began:
            yield f"provenance.ended: {sanitize(made['ended'], 40)} is before it started"
    except (ValueError, TypeError):
        yield "provenance.started, provenance.ended: not two ISO times of one kind"
