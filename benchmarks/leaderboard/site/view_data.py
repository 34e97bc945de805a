"""Data of a table's other views: quality over the budget spent, cost over targets, and win rates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from benchmarks.analysis.search_progress import Steps
from benchmarks.analysis.table import Table
from benchmarks.studies.break_even import CONTROLS, phases, targets
from benchmarks.studies.interval_text import interval_text

MOST_METHODS = 60
"""Methods of which win rates are shown: their pairs grow with the square."""
POINTS = 40
"""Points of one line."""
_SPENT = {"seconds": "wall-clock time", "tokens": "training tokens"}


def view_data(table: Table) -> dict[str, object]:
    """Return the data of all views; those that need the runs' records are empty without them."""
    return {
        "any_time": _any_time(table) if table.detailed else None,
        "break_even": _break_even(table) if table.detailed else [],
        "win_rates": win_rates(table),
    }


def _any_time(table: Table) -> dict[str, object] | None:
    """Return the mean hypervolume of each method with its lowest and highest run, by the share spent."""
    progress = table.volume_progress
    if progress is None:
        return None
    series = [
        {"method": method, "points": _mean_steps(runs)} for method, runs in sorted(progress.steps.items())
    ]
    return {"spent": _SPENT[progress.kind], "series": series}


def _mean_steps(runs: Sequence[Steps]) -> list[list[float]]:
    """Return ``[spent, mean, lowest, highest]`` wherever a run moves, at most ``POINTS``."""
    grid = sorted({at for steps in runs for at, _ in steps})
    if len(grid) > POINTS:
        grid = [grid[round(i)] for i in np.linspace(0, len(grid) - 1, POINTS)]
    points = []
    for at in grid:
        values = [max((value for moment, value in steps if moment <= at), default=0.0) for steps in runs]
        points.append([at, float(np.mean(values)), min(values), max(values)])
    return points


def _break_even(table: Table) -> list[dict[str, object]]:
    """Return each method's mean tokens that targets share, and those of one target, with its quality.

    Beside a control that trains networks alone: ``even``, targets from which it is no dearer a target, and
    ``gain``, its quality minus the control's; both only of methods with networks at limits of the control's.
    Qualities are means over limits, with intervals over seeds.
    """
    spent: dict[str, list[tuple[float, float]]] = {}
    for run in table.comparable:
        if run.record is not None:
            shared, own = phases(run.record)
            limits = max(1, len(run.headlines))
            pair = shared.get("tokens", 0.0), own.get("tokens", 0.0) / limits
            spent.setdefault(table.named[run.id], []).append(pair)
    qualities = _qualities(table)
    costs = {method: np.array(pairs).mean(axis=0) for method, pairs in spent.items() if method in qualities}
    alone = {method: own for method, (shared, own) in costs.items() if not shared and own}
    against = next((name for name in CONTROLS if name in alone), "")
    lines: list[dict[str, object]] = []
    for method, (shared, own) in sorted(costs.items()):
        if shared + own > 0:
            ours, theirs = qualities[method], qualities.get(against, {})
            quality = f"{table.metric_name} {_mean_over_limits(ours, '.2f')}"
            line = {"method": method, "shared": float(shared), "own": float(own), "quality": quality}
            differences = {cell: ours[cell] - theirs[cell] for cell in ours if cell in theirs}
            if shared and differences:
                n = targets(float(alone[against]), float(shared), float(own))
                line |= {"against": against, "even": float(n) if np.isfinite(n) else None}
                line |= {"gain": _mean_over_limits(differences, "+.2f")}
            lines.append(line)
    return lines


def _qualities(table: Table) -> dict[str, dict[tuple[str, int], float]]:
    """Return method -> (limit, seed) -> quality of its compared networks."""
    columns = (table.compared[name] for name in ("method", "limit", "seed", "quality"))
    cells: dict[str, dict[tuple[str, int], float]] = {}
    for method, limit, seed, quality in zip(*columns, strict=True):
        if quality == quality:
            cells.setdefault(str(method), {})[str(limit), int(seed)] = float(quality)
    return cells


def _mean_over_limits(cells: Mapping[tuple[str, int], float], form: str) -> str:
    """Return the mean of (limit, seed) -> value with its interval over seeds, as text.

    Of seeds with a value at every limit that any of them has; their number and that of the limits follow.
    """
    limits = {limit for limit, _ in cells}
    seeds = {seed for _, seed in cells if all((limit, seed) in cells for limit in limits)}
    if not seeds:
        return "no seed has all limits"
    means = [float(np.mean([cells[limit, seed] for limit in limits])) for seed in sorted(seeds)]
    words = f"{len(seeds)} seed{'s' * (len(seeds) != 1)}, {len(limits)} limit{'s' * (len(limits) != 1)}"
    return f"{interval_text(means, form)} ({words})"


def win_rates(table: Table) -> dict[str, object]:
    """Return how often each method's quality is above each other's, over pairs of equal seed and limit.

    Returns:
        ``methods``, most wins first, and ``rates``: per cent (a tie counts half) and number of pairs.
    """
    cells: dict[tuple[str, int], dict[str, float]] = {}
    for method, own in _qualities(table).items():
        for cell, quality in own.items():
            cells.setdefault(cell, {})[method] = quality
    every = {method for values in cells.values() for method in values}
    order = {row["method"]: i for i, row in reversed(list(enumerate(table.each)))}
    methods = sorted(every, key=lambda method: order.get(method, len(order)))[:MOST_METHODS]
    places = {method: i for i, method in enumerate(methods)}
    wins, pairs = np.zeros((len(methods), len(methods))), np.zeros((len(methods), len(methods)), dtype=int)
    for values in cells.values():
        known = [method for method in values if method in places]
        at = [places[method] for method in known]
        figures = np.array([values[method] for method in known])
        better = (figures[:, None] > figures[None, :]) + 0.5 * (figures[:, None] == figures[None, :])
        wins[np.ix_(at, at)] += better
        pairs[np.ix_(at, at)] += 1
    np.fill_diagonal(pairs, 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        rates = np.where(pairs > 0, np.rint(100 * wins / np.maximum(pairs, 1)), 0).astype(int)
    mean = (rates * pairs).sum(1) / np.maximum(pairs.sum(1), 1)
    best = np.argsort(-mean, kind="stable")
    both = np.stack([rates, pairs], axis=-1)[np.ix_(best, best)]
    return {"methods": [methods[i] for i in best], "rates": both.tolist()}
