"""A ``Table`` for a rich console, wide or narrow."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from benchmarks.analysis.number_format import NONE
from benchmarks.analysis.tables import Table
from benchmarks.report import text_formats
from benchmarks.report.text_formats import TEXTS, caption, columns, footnotes

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult


class Terminal:
    """The comparison for a rich console: one table where it fits, else quality, speed and cost apart."""

    def __init__(self, table: Table) -> None:
        self.table = table

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield the tables and the lines under them."""
        from rich.measure import Measurement
        from rich.padding import Padding
        from rich.text import Text

        lines = self.table.each
        translated = ["chrf"] if self.table.metric == "bleu" else []
        quality, speed = ["quality", *translated], ["ratio", "p50", "params", "macs"]
        spent = ["tokens", "evaluations", "probes", "seconds", "joules"]
        yield Text(caption(self.table), style="bold")
        for line in self.table.notices:
            yield Text(line, style="bold yellow" if line == self.table.notices[0] else "yellow")
        yield Text()
        whole = self._grid(["method", "limit", *quality, *speed, *spent, "status"], lines)
        if Measurement.get(console, options.update(max_width=500), whole).maximum <= options.max_width:
            yield whole
        else:
            there = [line for line in lines if line["limit"] is not None]
            own = [line for line in lines if not (line["n"] and not line["compared"])]
            once = list({line["method"]: line for line in reversed(own)}.values())[::-1]  # limits cost alike
            yield self._grid(["method", "limit", *quality, "status"], lines, high=True)
            yield Text()
            yield self._grid(["method", "limit", *speed], there, high=True)
            yield Text()
            yield self._grid(["method", *spent], once, high=True)
        yield Text()
        for line in [*self.table.troubles, *footnotes(self.table)]:
            yield Padding(Text(line, style="dim"), (0, 0, 0, 1))
        if len(self.table.comparisons):
            yield Text(f"\nagainst {self.table.baseline}, paired over seeds", style="bold")
            yield _texts(text_formats.comparisons(self.table))
        if len(self.table.sentences):
            yield Text(f"\nagainst {self.table.baseline}, over test sentences", style="bold")
            yield _texts(text_formats.over_sentences(self.table))
            yield Padding(Text(text_formats.OVER_SENTENCES, style="dim"), (0, 0, 0, 1))

    def _grid(self, keys: list[str], lines: list[dict[Any, Any]], high: bool = False) -> Any:
        """Some columns; ``high``: an interval stands below its figure."""
        from rich.box import SIMPLE_HEAD
        from rich.table import Table as Grid
        from rich.text import Text

        shown = columns(self.table) | {"limit": ("limit", lambda r: str(r["limit"] or NONE))}
        grid = Grid(box=SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1, 0, 0))
        for key in keys:
            head = shown[key][0]
            if key not in TEXTS:  # two lines high, so that 80 columns hold it
                head = head.replace(" (" if "(" in head else " ", "\n(" if "(" in head else "\n", 1)
            grid.add_column(Text(head), justify="left" if key in TEXTS else "right", no_wrap=key not in TEXTS)
        for i, here in enumerate(lines, 1):
            end = "limit" in keys and i < len(lines) and lines[i]["limit"] != here["limit"]
            texts = [shown[key][1](here) for key in keys]
            grid.add_row(*(Text(t.replace(" [", "\n[") if high else t) for t in texts), end_section=end)
        return grid


def _texts(frame: pd.DataFrame) -> Any:
    """A frame of texts; long cells are broken, never cut."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table as Grid
    from rich.text import Text

    grid = Grid(box=SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1, 0, 0))
    shorter = {"difference in": "in", "paired seeds": "pairs"}
    for head in frame.columns:
        grid.add_column(Text(shorter.get(head, head)), overflow="fold")
    for row in frame.itertuples(index=False, name=None):
        grid.add_row(*(Text(cell, overflow="fold") for cell in row))
    return grid
