"""Plot of study ``cpu_latency``: float32 and INT8 latency of each method, a panel a size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure as Drawing

from benchmarks.report.plots import style

if TYPE_CHECKING:
    from benchmarks.studies.cpu_latency import TimedWinner


def draw(groups: Mapping[tuple[str, str], Sequence[TimedWinner]], profile: str) -> Drawing:
    """Draw methods from the fastest in INT8 down; hollow is float32, filled INT8."""
    limits = sorted({limit for limit, _ in groups})
    most = max(sum(limit == size for size, _ in groups) for limit in limits)
    height = 2.2 + 0.34 * most
    figure = Drawing(figsize=(5.4 * len(limits), height))
    figure.text(0.012, 1 - 0.12 / height, "INT8 on a processor, before and after", fontsize=14,
                fontweight="bold", va="top", color=style.INK)  # fmt: skip
    about = f"{profile}  |  timing row, batch 1  |  hollow: float32, filled: INT8; timing pair a seed"
    figure.text(0.012, 1 - 0.5 / height, about, fontsize=10, va="top", color=style.GREY)
    most_ms = max(max(timing.fp32_ms, timing.int8_ms) for seeds in groups.values() for timing in seeds)
    for i, limit in enumerate(limits):
        axes = figure.add_axes(((i + 0.36) / len(limits), 0.75 / height, 0.6 / len(limits), 1 - 1.8 / height))
        mine = {method: seeds for (at, method), seeds in groups.items() if at == limit}
        order = sorted(
            mine, key=lambda method: -float(np.median([timing.int8_ms for timing in mine[method]]))
        )
        for y, method in enumerate(order):
            offsets = np.linspace(-0.2, 0.2, len(mine[method])) if len(mine[method]) > 1 else np.zeros(1)
            for timing, offset in zip(mine[method], offsets, strict=True):
                axes.plot(
                    [timing.fp32_ms, timing.int8_ms],
                    [y + offset] * 2,
                    color=style.PALE,
                    linewidth=1.2,
                    zorder=1,
                )
                axes.plot(
                    timing.fp32_ms, y + offset, "o", color=style.INK, markerfacecolor="white", markersize=5
                )
                axes.plot(timing.int8_ms, y + offset, "o", color="#0072b2", markersize=5)
        axes.set_yticks(range(len(order)), [method.replace(" ", "\n") for method in order])
        axes.set_ylim(-0.6, len(order) - 0.4)
        axes.set_xlim(0, 1.06 * most_ms)
        axes.set_xlabel("latency, ms (lower is better)")
        axes.set_title(f"{limit} parameters", fontsize=10, loc="left", color=style.INK)
    return figure
