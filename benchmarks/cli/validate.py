"""``supernet-bench validate``: check records before publication."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.api import InvalidRecordError, UsageError
from benchmarks.cli.arguments import add_json, add_results
from benchmarks.cli.console import print_json
from benchmarks.leaderboard import submission
from benchmarks.records import runtime_latencies, store
from benchmarks.records.attachments import AttachmentKind
from benchmarks.records.folders import PUBLISHED, readable
from benchmarks.records.record import Record
from benchmarks.records.text import sanitize
from benchmarks.runs.user_declarations import restored

AnyKind = AttachmentKind[Any]
"""A kind of attachment, whatever its files hold."""


class Problem(NamedTuple):
    """A reason not to publish a file."""

    path: Path
    field: str
    """Field of the file, or empty."""
    text: str


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    command.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="a record, or a folder of them")
    add_results(command, PUBLISHED, "folder with the records/ that are published already")
    add_json(command)


def run(options: argparse.Namespace) -> int:
    """Check records one by one and against one another; return 1 if one must not be published, else 0.

    Verdicts of ``verify`` (files below a folder ``verified``) and latencies of ``export --time`` (below
    ``runtimes``) are checked against the published records.

    Raises:
        UsageError: a path does not exist, or there are no files.
    """
    paths = _files(options.paths)
    published = store.load_all(readable(options.results) / "records", [])
    published_by_id = {record["id"]: record for record in published}
    records: dict[Path, Record] = {}
    problems: list[Problem] = []
    for path in paths:
        try:
            if (kind := _attachment_kind(path)) is not None:
                problems += _attachment_problems(kind, path, published_by_id)
            else:
                records[path] = store.load(path)
        except InvalidRecordError as error:
            problems.append(_parse(path, error))
    # A record in question vouches for nothing: neither for its own settings nor for another's.
    others = [record for record in published if record["id"] not in {r["id"] for r in records.values()}]
    problems += _record_problems(records, others)
    _print(options, paths, problems, _flags(records, others))
    return 1 if problems else 0


def _parse(path: Path, error: InvalidRecordError) -> Problem:
    """Return the problem that an error of ``load`` describes."""
    text = str(error).removeprefix(f"{path}: ").splitlines()[0]
    if not text.startswith("field "):
        return Problem(path, "", text)
    field, _, rest = text.removeprefix("field ").partition(": ")
    return Problem(path, field, rest)


def _record_problems(records: Mapping[Path, Record], others: Sequence[Record]) -> Iterator[Problem]:
    """Yield the problems of records: of each one, of repeated runs, and of unequal conditions.

    Args:
        records: those in question.
        others: published records that are not.
    """
    settings, methods = (
        {record["spec"][key] for record in others} for key in ("settings_sha256", "method_sha256")
    )
    for path, record in records.items():
        for line in [*misplaced(path, record), *submission.find_problems(record, settings, methods)]:
            field, _, text = line.partition(": ")
            yield Problem(path, field, text)
    paths = {record["id"]: path for path, record in records.items()}
    for path, record in records.items():
        if paths[record["id"]] != path:
            yield Problem(path, "id", "a second record of the same run")
    checked = [*records.values()]
    for id, line in submission.find_unequal_references(checked, others).items():
        field, _, text = line.partition(": ")
        yield Problem(paths[id], field, text)
    for id, lines in submission.find_unequal_allowances(checked, others).items():
        for line in lines:
            field, _, text = line.partition(": ")
            yield Problem(paths[id], field, text)


def _flags(records: Mapping[Path, Record], others: Sequence[Record]) -> list[Problem]:
    """Return the flags on records among those of the same tables; they forbid no publication."""
    from benchmarks.comparability import flags, grouping, run_summary

    runs = [run_summary.summarize(record, keep=False) for record in (*records.values(), *others)]
    paths = {record["id"]: path for path, record in records.items()}
    marked = [flags.flags(group) for group in grouping.groups(runs)]
    faults = [(id, text) for group in marked for id, texts in group.items() for text in texts if id in paths]
    return [Problem(paths[id], *text.split(": ", 1)) for id, text in faults]


def misplaced(path: Path, record: Record) -> list[str]:
    """Return the problem of a record's place, if any: the leaderboard reads no file of another name."""
    due = store.relative_path(record)
    if path.name != due.name:
        return [f"file name: '{sanitize(path.name, 80)}' would not be read: rename it to {due.name}"]
    parts = path.absolute().parts
    below = parts[len(parts) - parts[::-1].index("records") :] if "records" in parts else due.parts
    if below != due.parts:
        return [f"folder: a record of this run lies at records/{due}: move it there"]
    return []


