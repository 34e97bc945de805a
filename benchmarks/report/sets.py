"""Every metric on every test set, each figure with its interval: tables of texts, and CSV."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from benchmarks.report.figures import ranged
from benchmarks.report.tables import METRICS, Table


@dataclass(frozen=True)
class Scores:
    """One metric on each test set: a column of texts for each, one row per (method, limit)."""

    metric: str
    name: str
    """The metric as people write it."""
    signature: str
    frame: pd.DataFrame
    sets: list[str]


def scores(table: Table) -> list[Scores]:
    """The deciding metric first, the deciding test set (``pooled``) first; rows as in the main table."""
    place = {
        (m, str(x)): i for i, (m, x) in enumerate(zip(table.rows["method"], table.rows["limit"], strict=True))
    }
    found = []
    for metric, part in table.sets.groupby("metric", sort=False):
        sets = sorted(dict.fromkeys(part["set"]), key=lambda name: name != "pooled")
        cells: dict[tuple[str, str], dict[str, str]] = {}
        for line in part.to_dict("records"):
            text = ranged(line["value"], line["low"], line["high"], ".1f", line["interval"])
            cells.setdefault((line["method"], str(line["limit"])), {})[line["set"]] = text
        shown = [
            {"method": key[0], "latency limit": key[1]} | {name: cells[key].get(name, "-") for name in sets}
            for key in sorted(cells, key=lambda key: place[key])
        ]
        signature = "  and  ".join(dict.fromkeys(part["signature"]))
        name = METRICS.get(str(metric), str(metric))
        found.append(Scores(str(metric), name, signature, pd.DataFrame(shown), sets))
    return sorted(found, key=lambda one: one.metric != table.metric)
