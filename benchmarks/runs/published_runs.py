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


def _is_equal(run: PlannedRun, record: Record) -> bool:
    """Return whether a record is of a run that would do the same, on the same kind of machine."""
    own, theirs = run.spec.to_dict(), record["spec"]
    if not is_result(record) or ruleset_of(own) != ruleset_of(theirs):
        return False
    names = ("suite", "task", "tier", "profile", "seed", "options", "space", "settings_sha256")
    if any(own[name] != theirs[name] for name in names):  # type: ignore[literal-required]
        return False
    if any(own["budget"].get(kind) != theirs["budget"].get(kind) for kind in COUNTED):
        return False
    if own.get("trials") != theirs.get("trials") or bool(own["follows"]) != bool(theirs["follows"]):
        return False
    if theirs.get("data_sha256", own.get("data_sha256")) != own.get("data_sha256"):
        return False
    code = identity.of_record(record)
    here = {identity.TASK: run.spec.task_sha256, identity.SUBSTRATE_KIND: run.spec.substrate_sha256}
    on = identity.device_of(record)
    today = [identity.equivalent(kind, digest or "", on) for kind, digest in here.items()]
    return [code.task, code.substrate] == today


def take_over(pairs: Sequence[tuple[PlannedRun, Record]]) -> None:
    """Mark runs as done by their published records."""
    for run, record in pairs:
        run.enter(record, lambda record=record: record)  # type: ignore[misc]
        run.state = "done"
