"""Published records in place of runs of a plan that would do the same."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from benchmarks import identity
from benchmarks.api import BUDGETED_KINDS
from benchmarks.records import store
from benchmarks.records.matching import is_result, of_method
from benchmarks.records.record import Record
from benchmarks.records.spec import ruleset_of
from benchmarks.runs.plan import Plan, PlannedRun

COUNTED = tuple(kind for kind in BUDGETED_KINDS if kind != "seconds")
"""Kinds of allowance that two runs of one table share."""


def records_for(plan: Plan, folder: Path) -> list[Record]:
    """Return the published records of a plan's tasks and profile; empty if there is no such folder.

    Args:
        plan: its runs.
        folder: with ``records/`` in it.
    """
    tasks = sorted({run.spec.task for run in plan.runs})
    return [r for task in tasks for r in store.load_all(folder / "records" / task / plan.profile, [])]


def equal_runs(plan: Plan, published: Sequence[Record]) -> list[tuple[PlannedRun, Record]]:
    """Return the pending runs that are published already, each with its record.

    A run whose weights another pending run inherits is left out: a record has no weights.
    """
    leaders = {id(run.first) for run in plan.pending if run.method.inherits}
    pairs = []
    for run in plan.pending:
        if id(run) in leaders:
            continue
        equal = [record for record in of_method(run.method, published) if _is_equal(run, record)]
        if equal:
            pairs.append((run, max(equal, key=lambda record: record["provenance"]["ended"])))
    return pairs


def reasons(plan: Plan, published: Sequence[Record]) -> list[str]:
    """Return a line for each method with pending runs: why no published record stands for them."""
    leaders = {id(run.first) for run in plan.pending if run.method.inherits}
    seeds: dict[tuple[str, str, str], list[int]] = {}
    for run in plan.pending:
        why = "another run inherits its weights" if id(run) in leaders else _reason(run, published)
        seeds.setdefault((run.spec.task, run.name, why), []).append(run.spec.seed)
    return [
        f"not taken over: {name} of {task}, seed{'s' * (len(those) != 1)} {', '.join(map(str, those))}: {why}"
        for (task, name, why), those in seeds.items()
    ]


def _reason(run: PlannedRun, published: Sequence[Record]) -> str:
    """Return why no published record stands for a run, by the nearest record."""
    own = (run.spec.task, run.spec.tier, run.spec.method)
    named = [r for r in published if (r["spec"]["task"], r["spec"]["tier"], r["spec"]["method"]) == own]
    if not named:
        return f"no record of it is published under {run.spec.profile}"
    current = list(of_method(run.method, named))
    nearest = min((_differences(run, record) for record in current or named), key=len)
    if not current:
        nearest.insert(0, "the method's code")
    return f"the nearest published record differs in {', '.join(nearest)}"


SHARED = {
    "suite": "suite",
    "task": "task",
    "tier": "tier",
    "profile": "profile",
    "seed": "seed",
    "options": "options",
    "space": "space",
    "settings_sha256": "the tier's settings",
}
"""Field of a spec that equal runs share -> its name in a message."""


def _is_equal(run: PlannedRun, record: Record) -> bool:
    """Return whether a record is of a run that would do the same, on the same kind of machine."""
    return not _differences(run, record)


def _differences(run: PlannedRun, record: Record) -> list[str]:
    """Return the names of all that keeps a record from standing for a run; empty if it may."""
    own, theirs = run.spec.to_dict(), record["spec"]
    code = identity.of_record(record)
    here = {identity.TASK: run.spec.task_sha256, identity.SUBSTRATE_KIND: run.spec.substrate_sha256}
    on = identity.device_of(record)
    task, substrate = (identity.equivalent(kind, digest or "", on) for kind, digest in here.items())
    budgets = own["budget"], theirs["budget"]
    differing = {
        "its end: it failed or was stopped": not is_result(record),
        "ruleset": ruleset_of(own) != ruleset_of(theirs) or own.get("trials") != theirs.get("trials"),
        **{text: own[name] != theirs[name] for name, text in SHARED.items()},  # type: ignore[literal-required]
        **{f"allowed {kind}": budgets[0].get(kind) != budgets[1].get(kind) for kind in COUNTED},
        "whether it follows a run": bool(own["follows"]) != bool(theirs["follows"]),
        "data": theirs.get("data_sha256", own.get("data_sha256")) != own.get("data_sha256"),
        "the task's code": code.task != task,
        "the substrate's code": code.substrate != substrate,
    }
    return [name for name, differs in differing.items() if differs]


def take_over(pairs: Sequence[tuple[PlannedRun, Record]]) -> None:
    """Mark runs as done by their published records."""
    for run, record in pairs:
        run.enter(record, lambda record=record: record)  # type: ignore[misc]
        run.state = "done"
