"""The figures of a comparison, as PNG and SVG with the same bytes every time.

matplotlib's Agg and SVG writers only, never pyplot, so that no display and no global state is
involved. A method keeps its colour, marker and line style in all figures; each differs in grayscale.
"""

from __future__ import annotations

import io
import math
import textwrap
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure

from benchmarks.analysis.number_format import item
from benchmarks.analysis.tables import Table
from benchmarks.records.record import Record
from benchmarks.records.store import write_text
from benchmarks.records.text import sanitize
from benchmarks.stats import intervals, quantities

INK, GREY, PALE = "#1a1a1a", "#666666", "#c9c9c9"
STYLE: dict[Any, Any] = {
    "svg.hashsalt": "supernet-bench",
    "svg.fonttype": "path",
    "text.parse_math": False,  # a method may be called $x$
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "axes.edgecolor": GREY,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e6e6e6",
    "grid.linewidth": 0.8,
    "hatch.linewidth": 0.6,
}
DPI = 150

# Okabe and Ito's colours without the yellow, which vanishes on white.
_COLOURS = ("#0072b2", "#56b4e9", "#d55e00", "#e69f00", "#555555", "#009e73", "#cc79a7", "#000000")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*", "<", ">")
_LINES: tuple[Any, ...] = ("-", "--", (0, (1, 1)), "-.", (0, (5, 1, 1, 1, 1, 1)), (0, (8, 3)), (0, (3, 3)))
_FIRST = ("hat", "hat-sandwich", "mos-neuron", "mos-layer", "random-search", "scratch")


@dataclass(frozen=True)
class Look:
    """How one method is drawn everywhere."""

    colour: str
    marker: str
    line: Any
    face: str


def looks(methods: Iterable[str]) -> dict[str, Look]:
    """A look for each method; the project's own always have the same one."""
    names = set(methods)
    ordered = [m for m in _FIRST if m in names] + sorted(names - set(_FIRST))
    taken = [_FIRST.index(m) for m in ordered if m in _FIRST]
    free = [i for i in range(len(names) + len(_FIRST)) if i not in taken]
    found = {}
    for name in ordered:
        i = _FIRST.index(name) if name in _FIRST else free.pop(0)
        colour = _COLOURS[i % len(_COLOURS)]
        found[name] = Look(
            colour, _MARKERS[i % len(_MARKERS)], _LINES[i % len(_LINES)], "white" if i % 2 else colour
        )
    return found


LONG = 26
"""Characters of a name that legends and axes show."""


def small(names: Iterable[str]) -> float:
    """The font size at which names of up to ``LONG`` characters find room."""
    return 10 if max(map(len, names), default=0) <= 20 else 8


def short(name: str, limit: int = LONG) -> str:
    """A method's name as a legend can hold it: what stands in brackets goes to a line of its own."""
    clean = sanitize(name)
    if len(clean) <= limit:
        return clean
    lines = clean.replace(" (", "\n(", 1).split("\n")
    return "\n".join(x if len(x) <= limit else f"{x[: limit - 9]}...{x[-6:]}" for x in lines)


@dataclass(frozen=True)
class Sheet:
    """A figure with its texts written; ``bottom`` and ``top`` (shares) enclose what is left for axes."""

    figure: Figure
    bottom: float
    top: float

    def axes(self, left: float, width: float) -> Any:
        """New axes over the free height."""
        return self.figure.add_axes((left, self.bottom, width, self.top - self.bottom))


def sheet(
    table: Table, title: str, sub: str, notes: Sequence[str], *, wide: float, high: float,
    above: float = 0.3, below: float = 0.65,
) -> Sheet:  # fmt: skip
    """Title, what is compared and on how many seeds above; how it was made below.

    Args:
        wide: width of the figure in inches.
        high: height of the axes in inches; the figure is as high as its texts need.
        above: inches left free over the axes for their own titles.
        below: inches left free under the axes for their own labels.
    """
    lines = [part for note in notes for part in textwrap.wrap(note, int(wide * 16.5))]
    foot, head = 0.1 + 0.15 * len(lines), 0.95 + above
    total = foot + below + high + head
    figure = Figure(figsize=(wide, total))
    numbers = sorted({int(n) for n in table.rows["n"][table.rows["compared"]] if n})
    seeds = "no finished seed"
    if numbers:
        seeds = f"{numbers[0]}" + (f" to {numbers[-1]}" if len(numbers) > 1 else "")
        seeds += " seed per method" if numbers[-1] == 1 else " seeds per method"
    shared = table.shared
    what = f"{shared['task']}  |  tier {shared['tier']}  |  profile {shared['profile']}  |  {seeds}"
    x = 0.12 / wide
    figure.text(x, 1 - 0.12 / total, title, fontsize=14, fontweight="bold", va="top", color=INK)
    figure.text(x, 1 - 0.44 / total, what, fontsize=10, va="top", color=GREY)
    figure.text(x, 1 - 0.67 / total, sub, fontsize=10, va="top", color=INK)
    figure.text(x, 0.08 / total, "\n".join(lines), fontsize=7.5, va="bottom", color=GREY, linespacing=1.35)
    return Sheet(figure, (foot + below) / total, 1 - head / total)


