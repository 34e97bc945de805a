"""Step lines over what was spent: the mean over seeds with a band from the lowest to the highest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from benchmarks.analysis.search_progress import Steps
from benchmarks.report.method_styles import MethodStyle
from benchmarks.report.plots.style import shorten_name

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def draw_steps(
    axes: Axes,
    by_method: Mapping[str, Sequence[Steps]],
    end: float,
    styles: Mapping[str, MethodStyle],
    size: float = 6,
    width: float = 1.6,
    bands: bool = True,
) -> None:
    """Draw each method's mean over seeds, with markers where it changes, and its band.

    Args:
        axes: to draw into.
        by_method: the steps of each run.
        end: how far lines are drawn.
        styles: of all methods; lines are drawn in this order.
        size, width: of markers and lines, in points.
        bands: false leaves them out.
    """
    for method in [m for m in styles if m in by_method]:
        look, runs = styles[method], by_method[method]
        grid = sorted({at for steps in runs for at, _ in steps} | {end})
        values = [[_value_at(steps, at) for steps in runs] for at in grid]
        mean = [sum(v) / len(v) for v in values]
        marked = [i for i in range(len(grid)) if i and mean[i] != mean[i - 1]][:12]
        axes.plot(grid, mean, drawstyle="steps-post", color=look.colour, linestyle=look.line, linewidth=width,
                  **look.mark, markersize=size, markevery=marked,
                  label=shorten_name(method))  # fmt: skip
        if bands and len(runs) > 1:
            axes.fill_between(grid, [min(v) for v in values], [max(v) for v in values], step="post",
                              color=look.colour, alpha=0.13, linewidth=0)  # fmt: skip


def _value_at(steps: Steps, spent: float) -> float:
    return ([value for at, value in steps if at <= spent] or [steps[0][1]])[-1]
