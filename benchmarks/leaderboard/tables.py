"""From record files to finished tables: records are read by any process, tables made a folder at a time.

Records that may share a table have one task and one profile, hence one folder; so folders are independent.
"""

from __future__ import annotations

import gc
import hashlib
import pickle
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.analysis.attachment_columns import Attached, AttachedFiles, read_attached
from benchmarks.analysis.run_page import RunPage, run_page
from benchmarks.api import InvalidRecordError
from benchmarks.comparability import grouping, run_summary
from benchmarks.comparability.run_summary import RunSummary
from benchmarks.leaderboard import record_index
from benchmarks.leaderboard.known_records import KnownPart, is_kept
from benchmarks.leaderboard.known_tables import KnownTables
from benchmarks.leaderboard.people import People
from benchmarks.leaderboard.site.run_files import RUNS_A_FILE, RunFile
from benchmarks.records import store, valid_contents
from benchmarks.records.canonical import canonical
from benchmarks.records.record import Record

if TYPE_CHECKING:
    import pyarrow

    from benchmarks.analysis.table import Table
    from benchmarks.leaderboard.site.pages import SiteTable

PUBLISHED_RECORDS = "results/records"
"""Folder of the records in the commands that the site shows."""


@dataclass(frozen=True)
class BoardSource:
    """Inputs and places of a leaderboard."""

    results_dir: Path
    site: Path
    brief: bool
    """True if it is too large for plots and details; records are then not kept."""
    files: AttachedFiles = field(default_factory=AttachedFiles)
    """Files that lie beside records."""
    people: People = field(default_factory=People)
    repository: str = ""
    """Web address of the repository; empty if it has none."""

    def path(self, place: str) -> Path:
        """Return the record file at a place in the store."""
        return Path(f"{self.results_dir}/records/{place}")


class PackedRuns:
    """Summaries that cross processes as bytes: a process that only hands them on does not unpack them."""

    def __init__(self, runs: Sequence[RunSummary]) -> None:
        self._runs: Sequence[RunSummary] | bytes = runs

    def __reduce__(self) -> tuple[Callable[[bytes], PackedRuns], tuple[bytes]]:
        packed = self._runs if isinstance(self._runs, bytes) else pickle.dumps(self._runs)
        return PackedRuns._of_bytes, (packed,)

    @classmethod
    def _of_bytes(cls, packed: bytes) -> PackedRuns:
        runs = cls(())
        runs._runs = packed
        return runs

    def unpack(self) -> Sequence[RunSummary]:
        """Return the summaries."""
        runs: Sequence[RunSummary] = pickle.loads(self._runs) if isinstance(self._runs, bytes) else self._runs
        return runs


@dataclass(frozen=True)
class FolderPart:
    """Some records of one folder, checked and reduced, in the order of their files."""

    folder: tuple[str, str]
    """Task and profile."""
    first: int
    """Number of the first record among all of the leaderboard."""
    runs: PackedRuns
    rows: pyarrow.Table | None
    """Their part of the index of all records."""
    concerned: list[RunSummary]
    """The runs that claims are about."""
    attached: dict[str, Attached]
    contents: list[bytes]
    """Digest of the file of each record."""


@dataclass(frozen=True)
class RecordBatch:
    """Some records, folder by folder; their pages' data are written."""

    parts: list[FolderPart]
    index: str = ""
    """File of the index of known records that has them; empty if none has."""


@dataclass(frozen=True)
class Board:
    """One finished table with its part of every generated file."""

    order: tuple[str, ...]
    """Sorts the tables of all folders."""
    title: str
    markdown: str
    entry: dict[str, object]
    """Its part of ``leaderboard.json``."""
    site: SiteTable
    files: dict[str, bytes] = field(default_factory=dict)
    """Its plots, by path."""


@contextmanager
def without_garbage_collection() -> Iterator[None]:
    """Suspend garbage collection: records and tables are trees without garbage, and visiting them again and
    again costs a third of the time."""
    before = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if before:
            gc.enable()


def start_worker() -> None:
    """Import the modules that tables need, and keep them out of garbage collection: they stay."""
    from benchmarks.analysis import table
    from benchmarks.leaderboard.site import pages

    assert table and pages
    gc.freeze()


