"""The picture of ``cpu_latency``: float32 and INT8 of each method, a panel a size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure as Drawing

from benchmarks.report.plots import style

if TYPE_CHECKING:
    from benchmarks.studies.cpu_latency import Timed


def pictures(groups: Mapping[tuple[str, str], Sequence[Timed]], profile: str) -> dict[str, bytes]:
    """``png`` and ``svg`` -> bytes. ``groups``: (size, method) -> its seeds' networks."""
    return style.render(lambda: draw(groups, profile))


def draw(groups: Mapping[tuple[str, str], Sequence[Timed]], profile: str) -> Drawing:
    """Methods from the fastest in INT8 down; hollow is float32, filled INT8."""
    limits = sorted({limit for limit, _ in groups})
    most = max(sum(limit == one for limit, _ in groups) for one in limits)
    height = 2.2 + 0.34 * most
    figure = Drawing(figsize=(5.4 * len(limits), height))
    figure.text(0.012, 1 - 0.12 / height, "INT8 on a processor, before and after", fontsize=14,
                fontweight="bold", va="top", color=style.INK)  # fmt: skip
    about = f"{profile}  |  one row, batch 1  |  hollow: float32, filled: INT8; one pair a seed"
    figure.text(0.012, 1 - 0.5 / height, about, fontsize=10, va="top", color=style.GREY)
    most_ms = max(max(one.fp32_ms, one.int8_ms) for ones in groups.values() for one in ones)
    for i, limit in enumerate(limits):
        axes = figure.add_axes(((i + 0.36) / len(limits), 0.75 / height, 0.6 / len(limits), 1 - 1.8 / height))
        mine = {method: ones for (at, method), ones in groups.items() if at == limit}
        order = sorted(mine, key=lambda method: -float(np.median([one.int8_ms for one in mine[method]])))
        for y, method in enumerate(order):
            offsets = np.linspace(-0.2, 0.2, len(mine[method])) if len(mine[method]) > 1 else np.zeros(1)
            for one, offset in zip(mine[method], offsets, strict=True):
                axes.plot(
                    [one.fp32_ms, one.int8_ms], [y + offset] * 2, color=style.PALE, linewidth=1.2, zorder=1
                )
                axes.plot(
                    one.fp32_ms, y + offset, "o", color=style.INK, markerfacecolor="white", markersize=5
                )
                axes.plot(one.int8_ms, y + offset, "o", color="#0072b2", markersize=5)
        axes.set_yticks(range(len(order)), order)
        axes.set_ylim(-0.6, len(order) - 0.4)
        axes.set_xlim(0, 1.06 * most_ms)
        axes.set_xlabel("latency, ms (lower is better)")
        axes.set_title(f"{limit} parameters", fontsize=10, loc="left", color=style.INK)
    return figure
