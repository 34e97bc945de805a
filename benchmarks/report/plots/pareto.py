"""Plot of test quality against latency or size: each method's networks, and the front of all of them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

from matplotlib.figure import Figure

from benchmarks.analysis.rows import ROW_SEEDS, TOLERANCE
from benchmarks.analysis.table import Table
from benchmarks.report.method_styles import method_styles
from benchmarks.report.plots import style
from benchmarks.report.plots.header import comparison_figure, recipes
from benchmarks.report.plots.style import GREY, INK, PALE
from benchmarks.stats import intervals, pareto, quantities

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes


def draw(table: Table) -> Figure:
    """Draw test quality against what networks were asked to keep to (``table.axis``), with intervals."""
    axis = table.axis
    timed = axis.figure == "ratio"
    lines = table.compared.dropna(subset=["quality", axis.figure])
    shown = table.rows[table.rows["compared"]].dropna(subset=["quality", axis.figure])
    shown = shown.assign(at=shown[axis.figure] * axis.scale)
    reading = "Up and to the left is better. The grey line is the best that all methods together reach."
    title = f"Quality against {axis.name} of the networks each method found"
    framed = _framed(shown)
    notes = _notes(table, shown, framed)
    # Labels of limits stand above the frame.
    above = 0.3 if table.bound_elsewhere else 0.6
    headed = comparison_figure(table, title, reading, notes, wide=10, high=4.3, above=above)
    axes = headed.axes(0.07, 0.7)
    if shown.empty:
        style.draw_placeholder(axes, "no comparable run has a scored candidate")
        return headed.figure
    _draw_points(axes, shown, lines if timed else None)
    over = shown[shown["over"] > TOLERANCE]
    axes.plot(over["at"], over["quality"], linestyle="none", marker="x", color=INK, markersize=11, zorder=4)
    _crop(axes.set_xlim, axes.get_xlim(), shown["at"])
    _crop(axes.set_ylim, axes.get_ylim(), framed["quality"])
    if not timed:
        _draw_windows(axes, lines)
    elif not table.bound_elsewhere:
        _draw_limits(axes, lines)
    draw_front(axes, shown[~(shown["over"] > TOLERANCE)])
    across = "parameters, M"
    if timed:
        across = f"latency of one {table.units.item} / the reference network's{_sessions(lines)}"
    axes.set_xlabel(f"\u2190 lower is better        {across}")
    axes.set_ylabel(f"{table.metric_name} on the test split        higher is better \u2192")
    style.draw_method_legend(axes)
    axes.annotate(
        "better", xy=(1.05, 0.06), xytext=(1.12, -0.07), xycoords="axes fraction", color=GREY,
        fontweight="bold", arrowprops={"arrowstyle": "-|>", "color": GREY, "linewidth": 1.6},
    )  # fmt: skip
    return headed.figure


def _framed(shown: pd.DataFrame) -> pd.DataFrame:
    """Return the rows that set the frame: all, unless provisional ones would more than double its height."""
    settled = shown[shown["n"] >= ROW_SEEDS]
    if settled.empty:
        return shown
    height, widest = (float(rows["quality"].max() - rows["quality"].min()) for rows in (settled, shown))
    return settled if 0 < 2 * height < widest else shown


def _notes(table: Table, shown: pd.DataFrame, framed: pd.DataFrame) -> list[str]:
    """Return how points and bars were made, rows beyond the frame, and the signatures of their figures."""
    timed, kinds = table.axis.figure == "ratio", set(shown["interval"])
    bars = {
        "seeds": "95 % t-interval over seeds (logit scale upwards, log scale sideways)",
        "sentences": f"with one seed 95 % over test {table.units.item}s upwards"
        + (", over timings sideways" if timed else "")
        + ", the spread between seeds not in it",
    }
    notes = []
    if explained := "; ".join(text for kind, text in bars.items() if kind in kinds):
        notes.append(
            f"Each point: one method at one limit, mean over seeds. Bars: {explained}. Bars that reach the"
            " frame go on beyond it."
        )
    if timed and table.bound_elsewhere:
        notes.append("Limits bounded latencies counted for another runtime: they have no place on this axis.")
    if len(framed) < len(shown):
        beyond = shown.drop(framed.index).groupby("method", sort=True)
        ends = [
            f"{style.shorten_name(str(method))} (n {rows['n'].min()},"
            f" {rows['quality'].min():.1f} to {rows['quality'].max():.1f})"
            for method, rows in beyond
        ]
        notes.append(f"Provisional rows do not set the frame: {', '.join(ends)}.")
    if (shown["over"] > TOLERANCE).any():
        notes.append("Crossed out: over its limit when it was scored; not in the front.")
    return notes + recipes(table)[: None if timed else 1]


def _draw_points(axes: Axes, shown: pd.DataFrame, timed: pd.DataFrame | None) -> None:
    """Draw each method's rows with bars; ``timed``: the networks behind them, None if sizes are shown."""
    styles = method_styles(shown["method"])
    for method, look in styles.items():
        part = shown[shown["method"] == method].sort_values("at")
        errors = [
            (0.0, 0.0)
            if timed is None
            else _latency_error(timed[(timed["method"] == method) & (timed["limit"] == limit)])
            for limit in part["limit"]
        ]
        below, above = (part["quality"] - part["low"]).fillna(0), (part["high"] - part["quality"]).fillna(0)
        axes.errorbar(
            part["at"], part["quality"],
            xerr=list(zip(*errors, strict=True)), yerr=[below.clip(lower=0), above.clip(lower=0)],
            color=look.colour, **look.mark, markersize=8, markeredgewidth=1.5,
            linestyle=look.line, linewidth=1.2, elinewidth=1.0, capsize=3, zorder=3,
            label=style.shorten_name(method),
        )  # fmt: skip


