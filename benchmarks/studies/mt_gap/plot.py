"""Plot of study ``mt-gap``: inherited against alone, a panel a kind of supernet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure as Drawing

from benchmarks.report.plots import style
from benchmarks.studies.mt_gap.analysis import by_kind


def draw(
    alone: Sequence[float], inherited: Mapping[tuple[str, int], Sequence[float]], depth: Sequence[int]
) -> Drawing:
    """Draw a point a network, the mean over supernets, with decoder depth as its number."""
    kinds = list(by_kind(inherited))
    figure = Drawing(figsize=(2.9 * len(kinds) + 0.6, 3.9))
    figure.suptitle(
        "Inherited weights against training alone", x=0.01, ha="left", fontweight="bold", color=style.INK
    )
    panels = figure.subplots(1, len(kinds), sharex=True, sharey=True, squeeze=False)[0]
    ends = min(*alone, *map(min, inherited.values())), max(*alone, *map(max, inherited.values()))
    for axes, (kind, values) in zip(panels, kinds, strict=True):
        mean = np.mean(values, axis=0)
        axes.plot(ends, ends, color=style.INK, linewidth=0.9, linestyle=(0, (4, 3)))
        for x, y, layers in zip(alone, mean, depth, strict=True):
            axes.text(x, y, str(layers), fontsize=8, ha="center", va="center", color=style.INK)
        axes.scatter(alone, mean, s=70, facecolors="none", edgecolors=style.INK, linewidths=0.6)
        axes.set_title(kind, fontsize=9.5, loc="left", color=style.INK)
        axes.set_xlabel("BLEU alone")
    panels[0].set_ylabel("BLEU inherited (digit: decoder layers)")
    figure.tight_layout(rect=(0, 0, 1, 0.95))
    return figure