def _attachment_kind(path: Path) -> AnyKind | None:
    """Return the kind of an attachment, by the folder that it lies in; None for a record."""
    folder = path.absolute().parent.parent.name
    return next((kind for kind in _attachment_kinds() if kind.folder == folder), None)


def _attachment_kinds() -> tuple[AnyKind, ...]:
    """Return all kinds of attachments."""
    from benchmarks.verification import verdict_files

    return verdict_files.VERDICTS, runtime_latencies.LATENCIES


def _attachment_problems(kind: AnyKind, path: Path, published: Mapping[str, Record]) -> Iterator[Problem]:
    """Yield the problems of an attachment.

    Raises:
        InvalidRecordError: the file is damaged.
    """
    attachment = kind.load(path)
    record = published.get(attachment["record"])
    if record is None:
        yield Problem(path, "record", f"no published record {attachment['record']}")
    elif not kind.of_record(record, [path]):
        yield Problem(path, "record_seal", "of an earlier version of the record: make it again")
    elif kind is runtime_latencies.LATENCIES:
        with restored(record):  # a latency may be timed under a profile of the user's
            yield from (Problem(path, *both) for both in [*submission.find_latency_problems(attachment)])


def _files(paths: Sequence[Path]) -> list[Path]:
    """Return the files to check of the paths; a folder stands for the records and attachments below it.

    Raises:
        UsageError: a path does not exist, or there are no files.
    """
    files: list[Path] = []
    for path in paths:
        if path.is_dir():
            files += _stored_files(path)
        elif path.exists():
            files.append(path)
        else:
            raise UsageError(f"no '{sanitize(path, 200)}': give a record's file, or a folder of them")
    if not files:
        raise UsageError(
            f"no records in {', '.join(sanitize(p, 200) for p in paths)}: they are files named *.json"
        )
    return list(dict.fromkeys(files))


def _stored_files(folder: Path) -> list[Path]:
    """Return the JSON files of a folder that may be published, sorted; those that were set aside are not.

    In a folder of results they lie below ``records`` and its like, beside caches and unfinished runs.
    """
    stores = {"records", *(kind.folder for kind in _attachment_kinds())}
    below = {p: set(p.relative_to(folder).parts[:-1]) for p in folder.rglob("*.json") if p.is_file()}
    stored = [p for p, parents in below.items() if parents & stores]
    chosen = stored or [p for p, parents in below.items() if not parents & {"cache", "runs"}]
    return sorted(p for p in chosen if not store.is_set_aside(p))


def _print(
    options: argparse.Namespace,
    files: Sequence[Path],
    problems: Sequence[Problem],
    flagged: Sequence[Problem],
) -> None:
    """Print one line a problem; all texts are sanitised, because records may be hostile."""
    refused = len({problem.path for problem in problems})
    if options.json:
        listed = [{"file": str(path), "field": field, "problem": text} for path, field, text in problems]
        marks = [{"file": str(path), "field": field, "flag": text} for path, field, text in flagged]
        print_json({"records": len(files), "refused": refused, "problems": listed, "flags": marks})
        return
    for problem in problems:
        print(": ".join(sanitize(part, 300) for part in problem if str(part)))
    for flag in flagged:
        print("flag: " + ": ".join(sanitize(part, 300) for part in flag))
    kind = "file" if any(_attachment_kind(path) for path in files) else "record"
    count = f"{len(files)} {kind}{'s' * (len(files) != 1)}"
    print(f"{count}: " + (f"{refused} must not be published" if refused else "ready to be published"))
