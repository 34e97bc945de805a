"""The headline: the table that the board opens on, and a one-sentence summary of each table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from benchmarks.analysis import number_format
from benchmarks.analysis.number_format import Row
from benchmarks.analysis.rows import ROW_SEEDS, TOLERANCE
from benchmarks.analysis.table import Table
from benchmarks.records.text import sanitize
from benchmarks.stats import intervals


def weight(table: Table) -> tuple[int, int, int]:
    """Return the weight of a table's evidence on methods; the board opens on the heaviest table.

    First whether its rows rank methods at all, then its methods with enough seeds for a test, then those
    with enough for a row.
    """
    seeds = [(row["method"], int(row["n"])) for row in table.each if row["compared"]]
    tested = {method for method, n in seeds if n >= intervals.SIGNIFICANT_FROM}
    full = {method for method, n in seeds if n >= ROW_SEEDS}
    return int(not table.notices), len(tested), len(full)


def sentence(table: Table) -> str:
    """Return the summary of a table in one sentence of plain text."""
    rows = [row for row in table.each if row["compared"] and row["quality"] == row["quality"]]
    if not rows:
        return "No network of this table was scored yet."
    aimed = [row for row in rows if row["limit"].rank]
    keeping = [row for row in aimed if not table.bound_elsewhere and not row["over"] > TOLERANCE]
    best = max(keeping or aimed or rows, key=lambda row: float(row["quality"]))
    figure = f"{table.metric_name} {number_format.unmarked(number_format.interval(best))}"
    at = "" if best["ratio"] != best["ratio"] else f" at {best['ratio']:.2f} times the reference's latency"
    condition = "At equal budgets and within its limit" if keeping else "At equal budgets"
    given = {table.named[run.id] for run in table.runs if run.follows and not run.inherits}
    of_another = ", with architectures of a search that is not charged to it," if best["of"] in given else ""
    start = f"{condition}, {sanitize(best['method'], 60)}{of_another} reaches the most: {figure}{at}"
    if table.notices:
        return f"{start}. {table.notices[0]}"
    methods = {row["method"] for row in rows}
    if max(int(row["n"]) for row in rows) < ROW_SEEDS:
        return f"{start}. One or two seeds a row: this shows that the pipeline works and ranks no methods."
    shown = [line for line in table.comparisons.to_dict("records") if line["what"] == "quality"]
    apart = [line for line in shown if line["p_holm"] == line["p_holm"] and line["p_holm"] < intervals.ALPHA]
    if not any(line["p_holm"] == line["p_holm"] for line in shown):
        few = f"fewer than {intervals.SIGNIFICANT_FROM} paired seeds, so no difference is tested"
        return f"{start}; {len(methods)} methods, {few}."
    names = ", ".join(_by_method(apart, shown)) or "none"
    against = sanitize(table.baseline or "", 60)
    return f"{start}; of {len(shown)} differences from {against} these are significant: {names}."


def _by_method(lines: Sequence[Row], shown: Sequence[Row]) -> Iterator[str]:
    """Yield each method with its differences, and at how many of its limits, where it has several.

    Args:
        lines: differences that are significant.
        shown: all differences.
    """
    for method in dict.fromkeys(line["method"] for line in lines):
        values = sorted(line["difference"] for line in lines if line["method"] == method)
        ends = " to ".join(dict.fromkeys(f"{value:+.1f}" for value in (values[0], values[-1])))
        limits = sum(line["method"] == method for line in shown)
        where = f" at {len(values)} of {limits} limits" if limits > 1 else ""
        yield f"{sanitize(method, 60)}{where} ({ends})"


def choose(weights: Sequence[tuple[tuple[int, int, int], int, str]]) -> str:
    """Return the identity of the headline table; empty without tables.

    Args:
        weights: weight, number of runs and identity of each table.
    """
    return max(weights, default=((0, 0, 0), 0, ""))[2]
