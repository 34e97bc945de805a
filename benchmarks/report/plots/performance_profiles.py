"""Plot of performance profiles. It is relative to the compared methods, so nothing is ranked by it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from matplotlib.figure import Figure

from benchmarks.analysis import performance_profiles as profiles
from benchmarks.analysis.performance_profiles import TARGET
from benchmarks.analysis.table import Table
from benchmarks.report.method_styles import MethodStyle, method_styles
from benchmarks.report.plots import style
from benchmarks.report.plots.header import comparison_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FARTHEST = 4.0
"""Factor to the best method beyond which nothing is shown, as in AlgoPerf."""


def draw(table: Table) -> Figure | None:
    """Draw a panel for hypervolume and one for time to the target; None if neither has enough to show."""
    shown = profiles.panels(table)
    if not shown:
        return None
    metric, styles = table.metric_name, method_styles(profiles.common_seeds(table)[0])
    explanations = {
        "hypervolume": "Hypervolume: a workload is a seed; the factor is the largest hypervolume of any"
        " method on that seed over the method's own.",
        "time": "Time to target: a workload is a seed with a limit; the target is"
        f" {TARGET:.0%} of the best test {metric} of any method on it. The factor is the search's wall-clock"
        " time until the method proposed its network of the table, over the shortest of any method that"
        " reached the target.",
    }
    notes = [explanations[name] for name in shown]
    notes += [
        "Networks below the target are misses and never counted; seeds with a run that failed or was stopped"
        " are left out. Best and targets are those of the methods shown, so the curves move when one joins: a"
        " picture, no score, and nothing is ranked by it. Where lines lie upon one another, the thinner is"
        " drawn above."
    ]
    if "time" in shown and table.followers:
        notes.append("The time of a run that follows another holds the other's.")
    if "time" in shown and any(run.jobs > 1 for run in table.runs):
        notes.append("Some runs shared their machine: their times are longer than alone.")
    reading = (
        "Height: on what share of workloads a method is within that factor of the best. Up, left is better."
    )
    title = "How often each method is close to the best"
    headed = comparison_figure(table, title, reading, notes, wide=10.5, high=3.3)
    width = 0.31 if len(shown) == 2 else 0.68
    for i, (name, costs) in enumerate(shown.items()):
        axes = headed.axes(0.075 + i * 0.38, width)
        _draw_panel(axes, profiles.ratios(costs), styles)
        n = len(next(iter(costs.values())))
        what = {"hypervolume": "hypervolume", "time": f"time to {TARGET:.0%} of the best {metric}"}[name]
        axes.set_title(f"{what}, {n} workloads", fontsize=10, loc="left", color=style.INK)
        if i == 0:
            axes.set_ylabel("share of workloads, %        higher is better \u2192")
    style.draw_method_legend(axes)
    return headed.figure


def _draw_panel(
    axes: Axes, factors: Mapping[str, Sequence[float]], styles: Mapping[str, MethodStyle]
) -> None:
    near = [factor for mine in factors.values() for factor in mine if factor <= FARTHEST]
    end = min(FARTHEST, 1 + 1.15 * (max(near) - 1)) if max(near) > 1.001 else 1.1
    for i, method in enumerate(styles):
        look, mine = styles[method], factors[method]
        steps = sorted({1.0, *(factor for factor in mine if factor <= end), end})
        heights = [100 * profiles.share(mine, at) for at in steps]
        wide = 1.2 + 4.0 * (1 - i / len(styles))  # so that lines that lie upon one another are all seen
        axes.plot(steps, heights, drawstyle="steps-post", color=look.colour,
                  linestyle=look.line, linewidth=wide, **look.mark,
                  markersize=4 + wide, markevery=list(range(len(steps) - 1)), clip_on=False,
                  label=style.shorten_name(method), zorder=3 + i / 100)  # fmt: skip
    axes.set_xlim(1 - 0.01 * (end - 1), end)
    axes.set_ylim(0, 100)
    axes.set_yticks([0, 25, 50, 75, 100])
    axes.set_xlabel("within this factor of the best method")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