def _latency_error(part: pd.DataFrame) -> tuple[float, float]:
    """Return distances below and above the mean of latency ratios; zero if there is no interval."""
    if len(part) > 1:
        interval = intervals.interval([float(v) for v in part["ratio"]], quantities.FIGURES["ratio"])
        if interval.low is None or interval.high is None:
            return 0.0, 0.0
        return interval.mean - interval.low, interval.high - interval.mean
    line = part.iloc[0]
    low, mid, high = line["ratio_low"], line["ratio"], line["ratio_high"]
    if any(math.isnan(v) for v in (low, mid, high)) or mid <= 0:
        return 0.0, 0.0
    return float(max(0.0, mid - low)), float(max(0.0, high - mid))


def _sessions(lines: pd.DataFrame) -> str:
    """Return the reference network's latencies in brackets, which differ between sessions."""
    known = lines["reference_p50"].dropna()
    if known.empty:
        return ""
    ends = dict.fromkeys(f"{x:.3g}" for x in (known.min(), known.max()))
    return f" ({' to '.join(ends)} ms)"


def _draw_windows(axes: Axes, lines: pd.DataFrame) -> None:
    """Shade the windows of sizes that were asked for."""
    start, end = axes.get_xlim()
    for limit in sorted({limit for limit in lines["limit"] if limit.rank == 3}):
        axes.axvspan(limit.low, limit.value, color=PALE, alpha=0.3, zorder=0, linewidth=0)
        axes.text((limit.low + limit.value) / 2, 1.01, f"asked for: {limit}", fontsize=8, color=INK,
                  ha="center", va="bottom", transform=axes.get_xaxis_transform())  # fmt: skip
        start, end = min(start, limit.low), max(end, limit.value)
    axes.set_xlim(start, end)


def _crop(crop: Callable[[float, float], object], now: tuple[float, float], at: pd.Series[float]) -> None:
    """Keep very wide intervals (two seeds) from squeezing all points into a corner."""
    low, high = float(at.min()), float(at.max())
    room = 0.6 * (high - low)
    if room > 0:
        crop(max(now[0], low - room), min(now[1], high + room))


def draw_front(axes: Axes, shown: pd.DataFrame, colour: str = PALE, width: float = 5) -> None:
    """Draw the best that all rows together reach; ``at``: their place along the axis."""
    points = pareto.front([(float(q), float(x)) for q, x in zip(shown["quality"], shown["at"], strict=True)])
    if not points:
        return
    (start, end), (low, high) = axes.get_xlim(), axes.get_ylim()
    xs, ys = [points[0][1], *(x for _, x in points), end], [low, *(q for q, _ in points), points[-1][0]]
    axes.plot(
        xs, ys, drawstyle="steps-post", color=colour, linewidth=width, zorder=1, label="best of all (front)"
    )
    axes.set_xlim(start, end)
    axes.set_ylim(low, high)


def _draw_limits(axes: Axes, lines: pd.DataFrame) -> None:
    """Draw a dashed line at each latency limit, with its label where there is room."""
    start, end = axes.get_xlim()
    reference = float(lines["reference_p50"].median())
    taken = [-math.inf, -math.inf]  # where the last label of each of two levels stands
    for limit in sorted(set(lines["limit"])):
        at = limit.value if limit.rank == 1 else limit.value / reference
        if limit.rank not in (1, 2) or not start < at:
            continue
        end = max(end, at * 1.01)
        axes.axvline(at, color=INK, linestyle=(0, (4, 3)), linewidth=1, zorder=2)
        free = [level for level in (0, 1) if at - taken[level] > 0.14 * (end - start)]
        if not free:  # three limits in one place: the line must do
            continue
        taken[free[0]] = at
        axes.text(at, 1.01 + 0.045 * free[0], f"limit {limit}", fontsize=8, color=INK,
                  ha="center", va="bottom", transform=axes.get_xaxis_transform())  # fmt: skip
    axes.set_xlim(start, end)
