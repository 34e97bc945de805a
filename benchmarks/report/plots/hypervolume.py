"""Plot of hypervolume over the budget spent, and at the end."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from matplotlib.figure import Figure

from benchmarks.analysis.table import Table
from benchmarks.report.method_styles import MethodStyle, method_styles
from benchmarks.report.plots import style
from benchmarks.report.plots.header import comparison_figure, recipes
from benchmarks.report.plots.steps import draw_steps
from benchmarks.report.plots.style import GREY, INK
from benchmarks.stats import intervals, quantities

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TITLE = "Hypervolume: how much quality at how "
_SPENT = {"seconds": "wall-clock time", "tokens": "training tokens"}


def draw(table: Table) -> Figure | None:
    """Draw hypervolume against the share of the budget spent (left) and at the end with intervals (right).

    None if no reference point is frozen.
    """
    axis = table.axis
    if axis.reference is None:
        return None
    progress, styles = table.volume_progress, method_styles(table.volumes["method"])
    timed = axis.figure == "ratio"
    across = "latency as a ratio to the reference network" if timed else "parameters in millions"
    notes = [
        f"Hypervolume: the area that a run's networks cover in the plane of test {table.metric_name} (up) and"
        f" {across} (down), counted from the frozen point"
        f" {axis.reference[0]:g} {table.metric_name}, {axis.bound} (version {table.results_version})."
        " At each limit a run counts with its product, the best by validation of what it proposed last.",
        "Small dots: seeds; large mark: their mean; bar: 95 % t-interval over seeds on a log scale (none with"
        " one seed)."
        + (" Left: mean over seeds, band from the lowest to the highest seed." if progress else ""),
        *recipes(table),
    ]
    reading = f"Quality and {'speed' if timed else 'size'} in one number, over all limits. Higher is better."
    title = TITLE + ("much speed" if timed else "few parameters")
    high = max(3.5, 0.27 * len(set(table.volumes["method"])))
    headed = comparison_figure(table, title, reading, notes, wide=10.5, high=high)
    if progress:
        axes = headed.axes(0.065, 0.44)
        end = max(1.04 * progress.most_spent, 1.0)
        draw_steps(axes, progress.steps, end, styles)
        axes.set_xlim(0, end)
        axes.set_ylim(bottom=0)
        heading = "while the budget is spent (marks as on the right)"  # a legend in here would hide lines
        axes.set_title(heading, fontsize=10, loc="left", color=INK)
        axes.set_xlabel(f"{_SPENT[progress.kind]} spent, % of the allowance")
        axes.set_ylabel("hypervolume        higher is better \u2192")
    _draw_final(headed.axes(*((0.7, 0.23) if progress else (0.25, 0.6))), table, styles)
    return headed.figure


def _draw_final(axes: Axes, table: Table, styles: Mapping[str, MethodStyle]) -> None:
    volumes = table.volumes.dropna(subset=["volume"])
    if volumes.empty:
        style.draw_placeholder(axes, "no run has a candidate that was scored and timed")
        return
    means = volumes.groupby("method")["volume"].mean().sort_values(kind="stable")
    for y, method in enumerate(map(str, means.index)):
        values, look = [float(v) for v in volumes[volumes["method"] == method]["volume"]], styles[method]
        interval = intervals.interval(values, quantities.FIGURES["volume"])
        if interval.low is not None and interval.high is not None:
            axes.plot([interval.low, interval.high], [y, y], color=look.colour, linewidth=2)
        if len(values) > 1:
            below = [y - 0.24] * len(values)
            axes.plot(values, below, linestyle="none", marker=".", color=GREY, markersize=5)
        axes.plot([interval.mean], [y], color=look.colour, markersize=9, **look.mark)
        axes.text(1.02, y, f"{interval.mean:.4g}", va="center", fontsize=8, color=INK,
                  transform=axes.get_yaxis_transform())  # fmt: skip
    names = [style.shorten_name(str(m)) for m in means.index]
    lines = (line for name in names for line in name.split("\n"))
    axes.set_yticks(range(len(means)), names, fontsize=style.font_size_for(lines))
    axes.set_ylim(-0.6, len(means) - 0.3)
    axes.set_title("at the end", fontsize=10, loc="left", color=INK)
    axes.set_xlabel("hypervolume        higher is better \u2192")
    axes.margins(x=0.1)
