"""Plot of study ``mt-gap``: inherited against alone, a panel a kind of supernet."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure as Drawing

from benchmarks.report.plots import style
from benchmarks.studies.mt_gap.analysis import by_kind

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLUMNS = 4
MARKS = (("o", "white"), ("s", "#c9c9c9"), ("^", "#0072b2"), ("D", "#1a1a1a"))
"""Shape and fill of each decoder depth, the least first; they differ in grayscale too."""


def draw(
    alone: Sequence[Sequence[float]],
    inherited: Mapping[tuple[str, int], Sequence[float]],
    depth: Sequence[int],
) -> Drawing:
    """Draw a point a network, each kind's mean over supernets, and two seeds alone in the last panel.

    Args:
        alone: a score a network, of each seed.
    """
    mean = np.mean(alone, axis=0)
    panels = [(kind, mean, np.mean(values, axis=0)) for kind, values in by_kind(inherited)]
    if len(alone) > 1:
        panels.append(("another seed alone", np.asarray(alone[0]), np.asarray(alone[1])))
    rows = math.ceil(len(panels) / COLUMNS)
    figure = Drawing(figsize=(10.5, 2.6 * rows + 1.2))
    figure.suptitle(
        "Inherited weights against training alone", x=0.01, ha="left", fontweight="bold", color=style.INK
    )
    grid = figure.subplots(rows, COLUMNS, sharex=True, sharey=True, squeeze=False).flat
    ends = min(min(x.min(), y.min()) for _, x, y in panels), max(max(x.max(), y.max()) for _, x, y in panels)
    for axes, (kind, x, y) in zip(grid, panels, strict=False):
        axes.plot(ends, ends, color=style.INK, linewidth=0.9, linestyle=(0, (4, 3)))
        _draw_points(axes, x, y, depth)
        axes.set_title(kind, fontsize=10, loc="left", color=style.INK)
    for axes in list(grid)[len(panels) :]:
        axes.set_visible(False)
    figure.supxlabel("BLEU alone (last panel: of seed 1)", fontsize=10, color=style.INK)
    figure.supylabel("BLEU inherited (last panel: of seed 2)", fontsize=10, color=style.INK)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="upper right", ncols=len(labels), fontsize=10, frameon=False)
    figure.tight_layout(rect=(0, 0, 1, 0.97))
    return figure


def _draw_points(axes: Axes, x: np.ndarray, y: np.ndarray, depth: Sequence[int]) -> None:
    """Draw the networks of each decoder depth in their mark."""
    for at, layers in enumerate(sorted(set(depth))):
        of_depth = [number for number, other in enumerate(depth) if other == layers]
        marker, fill = MARKS[at % len(MARKS)]
        name = f"{layers} decoder layer{'' if layers == 1 else 's'}"
        axes.scatter(x[of_depth], y[of_depth], s=26, marker=marker, facecolors=fill, edgecolors=style.INK,
                     linewidths=0.7, label=name, zorder=3)  # fmt: skip
