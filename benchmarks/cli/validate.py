"""``supernet-bench validate``: may these records be published?"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.api import InvalidRecord, UsageError
from benchmarks.leaderboard import submission
from benchmarks.records import runtime_latencies, store
from benchmarks.records.store import Record
from benchmarks.records.text import sanitize
from benchmarks.verification import verdict_files


def validate(options: argparse.Namespace) -> int:
    """Check records one by one and against one another; 1 where one must not be published.

    Verdicts of ``verify`` (files below a folder ``verified``) and latencies of ``export --time`` (below
    ``runtimes``) are checked against the published records.
    """
    files = _files(options.paths)
    found: dict[Path, Record] = {}
    problems: list[tuple[Path, str, str]] = []
    published = _published(options.results)
    ids = {record["id"]: record for record in published}
    for path in files:
        try:
            if (kind := BESIDE.get(path.absolute().parent.parent.name)) is not None:
                problems += _beside(kind, path, ids)
            else:
                found[path] = store.load(path)
        except InvalidRecord as error:
            said = str(error).removeprefix(f"{path}: ").splitlines()[0]
            field, _, rest = said.removeprefix("field ").partition(": ")
            problems.append((path, field, rest) if said.startswith("field ") else (path, "", said))
    known, methods = ({r["spec"][key] for r in published} for key in ("settings_sha256", "method_sha256"))
    for path, record in found.items():
        lines = [*misplaced(path, record), *submission.problems(record, known, methods)]
        problems += [(path, *line.partition(": ")[::2]) for line in lines]
    paths = {record["id"]: path for path, record in found.items()}
    twice = [path for path, record in found.items() if paths[record["id"]] != path]
    problems += [(path, "id", "a second record of the same run") for path in twice]
    here = set(paths)
    both = [*found.values(), *(r for r in published if r["id"] not in here)]
    for run, lines in submission.unequal(both).items():
        if run in here:
            problems += [(paths[run], *line.partition(": ")[::2]) for line in lines]
    _say(options, files, problems)
    return 1 if problems else 0


BESIDE = {verdict_files.FOLDER: verdict_files, runtime_latencies.FOLDER: runtime_latencies}
"""Folder -> what knows the files below it, which lie beside records."""


def misplaced(path: Path, record: Record) -> list[str]:
    """Return what is wrong with a record's place: the board reads no file of another name."""
    due = store.relative_path(record)
    if path.name != due.name:
        return [f"file name: '{sanitize(path.name, 80)}' would not be read: rename it to {due.name}"]
    parts = path.absolute().parts
    below = parts[len(parts) - parts[::-1].index("records") :] if "records" in parts else due.parts
    if below != due.parts:
        return [f"folder: a record of this run lies at records/{due}: move it there"]
    return []


def _beside(kind: Any, path: Path, published: Mapping[str, Record]) -> list[tuple[Path, str, str]]:
    """What forbids publishing a file beside a record that is not damaged."""
    made = kind.load(path)
    record = published.get(made["record"])
    if record is None:
        return [(path, "record", f"no published record {made['record']}")]
    if not kind.of_record(record, [path]):
        return [(path, "record_seal", "of an earlier version of the record: make it again")]
    lines = submission.elsewhere(made) if kind is runtime_latencies else ()
    return [(path, *line) for line in lines]


def _files(paths: Sequence[Path]) -> list[Path]:
    """Every JSON file that is meant: a folder stands for all below it but those set aside."""
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            below = [p for p in path.rglob("*.json") if p.is_file()]
            found += sorted(
                p for p in below if not p.stem.rpartition(".")[2].startswith(("failed-", "invalid-"))
            )
        elif path.exists():
            found.append(path)
        else:
            raise UsageError(f"no '{sanitize(path, 200)}': give a record's file, or a folder of them")
    if not found:
        raise UsageError(
            f"no records in {', '.join(sanitize(p, 200) for p in paths)}: they are files named *.json"
        )
    return list(dict.fromkeys(found))


def _published(results: Path) -> list[Record]:
    return store.load_all(results / "records", [])


def _say(
    options: argparse.Namespace, files: Sequence[Path], problems: Sequence[tuple[Path, str, str]]
) -> None:
    """One line a problem; the texts in it may be hostile."""
    bad = len({path for path, _, _ in problems})
    if options.json:
        listed = [{"file": str(path), "field": field, "problem": said} for path, field, said in problems]
        print(json.dumps({"records": len(files), "refused": bad, "problems": listed}, indent=1))
        return
    for path, field, said in problems:
        print(": ".join(sanitize(part, 300) for part in (path, field, said) if str(part)))
    kind = "file" if any(p.parent.parent.name in BESIDE for p in files) else "record"
    count = f"{len(files)} {kind}{'s' * (len(files) != 1)}"
    print(f"{count}: " + (f"{bad} must not be published" if bad else "ready to be published"))
