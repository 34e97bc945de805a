"""Sealed files about published records: ``results/FOLDER/<record id>/<16 digits of the file's seal>.json``.

Verdicts of second runs (``benchmarks.verification.verdict_files``) and latencies in other runtimes
(``benchmarks.records.runtime_latencies``)
are such files. One is a stranger's until it is checked: against its schema and seal here, against the record
that it is about by its own module. No torch.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

from benchmarks.api import InvalidRecord
from benchmarks.records import store
from benchmarks.records.canonical import canonical
from benchmarks.records.record import Record
from benchmarks.records.text import sanitize

LARGEST = 2**20
"""Bytes. Such a file holds kilobytes; a larger one is not one of ours and is not read."""

_RECORD, _FILE = re.compile(r"[0-9a-f]{16}"), re.compile(r"[0-9a-f]{16}\.json")
Attachment = dict[str, Any]
FieldError = tuple[str, str]
"""A field, and what is wrong with it."""


def seal(made: Mapping[str, Any]) -> str:
    """sha256 of all but the seal."""
    return hashlib.sha256(canonical({k: v for k, v in made.items() if k != "seal"})).hexdigest()


def sealed(made: Mapping[str, Any]) -> Attachment:
    """A copy with its seal."""
    return {**made, "seal": seal(made)}


def path_of(results: Path, folder: str, made: Mapping[str, Any]) -> Path:
    """Where a file lies."""
    return results / folder / str(made["record"]) / f"{made['seal'][:16]}.json"


def write(results: Path, folder: str, made: Mapping[str, Any]) -> Path:
    """Write a sealed file to its place."""
    path = path_of(results, folder, made)
    store.write_text(path, json.dumps(made, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
    return path


@cache
def _schema(name: str) -> Any:
    from jsonschema import Draft202012Validator

    return Draft202012Validator(json.loads((Path(__file__).parent / "schema" / name).read_text("utf-8")))


def load(
    path: Path,
    schemas: Mapping[str, str],
    what: str,
    contradiction: Callable[[Attachment], FieldError | None],
) -> Attachment:
    """A file, checked against its schema, its seal and itself.

    Args:
        path: of the file.
        schemas: what the field ``schema`` may be, with each one's file in the folder ``schema``; newest last.
        what: it is, for messages, as ``verdict``.
        contradiction: the first field in which it contradicts itself, or None.

    Raises:
        InvalidRecord: naming the file and what is wrong.
    """
    from jsonschema.exceptions import best_match

    try:
        if path.stat().st_size > LARGEST:
            raise InvalidRecord(f"{path}: larger than {LARGEST:,} bytes")
        made = json.loads(path.read_bytes().decode())
        named = made.get("schema") if isinstance(made, dict) else None
        schema = schemas.get(str(named), [*schemas.values()][-1])
        error = best_match(_schema(schema).iter_errors(made))
        if error:
            said = error.message if len(error.message) < 160 else "... " + error.message[-90:]
            field = sanitize(error.json_path.removeprefix("$").removeprefix("."), 80) or "(all)"
            raise InvalidRecord(f"{path}: field {field}: {sanitize(said)}")
        if made["seal"] != seal(made):
            raise InvalidRecord(f"{path}: field seal: changed after writing")
    except (OSError, ValueError, RecursionError) as error:
        raise InvalidRecord(f"{path}: not a {what} that can be read: {sanitize(error)}") from None
    if wrong := contradiction(made):
        raise InvalidRecord(f"{path}: field {wrong[0]}: {wrong[1]}")
    return made  # type: ignore[no-any-return]


def paths(results: Path, folder: str, what: str) -> dict[str, tuple[Path, ...]]:
    """Record id -> the files about it, in a fixed order.

    Raises:
        InvalidRecord: something under the folder is not named as a file of ours is.
    """
    found: dict[str, list[Path]] = {}
    top = results / folder
    for below, _, names in os.walk(top):
        for name in sorted(names):
            path = Path(below, name)
            if (
                path.parent.parent != top
                or not _RECORD.fullmatch(path.parent.name)
                or not _FILE.fullmatch(name)
            ):
                raise InvalidRecord(
                    f"{path}: not named as a {what} is ({folder}/<record id>/<16 digits>.json): remove it"
                )
            found.setdefault(path.parent.name, []).append(path)
    return {name: tuple(found[name]) for name in sorted(found)}


def of_record(
    record: Record,
    files: Sequence[Path],
    folder: str,
    read: Callable[[Path], Attachment],
    misfit: Callable[[Attachment, Record], FieldError | None],
) -> list[Attachment]:
    """The files about one published record, the newest first; those about an earlier version of it left out.

    Raises:
        InvalidRecord: a file is damaged, misplaced, or does not fit the record.
    """
    found = []
    for path in files:
        made = read(path)
        if made["record"] != record["id"] or path.stem != made["seal"][:16]:
            raise InvalidRecord(f"{path}: field record: belongs in {path_of(Path('.'), folder, made)}")
        if made["record_seal"] != record["seal"]:
            continue
        if wrong := misfit(made, record):
            raise InvalidRecord(f"{path}: field {wrong[0]}: {wrong[1]}")
        found.append(made)
    found.sort(key=lambda made: (date(made), made["seal"]), reverse=True)
    return found


def ended(made: Attachment) -> datetime | None:
    """When the work that a file tells of ended; None where it does not say."""
    try:
        return datetime.fromisoformat((made["provenance"] or {})["ended"])
    except (KeyError, TypeError, ValueError):
        return None


def date(made: Attachment) -> str:
    """The day of ``ended``, ISO; empty where there is none."""
    when = ended(made)
    return when.date().isoformat() if when else ""
