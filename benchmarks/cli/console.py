"""Printing for all commands: JSON, tables as wide as their cells, and rich's renderables."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from benchmarks.records.text import sanitize

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.segment import Segment
    from rich.table import Table

WIDEST = 10_000
"""Most columns of a table that goes through a pipe."""
CELL_CHARACTERS = 200
"""Longest text of a cell, in characters."""


def print_json(value: object) -> None:
    """Print a value of plain JSON types, indented."""
    print(json.dumps(value, indent=1))


def print_table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print rows under their column heads, aligned.

    Lines are never cut at the terminal's width, because the output may go through a pipe.
    """
    lines = [list(columns), *([_cell(value) for value in row] for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(columns))]
    for line in lines:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def print_rich(renderable: RenderableType) -> None:
    """Print one of rich's renderables, such as a table of ``benchmarks.report``.

    Through a pipe no word is broken: what is too long for 80 columns gets the columns that it takes.
    """
    from rich.console import Console
    from rich.measure import Measurement
    from rich.table import Table

    console = Console()
    if console.is_terminal or "COLUMNS" in os.environ:
        console.print(renderable)
        return
    pipe = Console(width=WIDEST)
    for part in _parts(renderable, console):
        if isinstance(part, Table):
            _keep_words(part, pipe)
        needed = Measurement.get(pipe, pipe.options, part).minimum
        pipe.print(part, width=max(console.width, needed))


def _parts(renderable: RenderableType | Segment, console: Console) -> Iterator[RenderableType]:
    """Yield a renderable, or what it consists of where it has no width of its own."""
    from rich.segment import Segment

    if isinstance(renderable, Segment):
        yield renderable.text
    elif hasattr(renderable, "__rich_console__") and not hasattr(renderable, "__rich_measure__"):
        for part in renderable.__rich_console__(console, console.options):
            yield from _parts(part, console)
    else:
        yield renderable


def _keep_words(table: Table, console: Console) -> None:
    """Make each column of a table as wide as its longest word at least."""
    from rich.measure import Measurement

    for column in table.columns:
        cells = (column.header, *column.cells, column.footer)
        widths = [Measurement.get(console, console.options, cell).minimum for cell in cells]
        column.min_width = max(widths)


def _cell(value: object) -> str:
    """Return the text of a cell: ``yes`` or nothing for a bool; texts of strangers are sanitised."""
    if isinstance(value, bool):
        return "yes" if value else ""
    return sanitize(value, CELL_CHARACTERS)
