"""Plot of study ``shape_latency``: latency against parameters, a panel a device."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure as Drawing

from benchmarks.latency_tables.tables import Array, LatencyTable
from benchmarks.report.plots import style

if TYPE_CHECKING:
    from benchmarks.studies.shape_latency import Device


def draw(tables: Sequence[LatencyTable], sizes: Sequence[Array], devices: Sequence[Device]) -> Drawing:
    """Draw points shaded by the order of measurement, so that drift is visible."""
    count = len(tables)
    figure = Drawing(figsize=(3.95 * count + 1.7, 4.9))
    figure.text(0.012, 0.975, "Is latency insensitive to shape?", fontsize=14, fontweight="bold", va="top",
                color=style.INK)  # fmt: skip
    subtitle = "SuperShaper's encoders, 12 layers of random widths. Between the dashed lines: one size."
    figure.text(0.012, 0.905, subtitle, fontsize=10, va="top", color=style.INK)
    origin, wide = 0.75 / figure.get_figwidth(), 3.2 / figure.get_figwidth()
    step = 3.95 / figure.get_figwidth()
    shade = ScalarMappable(Normalize(0, 1.08), "cividis")  # its very end is too light on white
    for i, (table, size, device) in enumerate(zip(tables, sizes, devices, strict=True)):
        axes = figure.add_axes((origin + i * step, 0.14, wide, 0.56))
        order = np.linspace(0, 1, len(size))
        axes.scatter(size, table.ms, c=shade.to_rgba(order), s=5, linewidths=0, rasterized=True)
        slope, intercept = np.polyfit(size, table.ms, 1)
        ends = np.array([size.min(), size.max()])
        axes.plot(ends, slope * ends + intercept, color=style.INK, linewidth=1.2)
        for edge in device.window:
            axes.axvline(edge, color=style.INK, linewidth=0.9, linestyle=(0, (4, 3)))
        axes.set_ylim(0, None)
        axes.set_xlabel("parameters, millions")
        axes.set_ylabel("latency of one batch, ms")
        axes.set_title(
            f"{device.device}\nR² {device.r2.value:.2f}, CV {device.cv.value:.1%}, without drift"
            f" {device.steady.value:.1%}\n{device.verdict}",
            fontsize=9.5, loc="left", color=style.INK,
        )  # fmt: skip
    bar = figure.add_axes((origin + count * step - 0.03, 0.14, 0.011, 0.56))
    shades = figure.colorbar(shade, cax=bar, ticks=[0, 1])
    shades.ax.set_ylim(0, 1)
    shades.ax.set_yticklabels(["first", "last"])
    shades.ax.set_title("measured", fontsize=9, loc="left", color=style.INK)
    return figure
