"""Plot of study ``mt_front``: BLEU over latency in ONNX Runtime, a panel a task."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure as Drawing

from benchmarks.report.method_styles import method_styles
from benchmarks.report.plots import style
from benchmarks.stats.intervals import t_interval
from benchmarks.studies.mt_front.analysis import COMPARED, SEEDS, TASKS

if TYPE_CHECKING:
    from benchmarks.studies.mt_front.analysis import FrontPoint

PLANNED = frozenset(method for pair in COMPARED for method in pair)


def draw(points: Sequence[FrontPoint]) -> Drawing:
    """Draw each method's winners at each limit: mean BLEU with its 95 % t-interval over mean latency.

    Methods beside the planned ones are drawn once they have ``SEEDS`` seeds on a task.
    """
    comparable = [point for point in points if point.method in PLANNED or _seeds(points, point) >= SEEDS]
    points = comparable or points
    tasks = list(dict.fromkeys(point.task for point in points))
    methods = list(dict.fromkeys(point.method for point in points))
    looks = method_styles(methods)
    figure = Drawing(figsize=(4.6 * len(tasks) + 0.6, 5.0))
    figure.suptitle(
        f"Translation in ONNX Runtime: fronts{_standing(points)}", x=0.01, ha="left", fontweight="bold",
        color=style.INK,
    )  # fmt: skip
    panels = figure.subplots(1, len(tasks), squeeze=False)[0]
    for task, axes in zip(tasks, panels, strict=True):
        for method in methods:
            mine = [point for point in points if (point.task, point.method) == (task, method)]
            limits = sorted({point.limit for point in mine})
            apart = [[point for point in mine if point.limit == limit] for limit in limits]
            if not apart:
                continue
            apart.sort(key=_ratio)
            spans = [t_interval([point.bleu for point in those]) for those in apart]
            ends = [
                [0.0 if end is None else abs(span.mean - end) for span, end in zip(spans, side, strict=True)]
                for side in ([span.low for span in spans], [span.high for span in spans])
            ]
            look = looks[method]
            axes.errorbar(
                [_ratio(those) for those in apart],
                [span.mean for span in spans], ends, marker=look.marker, color=look.colour,
                linestyle=look.line, fillstyle=look.fill, linewidth=1.2, markersize=6, capsize=2,
                elinewidth=0.8, label=method,
            )  # fmt: skip
        counts = sorted({sum(p.limit == q.limit and p.method == q.method for q in points if q.task == task)
                         for p in points if p.task == task})  # fmt: skip
        seeds = "-".join(map(str, dict.fromkeys((counts[0], counts[-1]))))
        title = f"{task}, means of {seeds} seeds, bars: 95 % of BLEU"
        axes.set_title(title, fontsize=10, loc="left", color=style.INK)
        axes.set_xlabel("latency on one core, x reference (lower is better)")
    panels[0].set_ylabel("test BLEU (higher is better)")
    drawn = [pair for axes in panels for pair in zip(*axes.get_legend_handles_labels(), strict=True)]
    shown = {label: handle for handle, label in drawn}
    columns = min(len(shown), 3 * len(tasks))
    figure.legend(
        shown.values(), shown.keys(), loc="upper left", bbox_to_anchor=(0.0, 0.94), fontsize=9, frameon=False,
        ncols=columns,
    )  # fmt: skip
    figure.tight_layout(rect=(0, 0, 1, 0.96 - 0.042 * math.ceil(len(shown) / columns)))
    return figure


def _ratio(points: Sequence[FrontPoint]) -> float:
    """Return the mean latency of winners at one limit, as the table has it."""
    return float(np.mean([point.ratio for point in points]))


def _standing(points: Sequence[FrontPoint]) -> str:
    """Return a remark where seeds or tasks of the plan are missing."""
    seeds = {(point.task, point.method): _seeds(points, point) for point in points}
    planned = [(task, method) for task in TASKS for method in PLANNED]
    return "" if all(seeds.get(place, 0) >= SEEDS for place in planned) else " (interim)"


def _seeds(points: Sequence[FrontPoint], of: FrontPoint) -> int:
    """Return how many seeds a winner's method has on its task."""
    return len({point.seed for point in points if (point.task, point.method) == (of.task, of.method)})
