"""An interval for every measured figure of a table: over seeds, else over what the one run has of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.stats import intervals, quantities

MEASURED = ("chrf", "valid_loss", "p50", "p90", "ratio", "peak_bytes")
"""Figures of a network. Parameters, MACs and bytes are counted: no interval is due for them."""
SPENT = ("seconds", "joules")
"""Figures of a run. Tokens, evaluations and probes are counted."""
OWN = {"quality": "sentences", "chrf": "sentences", "ratio": "timings"}
"""Figures for which a record holds an interval of its own, and what that one is over."""


def of_means(frame: pd.DataFrame, keys: Sequence[str], names: Sequence[str], metric: str) -> pd.DataFrame:
    """95 % intervals of group means, all groups at once; what ``stats.interval`` gives for each.

    Args:
        frame: with columns ``keys`` and ``names``.
        keys: what makes a group.
        names: of quantities (``quantities.of``).
        metric: that ``quality`` is.

    Returns:
        By ``keys``: ``<name>_low`` and ``<name>_high``, NaN where a group has no interval.
    """
    grouped: Any = frame.groupby(list(keys), sort=False)[list(names)]
    mean, deviation, count = grouped.mean(), grouped.std(ddof=1), grouped.count()
    sides: dict[str, Any] = {}
    for name in names:
        quantity = quantities.of(name, metric)
        least, most = quantity.low, quantity.high
        ends = intervals.bounded(mean[name], deviation[name], count[name], least, most)
        sides |= {f"{name}_low": ends[0], f"{name}_high": ends[1]}
    return pd.DataFrame(sides, index=mean.index)


def with_intervals(
    table: pd.DataFrame, lines: pd.DataFrame, costs: pd.DataFrame, metric: str
) -> pd.DataFrame:
    """The table with ``<figure>_low`` and ``<figure>_high`` for all of ``MEASURED`` and ``SPENT``, and
    ``<figure>_interval`` (``seeds``, ``sentences`` or ``timings``) for those of ``OWN``; those of
    ``quality`` are ``low``, ``high`` and ``interval``.

    Args:
        table: one row per (method, limit); limit None for methods without a candidate.
        lines: ``runs.headlines``, one per (method, seed, limit).
        costs: one line per (method, seed).
        metric: that decides.
    """
    lines = lines.rename(columns={"low": "quality_low", "high": "quality_high"})
    own = [f"{name}_{side}" for name in OWN for side in ("low", "high")]
    runs = lines[["method", "of", "seed", "limit", "quality", *MEASURED, *own]].merge(
        costs[["of", "seed", *SPENT]], on=["of", "seed"], how="left"
    )
    keys = ["method", "limit"]
    found = of_means(runs, keys, ("quality", *MEASURED, *SPENT), metric)
    alone = runs.groupby(keys, sort=False)[own].mean()
    several = runs.groupby(keys, sort=False)[list(OWN)].count() > 1
    for name, kind in OWN.items():
        low, high = f"{name}_low", f"{name}_high"
        found[f"{name}_interval"] = np.where(several[name], "seeds", np.where(alone[low].notna(), kind, ""))
        for side in (low, high):
            found[side] = found[side].where(several[name], alone[side])
    without = of_means(costs, ["of"], SPENT, metric)
    index = pd.MultiIndex.from_arrays([table["method"], table["limit"]])
    widened = found.reindex(index).set_axis(table.index)
    for i in table.index[table["limit"].isna()]:
        widened.loc[i, without.columns] = without.loc[table["method"][i]]
    for name in OWN:
        widened[f"{name}_interval"] = widened[f"{name}_interval"].fillna("")
    deciding = {"quality_low": "low", "quality_high": "high", "quality_interval": "interval"}
    return pd.concat([table, widened.rename(columns=deciding)], axis=1)
