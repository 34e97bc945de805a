"""What each method spent its budget and its energy on, by phase."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from benchmarks.analysis.tables import Table
from benchmarks.comparability import grouping, run_summary
from benchmarks.records.record import Record
from benchmarks.records.text import sanitize
from benchmarks.report.plots import pareto

PANELS = {
    "tokens": "training tokens\n% of the allowance",
    "evaluations": "validation evaluations\n% of the allowance",
    "probes": "latency probes\n% of the allowance",
    "seconds": "wall-clock time\nseconds",
    "joules": "energy\nkJ",
}
Fills = dict[str, tuple[str, str]]
"""Phase -> colour and hatch."""

OFF = "harness scoring (off the clock)"
LED = "the run whose weights it took"
USUAL = ("supernet", "search", "retrain", "train", "other")
"""Phases that the project's own methods name."""

# Lines only: a dotted hatch alone is 250 kB of SVG.
_FILLS = (
    ("#0072b2", ""), ("#e69f00", "////"), ("#56b4e9", "||||"), ("#d55e00", "\\\\\\\\"), ("#999999", "xxxx"),
    ("#009e73", "----"), ("#cc79a7", "++++"), ("#333333", "//"),
)  # fmt: skip


def spending(records: Sequence[Record]) -> pd.DataFrame:
    """(method, phase, kind) -> mean amount over the method's runs, in the panel's unit."""
    every = run_summary.summarize_all(records)
    named, before, flat = grouping.labels(every), run_summary.spent_by_leaders(every), []
    led = {run.id: before[run.id] for run in every if run.inherits}
    tried: dict[str, int] = {}
    for record in records:
        method, ledger = named[record["id"]], record["ledger"]
        tried[method] = tried.get(method, 0) + 1
        entries = [(e["phase"], e["kind"], e["amount"]) for e in ledger["entries"]]
        entries += [(OFF, "seconds", amount) for amount in ledger.get("harness_seconds", {}).values()]
        earlier = zip(("seconds", "joules"), led.get(record["id"], ()), strict=False)
        entries += [(LED, kind, amount) for kind, amount in earlier if amount == amount]
        energy = record["energy"]
        joules = energy["joules"] if energy is not None else None
        if joules is not None and not any(kind == "joules" and at != LED for at, kind, _ in entries):
            entries.append(("all phases", "joules", joules))
        for phase, kind, amount in entries:
            allowed = record["spec"]["budget"].get(kind)
            if kind in ("tokens", "evaluations", "probes"):
                if not allowed:
                    continue
                amount = 100 * amount / allowed
            flat.append((method, sanitize(phase, 32), kind, amount / 1000 if kind == "joules" else amount))
    frame = pd.DataFrame(flat, columns=["method", "phase", "kind", "amount"]).astype({"amount": "float64"})
    keys = ["method", "phase", "kind"]
    total = frame.groupby(keys, sort=False, as_index=False).agg(amount=("amount", "sum"))
    total["amount"] = [a / tried[m] for a, m in zip(total["amount"], total["method"], strict=True)]
    return total


def _fills(spent: pd.DataFrame) -> Fills:
    """Phase -> colour and hatch: the usual phases always look the same and come in their order."""
    seen = list(dict.fromkeys(spent["phase"]))
    phases = [p for p in USUAL if p in seen] + sorted(set(seen) - {*USUAL, OFF})
    taken = {p: USUAL.index(p) % len(_FILLS) for p in phases if p in USUAL}
    free = [i for i in range(len(_FILLS)) if i not in taken.values()] or list(range(len(_FILLS)))
    others = [p for p in phases if p not in USUAL]
    taken |= {p: free[i % len(free)] for i, p in enumerate(others)}
    found = {p: _FILLS[taken[p]] for p in phases}
    return found | ({OFF: ("white", "")} if OFF in seen else {})


def budget(records: Sequence[Record], table: Table) -> Figure:
    """Stacked bars by phase: tokens, evaluations, probes, seconds and energy of each method."""
    from matplotlib.patches import Patch

    counted = run_summary.finished(records)
    spent = spending(counted)
    methods, fills = sorted(set(spent["method"]), reverse=True), _fills(spent)
    notes = [
        "Mean over seeds of one run; the figure at each bar is its sum. Dashed line: the allowance, at which"
        " a run is stopped. Outlined: scoring and timing by the harness, not charged and not in the sum."
    ]
    notes += [f"energy: {source}" for source in table.sources] or ["energy: not measured"]
    sub = "Every method had the same allowance. Shorter bars spent less of it."
    legend_lines = math.ceil(len(fills) / 5)
    below = 0.75 + 0.22 * legend_lines
    made = pareto.sheet(table, "What each method spent, by phase", sub, notes, wide=12,
                       high=0.4 + 0.34 * max(3, len(methods)), above=0.55, below=below)  # fmt: skip
    for i, (kind, title) in enumerate(PANELS.items()):
        axes = made.axes(0.135 + i * 0.174, 0.143)
        part = spent[spent["kind"] == kind]
        _panel(axes, part, methods, fills, share=kind not in ("seconds", "joules"))
        axes.set_title(title, fontsize=10, loc="left", color=pareto.INK)
        names = [pareto.short(m) for m in methods] if i == 0 else [""] * len(methods)
        lines = (line for name in names for line in name.split("\n"))
        axes.set_yticks(range(len(methods)), names, fontsize=pareto.small(lines))
        if part.empty:
            axes.text(0.5, 0.5, "not measured" if kind == "joules" else "none", ha="center",
                      color=pareto.GREY, transform=axes.transAxes)  # fmt: skip
    handles = [
        Patch(facecolor=colour, hatch=hatch, edgecolor=pareto.GREY if phase == OFF else "white", label=phase)
        for phase, (colour, hatch) in fills.items()
    ]
    if handles:
        at = made.bottom - (below - 0.12) / made.figure.get_figheight()
        made.figure.legend(
            handles=handles, loc="lower left", bbox_to_anchor=(0.005, at), ncol=min(5, len(handles)),
            frameon=False, fontsize=9, title="phase", alignment="left", borderaxespad=0,
        )  # fmt: skip
    return made.figure


def _panel(axes: Any, part: pd.DataFrame, methods: list[str], fills: Fills, share: bool) -> None:
    longest = 0.0
    for y, method in enumerate(methods if len(part) else ()):
        mine = part[part["method"] == method].set_index("phase")["amount"]
        left = 0.0
        for phase in [p for p in fills if p in mine.index]:
            colour, hatch = fills[phase]
            edge = pareto.GREY if phase == OFF else "white"
            axes.barh(y, mine[phase], 0.66, left, color=colour, hatch=hatch, edgecolor=edge, linewidth=0.7)
            left += float(mine[phase])
        charged = left - float(mine.get(OFF, 0.0))
        text = f"{charged:,.0f}" if charged >= 10 or not charged else f"{charged:.2g}"
        axes.annotate(text, (left, y), xytext=(3, 0), textcoords="offset points", va="center", fontsize=8,
                      color=pareto.INK, zorder=3,
                      bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.3})  # fmt: skip
        longest = max(longest, left)
    if share:
        longest = max(longest, 100.0)
        axes.axvline(100, color=pareto.INK, linestyle=(0, (4, 3)), linewidth=1)
    axes.set_xlim(0, longest * 1.25 or 1)
    axes.set_ylim(-0.6, max(len(methods), 1) - 0.4)
    axes.tick_params(axis="y", length=0)
    axes.tick_params(axis="x", labelsize=8)
    axes.grid(axis="y", visible=False)
