"""Progress of searches: hypervolume and best validation loss of each run against what it had spent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmarks.comparability import run_summary
from benchmarks.comparability.run_summary import RunSummary
from benchmarks.records.record import Record
from benchmarks.records.selection import Axis
from benchmarks.stats import pareto

Steps = list[tuple[float, float]]
"""(spent, value from then on) of one run, by what is spent."""

KINDS = ("seconds", "tokens")
"""Allowances against which progress may be shown, the preferred one first."""


@dataclass(frozen=True)
class Progress:
    """Steps of every run, by method; ``kind`` is what was spent, and how much was ``allowed``."""

    kind: str
    steps: Mapping[str, Sequence[Steps]]
    allowed: float | None = None
    """Allowance of one run in the kind; None if the steps are shares of it already."""

    @property
    def most_spent(self) -> float:
        """The most that any run had spent at its last step; 0 without runs."""
        return max((at for runs in self.steps.values() for steps in runs for at, _ in steps), default=0.0)


def volume_progress(
    runs: Sequence[RunSummary],
    named: Mapping[str, str],
    before: Mapping[str, tuple[float, float]],
    axis: Axis,
) -> Progress | None:
    """Return each run's hypervolume against the share, in per cent, of its allowance.

    Args:
        runs: comparable ones, with their records.
        named: label of each run.
        before: seconds and joules that those which a run follows had spent.
        axis: figure that quality is traded for.

    Returns:
        None if no reference point is frozen, or if candidates lack the moment at which they were proposed.
    """
    kind = _kind(runs)
    if axis.reference is None or kind is None:
        return None
    steps: dict[str, list[Steps]] = {}
    for run in runs:
        seconds, _ = before[run.id]
        if run.record is None or seconds != seconds:
            continue  # it follows a run that is not here: when its candidates came is not known
        # Tokens of a run whose weights were taken are charged; seconds are not, and were spent all the same.
        earlier = seconds if kind == "seconds" else 0.0
        steps.setdefault(named[run.id], []).append(volume_steps(run.record, kind, axis, earlier))
    return Progress(kind, steps)


def _kind(runs: Sequence[RunSummary]) -> str | None:
    """Return the first of ``KINDS`` that every candidate's record states; None without candidates."""
    proposed = [
        (run.record["spec"]["budget"], candidate.get("spent", {}))
        for run in runs
        if run.record is not None
        for candidate in run.record["candidates"]
    ]
    kinds = [k for k in KINDS if all(allowed.get(k) and k in spent for allowed, spent in proposed)]
    return kinds[0] if proposed and kinds else None


def volume_steps(record: Record, kind: str, axis: Axis, earlier: float = 0.0) -> Steps:
    """Return the hypervolume of what a run had proposed by then, chosen as in the table.

    Args:
        record: of the run.
        kind: one of ``KINDS``; the steps are per cent of its allowance.
        axis: with a frozen reference point.
        earlier: what the run had spent before it started.
    """
    assert axis.reference is not None
    steps: Steps = [(0.0, 0.0)]
    allowed = record["spec"]["budget"][kind]
    candidates = record["candidates"]
    order = sorted(range(len(candidates)), key=lambda i: candidates[i]["spent"][kind])
    column = run_summary.FIGURES.index(axis.figure)
    for n, last in enumerate(order, 1):
        # In the order of the record, which decides on the product.
        known = [candidates[i] for i in sorted(order[:n])]
        run = run_summary.summarize(record | {"candidates": known}, keep=False)
        points = [
            (head.score(run.metric or "")[0], head.figures[column] * axis.scale) for head in run.headlines
        ]
        measured = [(quality, at) for quality, at in points if quality == quality and at == at]
        spent = 100 * (earlier + float(candidates[last]["spent"][kind])) / allowed
        steps.append((spent, pareto.hypervolume(measured, axis.reference)))
    return steps


def search_progress(runs: Sequence[RunSummary], named: Mapping[str, str]) -> Progress | None:
    """Return each run's best validation loss so far against validation evaluations; None without logs."""
    steps: dict[str, list[Steps]] = {}
    allowed: float | None = None
    for run in runs:
        points = search_steps(run.record) if run.record is not None else []
        if not points or run.record is None:
            continue
        if not steps:
            allowed = run.record["spec"]["budget"]["evaluations"]
        steps.setdefault(named[run.id], []).append([(max(1.0, at), loss) for at, loss in points])
    return Progress("evaluations", steps, allowed) if steps else None


def search_steps(record: Record) -> Steps:
    """Return evaluations and best loss of a run's log, without losses of candidates when exported."""
    exported = {c["valid"]["loss"] for c in record["candidates"]}
    points = [(float(p["evaluations"]), float(p["best_valid_loss"])) for p in record.get("search_log") or []]
    return sorted((at, loss) for at, loss in points if loss not in exported)
