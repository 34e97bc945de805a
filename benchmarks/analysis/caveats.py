"""Notices over tables whose rows rank no methods, from ``caveats.toml`` and the tables' own records."""

from __future__ import annotations

import tomllib
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd


@cache
def _file() -> list[dict[str, Any]]:
    text = Path(__file__).with_name("caveats.toml").read_text("utf-8")
    return list(tomllib.loads(text)["caveat"])


def notices(task: str, tier: str, lines: pd.DataFrame) -> list[str]:
    """Return why the rows of a table rank no methods, the conclusion first; empty where nothing is known.

    Args:
        task: of the table.
        tier: of the table.
        lines: of ``runs.headlines``.
    """
    told = []
    for entry in _file():
        if (entry["task"], entry["tier"]) == (task, tier):
            told.append(f"Not a ranking of methods until {entry['until']}.")
            told += [*_unigram(entry, lines), *entry["reasons"]]
    return told


def _unigram(entry: dict[str, Any], lines: pd.DataFrame) -> list[str]:
    """Count the networks that have learnt hardly more than word frequencies, by their validation loss."""
    losses = lines.dropna(subset=["valid_loss"])
    if "unigram" not in entry or losses.empty:
        return []
    level, near = float(entry["unigram"]), float(entry["near"])
    low = losses[losses["valid_loss"] >= level - near]
    text = (
        f"Word frequencies alone have a validation loss of {level:.2f} nats; {len(low)} of {len(losses)}"
        f" networks of this table are within {near:g} of it or above"
    )
    ends = losses.groupby("origin", sort=True)["valid_loss"].agg(["min", "max"])
    spans = "; ".join(
        f"{origin} {ends.loc[origin, 'min']:.2f} to {ends.loc[origin, 'max']:.2f}" for origin in ends.index
    )
    ranges = f"Validation losses by origin of weights, lowest to highest network: {spans}."
    if low.empty:
        return [text + ".", ranges]
    counts = low.groupby("method", sort=True)["seed"].nunique()
    named = ", ".join(f"{method} ({n} seed{'s' if n > 1 else ''})" for method, n in counts.items())
    return [f"{text}: {named}.", ranges]
