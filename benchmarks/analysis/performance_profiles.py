"""Performance profiles: the share of workloads on which a method is within a factor of the best.

Dolan and Moré 2002, as AlgoPerf uses them. A profile is relative to the compared methods: it ranks nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from benchmarks.analysis.table import Table
from benchmarks.records.selection import Limit

METHODS, WORKLOADS = 3, 3
"""Numbers of methods and workloads below which a profile shows no more than a table."""
TARGET = 0.95
"""Share of the best test quality of a workload from which a network counts as reaching its target."""
Costs = Mapping[str, Sequence[float]]
"""Method -> its cost on each workload; infinite for a miss. Less is better."""


def ratios(costs: Costs) -> dict[str, list[float]]:
    """Return method -> factor to the best method, for each workload; infinite for a miss.

    Args:
        costs: positive or infinite, equally many for each method.
    """
    best = [min(column) for column in zip(*costs.values(), strict=True)]

    def factor(own: float, least: float) -> float:
        return own / least if math.isfinite(own) else math.inf

    return {method: list(map(factor, mine, best)) for method, mine in costs.items()}


def share(factors: Sequence[float], at: float) -> float:
    """Return the share of workloads within a factor of the best, rounding apart."""
    return sum(factor <= at * (1 + 1e-9) for factor in factors) / len(factors)


def common_seeds(table: Table) -> tuple[list[str], list[int]]:
    """Return the methods with comparable runs, and the seeds with which each of them has one."""
    seeds: dict[str, set[int]] = {}
    for run in table.runs:
        if run.id not in table.obstacles:
            seeds.setdefault(table.named[run.id], set()).add(run.seed)
    return sorted(seeds), sorted(set.intersection(*seeds.values())) if seeds else []


def volume_costs(table: Table) -> Costs:
    """Return the costs if a workload is a seed and its cost is one over the run's hypervolume."""
    methods, seeds = common_seeds(table)
    reached = {(m, s): v for m, s, v in table.volumes.itertuples(index=False)}
    return {m: [1 / v if (v := reached.get((m, s), 0.0)) > 0 else math.inf for s in seeds] for m in methods}


def time_costs(table: Table) -> Costs:
    """Return the costs if a workload is a seed with a limit, and its cost is the time to ``TARGET``.

    That is the seconds that a run, and the one that it follows, had spent when it proposed the network of the
    table. Empty if a run has no such times.
    """
    methods, seeds = common_seeds(table)
    earlier = {(table.named[run.id], run.seed): table.before[run.id][0] for run in table.runs}
    columns = (table.compared[name] for name in ("method", "seed", "limit", "quality", "spent_seconds"))
    networks = {(m, s, x): (q, seconds + earlier[m, s]) for m, s, x, q, seconds in zip(*columns, strict=True)}
    if any(not seconds > 0 for _, seconds in networks.values()):
        return {}
    methods_of: dict[Limit, set[str]] = {}
    for method, limit in zip(table.compared["method"], table.compared["limit"], strict=True):
        methods_of.setdefault(limit, set()).add(method)
    limits = sorted(limit for limit, those in methods_of.items() if len(those) >= METHODS)
    workloads = [(seed, limit) for seed in seeds for limit in limits]
    nothing = (math.nan, math.inf)
    targets = [
        TARGET * max((q for m in methods if (q := networks.get((m, *w), nothing)[0]) == q), default=math.inf)
        for w in workloads
    ]
    costs = {}
    for method in methods:
        own = [networks.get((method, *w), nothing) for w in workloads]
        costs[method] = [s if q >= t else math.inf for (q, s), t in zip(own, targets, strict=True)]
    return costs


def panels(table: Table) -> dict[str, Costs]:
    """Return the costs of each panel that has enough methods on enough workloads."""
    panels_of = {"hypervolume": volume_costs(table), "time": time_costs(table)}
    return {
        name: costs
        for name, costs in panels_of.items()
        if len(costs) >= METHODS
        and min(map(len, costs.values())) >= WORKLOADS
        and any(math.isfinite(cost) for mine in costs.values() for cost in mine)
    }