def key(axes: Any) -> None:
    """The legend, to the right of the axes."""
    handles, texts = axes.get_legend_handles_labels()
    labels = [line for text in texts for line in text.split("\n")]
    # The marks alone: under bars both ways many shapes look alike.
    handles = [handle[0] if isinstance(handle, ErrorbarContainer) else handle for handle in handles]
    size = small(label for label in labels if not label.startswith("best of all"))
    axes.legend(handles, texts, loc="upper left", bbox_to_anchor=(1.02, 1.0), frameon=False, title="method",
                alignment="left", fontsize=size)  # fmt: skip


def blank(axes: Any, text: str) -> None:
    """Say why there is nothing to draw."""
    axes.set_axis_off()
    axes.text(0.5, 0.5, text, ha="center", va="center", color=GREY, transform=axes.transAxes)


def _latency_error(part: Any) -> tuple[float, float]:
    """Distances below and above the mean of latency ratios; zero where there is no interval."""
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


OVER = 0.005
"""Share by which a network may pass its limit before it counts as over it, as in a table's status."""


def pareto(records: Sequence[Record], table: Table) -> Figure:
    """Test quality against what networks were asked to keep to (``table.axis``), with intervals."""
    axis = table.axis
    timed = axis.figure == "ratio"
    lines = table.compared.dropna(subset=["quality", axis.figure])
    shown = table.rows[table.rows["compared"]].dropna(subset=["quality", axis.figure])
    shown = shown.assign(at=shown[axis.figure] * axis.scale)
    kinds, one = set(shown["interval"]), item(table.shared["task"])
    bars = {
        "seeds": "95 % t-interval over seeds (logit scale upwards, log scale sideways)",
        "sentences": f"with one seed 95 % over test {one}s upwards"
        + (", over timings sideways" if timed else "")
        + ", the spread between seeds not in it",
    }
    told = "; ".join(text for kind, text in bars.items() if kind in kinds)
    notes = [f"Each point: one method at one limit, mean over seeds. Bars: {told}."] if told else []
    if notes:
        notes[0] += " Bars that reach the frame go on beyond it."
    if (shown["over"] > OVER).any():
        notes.append("Crossed out: over its limit when it was scored; not in the front.")
    notes += recipes(table)[: None if timed else 1]
    sub = "Up and to the left is better. The grey line is the best that all methods together reach."
    title = f"Quality against {axis.name} of the networks each method found"
    made = sheet(table, title, sub, notes, wide=10, high=4.3, above=0.6)
    axes = made.axes(0.07, 0.7)
    if shown.empty:
        blank(axes, "no comparable run has a scored candidate")
        return made.figure
    style = looks(shown["method"])
    for method in style:
        part, look = shown[shown["method"] == method].sort_values("at"), style[method]
        errors = [
            _latency_error(lines[(lines["method"] == method) & (lines["limit"] == limit)])
            if timed
            else (0, 0)
            for limit in part["limit"]
        ]
        below, above = (part["quality"] - part["low"]).fillna(0), (part["high"] - part["quality"]).fillna(0)
        axes.errorbar(
            part["at"], part["quality"],
            xerr=list(zip(*errors, strict=True)), yerr=[below.clip(lower=0), above.clip(lower=0)],
            color=look.colour, marker=look.marker, mfc=look.face, markersize=8, markeredgewidth=1.5,
            linestyle=look.line, linewidth=1.2, elinewidth=1.0, capsize=3, label=short(method), zorder=3,
        )  # fmt: skip
    over = shown[shown["over"] > OVER]
    axes.plot(over["at"], over["quality"], linestyle="none", marker="x", color=INK, markersize=11, zorder=4)
    _crop(axes.set_xlim, axes.get_xlim(), shown["at"])
    _crop(axes.set_ylim, axes.get_ylim(), shown["quality"])
    (_window_spans if not timed else _limit_lines)(axes, lines)
    _front(axes, shown[~(shown["over"] > OVER)])
    of = "parameters, M"
    if timed:
        of = f"latency of one {one} / the reference network's{_sessions(lines)}"
    axes.set_xlabel(f"\u2190 lower is better        {of}")
    axes.set_ylabel(f"{table.metric_name} on the test split        higher is better \u2192")
    key(axes)
    axes.annotate(
        "better", xy=(1.05, 0.06), xytext=(1.12, -0.07), xycoords="axes fraction", color=GREY,
        fontweight="bold", arrowprops={"arrowstyle": "-|>", "color": GREY, "linewidth": 1.6},
    )  # fmt: skip
    return made.figure


