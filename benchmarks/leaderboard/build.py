"""Leaderboard files, rebuilt from records, files beside records, and studies alone, always the same bytes.

A table never mixes records of different task, tier, profile, allowance, settings or data.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future
from contextlib import nullcontext
from itertools import chain, groupby
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, TypeVar

from benchmarks.api import UsageError
from benchmarks.hardware.probe import usable_cpus
from benchmarks.records import store, study_files
from benchmarks.records.folders import PUBLISHED, results_flag
from benchmarks.records.store import write_text

if TYPE_CHECKING:
    from benchmarks.comparability.run_summary import RunSummary
    from benchmarks.leaderboard import tables
    from benchmarks.leaderboard.known_records import KnownRecords

Result = TypeVar("Result")

SCHEMA = "supernet-bench/leaderboard/1"
COMMAND = "supernet-bench leaderboard"
JSON, PAGE, CLAIMS, SITE = "leaderboard.json", "LEADERBOARD.md", "CLAIMS.md", "site"
DETAILED = 1000
"""Records. A larger board is shown by the site alone: its page lists the best rows and has no plots."""

AT_ONCE, AHEAD = 500, 6
"""Records in one piece of work, and pieces that may be read before the tables need them."""
MOVED = 10_000
"""Runs of a folder, at most, whose tables another process makes: it needs its own copy of them."""

_PLOT = re.compile(r"plots/[A-Za-z0-9._-]+\.(svg|png)")

_HEAD = f"""# Leaderboard

Generated from `records/`, `verified/` and `runtimes/` by `{COMMAND}`; do not edit. Each table holds runs with
equal allowances on the same declared hardware and data; figures from different tables are not comparable.
"""
_BRIEF = f"""
There are more than {DETAILED:,} records: here stand the best rows of each table. All rows are on the site
(`{COMMAND}` writes it to `site/`) and in `leaderboard.json`.
"""
_EMPTY = """
There are no result records yet. Make one with `supernet-bench run mt`, then add its file under `records/`.
"""


def _contents(root: Path, site_dir: Path, *, indexed: bool = False) -> dict[str, bytes]:
    """Return every committed generated file, by its path under the results folder; the site is written.

    Args:
        root: folder of results.
        site_dir: folder of the site.
        indexed: whether a large board takes records that were checked before from their index, and keeps it.
    """
    from benchmarks.analysis.attachment_columns import find_attached
    from benchmarks.leaderboard import known_records, known_tables, people, tables
    from benchmarks.leaderboard.record_index import RecordIndex
    from benchmarks.leaderboard.site import links

    places = store.places(root / "records")
    brief = len(places) > DETAILED
    repository = links.repository(root.resolve())
    attached = find_attached(root, (PurePosixPath(place).stem for place in places))
    source = tables.BoardSource(root, site_dir, brief, attached, people.load(root), repository)
    known = known_records.known_records(root) if indexed and brief else None
    pending: list[Future[list[tables.Board]]] = []
    concerned: list[RunSummary] = []
    # The figures of a board that is not brief do leave garbage.
    collection = tables.without_garbage_collection() if brief else nullcontext()
    with collection, RecordIndex(site_dir) as records, _workers(brief, len(places)) as workers:
        batches = _batches(source, places, workers, known)
        every = chain.from_iterable(batch.parts for batch in batches)
        for _, of_folder in groupby(every, lambda part: part.folder):
            parts = [*of_folder]
            contents = [content for part in parts for content in part.contents]
            beside = {name: files for part in parts for name, files in part.attached.items()}
            executor = workers if len(contents) <= MOVED else _Here()
            kept = None
            if known is not None and not beside:
                kept = known.tables(known_tables.key_of(source, contents, parts[0].first))
            runs = [part.runs for part in parts]
            pending.append(executor.submit(tables.build_boards, source, runs, beside, kept))
            records.add([part.rows for part in parts])
            concerned += [run for part in parts for run in part.concerned]
        # While the last tables are made: what is imported here would keep the others waiting before.
        from benchmarks.claims import judge
        from benchmarks.leaderboard import claims_page
        from benchmarks.leaderboard.site import pages
        from benchmarks.records import selection
        from benchmarks.report import data_formats

        boards = [board for future in pending for board in future.result()]
    if known is not None:
        known.write()
    boards.sort(key=lambda board: board.order)
    studies = study_files.load_all(root)
    judged = judge.judge_runs(concerned, studies=studies)
    pages.write_pages(site_dir, [board.site for board in boards], len(places), judged, repository)
    files = {name: data for board in boards for name, data in board.files.items()}
    files |= {f"{study_files.FOLDER}/{study.name}.md": study.page.encode() for study in studies.values()}
    index = {
        "schema": SCHEMA,
        "version": selection.results_version(),
        "records": len(places),
        "groups": [board.entry for board in boards],
        "studies": {study.name: study.seal for study in studies.values()},
        "files": sorted([JSON, PAGE, CLAIMS, *files]),
    }
    head = _HEAD + ("" if places else _EMPTY) + (_BRIEF if brief else "")
    files[JSON] = (data_formats.json_text(index) if not brief else json.dumps(index) + "\n").encode()
    files[CLAIMS] = claims_page.markdown(judged).encode()
    files[PAGE] = "\n".join([head, contents_list(boards), *(board.markdown for board in boards)]).encode()
    return files


def contents_list(boards: Sequence[tables.Board]) -> str:
    """Return the board's contents: a link to each table and its summary, rankings of methods first."""
    from benchmarks.report.table_markup import escape_markdown

    lines = []
    for board in sorted(boards, key=lambda board: board.site.weight, reverse=True):
        heading = board.markdown.partition("\n")[0].removeprefix("## ")
        # As GitHub makes them: in lower case, with hyphens for spaces, without other punctuation.
        anchor = re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        lines.append(f"- [{heading}](#{anchor}): {escape_markdown(board.site.entry['sentence'])}")
    return "\n".join([*lines, ""]) if len(lines) > 1 else ""


