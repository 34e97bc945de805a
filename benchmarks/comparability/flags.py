"""Flags on runs whose conduct stands out: cost out of line with the charges, too many threads, no isolation.

A flag is a question and no verdict: training that the harness could not see costs what it costs, and shows
beside the other methods of the same table. Below ``FACTOR`` it does not show.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from benchmarks.hardware import profiles
from benchmarks.records import phases
from benchmarks.records.record import Record

if TYPE_CHECKING:
    from benchmarks.comparability.run_summary import RunSummary

FACTOR = 3.0
"""Cost of a charged token, in multiples of the median of the other methods, above which a run is flagged.

Among published runs, which are honest, the largest multiple in processor seconds is 1.4.
"""
OTHERS = 3
"""Fewest other methods whose median counts."""
FREE_SHARE = 0.2
"""Share of an ordinary run's cost that a run may have without charging tokens: it evaluates and probes."""
SPARE_THREADS = 2
"""Threads above the declared number that no run is flagged for: a process has some beside torch's."""
NOT_ISOLATED = "none"


class Conduct(NamedTuple):
    """Supervision of one run: all that its flags depend on.

    Attributes:
        isolation: namespaces of its search, or ``none``, as of all older records.
        seconds: of a processor, or of a GPU on profiles of GPUs; None if not measured.
        tokens: charged, without those of a run whose weights it took over.
        threads: most threads at once; None if not measured.
        declared: threads that its profile declares; None if it declares none or has a GPU.
    """

    isolation: str
    seconds: float | None
    tokens: float
    threads: int | None
    declared: int | None


def conduct_of(record: Record) -> Conduct:
    """Return the conduct of a record's run."""
    name = record["spec"]["profile"]
    profile = profiles.get(name) if name in profiles.names() else None
    gpu = profile is not None and profile.device == "cuda"
    entries = record["ledger"]["entries"]
    charged = [e for e in entries if e["kind"] == "tokens" and not phases.is_inherited(e["phase"])]
    tokens = sum(e["amount"] for e in charged)
    oversight = record.get("oversight")
    if oversight is None:
        seconds = None if gpu else record["ledger"].get("cpu_seconds", {}).get("search")
        return Conduct(NOT_ISOLATED, seconds, tokens, None, None)
    work = oversight["work"]
    declared = profile.threads if profile is not None and not gpu else None
    seconds = work.get("gpu_seconds") if gpu else work["cpu_seconds"]
    return Conduct(oversight["isolation"], seconds, tokens, work["threads"], declared)


def flags(runs: Sequence[RunSummary]) -> dict[str, list[str]]:
    """Return run id -> flags, of the runs of one table that have any; isolation is none of them."""
    costs = _method_costs(runs)
    usual = {
        method: _Cost.median([cost for name, cost in costs.items() if name != method])
        for method in {run.method for run in runs}
    }
    texts = {run.id: [*_cost(run, usual[run.method]), *_threads(run.conduct)] for run in runs}
    return {id: own for id, own in texts.items() if own}


class _Cost(NamedTuple):
    """Processor or GPU seconds of one charged token and of a run: medians."""

    rate: float
    total: float

    @classmethod
    def median(cls, costs: Sequence[_Cost]) -> _Cost | None:
        """Return the medians of other methods' costs; None of fewer than ``OTHERS`` methods."""
        if len(costs) < OTHERS:
            return None
        return cls(*(statistics.median(values) for values in zip(*costs, strict=True)))


def _method_costs(runs: Sequence[RunSummary]) -> dict[str, _Cost]:
    """Return the cost of each method, the median over its runs whose work was measured."""
    known: dict[str, list[_Cost]] = {}
    for run in runs:
        seconds, tokens = run.conduct.seconds, run.conduct.tokens
        if seconds and tokens and run.status != "failed":
            known.setdefault(run.method, []).append(_Cost(seconds / tokens, seconds))
    return {
        method: _Cost(*(statistics.median(values) for values in zip(*costs, strict=True)))
        for method, costs in known.items()
    }


def _cost(run: RunSummary, usual: _Cost | None) -> list[str]:
    """Return the flag of a cost that other methods' costs a token do not explain."""
    seconds = run.conduct.seconds
    if not seconds or usual is None:
        return []
    expected = max(usual.rate * run.conduct.tokens, FREE_SHARE * usual.total)
    if seconds <= FACTOR * expected:
        return []
    return [
        f"cost: {seconds:,.0f} processor or GPU seconds for {run.conduct.tokens:,.0f} charged tokens,"
        f" {seconds / expected:.1f} times what other methods of this table take"
    ]


def _threads(conduct: Conduct) -> list[str]:
    """Return the flag of a search that computed in more threads than its profile declares."""
    if conduct.threads is None or conduct.declared is None:
        return []
    if conduct.threads <= conduct.declared + SPARE_THREADS:
        return []
    return [f"threads: {conduct.threads} at once, the profile declares {conduct.declared}"]


def isolation_note(runs: Sequence[RunSummary]) -> str:
    """Return a sentence on the runs whose search was not isolated; empty if there is none."""
    bare = [run for run in runs if run.conduct.isolation == NOT_ISOLATED]
    if not bare:
        return ""
    return (
        f"Isolation: none in {len(bare)} of {len(runs)} runs: their searches could have read and written what"
        " the user could."
    )
