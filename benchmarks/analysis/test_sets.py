"""Every metric on every test set, each figure with its interval: tables of texts, and CSV."""

from __future__ import annotations

from dataclasses import dataclass, field

import pandas as pd

from benchmarks.analysis import finetuned
from benchmarks.analysis.number_format import ranged
from benchmarks.analysis.tables import METRICS, Table
from benchmarks.stats.quantities import Quantity, of_metric


@dataclass(frozen=True)
class Scores:
    """One metric on each test set: a column of texts for each, one row per (method, limit)."""

    metric: str
    name: str
    """The metric as people write it."""
    signature: str
    frame: pd.DataFrame
    sets: list[str]
    quantities: dict[str, Quantity]
    """Value of each column of figures."""
    notes: list[str] = field(default_factory=list)
    """What must stand under it."""


def scores(table: Table) -> list[Scores]:
    """The deciding metric first, the deciding test set (``pooled``) first; rows as in the main table.
    What copies were fine-tuned on stands in tables of its own, last."""
    order = list(zip(table.rows["method"], map(str, table.rows["limit"]), strict=True))
    place = {key: i for i, key in enumerate(order)}
    found = []
    copies = finetuned.build(table.lines, order, table.baseline)
    direct = table.sets[~table.sets["set"].isin(copies.tasks)] if copies else table.sets
    for metric, part in direct.groupby("metric", sort=False):
        sets = sorted(dict.fromkeys(part["set"]), key=lambda name: name != "pooled")
        cells: dict[tuple[str, str], dict[str, str]] = {}
        for line in part.to_dict("records"):
            text = ranged(line["value"], line["low"], line["high"], ".1f", line["interval"])
            cells.setdefault((line["method"], str(line["limit"])), {})[line["set"]] = text
        shown = [
            {"method": key[0], "limit": key[1]} | {name: cells[key].get(name, "-") for name in sets}
            for key in sorted(cells, key=lambda key: place[key])
        ]
        signature = "  and  ".join(dict.fromkeys(part["signature"]))
        name = METRICS.get(str(metric), str(metric))
        kinds = dict.fromkeys(sets, of_metric(str(metric)))
        found.append(Scores(str(metric), name, signature, pd.DataFrame(shown), sets, kinds))
    return sorted(found, key=lambda one: one.metric != table.metric) + (
        _tuned(copies, table) if copies else []
    )


def _tuned(made: finetuned.Tuned, table: Table) -> list[Scores]:
    """Fine-tuned copies on every task, and their differences from the baseline's."""
    name, recipe = "fine-tuned copies", made.signature
    found = [Scores("fine-tuned", name, recipe, made.frame, made.heads, made.quantities, made.notes)]
    if len(made.against):
        heads = [head for head in made.heads if head in made.against]
        versus = f"{name} minus those of {table.baseline}, paired,"
        kinds = dict.fromkeys(heads, Quantity("a difference"))
        found.append(Scores("fine-tuned, paired", versus, recipe, made.against, heads, kinds, made.notes[1:]))
    return found
