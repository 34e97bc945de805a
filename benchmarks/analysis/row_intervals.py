"""Interval of every measured figure of a table: over seeds, or the record's own where there is one run."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from benchmarks.stats import intervals, quantities
from benchmarks.stats.intervals import Array
from benchmarks.stats.quantities import Quantity

MEASURED = ("chrf", "valid_loss", "p50", "p90", "ratio", "peak_bytes")
"""Figures of a network. Parameters, MACs and bytes are counted: no interval is due for them."""
SPENT = ("seconds", "joules")
"""Figures of a run. Tokens, evaluations and probes are counted."""
OWN = {"quality": "sentences", "chrf": "sentences", "ratio": "timings"}
"""Figure with an interval of its own in a record -> what that interval is over."""


def of_means(
    frame: pd.DataFrame, keys: Sequence[str], names: Sequence[str], quality: Quantity
) -> pd.DataFrame:
    """Return 95 % intervals of group means, all groups at once; each is that of ``intervals.interval``.

    Args:
        frame: with columns ``keys`` and ``names``.
        keys: columns that make a group.
        names: of columns (``quantities.of_column``).
        quality: quantity of the column ``quality``.

    Returns:
        By ``keys``: ``<name>_low`` and ``<name>_high``, NaN where a group has no interval.
    """
    grouped = frame.groupby(list(keys), sort=False)[list(names)]
    mean, deviation, count = grouped.mean(), grouped.std(ddof=1), grouped.count()
    sides: dict[str, Array] = {}
    for name in names:
        quantity = quantities.of_column(name, quality)
        least, most = quantity.low, quantity.high
        means, deviations, numbers = (part[name].to_numpy() for part in (mean, deviation, count))
        low, high = intervals.bounded(means, deviations, numbers, least, most)
        sides |= {f"{name}_low": low, f"{name}_high": high}
    return pd.DataFrame(sides, index=mean.index)


def with_intervals(
    table: pd.DataFrame, lines: pd.DataFrame, costs: pd.DataFrame, quality: Quantity
) -> pd.DataFrame:
    """Return the table with the ends of every interval, and the source of those that a record may hold.

    Columns are ``<figure>_low`` and ``<figure>_high`` for all of ``MEASURED`` and ``SPENT``, and
    ``<figure>_interval`` (``seeds``, ``sentences`` or ``timings``) for those of ``OWN``; those of ``quality``
    are ``low``, ``high`` and ``interval``.

    Args:
        table: one row per (method, limit); limit None for methods without a candidate.
        lines: of ``run_summary.headlines``, one per (method, seed, limit).
        costs: one line per (method, seed).
        quality: quantity of the deciding metric.
    """
    lines = lines.rename(columns={"low": "quality_low", "high": "quality_high"})
    own = [f"{name}_{side}" for name in OWN for side in ("low", "high")]
    runs = lines[["method", "of", "seed", "limit", "quality", *MEASURED, *own]].merge(
        costs[["of", "seed", *SPENT]], on=["of", "seed"], how="left"
    )
    keys = ["method", "limit"]
    ends = of_means(runs, keys, ("quality", *MEASURED, *SPENT), quality)
    alone = runs.groupby(keys, sort=False)[own].mean()
    several = runs.groupby(keys, sort=False)[list(OWN)].count() > 1
    for name, kind in OWN.items():
        low, high = f"{name}_low", f"{name}_high"
        ends[f"{name}_interval"] = np.where(several[name], "seeds", np.where(alone[low].notna(), kind, ""))
        for side in (low, high):
            ends[side] = ends[side].where(several[name], alone[side])
    without = of_means(costs, ["of"], SPENT, quality)
    index = pd.MultiIndex.from_arrays([table["method"], table["limit"]])
    widened = ends.reindex(index).set_axis(table.index)
    for i in table.index[table["limit"].isna()]:
        widened.loc[i, without.columns] = without.loc[table["method"][i]]
    for name in OWN:
        widened[f"{name}_interval"] = widened[f"{name}_interval"].fillna("")
    deciding = {"quality_low": "low", "quality_high": "high", "quality_interval": "interval"}
    return pd.concat([table, widened.rename(columns=deciding)], axis=1)
