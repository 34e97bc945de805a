"""Estimates of a plan's duration: from past runs, else published ones, else from the tier's throughput."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from benchmarks.hardware import profiles
from benchmarks.records import store
from benchmarks.records.record import Ledger, Record
from benchmarks.records.spec import RunSpec
from benchmarks.runs.plan import Plan, PlannedRun, PlanRequest

Conditions = tuple[str, str, str]
"""Task, tier and profile."""


class Pace(NamedTuple):
    """Seconds for each token of the allowance, and the share of that allowance that was spent."""

    search: float
    training: float
    """The part of ``search`` until its last token."""
    rest: float
    """Work off the clock of the search."""
    spent: float
    settings: str = ""
    """Digest of the tier's settings, which decide how much work a token is."""


Paces = Mapping[str, list[Pace]]
"""Method -> pace of each of its runs."""


def estimate_runs(plan: Plan, request: PlanRequest) -> None:
    """Set the seconds, and where they come from, of each run that is left."""
    if not plan.pending:
        return
    here = _paces(store.load_all(plan.folders.store, []))
    published: dict[str, dict[Conditions, Paces]] = {}
    tiers = {task.name: task.tier(request.tier, request.device) for task in request.tasks}
    paces: dict[tuple[str, str, str, str], tuple[Pace | None, str]] = {}
    for run in plan.pending:
        spec = run.spec
        alike = spec.task, spec.tier, spec.profile, spec.method
        if alike not in paces:
            own = here.get((spec.task, spec.tier, spec.profile), {})
            paces[alike] = _pace(spec, request.device, own, plan.folders.results, published)
        pace, basis = paces[alike]
        if pace is None:
            run.estimate, run.basis = _by_throughput(spec, tiers[spec.task].throughput)
        else:
            _apply(run, pace, basis)


def _pace(
    spec: RunSpec, device: str, own: Paces, results: Path, published: dict[str, dict[Conditions, Paces]]
) -> tuple[Pace | None, str]:
    """Return the pace of a method and its source; None if neither past runs nor published ones tell it.

    Args:
        own: paces of past runs here.
        results: folder of results, whose published records are read once a task into ``published``.
    """
    if spec.method in own:
        return _mean(own[spec.method], spec), _measured(own[spec.method])
    if spec.task not in published:
        published[spec.task] = _published(results, spec.task)
    pace, basis = _by_published(spec, device, own, published[spec.task])
    if pace is None and own:
        runs = [pace for paces in own.values() for pace in paces]
        return _mean(runs, spec), f"{_measured(runs)} of other methods"
    return pace, basis


def _apply(run: PlannedRun, pace: Pace, basis: str) -> None:
    """Set a run's estimate. Its search is stopped by its seconds, the rest is not."""
    tokens, most = run.spec.budget["tokens"], run.spec.budget["seconds"]
    run.estimate = min(tokens * pace.search, most) + tokens * pace.rest
    if pace.training > 0 and pace.spent > 0:
        run.last_token = min(tokens * pace.training, most) / run.estimate, pace.spent
    run.basis = basis


def _paces(records: Iterable[Record]) -> dict[Conditions, dict[str, list[Pace]]]:
    paces: dict[Conditions, dict[str, list[Pace]]] = {}
    for record in records:
        if record["status"] != "failed":
            spec, ledger = record["spec"], record["ledger"]
            off = math.fsum(ledger.get("harness_seconds", {}).values())
            tokens = spec["budget"]["tokens"]
            clock = ledger["totals"]["seconds"]
            spent = ledger["totals"].get("tokens", tokens) / tokens
            training = _last_token(ledger, clock) / tokens
            pace = Pace(clock / tokens, training, off / tokens, spent, spec["settings_sha256"])
            methods = paces.setdefault((spec["task"], spec["tier"], spec["profile"]), {})
            methods.setdefault(spec["method"], []).append(pace)
    return paces


def _last_token(ledger: Ledger, clock: float) -> float:
    """Return the seconds of a search until its last token; all of them if it keeps no timeline."""
    points = ledger.get("timeline", [])
    if not points:
        return clock
    total = points[-1]["tokens"]
    return min(clock, next(point["at"] for point in points if point["tokens"] >= total))


def _published(results: Path, task: str) -> dict[Conditions, Paces]:
    """Return the paces of a task's published records; empty where there is no such folder."""
    return dict(_paces(store.load_all(results / "records" / task, [])))


def _by_published(
    spec: RunSpec, device: str, own: Paces, published: Mapping[Conditions, Paces]
) -> tuple[Pace | None, str]:
    """Return the pace of a method's published runs, on this profile or one of its device.

    Past runs here of methods that have published runs too tell how much slower this machine is. None if no
    run of the method is published, or past runs here have no method in common with the published ones.
    """
    known = profiles.names()
    like = sorted(
        (profile != spec.profile, profile)
        for task, tier, profile in published
        if (task, tier) == (spec.task, spec.tier)
        and spec.method in published[task, tier, profile]
        and (profile == spec.profile or (profile in known and profiles.get(profile).device == device))
    )
    if not like:
        return None, ""
    profile = like[0][1]
    theirs = published[spec.task, spec.tier, profile]
    pace, basis = _mean(theirs[spec.method], spec), f"published on {profile}"
    if all(other.settings != spec.settings_sha256 for other in theirs[spec.method]):
        basis += " with other settings"
    if own:
        shared = own.keys() & theirs.keys()
        if not shared or not (total := _total(theirs, shared, spec)):
            return None, ""
        factor = _total(own, shared, spec) / total
        pace = Pace(factor * pace.search, factor * pace.training, factor * pace.rest, pace.spent)
        basis += ", at the pace of past runs here"
    return pace, basis


def _total(paces: Paces, methods: Collection[str], spec: RunSpec) -> float:
    means = [_mean(paces[method], spec) for method in sorted(methods)]
    return math.fsum(mean.search + mean.rest for mean in means)


def _mean(paces: list[Pace], spec: RunSpec) -> Pace:
    """Return the mean pace, over runs of the settings of ``spec`` alone where there are any."""
    kept = [pace for pace in paces if pace.settings == spec.settings_sha256] or paces

    def mean(part: str) -> float:
        return math.fsum(getattr(pace, part) for pace in kept) / len(kept)

    return Pace(mean("search"), mean("training"), mean("rest"), mean("spent"))


def _measured(paces: list[Pace]) -> str:
    return f"measured on {len(paces)} past run{'s' * (len(paces) > 1)}"


def _by_throughput(spec: RunSpec, rate: float | None) -> tuple[float | None, str]:
    if not rate:
        return spec.budget["seconds"], "at most: the whole allowance of seconds"
    seconds = min(spec.budget["tokens"] / rate, spec.budget["seconds"])
    return seconds, f"the tier's own figure of {rate:,g} training tokens a second"


def format_duration(seconds: float | None) -> str:
    """``45 s``, ``12 min``, ``3.4 h``, or ``?``."""
    if seconds is None:
        return "?"
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
