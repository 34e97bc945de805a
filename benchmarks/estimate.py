"""How long what is planned will take: from past runs where there are any, else from the tier's figures."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from benchmarks import records
from benchmarks.plan import Plan, Request, RunSpec


def estimate(plan: Plan, request: Request) -> None:
    """Set the seconds, and where they come from, of each run that is left."""
    if not plan.pending:
        return
    past = [r for r in records.load_all(plan.folders.store, []) if r["status"] != "failed"]
    tiers = {task.name: task.tier(request.tier, request.device) for task in request.tasks}
    for run in plan.pending:
        like = [
            r for r in past if all(r["spec"][k] == getattr(run.spec, k) for k in ("task", "tier", "profile"))
        ]
        same = [r for r in like if r["spec"]["method"] == run.spec.method]
        if same or like:
            rates = [_seconds(r) / r["spec"]["budget"]["tokens"] for r in same or like]
            run.estimate = run.spec.budget["tokens"] * math.fsum(rates) / len(rates)
            run.basis = f"measured on {len(rates)} past run{'s' * (len(rates) > 1)}" + (
                "" if same else " of other methods"
            )
        else:
            run.estimate, run.basis = _by_throughput(run.spec, tiers[run.spec.task].throughput)


def _seconds(record: Mapping[str, Any]) -> float:
    ledger = record["ledger"]
    return float(ledger["totals"]["seconds"] + math.fsum(ledger.get("harness_seconds", {}).values()))


def _by_throughput(spec: RunSpec, rate: float | None) -> tuple[float | None, str]:
    if not rate:
        return spec.budget["seconds"], "at most: the whole allowance of seconds"
    seconds = min(spec.budget["tokens"] / rate, spec.budget["seconds"])
    return seconds, f"the tier's own figure of {rate:,g} training tokens a second"


def duration(seconds: float | None) -> str:
    """``45 s``, ``12 min``, ``3.4 h``, or ``?``."""
    if seconds is None:
        return "?"
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
