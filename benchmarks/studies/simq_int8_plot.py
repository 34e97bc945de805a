"""Plot of study ``simq-int8``: latency over float32 of static and dynamic INT8, a line a table."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure as Drawing

from benchmarks.records.canonical import JsonObject
from benchmarks.report.plots import style

MARKS = {"dynamic": "o", "static": "s"}
"""Variant -> marker."""


def draw(tables: Sequence[JsonObject]) -> Drawing:
    """Draw each variant's sessions; the baseline is filled."""
    height = 1.9 + 0.5 * len(tables)
    figure = Drawing(figsize=(7.4, height))
    figure.text(0.012, 1 - 0.12 / height, "Which INT8 is the baseline?", fontsize=14, fontweight="bold",
                va="top", color=style.INK)  # fmt: skip
    about = "latency over fp32, a mark a session  |  circle: dynamic, square: static, filled: the baseline"
    figure.text(0.012, 1 - 0.48 / height, about, fontsize=10, va="top", color=style.GREY)
    axes = figure.add_axes((0.22, 0.55 / height, 0.74, 1 - 1.4 / height))
    for place, table in enumerate(tables):
        for variant in table["variants"]:
            middles = [ratio[0] for ratio in variant.get("ratios", ())]
            filled = style.INK if variant["name"] == table["baseline"] else "none"
            axes.plot(middles, [place] * len(middles), MARKS[variant["name"]], color=style.INK,
                      markerfacecolor=filled, linestyle="none")  # fmt: skip
    axes.axvline(1.0, color=style.GREY, linewidth=1)
    axes.set_yticks(range(len(tables)), [str(table["table"]) for table in tables])
    axes.set_ylim(len(tables) - 0.5, -0.5)
    axes.set_xlabel("latency / fp32")
    return figure
