"""The static site of the leaderboard: pages that never change, and data files that they load by script tag.

No page with a script holds a text of a record: every such text is in a data file and enters the page as a
text node. So the site works from ``file://`` under a policy without inline scripts. ``plain.html`` is the one
page with such texts, escaped, and its policy allows no script at all.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from benchmarks.analysis.table import Table
from benchmarks.claims import hypotheses
from benchmarks.leaderboard import claims_page
from benchmarks.leaderboard.people import People
from benchmarks.leaderboard.site import data_files, headline, links, scriptless, table_files, view_data
from benchmarks.report import data_formats, latex, texts

PAGES = (
    "index.html", "row.html", "claims.html", "style.css", "common.js", "plot.js", "tradeoff.js", "views.js",
    "grid.js", "columns.js", "overview.js", "trace.js", "row.js", "claims.js",
)  # fmt: skip
PICTURES = ("performance", "search", "budget")
"""Drawings of a table that the site shows beside its own views."""
VERDICTS = (hypotheses.SUPPORTED, hypotheses.REFUTED, hypotheses.UNDECIDED, hypotheses.NOT_TESTED)


class TableEntry(TypedDict):
    """Entry of a table in the site's list of tables."""

    id: str
    title: str
    sentence: str
    runs: int
    rows: int
    allowance: str
    methods: int
    task: str
    tier: str
    profile: str
    space: str


@dataclass(frozen=True)
class SiteTable:
    """A table whose files are written: its entry, its part of the plain page, and its weight."""

    entry: TableEntry
    plain: str
    weight: tuple[int, int, int]
    """Rank among the tables (``headline.weight``)."""


class Picture(TypedDict):
    """An SVG file of the site, with a text for those who cannot see it."""

    path: str
    alternative: str


def write_pages(
    folder: Path,
    written: Iterable[SiteTable],
    records: int,
    judged: Sequence[hypotheses.ClaimVerdict],
    repository: str = "",
) -> None:
    """Write the files that all tables share: pages, the list of tables, claims, the plain page.

    Args:
        folder: of the site.
        written: every table.
        records: their number.
        judged: all claims.
        repository: web address of the board's own; empty if it has none.
    """
    web = Path(__file__).parent / "web"
    folder.mkdir(parents=True, exist_ok=True)
    for name in PAGES:
        (folder / name).write_bytes((web / name).read_bytes())
    ordered = sorted(written, key=lambda table: (table.entry["title"], table.entry["id"]))
    first = headline.choose([(t.weight, t.entry["runs"], t.entry["id"]) for t in ordered])
    counts = {verdict: sum(v.verdict == verdict for v in judged) for verdict in VERDICTS}
    index = {
        "tables": [table.entry for table in ordered], "records": records, "headline": first,
        "links": links.of_board(repository) if judged else [],
        "claims": {verdict: count for verdict, count in counts.items() if count},
    }  # fmt: skip
    data_files.write(folder / "data" / "index.js", "index", index)
    claims = [
        {**v.to_dict()["claim"], "verdict": v.verdict, "n": v.n, "records": v.records, "command": v.command}
        | {
            "shown": claims_page.effect(v),
            "verdict_with_reason": claims_page.verdict_with_reason(v),
            "decide": claims_page.without_command(v),
        }
        | {"evidence": claims_page.evidence(v)}
        for v in judged
    ]
    shown = {"papers": hypotheses.papers(), "claims": claims, "rules": claims_page.RULES}
    data_files.write(folder / "data" / "claims.js", "claims", shown)
    best_first = sorted(ordered, key=lambda table: table.entry["id"] != first)
    page = scriptless.page([(t.entry["title"], t.plain) for t in best_first], judged)
    (folder / "plain.html").write_text(page, "utf-8")


def write_table(
    folder: Path, table: Table, identity: str, title: str, name: str,
    pictures: Mapping[str, tuple[bytes, str]] | None = None, brief: bool = False,
    people: People | None = None,
) -> SiteTable:  # fmt: skip
    """Write one table's data, pictures and downloads into the site.

    Args:
        folder: of the site.
        table: to show.
        identity: 12 hex digits, the same for the same facts.
        title: any text.
        name: of its files, without an ending.
        pictures: name -> SVG and a text for those who cannot see it.
        brief: without the scores on each test set, which stand in the runs' files all the same.
        people: behind the rows; default nobody.
    """
    file_name = f"{name}-{identity[:6]}"
    core = table_files.write_rows(folder, table, identity, people or People())
    files = {
        "table": (identity, table_files.first_file(table, identity, title, core)),
        "below": (
            f"{identity}-below",
            table_files.below(
                table,
                _downloads(folder, table, file_name, brief),
                _pictures(folder, file_name, pictures or {}),
                brief,
            ),
        ),
        "views": (f"{identity}-views", view_data.view_data(table)),
    }
    for kind, (file, value) in files.items():
        data_files.write(folder / "data" / f"{file}.js", kind, {"id": file, **value})
    shared, sentence = table.shared, headline.sentence(table)
    entry: TableEntry = {
        "id": identity, "title": title, "sentence": sentence, "runs": len(table.runs),
        "rows": len(table.each), "allowance": texts.caption(table).split("allowance a run: ")[-1],
        "methods": len(set(table.named.values())),
        "task": shared["task"], "tier": shared["tier"], "profile": shared["profile"],
        "space": shared["space"],
    }  # fmt: skip
    return SiteTable(entry, scriptless.table(table, sentence), headline.weight(table))


def _pictures(folder: Path, name: str, pictures: Mapping[str, tuple[bytes, str]]) -> dict[str, Picture]:
    written: dict[str, Picture] = {}
    for kind, (drawn, alternative) in pictures.items():
        path = folder / "plots" / f"{name}-{kind}.svg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(drawn)
        written[kind] = {"path": path.relative_to(folder).as_posix(), "alternative": alternative}
    return written


def _downloads(folder: Path, table: Table, name: str, brief: bool) -> dict[str, str]:
    """Write the table as CSV, LaTeX and, where pyarrow is installed, Parquet; return format -> path."""
    text = data_formats.csv(table)
    files: dict[str, bytes] = {"csv": text.encode(), "tex": latex.latex(table, not brief).encode()}
    if not brief:
        files["test_sets.csv"] = data_formats.sets_csv(table).encode()
    try:
        import pyarrow.csv as arrow
        import pyarrow.parquet as parquet
    except ImportError:
        pass
    else:
        buffer = io.BytesIO()
        parquet.write_table(arrow.read_csv(io.BytesIO(text.encode())), buffer)
        files["parquet"] = buffer.getvalue()
    (folder / "downloads").mkdir(parents=True, exist_ok=True)
    for kind, data in files.items():
        (folder / "downloads" / f"{name}.{kind}").write_bytes(data)
    return {kind: f"downloads/{name}.{kind}" for kind in files}
