"""What all runs of a task share: prepared data, the reference network's latency, the limits made of it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from benchmarks import identity
from benchmarks.api import UsageError
from benchmarks.hardware.profiles import Profile
from benchmarks.records.assembly import last_line, read_json
from benchmarks.records.provenance import provenance
from benchmarks.runs import worker
from benchmarks.runs.executor import Executor
from benchmarks.runs.plan import Plan
from benchmarks.tasks import code_digest


@dataclass(frozen=True)
class TaskContext:
    """A task with all that its runs share."""

    task: Any
    prepared: Any
    """With the sealed test split: for scoring only."""
    open: Any
    """Without it: for searches."""
    limits: tuple[tuple[float, float], ...]
    """Latency limits: share of the reference network's latency, milliseconds."""
    reference_ms: float
    """Latency of the reference network."""


def prepare_task_context(
    task: Any, prepared: Any, plan: Plan, profile: Profile, executor: Executor
) -> TaskContext:
    """Measure a task's reference network, or find that done.

    Raises:
        UsageError: it cannot be measured.
    """
    tier = task.tier(plan.folders.tier, profile.device)
    sealed_off = replace(prepared, sealed=None)
    machine = provenance(command=[])["machine"]["fingerprint"]
    key = {"task": task.name, "profile": profile.name, "settings": tier.sha256, "machine": machine}
    key |= {"code": code_digest(task.name), "substrate": identity.substrate()}
    key["data"] = dict(prepared.digests)  # a vocabulary decides how large the reference network is
    out = plan.folders.runs / f"reference-{task.name}-{profile.name}.json"
    known = read_json(out)
    if known.get("key") != key:
        job = {"profile": profile.name, "task": task.name, "tier": plan.folders.tier, "prepared": sealed_off}
        job |= {"device": profile.device, "out": str(out), "key": key}
        log = out.with_suffix(".log")
        process = executor.start(worker.reference, job, log)
        process.join()
        known = read_json(out)
        if known.get("key") != key:
            raise UsageError(
                f"the reference network of {task.name} could not be measured: {last_line(log)}\nlog: {log}"
            )
    limits = tuple((share, float(f"{share * known['ms']:.4g}")) for share in tier.limits)
    return TaskContext(task, prepared, sealed_off, limits, known["ms"])
