"""A ``Table`` as LaTeX, for a paper."""

from __future__ import annotations

from benchmarks.analysis.table import Table
from benchmarks.report import texts
from benchmarks.report.table_markup import latex_table

_COLUMNS = (
    "method", "limit", "quality", "chrf", "ratio", "p50", "params", "macs", "seconds", "joules", "status",
)  # fmt: skip


def latex(table: Table, each_set: bool = True) -> str:
    """Return booktabs tables of the main columns and of the deciding metric on each test set.

    Args:
        table: to show.
        each_set: false leaves the second table out.
    """
    shown = texts.columns(table)
    kept = [shown[key][0] for key in _COLUMNS if key in shown]
    scores = table.scores[:1] if each_set else []
    notes = [texts.caption(table), *table.notices, *texts.footnotes(table)]
    notes += [f"second table: {part.name} on each test set: {part.signature}" for part in scores]
    frames = [texts.cells(table)[kept], *(part.frame for part in scores)]
    return "".join(f"% {line}\n" for line in notes) + "\n".join(map(latex_table, frames))
