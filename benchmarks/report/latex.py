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
    heads = [table.metric_name if key == "quality" else shown[key][0] for key in keys]
    body = latex_table(pd.DataFrame(cells, columns=heads), broken=_NAMES)
    return (
        _comments([*table.notices, *texts.footnotes(table)])
        + "\\begin{table}\n\\centering\\footnotesize\\setlength{\\tabcolsep}{2.5pt}\n"
        + f"{body}\\caption{{{escape_latex(_table_caption(table, cells))}}}\n\\end{{table}}\n"
    )


_NAMES = r"p{.34\columnwidth}"
"""Column of methods in a table of one column: long names are broken."""


def _cell(text: str, key: str) -> str:
    """Return a cell without "(default options)" and without a ratio's interval, for lack of room."""
    if key == "method":
        return text.removesuffix(" (default options)")
    return text.partition(" [")[0] if key == "ratio" else text


def _table_caption(table: Table, cells: list[list[str]]) -> str:
    """Return the caption of a table of one column, which explains each mark in its cells."""
    marks = [
        f"{mark}: one network, and the interval leaves out the spread between seeds"
        for mark in texts.INTERVAL_NOTES
        if any(cell.endswith(f"] {mark}") for row in cells for cell in row)
    ]
    parts = [
        f"{table.metric_name} [95 % interval]",
        "x ref: latency over that of the space's largest network",
        *marks,
    ]
    return f"{'; '.join(parts)}. {texts.caption(table)}."


CAPTIONS = {
    "tradeoff.pdf": "{metric} against {axis}; bars: 95 % intervals; grey line: front;"
    " crosses: networks over their limit.",
    "anytime.pdf": "Hypervolume of the networks found so far over the share of the allowance spent.",
}
"""Figure -> caption of the example."""


def example(table: Table, figures: list[str]) -> str:
    """Return a document that shows ``table.tex`` and the figures as a paper would include them."""
    axis = "latency over the reference network's" if table.axis.figure == "ratio" else "parameters"
    captions = {name: CAPTIONS[name].format(metric=table.metric_name, axis=axis) for name in figures}
    parts = [
        f"\\begin{{figure}}\n\\centering\\includegraphics[width=\\columnwidth]{{{name}}}\n"
        f"\\caption{{{escape_latex(caption)}}}\n\\end{{figure}}\n"
        for name, caption in captions.items()
    ]
    return (
        "% pdflatex example.tex\n\\documentclass[twocolumn]{article}\n"
        "\\usepackage[T1]{fontenc}\n\\usepackage{booktabs,graphicx}\n\\begin{document}\n\\input{table}\n"
        + "".join(parts)
        + "\\end{document}\n"
    )


def _comments(notes: list[str]) -> str:
    return "".join(f"% {line}\n" for line in notes)
