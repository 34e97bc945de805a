"""From record files to finished tables, in two steps: reading, a file's worth of runs at a time and in any
process, and making the tables of one folder.

Records that may share a table have one task and one profile, hence one folder; so folders are independent.
"""

from __future__ import annotations

import gc
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.analysis import attachment_columns
from benchmarks.analysis.attachment_columns import Beside, Files
from benchmarks.api import InvalidRecord
from benchmarks.comparability import grouping, run_summary
from benchmarks.comparability.run_summary import RunSummary
from benchmarks.leaderboard.site import run_files
from benchmarks.records import store
from benchmarks.records.canonical import canonical
from benchmarks.records.record import Record
from benchmarks.records.text import sanitize


@dataclass(frozen=True)
class Job:
    """What a leaderboard is made of. ``brief``: it is too large for plots and details, and records are not
    kept; ``files``: those that lie beside records."""

    results_dir: Path
    site: Path
    brief: bool
    files: Files = field(default_factory=Files)


@dataclass(frozen=True)
class Read:
    """Some records, checked and reduced, in the order of their files; their pages' data are written."""

    runs: list[RunSummary]
    beside: dict[str, Beside]


@dataclass(frozen=True)
class Board:
    """One finished table. ``order`` sorts the tables of all folders; ``files`` are its plots."""

    order: tuple[str, ...]
    title: str
    markdown: str
    entry: dict[str, Any]
    site: dict[str, Any]
    files: dict[str, bytes] = field(default_factory=dict)


@contextmanager
def uncollected() -> Iterator[None]:
    """No garbage collection meanwhile: records and tables are trees in which there is nothing to collect, and
    looking through them again and again costs a third of the time."""
    before = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if before:
            gc.enable()


def read(job: Job, first: int, paths: Sequence[Path]) -> Read:
    """Read and check records, and write their part of the site.

    Args:
        job: of the whole leaderboard.
        first: number of the first of ``paths`` among all; starts a file of the site.
        paths: of the records, in order.

    Raises:
        InvalidRecord: a record is not valid, or lies where it does not belong.
    """
    from benchmarks.claims import judge

    found = Read([], {})
    with uncollected():
        for start in range(0, len(paths), run_files.RUNS_A_FILE):
            file = run_files.File(job.site, first + start)
            for place, path in enumerate(paths[start : start + run_files.RUNS_A_FILE], first + start):
                record = _load(job, path)
                given = attachment_columns.of_record(record, job.files)
                if any(given):
                    found.beside[record["id"]] = given
                measured = judge.measured(record)
                found.runs.append(
                    run_summary.summarize(record, keep=not job.brief, place=place, measured=measured)
                )
                file.add(record, given)
            file.write()
    return found


def _load(job: Job, path: Path) -> Record:
    record = store.load(path)
    if path.as_posix() != f"{job.results_dir.as_posix()}/records/{store.place(record)}":
        due = job.results_dir / "records" / store.relative_path(record)
        raise InvalidRecord(f"{path}: belongs in {due.parent}\nmove it there, under the name {due.name}")
    return record


def tables_of(job: Job, folder: Sequence[RunSummary], given: Mapping[str, Beside]) -> list[Board]:
    """The tables of all runs of one folder; their part of the site is written."""
    with uncollected():
        return [_board(job, *named, given) for named in _named(grouping.groups(folder))]


def _named(groups: list[list[RunSummary]]) -> list[tuple[list[RunSummary], str, str]]:
    """Each group with a mark and with what sets it apart: both empty for the largest of a task, tier and
    profile, so that a later group with another allowance takes no one's file names."""
    found: list[tuple[list[RunSummary], str, str]] = []
    for group in groups:
        facts = group[0].facts
        place = [facts[k] for k in ("task", "tier", "profile")]
        rivals = [g for g in groups if [g[0].facts[k] for k in ("task", "tier", "profile")] == place]
        largest = max(rivals, key=len)
        mark = "" if group is largest else hashlib.sha256(canonical(facts)).hexdigest()[:6]
        found.append((group, mark, _apart(facts, largest[0].facts)))
    return found


def _apart(own: Mapping[str, str], main: Mapping[str, str]) -> str:
    """Which facts keep a group out of the main table of its task, tier and profile."""
    unlike = [name for name in {**main, **own} if own.get(name) != main.get(name)]
    return ", ".join(f"{name} {own.get(name, '-')} (there {main.get(name, '-')})" for name in unlike)


BRIEF = ("shared", "metric", "rows", "baseline", "comparisons", "notes")
"""What ``leaderboard.json`` has of a table of a large board."""


def _board(
    job: Job, group: Sequence[RunSummary], mark: str, apart: str, given: Mapping[str, Beside]
) -> Board:
    from benchmarks.analysis import ranges, tables
    from benchmarks.leaderboard.site import pages
    from benchmarks.report import text_formats

    table = tables.of_runs(group, beside=given)
    if apart:
        table.notes.append(
            "Not comparable with the larger table of this task, tier and profile; that differs in (its own in"
            f" brackets): {apart}."
        )
    if problems := ranges.impossible(table):
        raise InvalidRecord(
            "\n".join(
                [f"{table.shared['task']}, {table.shared['profile']}: impossible figures", *problems[:20]]
            )
            + "\nfind the record with: supernet-bench validate "
            + (job.results_dir / "records").as_posix()
        )
    shared = table.shared
    title = f"{shared['task']}, {shared['tier']}, {shared['profile']}" + (f" ({mark})" if mark else "")
    slug = "-".join([shared["task"], shared["tier"], shared["profile"], *([mark] if mark else [])])
    entry = text_formats.as_json(table, only=BRIEF if job.brief else ())
    files: dict[str, bytes] = {}
    pictures = {}
    if job.brief:
        text = _brief(table, title, len(group))
        entry["records"] = len(group)
    else:
        from benchmarks.report import html
        from benchmarks.report.plots import pareto

        records = run_summary.records_of(group)
        files = {f"plots/{slug}-{file}": data for file, data in pareto.images(records, table).items()}
        drawn = [f"![{_alt(f)}]({f})\n" for f in sorted(files) if f.endswith(".svg")]
        text = "\n".join([text_formats.markdown(table, title, level=2), *drawn])
        entry["records"] = [_entry(record) for record in records]
        if picture := files.get(f"plots/{slug}-performance.svg"):
            pictures["performance"] = picture, html.alternative("performance", table)
    if apart:
        text += (
            f"\nNot compared with the other table of this task, tier and profile: {text_formats.md(apart)}.\n"
        )
    shown = pages.write_table(job.site, group, table, title, slug, pictures, job.brief)
    return Board(tuple(group[0].facts.values()), title, text, {"title": title, **entry}, shown, files)


def _brief(table: Any, title: str, records: int) -> str:
    """One table of a large board: how much there is, and the best row at each limit."""
    from benchmarks.analysis import number_format
    from benchmarks.report.text_formats import md

    best = table.rows[table.rows["compared"]].dropna(subset=["quality"]).drop_duplicates("limit")
    told = [
        f"{row['limit']}: {sanitize(row['method'], 60)}, {number_format.interval(row)} {table.metric_name}"
        for row in best.head(10).to_dict("records")
    ]
    head = f"## {title}\n\n{records} records, {len(table.rows)} rows; best at each limit:\n"
    return "\n".join([head, *(f"- {md(line)}" for line in told), ""])


def _alt(file: str) -> str:
    return file.removeprefix("plots/").removesuffix(".svg")


def _entry(record: Record) -> dict[str, str]:
    return {"path": store.relative_path(record).as_posix(), "digest": record["digest"]}
