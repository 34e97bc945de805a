"""The tables of one folder of records, from reading to finished text: a unit of work for one process.

Records that may share a table have one task and one profile, hence one folder; so folders are independent,
and only one of them is in memory at a time.
"""

from __future__ import annotations

import gc
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks import records as store
from benchmarks import verified
from benchmarks.api import InvalidRecord
from benchmarks.records import Record


@dataclass(frozen=True)
class Job:
    """What to read and what to make of it. ``brief``: the board is too large for plots and details;
    ``verdicts``: record id -> files of the verdicts on it, of all folders."""

    results_dir: Path
    paths: tuple[Path, ...]
    site: Path
    brief: bool
    verdicts: Mapping[str, tuple[Path, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class Board:
    """One finished table. ``order`` sorts the tables of all folders; ``files`` are its plots."""

    order: tuple[str, ...]
    title: str
    markdown: str
    entry: dict[str, Any]
    site: dict[str, Any]
    files: dict[str, bytes] = field(default_factory=dict)


Finished = tuple[list[Board], list[Record]]
"""The tables of a folder, and of its records those that the papers' claims are about."""


def finish(job: Job) -> Finished:
    """Read, check and render the records of one folder; its part of the site is written.

    Raises:
        InvalidRecord: a record is not valid, or lies where it does not belong.
    """
    gc.disable()  # records are trees: nothing to collect, and looking costs a third of the time
    try:
        found = [_read(job, path) for path in job.paths]
        from benchmarks import claims
        from benchmarks.report import rows

        made = [_board(job, group, mark) for group, mark in _named(rows.groups(found))]
        return made, [_evidence(record) for record in found if claims.concern(record["spec"])]
    finally:
        gc.enable()


def _read(job: Job, path: Path) -> Record:
    record = store.load(path)
    due = job.results_dir / "records" / store.relative_path(record)
    if path != due:
        raise InvalidRecord(f"{path}: belongs in {due.parent}\nmove it there, under the name {due.name}")
    return record


def _evidence(record: Record) -> Record:
    """A record without what takes most room and no claim looks at."""
    candidates = [{k: v for k, v in c.items() if k != "sentences"} for c in record["candidates"]]
    return record | {"candidates": candidates, "search_log": []}


def _named(groups: list[list[Record]]) -> list[tuple[list[Record], str]]:
    """Each group with a mark: empty for the largest of a task, tier and profile, so that a later group
    with another allowance takes no one's file names."""
    from benchmarks.report import rows

    found: list[tuple[list[Record], str]] = []
    for group in groups:
        facts = rows.facts(group[0])
        place = [facts[k] for k in ("task", "tier", "profile")]
        rivals = [g for g in groups if [rows.facts(g[0])[k] for k in ("task", "tier", "profile")] == place]
        mark = "" if group is max(rivals, key=len) else hashlib.sha256(store.canonical(facts)).hexdigest()[:6]
        found.append((group, mark))
    return found


def _board(job: Job, group: Sequence[Record], mark: str) -> Board:
    from benchmarks.report import formats, html, plots, rows, site, tables

    given = {r["id"]: verified.of_record(r, job.verdicts[r["id"]]) for r in group if r["id"] in job.verdicts}
    table = tables.build(group, verdicts=given)
    shared = table.shared
    title = f"{shared['task']}, {shared['tier']}, {shared['profile']}" + (f" ({mark})" if mark else "")
    slug = "-".join([shared["task"], shared["tier"], shared["profile"], *([mark] if mark else [])])
    entry = formats.as_json(table)
    files: dict[str, bytes] = {}
    if job.brief:
        text = _brief(table, title, len(group))
        entry = {k: entry[k] for k in ("shared", "metric", "rows", "baseline", "comparisons", "notes")}
        entry["records"] = len(group)
    else:
        files = {f"plots/{slug}-{file}": data for file, data in plots.images(group, table).items()}
        drawn = [f"![{_alt(f)}]({f})\n" for f in sorted(files) if f.endswith(".svg")]
        text = "\n".join([formats.markdown(table, title, level=2), *drawn])
        entry["records"] = [_entry(r) for r in group]
    picture = files.get(f"plots/{slug}-performance.svg")
    pictures = {"performance": (picture, html.alternative("performance", table))} if picture else {}
    shown = site.write_table(job.site, group, table, title, slug, pictures, job.brief)
    return Board(tuple(rows.facts(group[0]).values()), title, text, {"title": title, **entry}, shown, files)


def _brief(table: Any, title: str, records: int) -> str:
    """One table of a large board: how much there is, and the best row at each limit."""
    from benchmarks.report import figures, rows
    from benchmarks.report.formats import md

    best = table.rows.dropna(subset=["quality"]).drop_duplicates("limit")
    told = [
        f"{row['limit']}: {rows.plain(row['method'], 60)}, {figures.interval(row)} {table.metric_name}"
        for row in best.head(10).to_dict("records")
    ]
    head = f"## {title}\n\n{records} records, {len(table.rows)} rows; best at each limit:\n"
    return "\n".join([head, *(f"- {md(line)}" for line in told), ""])


def _alt(file: str) -> str:
    return file.removeprefix("plots/").removesuffix(".svg")


def _entry(record: Record) -> dict[str, str]:
    return {"path": store.relative_path(record).as_posix(), "digest": record["digest"]}