def read_records(
    source: BoardSource, first: int, places: Sequence[str], known: KnownPart | None = None
) -> RecordBatch:
    """Read and check records, and write their part of the site.

    Args:
        source: of the whole leaderboard.
        first: number of the first of ``places`` among all; starts a file of the site.
        places: of the records in the store, in order.
        known: index of records that were checked before; None if each is to be read.

    Raises:
        InvalidRecordError: a record is not valid, or lies where it does not belong.
    """
    records: list[tuple[RunSummary, bytes]] = []
    attached: dict[str, Attached] = {}
    with without_garbage_collection():
        if known is not None:
            known.read()
        for start in range(0, len(places), RUNS_A_FILE):
            file = RunFile(source.site, first + start, source.people, source.repository)
            for number, place in enumerate(places[start : start + RUNS_A_FILE], first + start):
                run, page, content = _read_record(source, number, place, attached, known)
                records.append((run, content))
                file.add(page)
            file.write()
        index = known.write() if known is not None else ""
        parts = [
            _folder_part(folder, [*of_folder], attached) for folder, of_folder in groupby(records, _folder)
        ]
    for listed in (valid_contents.contents(), valid_contents.own_indices()):
        listed.flush()  # processes of a pool end without a last call
    return RecordBatch(parts, index)


def _folder(record: tuple[RunSummary, bytes]) -> tuple[str, str]:
    facts = record[0].facts
    return facts["task"], facts["profile"]


def _folder_part(
    folder: tuple[str, str], records: Sequence[tuple[RunSummary, bytes]], attached: Mapping[str, Attached]
) -> FolderPart:
    runs, contents = ([*column] for column in zip(*records, strict=True))
    return FolderPart(
        folder,
        runs[0].place,
        PackedRuns(runs),
        record_index.table_of(runs),
        [run for run in runs if run.measured is not None],
        {run.id: attached[run.id] for run in runs if run.id in attached},
        contents,
    )


def _read_record(
    source: BoardSource, number: int, place: str, attached: dict[str, Attached], known: KnownPart | None
) -> tuple[RunSummary, RunPage, bytes]:
    """Return a record's summary, page and digest; contents of files beside it are added to ``attached``."""
    path = source.path(place)
    data = store.read(path)
    content = valid_contents.content_digest(data)
    beside = any(path.stem in kind for kind in source.files)
    if known is not None and not beside and (kept := known.find(content, place, number)) is not None:
        run = kept.run
        page = RunPage(run.id, f"{PUBLISHED_RECORDS}/{place}", run.method, kept.page, kept.origin)
        return run, page, content
    record = store.check(path, data, content)
    if place != store.place(record):
        due = source.results_dir / "records" / store.relative_path(record)
        raise InvalidRecordError(f"{path}: belongs in {due.parent}\nmove it there, under the name {due.name}")
    return *_reduced(source, number, record, content, attached, known), content


def _reduced(
    source: BoardSource, number: int, record: Record, content: bytes, attached: dict[str, Attached],
    known: KnownPart | None,
) -> tuple[RunSummary, RunPage]:  # fmt: skip
    """Return the summary and the page of a checked record."""
    from benchmarks.claims import judge

    beside = read_attached(record, source.files)
    if any(beside):
        attached[record["id"]] = beside
    measured = judge.measured(record)
    run = run_summary.summarize(record, keep=not source.brief, place=number, measured=measured)
    page = run_page(run, record, beside, PUBLISHED_RECORDS)
    if known is not None and not any(beside) and is_kept(record):
        known.add(content, store.place(record), run, page)
    return run, page


def build_boards(
    source: BoardSource,
    folder: Sequence[PackedRuns],
    attached: Mapping[str, Attached],
    known: KnownTables | None = None,
) -> list[Board]:
    """Return the tables of all runs of one folder; their part of the site is written.

    Args:
        source: of the whole leaderboard.
        folder: all of its runs, in order.
        attached: record id -> contents of the files about it.
        known: these tables as they may be kept; None if they are not to be.
    """

    def make(target: BoardSource) -> list[Board]:
        runs = [run for part in folder for run in part.unpack()]
        return [_board(target, group, attached) for group in _table_groups(grouping.groups(runs))]

    with without_garbage_collection():
        boards = make(source) if known is None else known.boards(source, make)
    valid_contents.own_indices().flush()
    return boards


@dataclass(frozen=True)
class _TableGroup:
    """The runs of one table; mark and difference are empty for the largest of a task, tier and profile."""

    runs: list[RunSummary]
    mark: str
    """Digits behind the names of its files, so that a later group takes no other's names."""
    difference: str
    """Facts that keep the group out of the main table."""


def _table_groups(groups: list[list[RunSummary]]) -> list[_TableGroup]:
    marked = []
    for group in groups:
        facts = group[0].facts
        place = [facts[k] for k in ("task", "tier", "profile")]
        rivals = [g for g in groups if [g[0].facts[k] for k in ("task", "tier", "profile")] == place]
        largest = max(rivals, key=len)
        mark = "" if group is largest else hashlib.sha256(canonical(facts)).hexdigest()[:6]
        marked.append(_TableGroup(group, mark, _difference(facts, largest[0].facts)))
    return marked


