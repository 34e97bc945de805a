"""Hypervolume over the budget spent and at the end, and how the search went."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib.figure import Figure

from benchmarks.analysis.number_format import item
from benchmarks.analysis.tables import Table
from benchmarks.comparability import run_summary
from benchmarks.records import selection
from benchmarks.records.record import Record
from benchmarks.report.plots import pareto
from benchmarks.stats import intervals, quantities

Steps = list[tuple[float, float]]
"""(spent, value from then on), by what is spent."""

TITLE = "Hypervolume: how much quality at how "
_SPENT = {"seconds": "wall-clock time", "tokens": "training tokens"}


def _volume_steps(record: Record, kind: str, table: Table) -> Steps:
    """Hypervolume of what a run had proposed by then, chosen as in the table."""
    steps: Steps = [(0.0, 0.0)]
    axis = table.axis
    assert axis.reference is not None
    allowed = record["spec"]["budget"][kind]
    # Tokens of a run whose weights were taken are charged; seconds are not, and were spent all the same.
    earlier = table.before[record["id"]][0] if kind == "seconds" else 0.0
    made = sorted(record["candidates"], key=lambda c: (c["spent"][kind], c["index"]))
    for i, candidate in enumerate(made):
        run = run_summary.summarize(record | {"candidates": made[: i + 1]}, keep=False)
        column, metric = run_summary.FIGURES.index(axis.figure), run.metric or ""
        points = [(head.score(metric)[0], head.figures[column] * axis.scale) for head in run.headlines]
        pairs = [(q, x) for q, x in points if q == q and x == x]
        spent = 100 * (earlier + float(candidate["spent"][kind])) / allowed
        steps.append((spent, intervals.hypervolume(pairs, axis.reference)))
    return steps


def _at(steps: Steps, spent: float) -> float:
    return ([value for at, value in steps if at <= spent] or [steps[0][1]])[-1]


def _draw(axes: Any, of_methods: dict[str, list[Steps]], end: float, style: dict[str, pareto.Look]) -> None:
    """Mean over seeds as steps with markers where something changed; lowest to highest as a band."""
    for method in [m for m in style if m in of_methods]:
        look, seen = style[method], of_methods[method]
        grid = sorted({at for steps in seen for at, _ in steps} | {end})
        values = [[_at(steps, at) for steps in seen] for at in grid]
        mean = [sum(v) / len(v) for v in values]
        marked = [i for i in range(len(grid)) if i and mean[i] != mean[i - 1]][:12]
        axes.plot(grid, mean, drawstyle="steps-post", color=look.colour, linestyle=look.line, linewidth=1.6,
                  marker=look.marker, markerfacecolor=look.face, markersize=6, markevery=marked,
                  label=pareto.short(method))  # fmt: skip
        if len(seen) > 1:
            axes.fill_between(grid, [min(v) for v in values], [max(v) for v in values], step="post",
                              color=look.colour, alpha=0.13, linewidth=0)  # fmt: skip


def _currency(records: Sequence[Record]) -> str | None:
    """The allowance against which progress is drawn: time where recorded, else tokens."""
    made = [(r["spec"]["budget"], c.get("spent", {})) for r in records for c in r["candidates"]]
    kinds = [k for k in _SPENT if all(allowed.get(k) and k in spent for allowed, spent in made)]
    return kinds[0] if made and kinds else None


KEYED = 12
"""Methods that a legend inside the axes can name without hiding their lines."""


def hypervolume(records: Sequence[Record], table: Table) -> Figure | None:
    """Left: hypervolume against the share of the budget spent. Right: final, with intervals. None where no
    reference point is frozen."""
    axis = table.axis
    if axis.reference is None:
        return None
    counted = run_summary.finished(records)
    kind, style = _currency(counted), pareto.looks(table.volumes["method"])
    timed = axis.figure == "ratio"
    across = "latency as a ratio to the reference network" if timed else "parameters in millions"
    notes = [
        f"Hypervolume: the area that a run's networks cover in the plane of test {table.metric_name} (up) and"
        f" {across} (down), counted from the frozen point"
        f" {axis.reference[0]:g} {table.metric_name}, {axis.bound} (version {selection.results_version()})."
        " At each limit a run counts with its product, the best by validation of what it proposed last.",
        "Small dots: seeds; large mark: their mean; bar: 95 % t-interval over seeds on a log scale (none with"
        " one seed)." + (" Left: mean over seeds, band from the lowest to the highest seed." if kind else ""),
        *pareto.recipes(table),
    ]
    sub = f"Quality and {'speed' if timed else 'size'} in one number, over all limits. Higher is better."
    title = TITLE + ("much speed" if timed else "few parameters")
    high = max(3.5, 0.27 * len(set(table.volumes["method"])))
    made = pareto.sheet(table, title, sub, notes, wide=10.5, high=high)
    if kind:
        left = made.axes(0.065, 0.44)
        steps: dict[str, list[Steps]] = {}
        for record in counted:
            if table.before[record["id"]][0] != table.before[record["id"]][0]:
                continue  # follows a run that is not here: when it was is not known
            steps.setdefault(table.named[record["id"]], []).append(_volume_steps(record, kind, table))
        end = 1.04 * max(at for seen in steps.values() for one in seen for at, _ in one)
        _draw(left, steps, max(end, 1.0), style)
        left.set_xlim(0, max(end, 1.0))
        left.set_ylim(bottom=0)
        told = "while the budget is spent"
        if len(steps) > KEYED:
            told += " (marks as on the right)"
        else:
            left.legend(loc="best", fontsize=9, frameon=True, framealpha=0.9, edgecolor="none")
        left.set_title(told, fontsize=10, loc="left", color=pareto.INK)
        left.set_xlabel(f"{_SPENT[kind]} spent, % of the allowance")
        left.set_ylabel("hypervolume        higher is better \u2192")
    _final(made.axes(*((0.7, 0.23) if kind else (0.25, 0.6))), table, style)
    return made.figure


def _final(axes: Any, table: Table, style: dict[str, pareto.Look]) -> None:
    volumes = table.volumes.dropna(subset=["volume"])
    if volumes.empty:
        pareto.blank(axes, "no run has a candidate that was scored and timed")
        return
    means = volumes.groupby("method")["volume"].mean().sort_values(kind="stable")
    for y, method in enumerate(map(str, means.index)):
        values, look = [float(v) for v in volumes[volumes["method"] == method]["volume"]], style[method]
        interval = intervals.interval(values, quantities.FIGURES["volume"])
        if interval.low is not None and interval.high is not None:
            axes.plot([interval.low, interval.high], [y, y], color=look.colour, linewidth=2)
        if len(values) > 1:
            below = [y - 0.24] * len(values)
            axes.plot(values, below, linestyle="none", marker=".", color=pareto.GREY, markersize=5)
        axes.plot([interval.mean], [y], look.marker, mfc=look.face, color=look.colour, markersize=9)
        axes.text(1.02, y, f"{interval.mean:.4g}", va="center", fontsize=8, color=pareto.INK,
                  transform=axes.get_yaxis_transform())  # fmt: skip
    names = [pareto.short(m) for m in means.index]
    lines = (line for name in names for line in name.split("\n"))
    axes.set_yticks(range(len(means)), names, fontsize=pareto.small(lines))
    axes.set_ylim(-0.6, len(means) - 0.3)
    axes.set_title("at the end", fontsize=10, loc="left", color=pareto.INK)
    axes.set_xlabel("hypervolume        higher is better \u2192")
    axes.margins(x=0.1)


def _searched(record: Record) -> list[tuple[float, float]]:
    """Evaluations and best loss of a run's log, without what candidates showed when they were exported."""
    exported = {c["valid"]["loss"] for c in record["candidates"]}
    points = [(float(p["evaluations"]), float(p["best_valid_loss"])) for p in record.get("search_log") or []]
    return sorted((at, loss) for at, loss in points if loss not in exported)


