"""Plot of study ``gpu-precision``: latency over bfloat16's, of networks and of linear layers by width."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from matplotlib.figure import Figure as Drawing

from benchmarks.report.plots import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from benchmarks.studies.gpu_precision.timings import GpuTimings, TimedOnGpu

LOOKS = {"fp32": ("o", "#1a1a1a", "-"), "int8": ("s", "#0072b2", "--"), "fp8": ("^", "#d55e00", "-.")}
"""Mark, colour and line of each precision."""


def draw(gpus: Sequence[GpuTimings]) -> Drawing:
    """Draw ratios, a row a GPU: a panel of networks, then linear layers by width for each number of rows."""
    figure = Drawing(figsize=(10.2, 0.5 + 3.6 * len(gpus)))
    figure.suptitle("Latency over bfloat16's on a GPU", x=0.01, ha="left", fontweight="bold", color=style.INK)
    counts = list(dict.fromkeys(timed.batch for gpu in gpus for timed in gpu.stacks))
    widths = [1.5, *[1.0] * len(counts)]
    grid = figure.subplots(len(gpus), 1 + len(counts), squeeze=False, width_ratios=widths)
    for gpu, panels in zip(gpus, grid, strict=True):
        _draw_networks(panels[0], gpu)
        for axes, count in zip(panels[1:], counts, strict=True):
            stacks = [timed for timed in gpu.stacks if timed.batch == count and _is_drawn(timed)]
            _draw_stacks(axes, stacks, count)
    handles, labels = grid[0][0].get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="upper right", ncols=len(labels), fontsize=9.5, frameon=False,
    )  # fmt: skip
    figure.tight_layout(rect=(0, 0, 1, 0.98))
    return figure


def _is_drawn(timed: TimedOnGpu) -> bool:
    return not timed.failed and timed.precision in LOOKS


def _draw_networks(axes: Axes, gpu: GpuTimings) -> None:
    """Draw each network's ratios at its place, the first one above."""
    places = list(dict.fromkeys((timed.network, timed.batch) for timed in gpu.networks))
    for precision, (marker, colour, _) in LOOKS.items():
        own = [timed for timed in gpu.networks if _is_drawn(timed) and timed.precision == precision]
        at = [places.index((timed.network, timed.batch)) for timed in own]
        axes.plot(
            [timed.ratio for timed in own], at, marker, color=colour, markerfacecolor=_fill(precision),
            markersize=7, label=precision,
        )  # fmt: skip
    axes.set_yticks(range(len(places)), [f"{name}, batch {batch}" for name, batch in places])
    axes.set_ylim(len(places) - 0.5, -0.5)
    axes.set_xscale("log")
    style.label_logarithmic(axes.xaxis, [timed.ratio for timed in gpu.networks if _is_drawn(timed)])
    axes.axvline(1, color=style.INK, linewidth=0.8)
    axes.set_xlabel("latency / bfloat16's", color=style.INK)
    axes.set_title(gpu.profile, fontsize=10, loc="left", color=style.INK)


def _draw_stacks(axes: Axes, stacks: Sequence[TimedOnGpu], count: int) -> None:
    """Draw the ratios of linear layers that take ``count`` rows, over their width."""
    for precision, (marker, colour, line) in LOOKS.items():
        curve = [timed for timed in stacks if timed.precision == precision]
        axes.plot(
            [_width(timed) for timed in curve], [timed.ratio for timed in curve], line, marker=marker,
            color=colour, markerfacecolor=_fill(precision), linewidth=1.2,
        )  # fmt: skip
    axes.set_xscale("log")
    axes.set_yscale("log")
    ticks = sorted({_width(timed) for timed in stacks})
    style.label_logarithmic(axes.yaxis, [timed.ratio for timed in stacks])
    axes.set_xticks(ticks, [f"{tick}" for tick in ticks], rotation=45)
    axes.minorticks_off()
    axes.axhline(1, color=style.INK, linewidth=0.8)
    axes.set_title(f"linear layers, {count:,} rows", fontsize=10, loc="left", color=style.INK)
    axes.set_xlabel("width", color=style.INK)


def _width(timed: TimedOnGpu) -> int:
    return int(timed.network.split()[-1])


def _fill(precision: str) -> str:
    """Return the fill of a mark; int8's is hollow, so that it differs in grayscale."""
    return "none" if precision == "int8" else LOOKS[precision][1]
