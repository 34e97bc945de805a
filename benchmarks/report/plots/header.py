"""Header and notes of a comparison's figures: what is compared, on how many seeds, and how it was made."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.analysis.table import Table
from benchmarks.report.plots.style import HeadedFigure, figure_with_header


def comparison_figure(
    table: Table, title: str, reading: str, notes: Sequence[str], *, wide: float, high: float,
    above: float = 0.3, below: float = 0.65,
) -> HeadedFigure:  # fmt: skip
    """Return a figure headed by its title, the compared runs and one sentence on how to read it.

    Args:
        table: names task, tier, profile and number of seeds.
        title: of the figure.
        reading: one sentence on how to read it.
        notes, wide, high, above, below: of ``figure_with_header``.
    """
    numbers = sorted({int(n) for n in table.rows["n"][table.rows["compared"]] if n})
    seeds = "no finished seed"
    if numbers:
        seeds = f"{numbers[0]}" + (f" to {numbers[-1]}" if len(numbers) > 1 else "")
        seeds += " seed per method" if numbers[-1] == 1 else " seeds per method"
    shared = table.shared
    compared = f"{shared['task']}  |  tier {shared['tier']}  |  profile {shared['profile']}  |  {seeds}"
    lines = title, compared, reading
    return figure_with_header(lines, notes, wide=wide, high=high, above=above, below=below)


def recipes(table: Table) -> list[str]:
    """Return the signatures of the quality and the latencies that figures show."""
    shown = (table.metric_name, "latency")
    return [f"{k}: {shorten_recipe(v)}" for k, v in table.signatures.items() if k in shown]


MOST_SIGNATURES = 2
"""Most signatures of one quantity that a figure lists."""


def shorten_recipe(text: str) -> str:
    """Return signatures as they are or, of many, the fields of all and the names of those that differ."""
    signatures = [signature.split("|") for signature in text.split("  and  ")]
    if len(signatures) <= MOST_SIGNATURES:
        return text
    common = [field for field in signatures[0] if all(field in other for other in signatures)]
    differing = dict.fromkeys(
        field.partition(":")[0] for fields in signatures for field in fields if field not in common
    )
    names = ", ".join(differing)
    return f"{'|'.join(common)}; {len(signatures)} signatures differ in {names} (see the table)"
