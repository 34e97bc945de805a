"""Plot of the study of fronts: held-out loss or error against measured latency and size, a row a table."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawing

from benchmarks.records.canonical import JsonObject
from benchmarks.report.plots import style
from benchmarks.studies.simq_fronts.facts import PointFacts, TableFacts, points_by_place
from benchmarks.studies.simq_fronts.judge import WITHDRAWN, has_w4

MARKS = {"int8": ("s", "white"), "linas": ("o", "#0072b2"), "arch-then-quant": ("^", "#d55e00")}
LABELS = {"linas": "linas, joint", "arch-then-quant": "arch-then-quant", "int8": "uniform INT8 networks"}
UNIFORM = {"fp32": "P", "int8": "*", "w4": "X"}


def held_out_quality(point: PointFacts, quality: str) -> float:
    """Return a network's held-out loss in nats, or its held-out error in percent."""
    return float(point["loss"]) if quality == "loss" else 100 * (1 - float(point["accuracy"]))


def cost(facts: TableFacts, axis: str, place: int) -> float:
    """Return a network's milliseconds or megabytes."""
    point = points_by_place(facts)[place]
    return float(facts["anchor_ms"] * point["ratio"][0] if axis == "faster" else point["bytes"] / 1e6)


def is_published(point: PointFacts, axis: str) -> bool:
    """Return whether a point's figure stands: latencies of W4, asked for float32 sums, are withdrawn."""
    return axis == "smaller" or not has_w4(point)


def _say_withdrawn(axes: Axes) -> None:
    """Write into an empty panel that its INT8 is no baseline."""
    axes.set_xticks([])
    axes.set_yticks([])
    text = "withdrawn: the INT8 measured\nis not the one that is deployed"
    axes.text(
        0.5, 0.5, text, ha="center", va="center", fontsize=9, color=style.GREY, transform=axes.transAxes
    )


def draw(tables: Sequence[TableFacts], profile: str, quality: str) -> Drawing:
    """Draw a row a table, as wide as a page; searches differ in marker and filling as well as in colour."""
    wide, tall = 7.4, 2.5 * len(tables) + 1.75
    figure = Drawing(figsize=(wide, tall))
    figure.text(0.016, 1 - 0.12 / tall, "Fronts in ONNX Runtime, against uniform INT8", fontsize=14,
                fontweight="bold", va="top", color=style.INK)  # fmt: skip
    contents = f"held-out {quality}; points measured; without withdrawn latencies of w4"
    about = f"{profile}, one thread  |  {contents}\nlower left is better"
    figure.text(0.016, 1 - 0.42 / tall, about, fontsize=9, va="top", color=style.GREY)
    lines: JsonObject = {}
    for row, facts in enumerate(tables):
        points, name = points_by_place(facts), facts["table"]["name"]
        for column, axis in enumerate(("faster", "smaller")):
            axes = figure.add_axes(
                ((0.88 + 3.65 * column) / wide, 1 - (2.5 * row + 2.9) / tall, 2.6 / wide, 1.75 / tall)
            )
            cost_of = partial(cost, facts, axis)
            axes.set_title(name, fontsize=10, loc="left", color=style.INK)
            axes.set_xlabel("latency, ms" if axis == "faster" else "ONNX file, MB")
            axes.set_ylabel("held-out loss, nats" if quality == "loss" else "held-out error, %")
            if (name, axis) in WITHDRAWN:
                _say_withdrawn(axes)
                continue
            for search, (marker, colour) in MARKS.items():
                places = sorted(
                    {
                        place
                        for front in facts["fronts"]
                        if (front["search"], front["axis"]) == (search, axis)
                        for place in front["places"]
                        if is_published(points[place], axis)
                    },
                    key=cost_of,
                )
                x = [cost_of(place) for place in places]
                y = [held_out_quality(points[place], quality) for place in places]
                drawn = axes.scatter(x, y, marker=marker, s=60 if search == "int8" else 26,
                                     facecolor=colour, edgecolor=style.INK, linewidth=0.8, zorder=3,
                                     alpha=0.9)  # fmt: skip
                lines.setdefault(LABELS[search], drawn)
                if x and search != "arch-then-quant":  # of which there are candidates alone
                    (line,) = axes.step(x, np.minimum.accumulate(y), where="post", linewidth=1.0,
                                        color=style.INK, linestyle=":" if search == "int8" else "-",
                                        zorder=2)  # fmt: skip
                    lines.setdefault(f"least so far, {LABELS[search]}", line)
            for precision, place in facts["largest"].items():
                if not is_published(points[place], axis):
                    continue
                y_value = held_out_quality(points[place], quality)
                drawn = axes.scatter(cost_of(place), y_value, s=110, zorder=4,
                                     marker=UNIFORM.get(precision, "D"), facecolor="0.75",
                                     edgecolor=style.INK, linewidth=0.9)  # fmt: skip
                lines.setdefault(f"largest network, {precision}", drawn)
    figure.legend(list(lines.values()), list(lines), loc="lower left", fontsize=9, frameon=False, ncol=3,
                  bbox_to_anchor=(0.1 / wide, 0.02 / tall))  # fmt: skip
    return figure
