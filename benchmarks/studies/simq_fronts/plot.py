"""The picture of ``simq_fronts``: held-out loss or error against real latency and size, a row of panels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure as Drawing

from benchmarks.report.plots import style
from benchmarks.studies.simq_fronts.judge import WITHDRAWN, Facts
from benchmarks.studies.simq_fronts.judge import points as points_of

MARKS = {"int8": ("s", "white"), "linas": ("o", "#0072b2"), "arch-then-quant": ("^", "#d55e00")}
LABELS = {"linas": "linas, joint", "arch-then-quant": "arch-then-quant", "int8": "uniform INT8 networks"}
UNIFORM = {"fp32": "P", "int8": "*", "w4": "X"}


def pictures(found: Sequence[Facts], profile: str, quality: str) -> dict[str, bytes]:
    """``png`` and ``svg`` -> bytes."""
    return style.render(lambda: draw(found, profile, quality))


def held_out(point: Facts, quality: str) -> float:
    """Return what a network loses on held-out items: nats, or percent of them that are wrong."""
    return float(point["loss"]) if quality == "loss" else 100 * (1 - float(point["accuracy"]))


def draw(found: Sequence[Facts], profile: str, quality: str) -> Drawing:
    """A column a table; searches differ in marker and filling as well as in colour."""
    wide, tall = 4.5 * len(found) + 2.2, 8.4
    figure = Drawing(figsize=(wide, tall))
    figure.text(0.012, 1 - 0.12 / tall, "Fronts in ONNX Runtime, against uniform INT8", fontsize=14,
                fontweight="bold", va="top", color=style.INK)  # fmt: skip
    told = f"held-out {quality}; all points measured, w4 with float32 sums"
    about = f"{profile}, one thread  |  {told}  |  lower left is better"
    figure.text(0.012, 1 - 0.46 / tall, about, fontsize=10, va="top", color=style.GREY)
    lines: dict[str, Any] = {}
    for column, one in enumerate(found):
        points, name = points_of(one), one["table"]["name"]
        for row, axis in enumerate(("faster", "smaller")):
            axes = figure.add_axes(
                ((0.75 + 4.5 * column) / wide, 1 - (3.75 * row + 4.15) / tall, 3.6 / wide, 2.95 / tall)
            )

            def at(place: int, axis: str = axis, one: Facts = one, points: Any = points) -> float:
                point = points[place]
                return float(
                    one["anchor_ms"] * point["ratio"][0] if axis == "faster" else point["bytes"] / 1e6
                )

            for search, (marker, colour) in MARKS.items():
                places = sorted(
                    {
                        place
                        for front in one["fronts"]
                        if (front["search"], front["axis"]) == (search, axis)
                        for place in front["places"]
                    },
                    key=at,
                )
                x = [at(place) for place in places]
                y = [held_out(points[place], quality) for place in places]
                drawn = axes.scatter(x, y, marker=marker, s=60 if search == "int8" else 26,
                                     facecolor=colour, edgecolor=style.INK, linewidth=0.8, zorder=3,
                                     alpha=0.9)  # fmt: skip
                lines.setdefault(LABELS[search], drawn)
                if x and search != "arch-then-quant":  # of which there are candidates alone
                    axes.step(x, np.minimum.accumulate(y), where="post", linewidth=1.0, color=style.INK,
                              linestyle=":" if search == "int8" else "-", zorder=2)  # fmt: skip
            for precision, place in one["largest"].items():
                drawn = axes.scatter(at(place), held_out(points[place], quality), s=110, zorder=4,
                                     marker=UNIFORM.get(precision, "D"), facecolor="0.75",
                                     edgecolor=style.INK, linewidth=0.9)  # fmt: skip
                lines.setdefault(f"largest network, {precision}", drawn)
            axes.set_xlabel("latency, ms" if axis == "faster" else "ONNX file, MB")
            axes.set_ylabel("held-out loss, nats" if quality == "loss" else "held-out error, %")
            told = f"{name} (no INT8 baseline yet)" if (name, axis) in WITHDRAWN else name
            axes.set_title(told, fontsize=10, loc="left", color=style.INK)
    figure.legend(list(lines.values()), list(lines), loc="upper left", fontsize=9, frameon=False,
                  bbox_to_anchor=((4.5 * len(found) + 0.1) / wide, 1 - 1.1 / tall))  # fmt: skip
    return figure
