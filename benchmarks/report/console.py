"""A ``Table`` for a rich console, wide or narrow."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pandas as pd

from benchmarks.analysis.number_format import NONE, Row
from benchmarks.analysis.table import Table
from benchmarks.report import texts
from benchmarks.report.table_markup import rich_table
from benchmarks.report.texts import TEXTS

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult
    from rich.table import Table as RichTable

_SHORTER = {"difference in": "in", "paired seeds": "pairs"}


class TerminalTable:
    """The comparison for a rich console: one table where it fits, else quality, speed and cost apart."""

    def __init__(self, table: Table) -> None:
        self.table = table

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield the tables and the lines under them."""
        from rich.measure import Measurement
        from rich.padding import Padding
        from rich.text import Text

        lines = self.table.each
        translated = ["chrf"] if "chrf" in self.table.units.metrics else []
        quality, speed = ["quality", *translated], ["ratio", "p50", "params", "macs"]
        updates = ["updates"] if texts.counts_updates(self.table) else []
        spent = ["tokens", "evaluations", "probes", *updates, "seconds", "joules"]
        yield Text(texts.caption(self.table), style="bold")
        for line in self.table.notices:
            yield Text(line, style="bold yellow" if line == self.table.notices[0] else "yellow")
        yield Text()
        wide = self._grid(["method", "limit", *quality, *speed, *spent, "status"], lines)
        if Measurement.get(console, options.update(max_width=500), wide).maximum <= options.max_width:
            yield wide
        else:
            limited = [line for line in lines if line["limit"] is not None]
            own = [line for line in lines if line["method"] == line["of"]]
            once = list({line["method"]: line for line in reversed(own)}.values())[::-1]  # limits cost alike
            yield self._grid(["method", "limit", *quality, "status"], lines, high=True)
            yield Text()
            yield self._grid(["method", "limit", *speed], limited, high=True)
            yield Text()
            yield self._grid(["method", *spent], once, high=True)
        yield Text()
        for line in [*self.table.failures, *texts.footnotes(self.table)]:
            yield Padding(Text(line, style="dim"), (0, 0, 0, 1))
        if self.table.carbon is not None:
            yield Text("\nemissions of the search, as declared", style="bold")
            yield rich_table(texts.emissions(self.table))
            yield Padding(Text(texts.emissions_note(self.table), style="dim"), (0, 0, 0, 1))
        if len(self.table.comparisons):
            yield Text(f"\nagainst {self.table.baseline}, paired over seeds", style="bold")
            yield rich_table(texts.paired_differences(self.table).rename(columns=_SHORTER))
        if len(self.table.sentences):
            yield Text(f"\nagainst {self.table.baseline}, over test sentences", style="bold")
            yield rich_table(texts.sentence_differences(self.table).rename(columns=_SHORTER))
            yield Padding(Text(texts.SENTENCES_NOTE, style="dim"), (0, 0, 0, 1))

    def _grid(self, keys: Sequence[str], lines: Sequence[Row], high: bool = False) -> RichTable:
        """Return some columns; ``high``: an interval stands below its figure."""
        shown = texts.columns(self.table) | {"limit": ("limit", lambda r: str(r["limit"] or NONE))}
        cells: dict[str, list[str]] = {}
        for key in keys:
            heading, cell = shown[key]
            if key not in TEXTS:  # two lines high, so that 80 columns hold it
                heading = heading.replace(
                    " (" if "(" in heading else " ", "\n(" if "(" in heading else "\n", 1
                )
            column = [cell(line) for line in lines]
            cells[heading] = [text.replace(" [", "\n[") for text in column] if high else column
        figures = [heading for heading, key in zip(cells, keys, strict=True) if key not in TEXTS]
        limits = [line["limit"] for line in lines] if "limit" in keys else []
        ends = [i for i in range(len(limits) - 1) if limits[i + 1] != limits[i]]
        return rich_table(pd.DataFrame(cells), right=figures, unbroken=figures, section_ends=ends)
