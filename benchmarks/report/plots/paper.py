"""Figures for a paper: one column wide, type of at least 7 points, no header; the caption holds the rest."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from benchmarks.analysis.rows import TOLERANCE
from benchmarks.analysis.table import Table
from benchmarks.report.method_styles import MethodStyle, method_styles
from benchmarks.report.plots import style
from benchmarks.report.plots.pareto import draw_front
from benchmarks.report.plots.steps import draw_steps
from benchmarks.report.plots.style import INK, PALE

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLUMN = 3.25
"""Width of a column in inches, of ACL's two and NeurIPS' half page."""
TYPE = 7.0
"""Points of the smallest text."""
_LETTER, _MARK = 4.1, 18.0
"""Points that a character of a key, and its mark, take."""
BANDS = 4
"""Largest number of methods whose bands can be distinguished."""
_RC = style.RC_PARAMS | {
    "font.size": 8,
    "axes.labelsize": 8,
    "xtick.labelsize": TYPE,
    "ytick.labelsize": TYPE,
    "legend.fontsize": TYPE,
    "axes.linewidth": 0.6,
    "grid.linewidth": 0.5,
    "pdf.fonttype": 42,  # type that can be searched, and that publishers accept
}


def tradeoff(table: Table) -> Figure | None:
    """Draw quality against latency or size with 95 % intervals; None without a scored network."""
    rows = table.rows[table.rows["compared"]].dropna(subset=["quality", table.axis.figure])
    if rows.empty:
        return None
    key, scale = table.axis.figure, table.axis.scale
    styles = method_styles(rows["method"])
    figure, axes = _frame(styles)
    for row in rows.to_dict("records"):
        look = styles[row["method"]]
        spans = [(row["low"], row["high"], row["quality"])]
        spans.append((row.get(f"{key}_low"), row.get(f"{key}_high"), row[key]))
        up, across = (_error(*span) for span in spans)
        axes.errorbar(row[key] * scale, row["quality"], yerr=up, xerr=[[e[0] * scale] for e in across],
                      color=look.colour, elinewidth=0.6, capsize=1.5, markersize=_size(look),
                      markeredgewidth=0.9, linestyle="none", zorder=3, **look.mark)  # fmt: skip
    over = rows[rows["over"] > TOLERANCE]
    axes.plot(over[key] * scale, over["quality"], linestyle="none", marker="x", color=INK, markersize=7,
              markeredgewidth=0.8, zorder=4)  # fmt: skip
    shown = rows.assign(at=rows[key] * scale)
    draw_front(axes, shown[~(shown["over"] > TOLERANCE)], colour=PALE, width=2.5)
    timed = key == "ratio"
    axes.set_xlabel("latency / reference network's" if timed else "parameters, M")
    axes.set_ylabel(table.metric_name)
    return figure


def any_time(table: Table) -> Figure | None:
    """Draw hypervolume against the share of the budget spent; None if it is not known."""
    progress = table.volume_progress if table.detailed else None
    if progress is None or not progress.steps:
        return None
    styles = method_styles(progress.steps)
    figure, axes = _frame(styles)
    end = max(1.04 * progress.most_spent, 1.0)
    draw_steps(axes, progress.steps, end, styles, size=4, width=1.0, bands=len(progress.steps) <= BANDS)
    axes.set_xlim(0, end)
    axes.set_ylim(bottom=0)
    spent = {"seconds": "time", "tokens": "training tokens"}[progress.kind]
    axes.set_xlabel(f"{spent} spent, % of the allowance")
    axes.set_ylabel("hypervolume")
    return figure


def _size(look: MethodStyle) -> float:
    """Return the points of a mark; a star's are more, or its halves would look alike."""
    return 8.0 if look.marker == "*" else 5.0


def _error(low: float | None, high: float | None, middle: float) -> list[list[float]]:
    """Return distances below and above, as matplotlib takes them; zero without an interval."""
    if low is None or high is None or low != low or high != high:
        return [[0.0], [0.0]]
    return [[max(0.0, middle - low)], [max(0.0, high - middle)]]


def _frame(styles: Mapping[str, MethodStyle]) -> tuple[Figure, Axes]:
    """Return a figure of one column with axes and, below them, the key of the methods."""
    names = {method: style.shorten_name(method.removesuffix(" (default options)"), 44) for method in styles}
    longest = max(len(line) for name in names.values() for line in name.split("\n"))
    beside = 2 if 2 * (longest * _LETTER + _MARK) <= 72 * COLUMN else 1
    lines = -(-len(names) // beside) * max(name.count("\n") + 1 for name in names.values())
    below = 0.48 + 0.135 * lines
    high = 2.0 + below
    figure = Figure(figsize=(COLUMN, high))
    axes = figure.add_axes((0.19, below / high, 0.79, (high - below - 0.06) / high))
    keys = [
        Line2D(
            [],
            [],
            color=look.colour,
            linestyle="none",
            markersize=_size(look),
            markeredgewidth=0.9,
            **look.mark,
        )  # fmt: skip
        for look in styles.values()
    ]
    figure.legend(keys, [*names.values()], loc="lower center", frameon=False,
                  ncol=min(beside, len(keys)), handletextpad=0.3, columnspacing=0.8,
                  borderaxespad=0.1, labelspacing=0.25,
                  bbox_to_anchor=(0.5, 0.0))  # fmt: skip
    return figure, axes


DRAWINGS: Mapping[str, Callable[[Table], Figure | None]] = {"tradeoff": tradeoff, "anytime": any_time}
"""File name without ending -> function that draws the figure."""


def images(table: Table) -> dict[str, bytes]:
    """Return ``tradeoff.pdf`` and ``anytime.pdf``, those for which the table has data."""
    drawn: dict[str, bytes] = {}
    with mpl.rc_context(_RC):
        for name, draw in DRAWINGS.items():
            figure = draw(table)
            if figure is not None:
                drawn[f"{name}.pdf"] = style.image_bytes(figure, "pdf")
    return drawn