def search(records: Sequence[Record], table: Table) -> Figure | None:
    """Best validation loss so far against evaluations; None where no search was recorded."""
    logged = [record for record in run_summary.finished(records) if _searched(record)]
    if not logged:
        return None
    steps: dict[str, list[Steps]] = {}
    for record in logged:
        points = _searched(record)
        steps.setdefault(table.named[record["id"]], []).append([(max(1.0, at), loss) for at, loss in points])
    notes = [
        "Line: mean over seeds; band: lowest to highest seed. Loss of sub-networks with the weights they have"
        " during the search, at any latency; what they come to when trained on is not shown."
    ]
    sub = "Best validation loss found so far, against the evaluations paid for. Lower is better."
    made = pareto.sheet(table, "How the search went", sub, notes, wide=10, high=3.6, above=0.1)
    axes = made.axes(0.08, 0.69)
    allowed = logged[0]["spec"]["budget"]["evaluations"]
    last = max(at for seen in steps.values() for one in seen for at, _ in one)
    _draw(axes, steps, max(last, allowed or 0), pareto.looks(table.volumes["method"]))
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    if allowed:
        axes.axvline(allowed, color=pareto.INK, linestyle=(0, (4, 3)), linewidth=1)
        axes.text(allowed, 0.98, f"allowance {allowed:,.0f} ", rotation=90, ha="right", va="top", fontsize=8,
                  transform=axes.get_xaxis_transform())  # fmt: skip
    axes.set_xlabel("validation evaluations spent (logarithmic)")
    unit = "nats/image" if item(table.shared["task"]) == "image" else "nats/token"
    axes.set_ylabel(f"\u2190 lower is better        validation loss, {unit}")
    pareto.key(axes)
    return made.figure