def _difference(own: Mapping[str, str], main: Mapping[str, str]) -> str:
    """Return the facts that keep a group out of the main table of its task, tier and profile."""
    unlike = [name for name in {**main, **own} if own.get(name) != main.get(name)]
    return ", ".join(f"{name} {own.get(name, '-')} (there {main.get(name, '-')})" for name in unlike)


BRIEF = ("shared", "metric", "rows", "baseline", "comparisons", "notes")
"""Fields that ``leaderboard.json`` has of a table of a large board."""


def identity_of(group: Sequence[RunSummary]) -> str:
    """Return 12 hex digits, the same for tables of the same facts."""
    return hashlib.sha256(canonical({**group[0].facts, **group[-1].facts})).hexdigest()[:12]


def _board(source: BoardSource, group: _TableGroup, attached: Mapping[str, Attached]) -> Board:
    from benchmarks.analysis.table import build_from_runs
    from benchmarks.leaderboard.site import pages
    from benchmarks.report import data_formats, figure_texts
    from benchmarks.report.markdown import markdown
    from benchmarks.report.table_markup import escape_markdown

    table = build_from_runs(group.runs, attached=attached)
    if group.difference:
        table.notes.append(
            "Not comparable with the larger table of this task, tier and profile; that differs in (its own in"
            f" brackets): {group.difference}."
        )
    _refuse_impossible(table, source)
    names = [table.shared[k] for k in ("task", "tier", "profile")]
    title = ", ".join(names) + (f" ({group.mark})" if group.mark else "")
    slug = "-".join([*names, *([group.mark] if group.mark else [])])
    entry: dict[str, object] = {"title": title}
    entry |= data_formats.as_json(table, only=BRIEF if source.brief else ())
    files: dict[str, bytes] = {}
    pictures = {}
    if source.brief:
        text = _brief(table, title, len(group.runs))
        entry["records"] = len(group.runs)
    else:
        from benchmarks.report.plots import gallery

        # Committed is the one picture that the page shows; the rest are drawn for the site alone.
        images = gallery.images(table, ("png",), ("pareto",))
        files = {f"plots/{slug}-{file}": data for file, data in images.items() if file.endswith(".png")}
        drawn = [f"![Quality against {table.axis.name}: {title}]({file})\n" for file in files]
        text = "\n".join([markdown(table, title, level=2), *drawn])
        entry["records"] = [_record_entry(record) for record in run_summary.records_of(group.runs)]
        on_site = gallery.images(table, ("svg",), pages.PICTURES)
        pictures = {
            name: (on_site[f"{name}.svg"], figure_texts.alternative(name, table))
            for name in pages.PICTURES
            if f"{name}.svg" in on_site
        }
    if group.difference:
        text += (
            "\nNot compared with the other table of this task, tier and profile:"
            f" {escape_markdown(group.difference)}.\n"
        )
    shown = pages.write_table(
        source.site, table, identity_of(group.runs), title, slug, pictures, source.brief, source.people
    )
    return Board(tuple(group.runs[0].facts.values()), title, text, entry, shown, files)


def _refuse_impossible(table: Table, source: BoardSource) -> None:
    """Raise InvalidRecordError with the impossible figures of a table, if it has any."""
    from benchmarks.analysis import plausibility

    if problems := plausibility.impossible(table):
        head = f"{table.shared['task']}, {table.shared['profile']}: impossible figures"
        folder = (source.results_dir / "records").as_posix()
        raise InvalidRecordError(
            "\n".join([head, *problems[:20]]) + f"\nfind the record with: supernet-bench validate {folder}"
        )


def _brief(table: Table, title: str, records: int) -> str:
    """Return one table of a large board: its numbers of records and rows, and the best row at each limit."""
    from benchmarks.analysis import number_format
    from benchmarks.records.text import sanitize
    from benchmarks.report.table_markup import escape_markdown

    best = table.rows[table.rows["compared"]].dropna(subset=["quality"]).drop_duplicates("limit")
    lines = [
        f"{row['limit']}: {sanitize(row['method'], 60)}, {number_format.interval(row)} {table.metric_name}"
        for row in best.head(10).to_dict("records")
    ]
    head = f"## {title}\n\n{records} records, {len(table.rows)} rows; best at each limit:\n"
    return "\n".join([head, *(f"- {escape_markdown(line)}" for line in lines), ""])


def _record_entry(record: Record) -> dict[str, str]:
    return {"path": store.relative_path(record).as_posix(), "digest": record["digest"]}
