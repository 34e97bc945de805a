"""Search for impossible figures in a finished table: intervals outside their range, shares above one.

``leaderboard``, also with ``--check``, refuses a table with such a figure.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator

from benchmarks.analysis import row_intervals
from benchmarks.analysis.attachment_columns import figure_of_row
from benchmarks.analysis.number_format import Row
from benchmarks.analysis.table import Table
from benchmarks.records.text import sanitize
from benchmarks.stats import quantities
from benchmarks.stats.quantities import Quantity

_TEXT = re.compile(r"(-?[\d.,]+)(?: \+- [\d.]+)?(?: \[(-?[\d.,]+), (-?[\d.,]+)\])?")
"""``84.1 +- 0.4 [83.6, 84.6]``, as tables of test sets write it."""


def impossible(table: Table) -> list[str]:
    """Return a line for each impossible figure of a table, with its row."""
    return [
        f"{sanitize(row['method'], 60)} at limit {row['limit']}: {problem}"
        for line in (_rows(table), _test_sets(table), _comparisons(table), _volumes(table))
        for row, problem in line
    ]


Problems = Iterator[tuple[Row, str]]
"""Rows with what is impossible in them."""


def _problem(quantity: Quantity, value: float, low: float, high: float) -> str:
    """Describe the fault of a figure and its interval; empty if there is none."""
    if problem := quantity.trespass(value, low, high):
        return problem
    if math.isnan(low) and math.isnan(high):
        return ""
    if not low <= value <= high:
        return f"{quantity.name} {value:g} is outside its own interval [{low:g}, {high:g}]"
    return f"{quantity.name} {value:g} has an interval without width" if low == high else ""


def _rows(table: Table) -> Problems:
    measured = {*row_intervals.MEASURED, *row_intervals.SPENT}
    quality = table.quantity(table.metric)
    for row in table.each:
        for name in ("quality", *quantities.FIGURES, "chrf"):
            if name not in row or row[name] is None:
                continue
            sides = ("low", "high") if name == "quality" else (f"{name}_low", f"{name}_high")
            span = name == "quality" or name in measured
            low, high = (row[side] if span else math.nan for side in sides)
            # One run's own interval is the record's: narrow ones are what was measured.
            own = row.get("interval" if name == "quality" else f"{name}_interval", "seeds") != "seeds"
            problem = _problem(quantities.of_column(name, quality), row[name], low, high)
            if problem and not (own and problem.endswith("without width")):
                yield row, problem
        for column in table.elsewhere.values():
            figure = figure_of_row(column, row)
            if figure is None:
                continue
            if problem := quantities.FIGURES["p50"].trespass(figure.ms, figure.ms_low, figure.ms_high):
                yield row, problem


def _test_sets(table: Table) -> Problems:
    if not table.detailed:
        return
    for scores in table.scores:
        for row in scores.frame.to_dict("records"):
            for name in scores.sets if not scores.metric.endswith("paired") else ():
                match = _TEXT.match(str(row.get(name, "")))
                values = [float(x.replace(",", "")) for x in match.groups() if x] if match else []
                if problem := scores.quantities[name].trespass(*values):
                    yield row, f"{name}: {problem}"


def _comparisons(table: Table) -> Problems:
    for frame in (table.comparisons, table.sentences if table.detailed else table.comparisons[:0]):
        for row in frame.to_dict("records"):
            if problem := quantities.PROBABILITY.trespass(row["p"], row["p_holm"]):
                yield row, problem
            if row["difference"] == 0 and row["p"] < 1:
                yield row, f"p {row['p']:g} of a difference of zero"


def _volumes(table: Table) -> Problems:
    for row in table.volumes.to_dict("records"):
        if problem := quantities.FIGURES["volume"].trespass(row["volume"]):
            yield {"method": row["method"], "limit": "all"}, problem
