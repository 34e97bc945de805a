"""Performance profiles (Dolan and Moré 2002; AlgoPerf's use): on what share of workloads a method is within
a factor of the best. A picture only: it is relative to the methods that are there, so it ranks nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure

from benchmarks.analysis.tables import Table
from benchmarks.records.record import Record
from benchmarks.records.selection import Limit
from benchmarks.report.plots import pareto

METHODS, WORKLOADS = 3, 3
"""Fewer show nothing that a table does not show better."""
TARGET = 0.95
"""Share of the best test quality of a workload from which a network counts as reaching its target."""
FARTHEST = 4.0
"""Factors beyond it are not shown, as in AlgoPerf."""

Costs = Mapping[str, Sequence[float]]
"""Method -> what each workload cost it; infinite where it missed. Less is better."""


def ratios(costs: Costs) -> dict[str, list[float]]:
    """Method -> factor to the best method, for each workload; infinite where it missed.

    Args:
        costs: positive or infinite, equally many for each method.
    """
    best = [min(column) for column in zip(*costs.values(), strict=True)]

    def factor(own: float, least: float) -> float:
        return own / least if math.isfinite(own) else math.inf

    return {method: list(map(factor, mine, best)) for method, mine in costs.items()}


def share(factors: Sequence[float], at: float) -> float:
    """The share of workloads within a factor of the best; rounding apart."""
    return sum(factor <= at * (1 + 1e-9) for factor in factors) / len(factors)


def common_seeds(table: Table) -> tuple[list[str], list[int]]:
    """The methods that have comparable runs, and the seeds with which every one of them has one."""
    seeds: dict[str, set[int]] = {}
    for run in table.runs:
        if run.id not in table.obstacles:
            seeds.setdefault(table.named[run.id], set()).add(run.seed)
    return sorted(seeds), sorted(set.intersection(*seeds.values())) if seeds else []


def volume_costs(table: Table) -> Costs:
    """A workload is a seed, its cost one over the hypervolume that the run reached."""
    methods, seeds = common_seeds(table)
    reached = {(m, s): v for m, s, v in table.volumes.itertuples(index=False)}
    return {m: [1 / v if (v := reached.get((m, s), 0.0)) > 0 else math.inf for s in seeds] for m in methods}


def time_costs(table: Table) -> Costs:
    """A workload is a seed with a limit, its cost the seconds that the run had spent when it proposed
    the network of the table, if that reaches ``TARGET``; with the seconds of a run that it follows. None
    where a run has no such times."""
    methods, seeds = common_seeds(table)
    earlier = {(table.named[run.id], run.seed): table.before[run.id][0] for run in table.runs}
    columns = (table.compared[name] for name in ("method", "seed", "limit", "quality", "spent_seconds"))
    found = {(m, s, x): (q, seconds + earlier[m, s]) for m, s, x, q, seconds in zip(*columns, strict=True)}
    if any(not seconds > 0 for _, seconds in found.values()):
        return {}
    asked: dict[Limit, set[str]] = {}
    for method, limit in zip(table.compared["method"], table.compared["limit"], strict=True):
        asked.setdefault(limit, set()).add(method)
    limits = sorted(limit for limit, those in asked.items() if len(those) >= METHODS)
    workloads = [(seed, limit) for seed in seeds for limit in limits]
    nothing = (math.nan, math.inf)
    targets = [
        TARGET * max((q for m in methods if (q := found.get((m, *w), nothing)[0]) == q), default=math.inf)
        for w in workloads
    ]
    costs = {}
    for method in methods:
        there = [found.get((method, *w), nothing) for w in workloads]
        costs[method] = [s if q >= t else math.inf for (q, s), t in zip(there, targets, strict=True)]
    return costs


def panels(table: Table) -> dict[str, Costs]:
    """What can be shown, by what is compared: enough methods on enough workloads."""
    found = {"hypervolume": volume_costs(table), "time": time_costs(table)}
    return {
        name: costs
        for name, costs in found.items()
        if len(costs) >= METHODS
        and min(map(len, costs.values())) >= WORKLOADS
        and any(math.isfinite(cost) for mine in costs.values() for cost in mine)
    }


def figure(records: Sequence[Record], table: Table) -> Figure | None:
    """A panel for hypervolume, one for time to the target; None where neither has enough to show."""
    shown = panels(table)
    if not shown:
        return None
    metric, style = table.metric_name, pareto.looks(common_seeds(table)[0])
    told = {
        "hypervolume": "Hypervolume: a workload is a seed; the factor is the largest hypervolume of any"
        " method on that seed over the method's own.",
        "time": "Time to target: a workload is a seed with a limit; the target is"
        f" {TARGET:.0%} of the best test {metric} of any method on it. The factor is the search's wall-clock"
        " time until the method proposed its network of the table, over the shortest of any method that"
        " reached the target.",
    }
    notes = [told[name] for name in shown]
    notes += [
        "Networks below the target are misses and never counted; seeds with a run that failed or was stopped"
        " are left out. Best and targets are those of the methods shown, so the curves move when one joins: a"
        " picture, no score, and nothing is ranked by it. Where lines lie upon one another, the thinner is"
        " drawn above."
    ]
    if "time" in shown and any(run.follows for run in table.runs):
        notes.append("The time of a run that follows another holds the other's.")
    if "time" in shown and any(run.jobs > 1 for run in table.runs):
        notes.append("Some runs shared their machine: their times are longer than alone.")
    sub = "Height: on what share of workloads a method is within that factor of the best. Up, left is better."
    title = "How often each method is close to the best"
    made = pareto.sheet(table, title, sub, notes, wide=10.5, high=3.3)
    width = 0.31 if len(shown) == 2 else 0.68
    for i, (name, costs) in enumerate(shown.items()):
        axes = made.axes(0.075 + i * 0.38, width)
        _draw(axes, ratios(costs), style)
        n = len(next(iter(costs.values())))
        what = {"hypervolume": "hypervolume", "time": f"time to {TARGET:.0%} of the best {metric}"}[name]
        axes.set_title(f"{what}, {n} workloads", fontsize=10, loc="left", color=pareto.INK)
        if i == 0:
            axes.set_ylabel("share of workloads, %        higher is better \u2192")
    pareto.key(axes)
    return made.figure


def _draw(axes: Any, factors: Mapping[str, Sequence[float]], style: Mapping[str, pareto.Look]) -> None:
    there = [f for mine in factors.values() for f in mine if f <= FARTHEST]
    end = min(FARTHEST, 1 + 1.15 * (max(there) - 1)) if max(there) > 1.001 else 1.1
    for i, method in enumerate(style):
        look, mine = style[method], factors[method]
        steps = sorted({1.0, *(f for f in mine if f <= end), end})
        heights = [100 * share(mine, at) for at in steps]
        wide = 1.2 + 4.0 * (1 - i / len(style))  # so that lines that lie upon one another are all seen
        axes.plot(steps, heights, drawstyle="steps-post", color=look.colour,
                  linestyle=look.line, linewidth=wide, marker=look.marker, markerfacecolor=look.face,
                  markersize=4 + wide, markevery=list(range(len(steps) - 1)), label=pareto.short(method),
                  clip_on=False, zorder=3 + i / 100)  # fmt: skip
    axes.set_xlim(1 - 0.01 * (end - 1), end)
    axes.set_ylim(0, 100)
    axes.set_yticks([0, 25, 50, 75, 100])
    axes.set_xlabel("within this factor of the best method")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
