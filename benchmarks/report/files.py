"""Files of a report: tables as Markdown, CSV, JSON and LaTeX, and every plot."""

from __future__ import annotations

from pathlib import Path

from benchmarks.analysis.table import Table
from benchmarks.records.store import write_text
from benchmarks.report.data_formats import as_json, csv, json_text, sets_csv
from benchmarks.report.latex import column_table, example, latex
from benchmarks.report.markdown import markdown
from benchmarks.report.plots import gallery, style


def title_of(table: Table) -> str:
    """Return task, tier and profile as a heading."""
    return f"{table.shared['task']}, {table.shared['tier']}, on {table.shared['profile']}"


def write_paper(table: Table, folder: Path) -> dict[str, Path]:
    """Write the parts of a paper into a folder: figures of one column as PDF, a LaTeX table, and an example.

    Returns:
        File name -> path.
    """
    from benchmarks.report.plots import paper

    figures = paper.images(table)
    files: dict[str, str | bytes] = {
        **figures, "table.tex": column_table(table), "example.tex": example(table, [*figures]),
    }  # fmt: skip
    for name, content in files.items():
        write_text(folder / name, content)
    return {name: folder / name for name in files}


def write_report(table: Table, folder: Path) -> dict[str, Path]:
    """Write a comparison into a folder; plots of an earlier report that had more to draw are removed.

    Args:
        table: to show.
        folder: of the report; made if missing.

    Returns:
        File name -> path: ``table.md``, ``table.csv``, ``test_sets.csv``, ``table.json``, ``table.tex``, and
        PNG and SVG of each drawing of ``gallery``.
    """
    files: dict[str, str | bytes] = {
        "table.md": markdown(table, title_of(table)),
        "table.csv": csv(table),
        "test_sets.csv": sets_csv(table),
        "table.json": json_text(as_json(table)),
        "table.tex": latex(table),
        **gallery.images(table),
    }
    for name, content in files.items():
        write_text(folder / name, content)
    drawings = {f"{drawing}.{kind}" for drawing in gallery.DRAWINGS for kind in style.FORMATS}
    for name in drawings - set(files):
        (folder / name).unlink(missing_ok=True)
    return {name: folder / name for name in files}
