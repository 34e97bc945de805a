"""Every metric on every test set: figures with their intervals, and tables of texts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from benchmarks.analysis import finetuned, row_intervals
from benchmarks.analysis.finetuned import Key
from benchmarks.analysis.number_format import NONE, ranged
from benchmarks.records import selection
from benchmarks.records.text import sanitize
from benchmarks.stats import intervals
from benchmarks.stats.quantities import DIFFERENCE, Quantity

QuantityOf = Callable[[str], Quantity]
"""Name of a metric -> its quantity."""


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
    """Quantity of each column of figures."""
    notes: list[str] = field(default_factory=list)
    """Texts that must stand under it."""


def figures(lines: pd.DataFrame, quantity: QuantityOf) -> pd.DataFrame:
    """Return every metric on every test set: mean over seeds and its interval, or the one seed's own.

    Args:
        lines: of ``run_summary.headlines``, with the whole candidates.
        quantity: of each metric.
    """
    flat = []
    for line in lines.to_dict("records"):
        for name, metrics in (line["candidate"].get("test") or {}).items():
            for metric, figure in metrics.items():
                tuned = selection.tuned(figure)
                if tuned:
                    over = intervals.interval(figure["values"], quantity(metric))
                    figure = {**figure, "low": over.low, "high": over.high}
                flat.append(
                    {"method": line["method"], "limit": line["limit"], "set": sanitize(name, 40)}
                    | {"metric": sanitize(metric, 40), "signature": sanitize(figure["signature"])}
                    | {"value": figure["value"], "low": figure.get("low"), "high": figure.get("high")}
                    | {"own": "fine-tunings" if tuned else "sentences"}
                )
    keys, ends = ["method", "limit", "set", "metric"], ["value", "low", "high"]
    frame = pd.DataFrame(flat, columns=[*keys, "signature", "own", *ends])
    frame = frame.astype(dict.fromkeys(ends, "float64"))
    grouped = frame.groupby(keys, sort=False)
    means = pd.DataFrame(
        {
            "value": grouped["value"].mean(), "n": grouped["value"].count(), "low": grouped["low"].mean(),
            "high": grouped["high"].mean(), "signature": grouped["signature"].agg(_joined),
            "own": grouped["own"].first(),
        }
    )  # fmt: skip
    parts = [
        row_intervals.of_means(
            part.rename(columns={"value": "quality"}), keys, ["quality"], quantity(str(metric))
        )
        for metric, part in frame.groupby("metric", sort=False)
    ]
    over_seeds = pd.concat(parts) if parts else pd.DataFrame(columns=["quality_low", "quality_high"])
    several = means["n"] > 1
    means["interval"] = np.where(several, "seeds", means.pop("own"))
    for side in ("low", "high"):
        means[side] = over_seeds[f"quality_{side}"].reindex(means.index).where(several, means[side])
    return pd.DataFrame(means.reset_index())


def _joined(texts: pd.Series[str]) -> str:
    return "  and  ".join(sorted(set(texts)))


def scores(
    sets: pd.DataFrame, lines: pd.DataFrame, order: Sequence[Key], metric: str, baseline: str | None,
    quantity: QuantityOf,
) -> list[Scores]:  # fmt: skip
    """Return tables of texts, the deciding metric and the deciding test set (``pooled``) first.

    Figures of fine-tuned copies stand in tables of their own, last.

    Args:
        sets: of ``figures``.
        lines: of ``run_summary.headlines``.
        order: (method, limit) of the main table's rows.
        metric: that decides.
        baseline: the method that the others are compared with.
        quantity: of each metric.
    """
    place = {key: i for i, key in enumerate(order)}
    copies = finetuned.build(lines, order, baseline)
    direct = sets[~sets["set"].isin(copies.tasks)] if copies else sets
    tables = []
    for kind, part in direct.groupby("metric", sort=False):
        names = sorted(dict.fromkeys(part["set"]), key=lambda name: name != "pooled")
        cells: dict[Key, dict[str, str]] = {}
        for line in part.to_dict("records"):
            text = ranged(line["value"], line["low"], line["high"], ".1f", line["interval"])
            cells.setdefault((line["method"], str(line["limit"])), {})[line["set"]] = text
        shown = [
            {"method": key[0], "limit": key[1]} | {name: cells[key].get(name, NONE) for name in names}
            for key in sorted(cells, key=lambda key: place[key])
        ]
        signature = "  and  ".join(dict.fromkeys(part["signature"]))
        measured = quantity(str(kind))
        kinds = dict.fromkeys(names, measured)
        tables.append(Scores(str(kind), measured.name, signature, pd.DataFrame(shown), names, kinds))
    tables.sort(key=lambda table: table.metric != metric)
    return tables + (_tuned(copies, baseline) if copies else [])


def _tuned(copies: finetuned.Tuned, baseline: str | None) -> list[Scores]:
    """Return fine-tuned copies on every task, and their differences from the baseline's."""
    name, recipe = "fine-tuned copies", copies.signature
    tables = [Scores("fine-tuned", name, recipe, copies.frame, copies.heads, copies.quantities, copies.notes)]
    if len(copies.against):
        heads = [head for head in copies.heads if head in copies.against]
        versus = f"{name} minus those of {baseline}, paired,"
        kinds = dict.fromkeys(heads, DIFFERENCE)
        frame, notes = copies.against, copies.notes[1:]
        tables.append(Scores("fine-tuned, paired", versus, recipe, frame, heads, kinds, notes))
    return tables
