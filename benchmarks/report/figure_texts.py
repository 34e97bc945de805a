"""Texts that replace a figure for those who cannot see it."""

from __future__ import annotations

from benchmarks.analysis import number_format, performance_profiles
from benchmarks.analysis.table import Table


def alternative(name: str, table: Table) -> str:
    """Return a figure's data in words.

    Args:
        name: of the figure, as in ``gallery.DRAWINGS``.
        table: that it shows.
    """
    return _TEXTS[name](table)


def _pareto(table: Table) -> str:
    best = table.rows[table.rows["compared"]].dropna(subset=["quality"])
    points = [
        f"{line['method']} at limit {line['limit']}: {number_format.interval(line)} {table.metric_name},"
        f" {number_format.sig(line['p50'])} ms"
        for line in best.to_dict("records")
    ]
    return "Scatter plot of test quality against latency. " + "; ".join(points) + "."


def _hypervolume(table: Table) -> str:
    timed = table.volumes.dropna(subset=["volume"])
    means = timed.groupby("method")["volume"].mean().sort_values(ascending=False, kind="stable")
    return "Hypervolume at the end, best first: " + ", ".join(f"{m} {v:.4g}" for m, v in means.items()) + "."


def _performance(table: Table) -> str:
    return "Performance profiles. " + " ".join(
        f"{what}: on the share of workloads where it is the best or equal, "
        + ", ".join(
            f"{m} {performance_profiles.share(f, 1.0):.0%}"
            for m, f in performance_profiles.ratios(costs).items()
        )
        + "."
        for what, costs in performance_profiles.panels(table).items()
    )


def _budget(table: Table) -> str:
    own = table.rows[table.rows["method"] == table.rows["of"]]
    spent = [
        f"{r['method']} {number_format.number(r['tokens'], '.0f', 100)} % of the tokens,"
        f" {number_format.number(r['seconds'], '.0f')} s"
        for r in own.drop_duplicates("method").to_dict("records")
    ]
    return "Stacked bars of what each method spent by phase: " + "; ".join(spent) + "."


def _search(table: Table) -> str:
    progress = table.search_progress
    ends = {
        method: min(steps[-1][1] for steps in runs)
        for method, runs in (progress.steps if progress else {}).items()
    }
    best = ", ".join(f"{m} {loss:.3g}" for m, loss in sorted(ends.items(), key=lambda end: end[1]))
    return (
        "Best validation loss so far of each method against the validation evaluations it has spent."
        f" Lowest loss at the end: {best}."
    )


_TEXTS = {
    "pareto": _pareto,
    "hypervolume": _hypervolume,
    "search": _search,
    "budget": _budget,
    "performance": _performance,
}
