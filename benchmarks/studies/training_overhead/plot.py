"""Plot of study ``training-overhead``: overhead of each mixture, a panel a task, tier and machine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from matplotlib.figure import Figure as Drawing

from benchmarks.report.plots import style
from benchmarks.stats.intervals import t_interval

if TYPE_CHECKING:
    from benchmarks.studies.training_overhead.study import Overhead


def draw(rows: Sequence[Overhead]) -> Drawing:
    """Draw a point a build and the mean with its interval, of mixtures; the line is the rule's margin."""
    from benchmarks.studies.training_overhead.study import MARGIN

    mixtures = [row for row in rows if row.kind.startswith("mos-")]
    panels = list(dict.fromkeys((row.where, row.profile) for row in mixtures))
    kinds = list(dict.fromkeys(row.kind for row in mixtures))
    figure = Drawing(figsize=(8.6, 1.5 + (0.6 + 0.33 * len(kinds)) * len(panels)))
    figure.suptitle(
        "Overhead of a mixture in training", x=0.01, ha="left", fontweight="bold", color=style.INK
    )
    grid = figure.subplots(len(panels), 1, sharex=True, squeeze=False).flat
    for axes, panel in zip(grid, panels, strict=True):
        own = [row for row in mixtures if (row.where, row.profile) == panel]
        for y, row in enumerate(own):
            interval = t_interval(row.percent)
            axes.plot(row.percent, [y + 0.22] * len(row.percent), "|", color=style.GREY, markersize=5)
            if interval.low is not None and interval.high is not None:
                axes.plot([interval.low, interval.high], [y, y], color=style.INK, linewidth=1.4)
            axes.plot(interval.mean, y, "o", color=style.INK, markersize=5)
        axes.axvline(0, color=style.INK, linewidth=0.8)
        axes.axvline(MARGIN, color=style.GREY, linewidth=0.9, linestyle=(0, (4, 3)))
        axes.set_yticks(range(len(own)), [row.kind for row in own])
        axes.set_ylim(len(own) - 0.4, -0.6)
        axes.set_title(f"{panel[0]} on {panel[1]}", fontsize=10, loc="left", color=style.INK)
    axes.set_xlabel(
        f"% longer than plain sharing under the sandwich rule (dashed: {MARGIN:g} %); strokes: builds",
        color=style.INK,
    )
    figure.tight_layout(rect=(0, 0, 1, 0.98))
    return figure
