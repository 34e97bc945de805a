"""Plot of study ``deployed-sizes``: milliseconds of each precision, a panel a network, a mark a runtime."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from matplotlib.figure import Figure as Drawing

from benchmarks.report.plots import style

if TYPE_CHECKING:
    from benchmarks.studies.deployed_sizes.study import TimedPrecision

LOOKS = (("o", "#1a1a1a"), ("s", "#0072b2"), ("^", "#d55e00"), ("D", "#009e73"))
"""Mark and colour of each runtime."""
ORDER = ("fp32", "bf16", "w4", "int8", "int8s")


def draw(names: Sequence[str], timed: Sequence[TimedPrecision]) -> Drawing:
    """Draw medians over a logarithmic axis of milliseconds."""
    shown = [t for t in timed if not t.failed]
    runtimes = list(dict.fromkeys(t.runtime for t in shown))
    precisions = [p for p in ORDER if any(t.precision == p for t in shown)]
    figure = Drawing(figsize=(3.3 * len(names) + 0.8, 3.9))
    figure.suptitle("Latency at the sizes that people deploy", x=0.01, ha="left", fontweight="bold",
                    color=style.INK)  # fmt: skip
    panels = figure.subplots(1, len(names), sharey=True, squeeze=False)[0]
    for axes, name in zip(panels, names, strict=True):
        for number, runtime in enumerate(runtimes):
            marker, colour = LOOKS[number % len(LOOKS)]
            own = [t for t in shown if t.network == name and t.runtime == runtime]
            places = [precisions.index(t.precision) + 0.14 * (number - (len(runtimes) - 1) / 2) for t in own]
            axes.plot([t.ms for t in own], places, marker, color=colour, label=runtime, markersize=6,
                      markerfacecolor="none" if number % 2 else colour)  # fmt: skip
        axes.set_xscale("log")
        style.label_logarithmic(axes.xaxis, [t.ms for t in shown if t.network == name])
        axes.set_title(name, fontsize=10, loc="left", color=style.INK)
        axes.set_ylim(len(precisions) - 0.5, -0.5)
    panels[0].set_yticks(range(len(precisions)), precisions)
    figure.supxlabel("milliseconds", fontsize=10, color=style.INK)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="upper left", bbox_to_anchor=(0.0, 0.93), ncols=len(labels), fontsize=9.5,
        frameon=False,
    )  # fmt: skip
    figure.tight_layout(rect=(0, 0, 1, 0.88))
    return figure
