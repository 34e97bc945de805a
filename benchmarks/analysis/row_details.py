"""Details of each row: its runs, and every metric of the deciding test set with its interval."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmarks.analysis.number_format import Row
from benchmarks.analysis.test_sets import QuantityOf
from benchmarks.comparability.run_summary import Headline, RunSummary, labelled
from benchmarks.stats import intervals

Score = tuple[float | None, float | None, float | None, str]
"""Mean, low, high, and what the interval is over: seeds, or the one run's sentences."""


@dataclass(frozen=True)
class RowDetails:
    """Scores and runs of one row."""

    scores: dict[str, Score]
    """Metric -> score on the deciding test set."""
    places: list[int]
    """Numbers of the row's runs among all records of a leaderboard."""


def row_details(
    each: Sequence[Row], runs: Sequence[RunSummary], named: Mapping[str, str], obstacles: Mapping[str, str],
    quantity: QuantityOf,
) -> list[RowDetails]:  # fmt: skip
    """Return the details of each row of a table.

    Args:
        each: rows of the table.
        runs: of the table.
        named: label of each run.
        obstacles: record id -> why that run is not compared.
        quantity: of each metric.
    """
    networks: dict[tuple[str, str], list[tuple[Headline, int]]] = {}
    by_method: dict[str, list[int]] = {}
    for run in runs:
        method = named[run.id]
        by_method.setdefault(method, []).append(run.place)
        for label, head in labelled(run, method, run.id in obstacles) if run.status != "failed" else ():
            networks.setdefault((label, str(head.limit)), []).append((head, run.place))
    heads, places = [], []
    for row in each:
        limit = "" if row["limit"] is None else str(row["limit"])
        own = networks.get((row["method"], limit), [])
        heads.append([head for head, _ in own])
        places.append([place for _, place in own] or by_method.get(str(row["of"]), []))
    return [RowDetails(*pair) for pair in zip(_scores(heads, quantity), places, strict=True)]


def _scores(rows: Sequence[Sequence[Headline]], quantity: QuantityOf) -> list[dict[str, Score]]:
    """Return the scores of each row from its networks, metrics in alphabetical order."""
    scores: list[dict[str, Score]] = [{} for _ in rows]
    for metric in sorted({metric for heads in rows for head in heads for metric, _ in head.recipes}):
        several: dict[int, list[float]] = {}
        for i, heads in enumerate(rows):
            if not any(metric == name for head in heads for name, _ in head.recipes):
                continue
            known = [score for head in heads if (score := head.score(metric))[0] == score[0]]
            if len(known) > 1:
                several[i] = [value for value, _, _ in known]
            scores[i][metric] = (*known[0], "sentences") if known else (None, None, None, "")
        over = intervals.each_interval([*several.values()], quantity(metric)) if several else []
        for i, interval in zip(several, over, strict=True):
            scores[i][metric] = interval.mean, interval.low, interval.high, "seeds"
    return scores
