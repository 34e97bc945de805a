"""Plot of how the searches went: best validation loss so far against evaluations."""

from __future__ import annotations

from matplotlib.figure import Figure

from benchmarks.analysis.table import Table
from benchmarks.report.method_styles import method_styles
from benchmarks.report.plots import style
from benchmarks.report.plots.header import comparison_figure
from benchmarks.report.plots.steps import draw_steps


def draw(table: Table) -> Figure | None:
    """Draw best validation loss so far against evaluations; None if no search was recorded."""
    progress = table.search_progress
    if progress is None:
        return None
    notes = [
        "Line: mean over seeds; band: lowest to highest seed. Loss of sub-networks with the weights they have"
        " during the search, at any latency; what they come to when trained on is not shown."
    ]
    reading = "Best validation loss found so far, against the evaluations paid for. Lower is better."
    headed = comparison_figure(table, "How the search went", reading, notes, wide=10, high=3.6, above=0.1)
    axes = headed.axes(0.08, 0.69)
    styles = method_styles(table.volumes["method"])
    draw_steps(axes, progress.steps, max(progress.most_spent, progress.allowed or 0), styles)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    if progress.allowed:
        axes.axvline(progress.allowed, color=style.INK, linestyle=(0, (4, 3)), linewidth=1)
        axes.text(progress.allowed, 1.01, f"allowance {progress.allowed:,.0f}", ha="center", va="bottom",
                  fontsize=8, transform=axes.get_xaxis_transform())  # fmt: skip
    axes.set_xlabel("validation evaluations spent (logarithmic)")
    axes.set_ylabel(f"\u2190 lower is better        validation loss, {table.units.loss_unit}")
    style.draw_method_legend(axes)
    return headed.figure
