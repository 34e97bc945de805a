"""A frame of texts as a table in Markdown, in LaTeX and for a rich console; every cell is escaped."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd
    from rich.table import Table as RichTable

LEFT_ALIGNED = frozenset(
    ("method", "limit", "seeds", "weights", "status", "difference in", "verdict", "verified", "record")
    + ("precision", "date", "machine", "what differed", "because", "id", "claim", "unit")
)
"""Headings of columns of words; figures are right-aligned."""

_LATEX = str.maketrans(
    {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    | {"<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", '"': "''", "[": "{[}"}
    | {mark: f"\\{mark}" for mark in "&%$#_{}"}
)


def escape_latex(text: str) -> str:
    """Return LaTeX that shows ``text``; characters that pdfLaTeX has no type for are written as numbers."""
    shown = text.translate(_LATEX)
    return "".join(c if ord(c) < 0x180 and c.isprintable() else f"U+{ord(c):04X}" for c in shown)


def escape_markdown(text: str) -> str:
    """Return Markdown that shows ``text`` and nothing else."""
    for mark in "\\`*_[]<>|#~$":
        text = text.replace(mark, "\\" + mark)
    return text.replace("&", "&amp;")


def _lines(frame: pd.DataFrame) -> Iterator[list[str]]:
    """Yield the headings, then the cells of each row."""
    yield [str(head) for head in frame.columns]
    yield from (list(row) for row in frame.itertuples(index=False, name=None))


def markdown_table(frame: pd.DataFrame) -> str:
    """Return a frame of texts as a Markdown table."""
    head, *body = ("| " + " | ".join(map(escape_markdown, line)) + " |" for line in _lines(frame))
    rule = "|" + "|".join(" :-- " if h in LEFT_ALIGNED else " --: " for h in frame.columns) + "|"
    return "\n".join([head, rule, *body])


def latex_table(frame: pd.DataFrame, broken: str = "") -> str:
    """Return a frame of texts as a table of booktabs that compiles, whatever the texts are.

    Args:
        frame: of texts.
        broken: LaTeX of a first column with a width, in which long cells are broken; empty: none are.
    """
    ragged = r"\raggedright " if broken else ""
    head, *body = (ragged + " & ".join(map(escape_latex, line)) + " \\\\\n" for line in _lines(frame))
    columns = (broken or "l") + "l" * (len(frame.columns) - 1)
    return (
        f"\\begin{{tabular}}{{{columns}}}\n\\toprule\n{head}\\midrule\n"
        f"{''.join(body)}\\bottomrule\n\\end{{tabular}}\n"
    )


def rich_table(
    frame: pd.DataFrame, *, right: Collection[str] = (), unbroken: Collection[str] = (),
    section_ends: Collection[int] = (),
) -> RichTable:  # fmt: skip
    """Return a frame of texts as a table of the library rich; long cells are broken, never cut.

    Args:
        frame: of texts.
        right: headings of right-aligned columns.
        unbroken: headings of columns whose cells stay on their lines.
        section_ends: numbers of rows below which a line is left free.
    """
    from rich.box import SIMPLE_HEAD
    from rich.table import Table as RichTable
    from rich.text import Text

    table = RichTable(box=SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1, 0, 0))
    head, *body = _lines(frame)
    for name in head:
        table.add_column(
            Text(name),
            justify="right" if name in right else "left",
            no_wrap=name in unbroken,
            overflow="fold",
        )
    for i, row in enumerate(body):
        table.add_row(*(Text(cell, overflow="fold") for cell in row), end_section=i in section_ends)
    return table
