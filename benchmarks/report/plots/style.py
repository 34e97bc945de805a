"""Style of every plot: colours, a method's marker and line, headers, legends, and image files.

Only matplotlib's Agg and SVG writers are used, never pyplot, so that no display and no global state is
involved and the same figure always has the same bytes. Each method's style also differs in grayscale.
"""

from __future__ import annotations

import io
import textwrap
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING

import matplotlib as mpl
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from benchmarks.records.text import sanitize

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.typing import RcKeyType

INK, GREY, PALE = "#1a1a1a", "#666666", "#c9c9c9"
RC_PARAMS: dict[RcKeyType, object] = {
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
"""Settings of matplotlib under which every figure is drawn and written."""
DPI = 150
COLOURS = 256
"""Colours of a PNG."""
FORMATS = ("png", "svg")

LONGEST_NAME = 26
"""Characters of a name that legends and axes show."""


def font_size_for(names: Iterable[str]) -> float:
    """Return the font size, in points, at which names of up to ``LONGEST_NAME`` characters find room."""
    return 10 if max(map(len, names), default=0) <= 20 else 8


def shorten_name(name: str, limit: int = LONGEST_NAME) -> str:
    """Return a method's name as a legend can hold it: text in brackets goes to a line of its own."""
    clean = sanitize(name)
    if len(clean) <= limit:
        return clean
    lines = clean.replace(" (", "\n(", 1).split("\n")
    return "\n".join(x if len(x) <= limit else f"{x[: limit - 9]}...{x[-6:]}" for x in lines)


@dataclass(frozen=True)
class HeadedFigure:
    """A figure with its texts written; ``bottom`` and ``top`` (shares) enclose the room for axes."""

    figure: Figure
    bottom: float
    top: float

    def axes(self, start: float, width: float) -> Axes:
        """Add axes over the free height; ``start`` and ``width`` are shares of the figure's width."""
        return self.figure.add_axes((start, self.bottom, width, self.top - self.bottom))


def figure_with_header(
    lines: tuple[str, str, str], notes: Sequence[str], *, wide: float, high: float,
    above: float = 0.3, below: float = 0.65,
) -> HeadedFigure:  # fmt: skip
    """Return a figure with three lines of text above its axes and notes below them.

    Args:
        lines: the title; the compared runs, in grey; one sentence on how to read the figure.
        notes: how the figure was made; wrapped to the width.
        wide: width of the figure in inches.
        high: height of the axes in inches; the figure is as high as its texts need.
        above: inches left free over the axes for their own titles.
        below: inches left free under the axes for their own labels.
    """
    footer = [part for note in notes for part in textwrap.wrap(note, int(wide * 16.5))]
    foot, head = 0.1 + 0.15 * len(footer), 0.95 + above
    total = foot + below + high + head
    figure = Figure(figsize=(wide, total))
    title, compared, reading = lines
    x = 0.12 / wide
    figure.text(x, 1 - 0.12 / total, title, fontsize=14, fontweight="bold", va="top", color=INK)
    figure.text(x, 1 - 0.44 / total, compared, fontsize=10, va="top", color=GREY)
    figure.text(x, 1 - 0.67 / total, reading, fontsize=10, va="top", color=INK)
    figure.text(x, 0.08 / total, "\n".join(footer), fontsize=7.5, va="bottom", color=GREY, linespacing=1.35)
    return HeadedFigure(figure, (foot + below) / total, 1 - head / total)


def draw_method_legend(axes: Axes) -> None:
    """Draw the legend of methods to the right of the axes."""
    handles, texts = axes.get_legend_handles_labels()
    labels = [line for text in texts for line in text.split("\n")]
    # The marks alone: under bars both ways many shapes look alike.
    marks = [handle[0] if isinstance(handle, ErrorbarContainer) else handle for handle in handles]
    size = font_size_for(label for label in labels if not label.startswith("best of all"))
    axes.legend(marks, texts, loc="upper left", bbox_to_anchor=(1.02, 1.0), frameon=False, title="method",
                alignment="left", fontsize=size)  # fmt: skip


def label_logarithmic(axis: Axis, values: Sequence[float]) -> None:
    """Label a logarithmic axis with round numbers across ``values``, three to a factor of ten."""
    low, high = min(values, default=1.0), max(values, default=1.0)
    every = [step * 10**power for power in range(-3, 6) for step in (1, 2, 5)]
    ticks = [tick for tick in every if low / 1.6 <= tick <= high * 1.6]
    axis.set_minor_formatter(NullFormatter())
    axis.set_ticks(ticks, labels=[f"{tick:g}" for tick in ticks])


def draw_placeholder(axes: Axes, reason: str) -> None:
    """Write into empty axes why there is nothing to draw."""
    axes.set_axis_off()
    axes.text(0.5, 0.5, reason, ha="center", va="center", color=GREY, transform=axes.transAxes)


def image_bytes(figure: Figure, kind: str) -> bytes:
    """Return the figure's bytes as ``png`` or ``svg``, without a date."""
    out = io.BytesIO()
    figure.savefig(
        out,
        format=kind,
        dpi=DPI,
        metadata={"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(kind, {}),
        facecolor="white",
    )
    return _with_palette(out) if kind == "png" else out.getvalue()


def _with_palette(picture: IO[bytes]) -> bytes:
    """Return a PNG in few colours, a third of its size: flat areas keep theirs, the shades at edges share."""
    import PIL
    from PIL import Image, PngImagePlugin

    drawn = Image.open(picture)
    software = PngImagePlugin.PngInfo()
    software.add_text("Software", f"{drawn.info['Software']}; Pillow v{PIL.__version__}")
    few = drawn.convert("RGB").quantize(COLOURS, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    out = io.BytesIO()
    few.save(out, "PNG", optimize=True, pnginfo=software, dpi=(DPI, DPI))
    return out.getvalue()


def render(draw: Callable[[], Figure]) -> dict[str, bytes]:
    """Draw a figure under this style and return its image in each format, by the format's name."""
    with mpl.rc_context(RC_PARAMS):
        figure = draw()
        return {kind: image_bytes(figure, kind) for kind in FORMATS}