def _sessions(lines: Any) -> str:
    """The reference network's own latencies in brackets, which differ between sessions."""
    known = lines["reference_p50"].dropna()
    if known.empty:
        return ""
    ends = dict.fromkeys(f"{x:.3g}" for x in (known.min(), known.max()))
    return f" ({' to '.join(ends)} ms)"


def _window_spans(axes: Any, lines: Any) -> None:
    """Shade the windows of sizes that were asked for."""
    left, right = axes.get_xlim()
    for limit in sorted({limit for limit in lines["limit"] if limit.rank == 3}):
        axes.axvspan(limit.low, limit.value, color=PALE, alpha=0.3, zorder=0, linewidth=0)
        axes.text((limit.low + limit.value) / 2, 1.01, f"asked for: {limit}", fontsize=8, color=INK,
                  ha="center", va="bottom", transform=axes.get_xaxis_transform())  # fmt: skip
        left, right = min(left, limit.low), max(right, limit.value)
    axes.set_xlim(left, right)


def _crop(crop: Callable[[float, float], Any], now: tuple[float, float], at: Any) -> None:
    """Keep very wide intervals (two seeds) from squeezing all points into a corner."""
    low, high = float(at.min()), float(at.max())
    room = 0.6 * (high - low)
    if room > 0:
        crop(max(now[0], low - room), min(now[1], high + room))


def recipes(table: Table) -> list[str]:
    """The signatures of what the figures show."""
    return [f"{k}: {v}" for k, v in table.signatures.items() if k in (table.metric_name, "latency")]


def _front(axes: Any, shown: Any) -> None:
    points = intervals.front(
        [(float(q), float(x)) for q, x in zip(shown["quality"], shown["at"], strict=True)]
    )
    if not points:
        return
    (left, right), (low, high) = axes.get_xlim(), axes.get_ylim()
    xs, ys = [points[0][1], *(x for _, x in points), right], [low, *(q for q, _ in points), points[-1][0]]
    axes.plot(xs, ys, drawstyle="steps-post", color=PALE, linewidth=5, zorder=1, label="best of all (front)")
    axes.set_xlim(left, right)
    axes.set_ylim(low, high)


def _limit_lines(axes: Any, lines: Any) -> None:
    left, right = axes.get_xlim()
    reference = float(lines["reference_p50"].median())
    taken = [-math.inf, -math.inf]  # where the last label of each of two levels stands
    for limit in sorted(set(lines["limit"])):
        at = limit.value if limit.rank == 1 else limit.value / reference
        if limit.rank not in (1, 2) or not left < at:
            continue
        right = max(right, at * 1.01)
        axes.axvline(at, color=INK, linestyle=(0, (4, 3)), linewidth=1, zorder=2)
        free = [level for level in (0, 1) if at - taken[level] > 0.14 * (right - left)]
        if not free:  # three limits in one place: the line must do
            continue
        taken[free[0]] = at
        axes.text(at, 1.01 + 0.085 * free[0], f"limit {limit}", fontsize=8, color=INK,
                  ha="center", va="bottom", transform=axes.get_xaxis_transform())  # fmt: skip
    axes.set_xlim(left, right)


def image(figure: Figure, kind: str) -> bytes:
    """The figure's bytes as ``png`` or ``svg``, without a date."""
    out = io.BytesIO()
    figure.savefig(
        out, format=kind, dpi=DPI, metadata={"Date": None} if kind == "svg" else {}, facecolor="white"
    )
    return out.getvalue()


Drawing = Callable[[Sequence[Record], Table], "Figure | None"]


def drawings() -> dict[str, Drawing]:
    """File name without ending -> the function that draws it; None: nothing recorded to draw."""
    from benchmarks.report.plots import curves, performance_profiles, spending

    return {
        "pareto": pareto,
        "hypervolume": curves.hypervolume,
        "search": curves.search,
        "budget": spending.budget,
        "performance": performance_profiles.figure,
    }


def images(
    records: Sequence[Record], table: Table, kinds: Sequence[str] = ("png", "svg")
) -> dict[str, bytes]:
    """``pareto.svg``... -> bytes, of every figure that the records have something for."""
    found: dict[str, bytes] = {}
    with mpl.rc_context(STYLE):
        for name, draw in drawings().items():
            figure = draw(records, table)
            if figure is not None:
                found |= {f"{name}.{kind}": image(figure, kind) for kind in kinds}
    return found


def save(records: Sequence[Record], table: Table, folder: Path) -> dict[str, Path]:
    """Write every figure into ``folder`` as PNG and SVG."""
    paths = {}
    for name, data in images(records, table).items():
        paths[name] = folder / name
        write_text(paths[name], data)
    return paths
