"""Plot of study ``gpu-precision``: latency over bfloat16's, of networks and of linear layers by width."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from matplotlib.figure import Figure as Drawing

from benchmarks.report.plots import style

if TYPE_CHECKING:
    from benchmarks.studies.gpu_precision.study import TimedOnGpu

LOOKS = {"fp32": ("o", "#1a1a1a", "-"), "int8": ("s", "#0072b2", "--"), "fp8": ("^", "#d55e00", "-.")}
"""Mark, colour and line of each precision."""


def draw(networks: Sequence[TimedOnGpu], stacks: Sequence[TimedOnGpu]) -> Drawing:
    """Draw ratios: a panel of networks, then one for each number of rows over the layers' width."""
    rows = list(dict.fromkeys(t.batch for t in stacks))
    figure = Drawing(figsize=(10.2, 4.1))
    figure.suptitle("Latency over bfloat16's on a GPU", x=0.01, ha="left", fontweight="bold", color=style.INK)
    widths = [1.5, *[1.0] * len(rows)]
    panels = figure.subplots(1, 1 + len(rows), squeeze=False, width_ratios=widths)[0]
    places = list(dict.fromkeys((t.network, t.batch) for t in networks))
    shown = [t for t in (*networks, *stacks) if not t.failed and t.precision in LOOKS]
    for precision, (marker, colour, line) in LOOKS.items():
        own = [t for t in shown if t.precision == precision]
        faint = "none" if precision == "int8" else colour
        on = [t for t in own if (t.network, t.batch) in places]
        panels[0].plot(
            [t.ratio for t in on], [places.index((t.network, t.batch)) for t in on], marker, color=colour,
            markerfacecolor=faint, markersize=7, label=precision,
        )  # fmt: skip
        for axes, count in zip(panels[1:], rows, strict=True):
            curve = [t for t in own if t in stacks and t.batch == count]
            axes.plot(
                [int(t.network.split()[-1]) for t in curve], [t.ratio for t in curve], line, marker=marker,
                color=colour, markerfacecolor=faint, linewidth=1.2,
            )  # fmt: skip
    panels[0].set_yticks(range(len(places)), [f"{name}, batch {batch}" for name, batch in places])
    panels[0].set_ylim(len(places) - 0.5, -0.5)
    panels[0].set_xscale("log")
    style.label_logarithmic(panels[0].xaxis, [t.ratio for t in shown if t in networks])
    panels[0].axvline(1, color=style.INK, linewidth=0.8)
    panels[0].set_xlabel("latency / bfloat16's", color=style.INK)
    panels[0].set_title("networks", fontsize=10, loc="left", color=style.INK)
    for axes, count in zip(panels[1:], rows, strict=True):
        ours = [t for t in shown if t in stacks and t.batch == count]
        axes.set_xscale("log")
        axes.set_yscale("log")
        ticks = sorted({int(t.network.split()[-1]) for t in ours})
        style.label_logarithmic(axes.yaxis, [t.ratio for t in ours])
        axes.set_xticks(ticks, [f"{tick}" for tick in ticks], rotation=45)
        axes.minorticks_off()
        axes.axhline(1, color=style.INK, linewidth=0.8)
        axes.set_title(f"linear layers, {count:,} rows", fontsize=10, loc="left", color=style.INK)
        axes.set_xlabel("width", color=style.INK)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="upper left", bbox_to_anchor=(0.0, 0.94), ncols=len(labels), fontsize=9.5,
        frameon=False,
    )  # fmt: skip
    figure.tight_layout(rect=(0, 0, 1, 0.89))
    return figure
