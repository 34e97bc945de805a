"""Plot of what each method spent its budget and its energy on, by phase."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from matplotlib.figure import Figure
from matplotlib.patches import Patch

from benchmarks.analysis.spending import SCORING, SHARES
from benchmarks.analysis.table import Table
from benchmarks.report.plots import style
from benchmarks.report.plots.header import comparison_figure
from benchmarks.report.plots.style import GREY, INK

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

PANELS = {
    "tokens": "training tokens\n% of the allowance",
    "evaluations": "validation evaluations\n% of the allowance",
    "probes": "latency probes\n% of the allowance",
    "seconds": "wall-clock time\nseconds",
    "joules": "energy\nkJ",
}
Fills = dict[str, tuple[str, str]]
"""Phase -> colour and hatch."""

USUAL = ("supernet", "search", "retrain", "train", "other")
"""Phases that the project's own methods name."""

# Lines only: a dotted hatch alone is 250 kB of SVG.
_FILLS = (
    ("#0072b2", ""), ("#e69f00", "////"), ("#56b4e9", "||||"), ("#d55e00", "\\\\\\\\"), ("#999999", "xxxx"),
    ("#009e73", "----"), ("#cc79a7", "++++"), ("#333333", "//"),
)  # fmt: skip


def phase_fills(spent: pd.DataFrame) -> Fills:
    """Return a colour and hatch for each phase: the usual ones always have the same, and come in order."""
    present = list(dict.fromkeys(spent["phase"]))
    phases = [p for p in USUAL if p in present] + sorted(set(present) - {*USUAL, SCORING})
    taken = {p: USUAL.index(p) % len(_FILLS) for p in phases if p in USUAL}
    free = [i for i in range(len(_FILLS)) if i not in taken.values()] or list(range(len(_FILLS)))
    others = [p for p in phases if p not in USUAL]
    taken |= {p: free[i % len(free)] for i, p in enumerate(others)}
    fills = {p: _FILLS[taken[p]] for p in phases}
    return fills | ({SCORING: ("white", "")} if SCORING in present else {})


def _energy_notes(table: Table) -> list[str]:
    """Return the sources of energies; where there are several, with the methods of each."""
    notes = []
    for number, source in enumerate(table.sources):
        methods = dict.fromkeys(row["of"] for row in table.each if number in row["energy_sources"])
        named = f" ({', '.join(style.shorten_name(m) for m in methods)})" if len(table.sources) > 1 else ""
        notes.append(f"energy{named}: {source}".replace("\n", " "))
    return notes


def draw(table: Table) -> Figure:
    """Draw stacked bars by phase: tokens, evaluations, probes, seconds and energy of each method."""
    spent = table.spending
    methods, fills = sorted(set(spent["method"]), reverse=True), phase_fills(spent)
    notes = [
        "Mean over seeds of one run; the figure at each bar is its sum. Dashed line: the allowance, at which"
        " a run is stopped. Outlined: scoring and timing by the harness, not charged and not in the sum."
    ]
    notes += _energy_notes(table) or ["energy: not measured"]
    if any("shared" in source for source in table.sources):
        notes.append("Runs that shared a machine have other seconds and joules than alone.")
    reading = "Every method had the same allowance. Shorter bars spent less of it."
    legend_lines = math.ceil(len(fills) / 5)
    below = 0.75 + 0.22 * legend_lines
    title = "What each method spent, by phase"
    headed = comparison_figure(table, title, reading, notes, wide=12,
                               high=0.4 + 0.34 * max(3, len(methods)), above=0.55, below=below)  # fmt: skip
    for i, (kind, heading) in enumerate(PANELS.items()):
        axes = headed.axes(0.135 + i * 0.174, 0.143)
        part = spent[spent["kind"] == kind]
        _draw_panel(axes, part, methods, fills, share=kind in SHARES)
        axes.set_title(heading, fontsize=10, loc="left", color=INK)
        names = [style.shorten_name(m) for m in methods] if i == 0 else [""] * len(methods)
        lines = (line for name in names for line in name.split("\n"))
        axes.set_yticks(range(len(methods)), names, fontsize=style.font_size_for(lines))
        if part.empty:
            axes.text(0.5, 0.5, "not measured" if kind == "joules" else "none", ha="center",
                      color=GREY, transform=axes.transAxes)  # fmt: skip
    handles = [
        Patch(facecolor=colour, hatch=hatch, edgecolor=GREY if phase == SCORING else "white", label=phase)
        for phase, (colour, hatch) in fills.items()
    ]
    if handles:
        at = headed.bottom - (below - 0.12) / headed.figure.get_figheight()
        headed.figure.legend(
            handles=handles, loc="lower left", bbox_to_anchor=(0.005, at), ncol=min(5, len(handles)),
            frameon=False, fontsize=9, title="phase", alignment="left", borderaxespad=0,
        )  # fmt: skip
    return headed.figure


def _draw_panel(axes: Axes, part: pd.DataFrame, methods: list[str], fills: Fills, share: bool) -> None:
    """Draw one kind's bars; ``share``: up to its allowance, which a dashed line shows."""
    longest = 0.0
    for y, method in enumerate(methods if len(part) else ()):
        mine = part[part["method"] == method].set_index("phase")["amount"]
        end = 0.0
        for phase in [p for p in fills if p in mine.index]:
            colour, hatch = fills[phase]
            edge = GREY if phase == SCORING else "white"
            axes.barh(y, mine[phase], 0.66, end, color=colour, hatch=hatch, edgecolor=edge, linewidth=0.7)
            end += float(mine[phase])
        charged = end - float(mine.get(SCORING, 0.0))
        text = f"{charged:,.0f}" if charged >= 10 or not charged else f"{charged:.2g}"
        axes.annotate(text, (end, y), xytext=(3, 0), textcoords="offset points", va="center", fontsize=8,
                      color=INK, zorder=3,
                      bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.3})  # fmt: skip
        longest = max(longest, end)
    if share:
        longest = max(longest, 100.0)
        axes.axvline(100, color=INK, linestyle=(0, (4, 3)), linewidth=1)
    axes.set_xlim(0, longest * 1.25 or 1)
    axes.set_ylim(-0.6, max(len(methods), 1) - 0.4)
    axes.tick_params(axis="y", length=0)
    axes.tick_params(axis="x", labelsize=8)
    axes.grid(axis="y", visible=False)
