"""Tables, plots, the page and the leaderboard, from result records alone. Imports no torch.

``render`` and ``terminal`` are what the command line calls. pandas and matplotlib are imported when
first used, so that ``supernet-bench --help`` does not wait for them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.api import UsageError
from benchmarks.records.record import Record
from benchmarks.records.store import write_text


def _table(records: Sequence[Record], baseline: str | None) -> Any:
    if not records:
        raise UsageError("no records to report on: make some first: supernet-bench run mt --tier smoke")
    from benchmarks.analysis import tables

    return tables.build(records, baseline)


def render(
    records: Sequence[Record], out_dir: Path, title: str | None = None, *, baseline: str | None = None
) -> dict[str, Path]:
    """Write the whole report of one comparison into ``out_dir``.

    Returns:
        File name -> path: ``table.md``, ``table.csv``, ``test_sets.csv``, ``table.json``, ``table.tex``,
        ``pareto.png`` and ``.svg``, ``hypervolume``, ``budget`` and, where a search was recorded, ``search``;
        ``index.html``.

    Raises:
        UsageError: no records, or records that must not share a table.
    """
    table = _table(records, baseline)
    from benchmarks.report import html, text_formats
    from benchmarks.report.plots import pareto

    title = title or f"{table.shared['task']}, {table.shared['tier']}, on {table.shared['profile']}"
    images = pareto.images(records, table)
    files: dict[str, str | bytes] = {
        "table.md": text_formats.markdown(table, title),
        "table.csv": text_formats.csv(table),
        "test_sets.csv": text_formats.sets_csv(table),
        "table.json": text_formats.json_text(text_formats.as_json(table)),
        "table.tex": text_formats.latex(table),
        **images,
        "index.html": html.page(records, table, images, title),
    }
    for name, content in files.items():
        write_text(Path(out_dir) / name, content)
    for drawing in pareto.drawings():  # of an earlier report that had more to draw
        for name in {f"{drawing}.png", f"{drawing}.svg"} - set(files):
            (Path(out_dir) / name).unlink(missing_ok=True)
    return {name: Path(out_dir) / name for name in files}


def terminal(records: Sequence[Record], *, baseline: str | None = None) -> Any:
    """The comparison as something a rich console prints, wide or narrow.

    Raises:
        UsageError: no records, or records that must not share a table.
    """
    table = _table(records, baseline)
    from benchmarks.report.console import Terminal

    return Terminal(table)


def as_json(records: Sequence[Record], *, baseline: str | None = None) -> dict[str, Any]:
    """The comparison as plain data, for ``--json``.

    Raises:
        UsageError: no records, or records that must not share a table.
    """
    table = _table(records, baseline)
    from benchmarks.report import text_formats

    return text_formats.as_json(table)