class _Here(Executor):
    """An executor that calls at once, in this process."""

    def submit(self, call: Callable[..., Result], /, *args: Any, **named: Any) -> Future[Result]:
        """Return a future that has its result; an error of the call is raised."""
        future: Future[Result] = Future()
        future.set_result(call(*args, **named))
        return future


def _workers(brief: bool, records: int) -> Executor:
    """Return one process a core for a large board of several pieces of work, else this process."""
    cores = min(usable_cpus(), -(-records // AT_ONCE))
    if cores < 2 or not brief:
        return _Here()
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    from benchmarks.leaderboard import tables

    # Started anew, not forked: numpy's threads do not survive a fork.
    return ProcessPoolExecutor(cores, get_context("spawn"), tables.start_worker)


def _batches(
    source: tables.BoardSource, places: Sequence[str], workers: Executor, known: KnownRecords | None
) -> Iterator[tables.RecordBatch]:
    """Yield the records of all places in order, read a little ahead of the caller."""
    from benchmarks.leaderboard import tables

    ahead: deque[tuple[str, Future[tables.RecordBatch]]] = deque()

    def due() -> tables.RecordBatch:
        first_place, future = ahead.popleft()
        batch = future.result()
        if known is not None:
            known.note(first_place, batch.index)
        return batch

    for first in range(0, len(places), AT_ONCE):
        part = places[first : first + AT_ONCE]
        index = known.part(part[0], part[-1]) if known is not None else None
        ahead.append((part[0], workers.submit(tables.read_records, source, first, part, index)))
        if len(ahead) > AHEAD:
            yield due()
    while ahead:
        yield due()


def build(results_dir: Path) -> dict[str, Path]:
    """Write ``leaderboard.json``, ``LEADERBOARD.md``, ``CLAIMS.md``, ``plots/`` and ``site/``.

    Plots that an earlier build made and this one does not are removed; nothing else is. ``site/`` is
    replaced as a whole: it is a build product, published and never committed.

    Returns:
        Path under the results folder -> full path; of the site, its first page and the index of all records.

    Raises:
        InvalidRecordError: a record file is not valid; nothing is written.
    """
    from benchmarks.leaderboard.record_index import FILE

    root = Path(results_dir)
    root.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{SITE}.", dir=root) as scratch:
        new = Path(scratch) / "new"
        files = _contents(root, new, indexed=True)
        stale = _listed_plots(root) - set(files)
        for name, data in files.items():
            if _read(root / name) != data:
                write_text(root / name, data)
        for name in stale:
            (root / name).unlink(missing_ok=True)
        if (root / SITE).exists():
            os.replace(root / SITE, Path(scratch) / "old")
        os.replace(new, root / SITE)
    built = {name: root / name for name in (f"{SITE}/index.html", f"{SITE}/{FILE}")}
    return {name: root / name for name in files} | {n: path for n, path in built.items() if path.is_file()}


def _listed_plots(root: Path) -> set[str]:
    """Return the plots that the leaderboard in place lists as its own; hostile names are ignored."""
    try:
        listed = json.loads((root / JSON).read_text("utf-8"))["files"]
    except (OSError, ValueError, KeyError, TypeError):
        return set()
    return {name for name in listed if isinstance(name, str) and _PLOT.fullmatch(name)}


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None


def check(results_dir: Path) -> list[str]:
    """Return the generated files that are missing, out of date or left over; empty when all is current.

    The site is not committed: it is built twice, and files in which the two differ are named.
    Plots drawn by another matplotlib release have other bytes: then only that they exist is checked.
    """
    root = Path(results_dir)
    with tempfile.TemporaryDirectory() as scratch:
        once, again = Path(scratch) / "once", Path(scratch) / "again"
        files = _contents(root, once)
        _contents(root, again)
        differing = [f"{SITE}/{name}" for name in _differing_files(once, again)]
    differing += sorted(_listed_plots(root) - set(files))
    differing += study_files.changed_pictures(root, [*study_files.load_all(root).values()])
    for name, data in files.items():
        old = _read(root / name)
        if old is None or (old != data and not (_PLOT.fullmatch(name) and _other_release(old, data))):
            differing.append(name)
    return sorted(differing)


def _differing_files(first: Path, second: Path) -> list[str]:
    """Return the files that are not the same in both folders."""
    names = {p.relative_to(top).as_posix() for top in (first, second) for p in top.rglob("*") if p.is_file()}
    return sorted(name for name in names if _read(first / name) != _read(second / name))


def _other_release(ours: bytes, theirs: bytes) -> bool:
    """Return whether two plots were drawn by different releases of matplotlib or Pillow."""
    pattern = re.compile(rb"(Matplotlib|Pillow) v(?:ersion)?([0-9][0-9.a-z+]*)")
    first, second = (dict(pattern.findall(plot)) for plot in (ours, theirs))
    return any(first[name] != second[name] for name in first.keys() & second.keys())


def require_current(results_dir: Path) -> None:
    """Raise UsageError, naming the files and the command, if the leaderboard is out of date."""
    differing = check(results_dir)
    if differing:
        listed = "\n".join(f"  {name}" for name in differing[:20])
        more = f"\n  ... and {len(differing) - 20} more" if len(differing) > 20 else ""
        raise UsageError(
            f"the leaderboard does not follow from the records; differing:\n{listed}{more}\n"
            f"rebuild it: {COMMAND}{results_flag(results_dir, PUBLISHED)}"
        )
