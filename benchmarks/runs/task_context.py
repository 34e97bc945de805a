"""Context that all runs of a task share: prepared data, latency of the reference network, latency limits."""

from __future__ import annotations

from dataclasses import dataclass, replace

from benchmarks import identity
from benchmarks.api import UsageError
from benchmarks.hardware.profiles import Profile
from benchmarks.records.assembly import last_line, read_json
from benchmarks.records.provenance import provenance
from benchmarks.runs import worker
from benchmarks.runs.executor import Executor
from benchmarks.runs.job import Limits, ReferenceJob
from benchmarks.runs.plan import Plan
from benchmarks.tasks import Prepared, Task, code_digest


@dataclass(frozen=True)
class TaskContext:
    """A task with everything that its runs share.

    Attributes:
        prepared: data with the sealed test split, for scoring only.
        unsealed: data without it, for searches.
        reference_ms: latency of the reference network, milliseconds.
    """

    task: Task
    prepared: Prepared
    unsealed: Prepared
    limits: Limits
    reference_ms: float


def prepare_task_context(
    task: Task, prepared: Prepared, plan: Plan, profile: Profile, executor: Executor
) -> TaskContext:
    """Return the context of a task's runs; measure its reference network if that was not done before.

    Raises:
        UsageError: the reference network cannot be measured.
    """
    tier = task.tier(plan.folders.tier, profile.device)
    unsealed = replace(prepared, sealed=None)
    machine = provenance(command=[])["machine"]["fingerprint"]
    key = {
        "task": task.name,
        "profile": profile.name,
        "settings": tier.sha256,
        "machine": machine,
        "code": code_digest(task.name),
        "substrate": identity.substrate(),
        "data": dict(prepared.digests),  # a vocabulary decides the size of the reference network
    }
    # Machines of one profile may share the folder; each has times of its own.
    out = plan.folders.runs / f"reference-{task.name}-{profile.name}-{str(machine)[:8]}.json"
    measured = read_json(out)
    if measured.get("key") != key:
        log = out.with_suffix(".log")
        job = ReferenceJob(profile.name, task.name, plan.folders.tier, unsealed, profile.device, out, key)
        executor.start(worker.reference, job, log).join()
        measured = read_json(out)
        if measured.get("key") != key:
            raise UsageError(
                f"the reference network of {task.name} could not be measured: {last_line(log)}\nlog: {log}"
            )
    milliseconds = float(measured["ms"])
    limits = tuple((share, float(f"{share * milliseconds:.4g}")) for share in getattr(tier, "limits", ()))
    return TaskContext(task, prepared, unsealed, limits, milliseconds)
