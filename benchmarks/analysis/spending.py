"""Spending of each method's budget and energy, by phase."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import pandas as pd

from benchmarks.comparability.run_summary import RunSummary
from benchmarks.records.record import Record
from benchmarks.records.text import sanitize

SCORING = "harness scoring (off the clock)"
INHERITED = "the run whose weights it took"
UNDIVIDED = "all phases"
SHARES = ("tokens", "evaluations", "probes")
"""Kinds that are shown as a percentage of their allowance."""


def by_phase(
    runs: Sequence[RunSummary], named: Mapping[str, str], before: Mapping[str, tuple[float, float]]
) -> pd.DataFrame:
    """Return the mean amount over a method's runs of each phase and kind.

    Args:
        runs: comparable ones, with their records.
        named: label of each run.
        before: seconds and joules of the run that a run follows.

    Returns:
        Columns ``method``, ``phase``, ``kind`` and ``amount``: per cent of the allowance for ``SHARES``,
        seconds, and kJ for ``joules``.
    """
    lines = []
    tried: dict[str, int] = {}
    for run in runs:
        if run.record is None:
            continue
        method = named[run.id]
        tried[method] = tried.get(method, 0) + 1
        inherited = before[run.id] if run.inherits else ()
        for phase, kind, amount in _entries(run.record, inherited):
            allowed = run.record["spec"]["budget"].get(kind)
            if kind in SHARES:
                if not allowed:
                    continue
                amount = 100 * amount / allowed
            shown = amount / 1000 if kind == "joules" else amount
            lines.append((method, sanitize(phase, 32), kind, shown))
    frame = pd.DataFrame(lines, columns=["method", "phase", "kind", "amount"]).astype({"amount": "float64"})
    keys = ["method", "phase", "kind"]
    total = frame.groupby(keys, sort=False, as_index=False).agg(amount=("amount", "sum"))
    total["amount"] = [a / tried[m] for a, m in zip(total["amount"], total["method"], strict=True)]
    return total


def _entries(record: Record, inherited: Sequence[float]) -> Iterator[tuple[str, str, float]]:
    """Yield phase, kind and amount of all that a run spent; joules of no phase stand alone."""
    ledger = record["ledger"]
    charged = [(e["phase"], e["kind"], e["amount"]) for e in ledger["entries"]]
    yield from charged
    yield from ((SCORING, "seconds", amount) for amount in ledger.get("harness_seconds", {}).values())
    earlier = zip(("seconds", "joules"), inherited, strict=False)
    yield from ((INHERITED, kind, amount) for kind, amount in earlier if amount == amount)
    energy = record["energy"]
    joules = energy["joules"] if energy is not None else None
    if joules is not None and not any(kind == "joules" for _, kind, _ in charged):
        yield UNDIVIDED, "joules", joules
