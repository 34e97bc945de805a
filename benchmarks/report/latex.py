"""A ``Table`` as LaTeX, for a paper."""

from __future__ import annotations

import pandas as pd

from benchmarks.analysis.table import Table
from benchmarks.report import texts
from benchmarks.report.table_markup import escape_latex, latex_table

_COLUMNS = (
    "method", "limit", "quality", "chrf", "ratio", "p50", "params", "macs", "seconds", "joules", "status",
)  # fmt: skip
_COLUMN_WIDE = ("method", "limit", "quality", "ratio")
"""Columns that one column of a paper holds."""


def latex(table: Table, each_set: bool = True) -> str:
    """Return booktabs tables of the main columns and of the deciding metric on each test set.

    Args:
        table: to show.
        each_set: false leaves the second table out.
    """
    shown = texts.columns(table)
    kept = [shown[key][0] for key in _COLUMNS if key in shown]
    scores = table.scores[:1] if each_set else []
    notes = [texts.caption(table), *table.notices, *texts.footnotes(table)]
    notes += [f"second table: {part.name} on each test set: {part.signature}" for part in scores]
    frames = [texts.cells(table)[kept], *(part.frame for part in scores)]
    return _comments(notes) + "\n".join(map(latex_table, frames))


def column_table(table: Table) -> str:
    """Return a table that fits one column: compared rows, with a caption; needs booktabs."""
    shown = texts.columns(table)
    several = len({str(row["limit"]) for row in table.each}) > 1
    keys = [key for key in _COLUMN_WIDE if key != "limit" or several]
    rows = [row for row in table.each if row["compared"]]
    cells = [[_cell(shown[key][1](row), key) for key in keys] for row in rows]
    frame = pd.DataFrame(cells, columns=[shown[key][0] for key in keys])
    caption = f"{table.metric_name} with 95 % intervals. {texts.caption(table)}."
    return (
        _comments([*table.notices, *texts.footnotes(table)])
        + "\\begin{table}\n\\centering\\footnotesize\\setlength{\\tabcolsep}{2.5pt}\n"
        + latex_table(frame).replace("{tabular}{l", "{tabular}{p{.36\\columnwidth}", 1)
        + f"\\caption{{{escape_latex(caption)}}}\n\\end{{table}}\n"
    )


def _cell(text: str, key: str) -> str:
    """Return a cell; the latency's ratio without its interval, for which the column has no room."""
    return text.partition(" [")[0] if key == "ratio" else text


def example(figures: list[str]) -> str:
    """Return a document that shows ``table.tex`` and the figures as a paper would include them."""
    parts = [
        f"\\begin{{figure}}\n\\centering\\includegraphics[width=\\columnwidth]{{{name}}}\n"
        f"\\caption{{{escape_latex(name)}}}\n\\end{{figure}}\n"
        for name in figures
    ]
    return (
        "% pdflatex example.tex\n\\documentclass[twocolumn]{article}\n"
        "\\usepackage[T1]{fontenc}\n\\usepackage{booktabs,graphicx}\n\\begin{document}\n\\input{table}\n"
        + "".join(parts)
        + "\\end{document}\n"
    )


def _comments(notes: list[str]) -> str:
    return "".join(f"% {line}\n" for line in notes)
