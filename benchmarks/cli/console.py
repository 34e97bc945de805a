"""Printing for all commands: JSON, tables as wide as their cells, and rich's renderables."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from benchmarks.records.text import sanitize

if TYPE_CHECKING:
    from rich.console import RenderableType

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
    """Print one of rich's renderables, such as a table of ``benchmarks.report``."""
    from rich.console import Console
    from rich.measure import Measurement

    console = Console()
    if not console.is_terminal and "COLUMNS" not in os.environ:
        # Through a pipe lines are as long as it takes to break no word.
        needed = Measurement.get(console, console.options.update(width=WIDEST), renderable).minimum
        console = Console(width=max(console.width, needed))
    console.print(renderable)


def _cell(value: object) -> str:
    """Return the text of a cell: ``yes`` or nothing for a bool; texts of strangers are sanitised."""
    if isinstance(value, bool):
        return "yes" if value else ""
    return sanitize(value, CELL_CHARACTERS)
