"""An interval for every measured figure of a table: over seeds, else over what the one run has of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from benchmarks import stats

MEASURED = ("chrf", "valid_loss", "p50", "p90", "ratio", "peak_bytes")
"""Figures of a network. Parameters, MACs and bytes are counted: no interval is due for them."""
SPENT = ("tokens", "evaluations", "probes", "seconds", "joules")
"""Figures of a run."""
OWN = {"chrf": "sentences", "ratio": "timings"}
"""Figures for which a record holds an interval of its own, and what that one is over."""


def of_means(frame: pd.DataFrame, keys: Sequence[str], names: Sequence[str]) -> pd.DataFrame:
    """95 % t-intervals of group means, all groups at once; what ``stats.t_interval`` gives for each.

    Returns:
        By ``keys``: ``<name>_low`` and ``<name>_high``, NaN where a group has fewer than two figures.
    """
    from scipy.special import stdtrit

    grouped: Any = frame.groupby(list(keys), sort=False)[list(names)]
    mean, deviation, count = grouped.mean(), grouped.std(ddof=1), grouped.count()
    with np.errstate(invalid="ignore", divide="ignore"):
        quantile = stdtrit(np.maximum(count.to_numpy() - 1, 1), (1 + stats.LEVEL) / 2)
        half = deviation * quantile / np.sqrt(count)
    found: pd.DataFrame = pd.concat(
        [(mean - half).add_suffix("_low"), (mean + half).add_suffix("_high")], axis=1
    )
    return found


def with_intervals(table: pd.DataFrame, lines: pd.DataFrame, costs: pd.DataFrame) -> pd.DataFrame:
    """The table with ``<figure>_low`` and ``<figure>_high`` for all of ``MEASURED`` and ``SPENT``, and
    ``<figure>_interval`` (``seeds``, ``sentences`` or ``timings``) for those of ``OWN``.

    Args:
        table: one row per (method, limit); limit None for methods without a candidate.
        lines: ``runs.headlines``, one per (method, seed, limit).
        costs: one line per (method, seed).
    """
    own = [f"{name}_{side}" for name in OWN for side in ("low", "high")]
    runs = lines[["method", "seed", "limit", *MEASURED, *own]].merge(
        costs[["method", "seed", *SPENT]], on=["method", "seed"], how="left"
    )
    keys = ["method", "limit"]
    found = of_means(runs, keys, (*MEASURED, *SPENT))
    alone = runs.groupby(keys, sort=False)[own].mean()
    for name, kind in OWN.items():
        low, high = f"{name}_low", f"{name}_high"
        over_seeds = found[low].notna()
        found[f"{name}_interval"] = np.where(over_seeds, "seeds", np.where(alone[low].notna(), kind, ""))
        for side in (low, high):
            found[side] = found[side].where(over_seeds, alone[side])
    without = of_means(costs, ["method"], SPENT)
    index = pd.MultiIndex.from_arrays([table["method"], table["limit"]])
    widened = found.reindex(index).set_axis(table.index)
    for i in table.index[table["limit"].isna()]:
        widened.loc[i, without.columns] = without.loc[table["method"][i]]
    for name in OWN:
        widened[f"{name}_interval"] = widened[f"{name}_interval"].fillna("")
    return pd.concat([table, widened], axis=1)
