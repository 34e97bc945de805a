"""Estimates of a plan's duration: from past runs if there are any, else from the tier's throughput."""

from __future__ import annotations

import math
from collections.abc import Iterable

from benchmarks.records import store
from benchmarks.records.canonical import JsonView
from benchmarks.records.spec import RunSpec
from benchmarks.runs.plan import Plan, PlanRequest


def estimate_runs(plan: Plan, request: PlanRequest) -> None:
    """Set the seconds, and where they come from, of each run that is left."""
    if not plan.pending:
        return
    past: dict[tuple[str, ...], list[tuple[float, float]]] = {}
    for record in store.load_all(plan.folders.store, []):
        if record["status"] != "failed":
            spec = record["spec"]
            like = spec["task"], spec["tier"], spec["profile"]
            a_token = tuple(read(record) / spec["budget"]["tokens"] for read in PARTS)
            for key in (like, (*like, spec["method"])):
                past.setdefault(key, []).append(a_token)  # type: ignore[arg-type]
    means = {
        key: (_mean(search for search, _ in pairs), _mean(rest for _, rest in pairs))
        for key, pairs in past.items()
    }
    tiers = {task.name: task.tier(request.tier, request.device) for task in request.tasks}
    for run in plan.pending:
        key = run.spec.task, run.spec.tier, run.spec.profile
        same = (*key, run.spec.method) in past
        if key in past:
            kept = past[(*key, run.spec.method) if same else key]
            tokens = run.spec.budget["tokens"]
            search, rest = (tokens * mean for mean in means[(*key, run.spec.method) if same else key])
            # Of the two, the search alone is stopped by its seconds.
            run.estimate = min(search, run.spec.budget["seconds"]) + rest
            run.basis = f"measured on {len(kept)} past run{'s' * (len(kept) > 1)}" + (
                "" if same else " of other methods"
            )
        else:
            run.estimate, run.basis = _by_throughput(run.spec, tiers[run.spec.task].throughput)


def _on_the_clock(record: JsonView) -> float:
    return float(record["ledger"]["totals"]["seconds"])


def _off_the_clock(record: JsonView) -> float:
    return math.fsum(record["ledger"].get("harness_seconds", {}).values())


PARTS = _on_the_clock, _off_the_clock


def _mean(values: Iterable[float]) -> float:
    kept = list(values)
    return math.fsum(kept) / len(kept)


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
