"""Figures of fine-tuned copies: one table over all tasks, a mean over those that can rank, differences."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from benchmarks.analysis.number_format import NONE, ranged
from benchmarks.records import selection
from benchmarks.records.canonical import JsonView
from benchmarks.records.text import sanitize
from benchmarks.stats import intervals, quantities
from benchmarks.stats.quantities import DIFFERENCE, Quantity

MEAN = "mean over tasks"
Key = tuple[str, str]
"""Method and limit, as text."""


@dataclass(frozen=True)
class Tuned:
    """Tables of fine-tuned copies; both frames have one row per (method, limit)."""

    frame: pd.DataFrame
    against: pd.DataFrame
    """Differences from the baseline; empty if there is nothing to pair."""
    heads: list[str]
    """Columns of figures, of ``frame``."""
    quantities: dict[str, Quantity]
    """Quantity of each column."""
    tasks: list[str]
    """Names of the test sets that copies were fine-tuned for."""
    signature: str
    notes: list[str]


class _Figures:
    """Per (method, limit): search seed -> value of each fine-tuned copy, by column."""

    def __init__(self, lines: pd.DataFrame) -> None:
        self.values: dict[str, dict[Key, dict[int, list[float]]]] = {}
        """Column -> (method, limit) -> search seed -> a value of each copy."""
        self.metrics: dict[str, str] = {}
        """Column -> metric."""
        self.unfit: dict[str, str] = {}
        self.signatures: dict[str, None] = {}
        self.tasks: dict[str, str] = {}
        """Task -> the column that a mean takes."""
        for line in lines.to_dict("records"):
            key = line["method"], str(line["limit"])
            for name, scores in sorted(((line["candidate"] or {}).get("test") or {}).items()):
                tuned = {metric: f for metric, f in scores.items() if selection.tuned(f)}
                for metric in sorted(tuned, key=selection.tuned_place):
                    self._add(sanitize(name, 40), metric, tuned[metric], key, line["seed"])

    def _add(self, task: str, metric: str, figure: JsonView, key: Key, seed: int) -> None:
        head = f"{task}: {selection.TUNED.get(metric, sanitize(metric, 40))}"
        self.tasks.setdefault(task, head)
        self.metrics[head] = metric
        self.values.setdefault(head, {}).setdefault(key, {})[seed] = list(figure["values"])
        # One table, one mean: a task that is left out for one row is left out for all.
        if "unfit" in figure:
            self.unfit[task] = sanitize(figure["unfit"])
        # The chosen rate is each network's own; the grid is the same.
        recipe = re.sub(r"\|lr:[^|]+", "|lr:chosen", sanitize(figure["signature"], 600))
        self.signatures[recipe] = None

    def quantity(self, head: str) -> Quantity:
        """Return the quantity of a column; a mean over tasks keeps to the widest range of them."""
        if head != MEAN:
            return quantities.of_metric(self.metrics[head])
        over = [quantities.of_metric(self.metrics[name]) for name in self.ranking()]
        return Quantity(MEAN, "", min(q.low for q in over), max(q.high for q in over))

    def ranking(self) -> list[str]:
        """Return the columns of the tasks that can rank these networks."""
        return [head for task, head in self.tasks.items() if task not in self.unfit]

    def of(self, head: str, key: Key) -> dict[int, list[float]]:
        """Return search seed -> values of one column; the mean's are means over tasks, copy by copy."""
        if head != MEAN:
            return self.values[head].get(key, {})
        parts = [self.values[name].get(key, {}) for name in self.ranking()]
        seeds = sorted(set.intersection(*(set(part) for part in parts)))
        means = {}
        for seed in seeds:
            columns = [part[seed] for part in parts]
            shortest = min(map(len, columns))
            means[seed] = np.mean([column[:shortest] for column in columns], axis=0).tolist()
        return means


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)


def build(lines: pd.DataFrame, order: Iterable[Key], baseline: str | None) -> Tuned | None:
    """Return all fine-tuned figures of a table; None if there are none.

    Args:
        lines: of ``run_summary.headlines``.
        order: (method, limit) of the table's rows, in their order.
        baseline: the method that the others are compared with.
    """
    figures = _Figures(lines)
    if not figures.values:
        return None
    ranking = figures.ranking()
    averaged = [MEAN] if len(ranking) > 1 else []
    heads = [*averaged, *figures.values]
    present = {key for by_key in figures.values.values() for key in by_key}
    keys = [key for key in order if key in present]
    shown = [_titled(key) | {head: _cell(figures, head, key) for head in heads} for key in keys]
    differences = []
    ours = lines[lines["compared"]]
    compared = set(zip(ours["method"], map(str, ours["limit"]), strict=True))
    for method, limit in keys:
        cells = {
            head: _difference(figures.of(head, (method, limit)), figures.of(head, (baseline or "", limit)))
            for head in (*averaged, *ranking)
        }
        own = (method, limit) in compared and method != baseline
        if own and any(cell != NONE for cell in cells.values()):
            differences.append(_titled((method, limit)) | cells)
    notes = [
        "Copies of each network were fine-tuned on a task by the harness and scored on its dev split; +- is"
        " the standard deviation of one copy. Nothing here decides the order of rows."
    ]
    if figures.unfit:
        unfit = "; ".join(f"{task} ({reason})" for task, reason in figures.unfit.items())
        notes.append(f"Left out of the mean, as they cannot rank networks of this size: {unfit}.")
    recipe = "  and  ".join(figures.signatures)
    kinds = {head: figures.quantity(head) for head in heads}
    against, tasks = pd.DataFrame(differences), list(figures.tasks)
    return Tuned(pd.DataFrame(shown), against, heads, kinds, tasks, recipe, notes)


def _titled(key: Key) -> dict[str, str]:
    return {"method": key[0], "limit": key[1]}


def _cell(figures: _Figures, head: str, key: Key) -> str:
    """Return ``84.1 +- 0.4 [83.6, 84.6]``: mean over searches, then over copies."""
    values = figures.of(head, key)
    if not values:
        return NONE
    means = [float(np.mean(copies)) for copies in values.values()]
    interval = _interval(means, next(iter(values.values())), figures.quantity(head))
    spread = [float(np.std(copies, ddof=1)) for copies in values.values() if len(copies) > 1]
    text = ranged(interval.mean, _number(interval.low), _number(interval.high), ".1f", _over(means))
    number, space, rest = text.partition(" ")
    return f"{number} +- {np.mean(spread):.1f}{space}{rest}" if spread else text


def _difference(ours: Mapping[int, Sequence[float]], theirs: Mapping[int, Sequence[float]]) -> str:
    """Return the difference paired over searches of equal seed, or over copies of the one search."""
    seeds = sorted(set(ours) & set(theirs))
    if not seeds:
        return NONE
    apart = [[a - b for a, b in zip(ours[seed], theirs[seed], strict=False)] for seed in seeds]
    means = [float(np.mean(copies)) for copies in apart]
    over = _interval(means, apart[0], DIFFERENCE)
    return ranged(over.mean, _number(over.low), _number(over.high), "+.1f", _over(means))


def _interval(means: Sequence[float], copies: Sequence[float], quantity: Quantity) -> intervals.Interval:
    """Return the interval over searches, or over the copies of the one search."""
    return intervals.interval(means if len(means) > 1 else copies, quantity)


def _over(means: Sequence[float]) -> str:
    return "seeds" if len(means) > 1 else "fine-tunings"
