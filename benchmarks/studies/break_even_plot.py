"""Plot of study ``break-even``: cost a target over the number of targets."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure as Drawing

from benchmarks.records.canonical import JsonView
from benchmarks.report.plots import style

MOST = 64
"""Largest number of targets that is drawn."""


def draw(results: Sequence[JsonView]) -> Drawing:
    """Draw one panel a machine, control and limit: cost in tokens over that of training alone."""
    panels: dict[tuple[str, ...], list[JsonView]] = {}
    for result in results:
        if result["cost"] == "tokens":
            key = tuple(str(result[name]) for name in ("task", "machine", "limit", "against"))
            panels.setdefault(key, []).append(result)
    figure = Drawing(figsize=(5.2 * max(1, len(panels)), 4.2))
    axes_row = figure.subplots(1, max(1, len(panels)), squeeze=False)[0]
    numbers = np.geomspace(1, MOST, 200)
    for axes, ((task, machine, limit, against), methods) in zip(axes_row, panels.items(), strict=False):
        for result in methods:
            cost = (result["shared"] / numbers + result["own"]) / result["cost_alone"]
            axes.plot(numbers, cost, linewidth=1.4, label=f"{result['method']}: {result['text']}")
        axes.axhline(1, color=style.INK, linewidth=0.9, linestyle=(0, (4, 3)))
        axes.set_xscale("log", base=2)
        axes.set_yscale("log")
        axes.set_xlabel("targets that share the supernet")
        axes.set_ylabel(f"tokens a target / {against}'s at equal quality")
        axes.set_title(f"{task}\n{machine}, limit {limit}", fontsize=9.5, loc="left", color=style.INK)
        axes.legend(fontsize=7.5)
    figure.tight_layout()
    return figure
