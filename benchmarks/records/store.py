"""The append-only store of result records: one JSON file a run. Imports no torch.

Every text in a record was written by a method or a machine that may be a stranger's: nothing here trusts or
interprets it.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Literal

from benchmarks.api import InvalidRecordError
from benchmarks.records import integrity, valid_contents
from benchmarks.records.canonical import JsonView, canonical
from benchmarks.records.record import Record, SearchOutcome, UnsealedRecord
from benchmarks.records.text import printable

LARGEST = 2**20
"""Bytes of a record, at most. A larger one is not written, and a larger file is refused unread.

Published ones have a mean of 81 kB; five trials of a ``paper`` tier, with every probe, have less than 900 kB.
"""
_STORED = re.compile(r"[0-9a-f]{16}\.json")


def stopped_by_seconds(record: UnsealedRecord | SearchOutcome) -> bool:
    """Return whether its seconds stopped the search of a record or of an outcome."""
    kind = record.get("stopped_by")
    if record["status"] != "budget" or kind is not None:
        return bool(record["status"] == "budget" and kind == "seconds")
    # Older records have no ``stopped_by`` but a message.
    return re.search(r"(^|trial \d+: )(seconds: |did not )", record["message"]) is not None


def relative_path(record: JsonView) -> Path:
    """Return the place of a record in a store: ``<task>/<profile>/<method>/<id>.json``."""
    return Path(place(record))


def place(record: JsonView) -> str:
    """Return ``relative_path`` as text, with slashes."""
    spec = record["spec"]
    return f"{spec['task']}/{spec['profile']}/{spec['method']}/{record['id']}.json"


def write(store: Path, record: UnsealedRecord) -> Path:
    """Seal, validate and write one record; the store only ever grows.

    An equal record in its place stays as it is. A record of the same id that failed, was stopped by its
    seconds or cannot be read is renamed and kept, so that it never stands for a finished run.

    Raises:
        InvalidRecordError: the record is not valid or too large, or a finished one with other content is in
            its place.
    """
    sealed = integrity.seal(record)
    integrity.validate(sealed)
    text = json.dumps(sealed, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    if (size := len(text.encode())) > LARGEST:
        raise InvalidRecordError(
            f"the record has {size:,} bytes, at most {LARGEST:,}: {_largest_part(sealed)}"
        )
    path = store / relative_path(sealed)
    if path.exists():
        try:
            old = load(path)
        except InvalidRecordError:
            _set_aside(path, "invalid")
        else:
            if old["seal"] == sealed["seal"]:
                return path
            if old["status"] != "failed" and not stopped_by_seconds(old):
                raise InvalidRecordError(
                    f"{path}: a finished record of this run is there (digest {old['digest'][:12]}, the new"
                    f" one {sealed['digest'][:12]}) and the store is append-only\n"
                    "keep both: write the new one to another folder with --results DIR"
                )
            _set_aside(path, "failed" if old["status"] == "failed" else "stopped")
    write_text(path, text)
    return path


def _largest_part(record: JsonView) -> str:
    """Return which field of a record takes most of its bytes."""
    sizes = {name: len(canonical(value)) for name, value in record.items()}
    name = max(sizes, key=lambda part: sizes[part])
    return f"{sizes[name]:,} in {name}"


_ASIDE = re.compile(r".+\.(failed|invalid|stopped)-\d+\.json")


def is_set_aside(path: Path) -> bool:
    """Return whether ``write`` renamed a record to this name, to make room for the run's next record."""
    return _ASIDE.fullmatch(path.name) is not None


def _set_aside(path: Path, why: Literal["failed", "invalid", "stopped"]) -> None:
    n = 1
    while (aside := path.with_name(f"{path.stem}.{why}-{n}.json")).exists():
        n += 1
    os.replace(path, aside)


def write_text(path: Path, text: str | bytes) -> None:
    """Write a file in one step: readers see the old or the complete new one, also after a crash."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(text if isinstance(text, bytes) else text.encode())
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, 0o644)
        os.replace(name, path)
    except BaseException:
        with suppress(FileNotFoundError):  # a signal may arrive when it has its name already
            os.unlink(name)
        raise


def load(path: Path) -> Record:
    """Read and check one record.

    Raises:
        InvalidRecordError: naming the file and the field when it is missing, truncated, corrupt, of
            another schema, or changed after it was written.
    """
    data = read(path)
    return check(path, data, valid_contents.content_digest(data))


def read(path: Path) -> bytes:
    """Return the content of a record file, unchecked.

    Raises:
        InvalidRecordError: it is missing, cannot be read, or is too large.
    """
    try:
        with open(path, "rb", buffering=0) as file:
            if (size := os.fstat(file.fileno()).st_size) > LARGEST:
                raise _invalid(path, f"larger than {LARGEST} bytes: not a record")
            return file.read(size + 1)
    except OSError as error:
        raise _invalid(path, f"cannot be read: {error.strerror}") from error


def check(path: Path, data: bytes, digest: bytes) -> Record:
    """Return the record in a file's content, as ``load`` does.

    Args:
        path: of the file.
        data: its content.
        digest: its ``valid_contents.content_digest``.
    """
    parsed: object = None
    valid = valid_contents.contents()
    try:
        if digest in valid:
            record = integrity.parse(data)
        elif (intact := integrity.intact(data)) is not None:
            record = intact
            valid.add(digest)
        else:
            parsed = json.loads(data.decode())
            record = integrity.validate(parsed)
        if _STORED.fullmatch(path.name) and path.stem != record["id"]:
            raise InvalidRecordError(f"field id: {record['id']} is not the file's name")
        return record
    except InvalidRecordError as error:
        problem = str(error)
    except (ValueError, RecursionError) as error:
        problem = f"truncated or not JSON: {error}"
    raise _invalid(path, problem, parsed)


def _invalid(path: Path, problem: str, parsed: object = None) -> InvalidRecordError:
    again = f"move the file away and make it again: {_again(parsed)}"
    return InvalidRecordError(f"{path}: {printable(problem)}\n{again}")


def _again(parsed: object) -> str:
    """Return the command that makes a broken record anew, as far as its spec can be read."""
    spec = parsed.get("spec") if isinstance(parsed, dict) else None
    if not isinstance(spec, dict):
        return "type the run's command again (finished runs are kept)"
    words = {"suite": "run", "task": "--task", "tier": "--tier", "method": "--methods"}
    stated = [(word, spec.get(name)) for name, word in words.items()]
    known = [f"{word} {v}" for word, v in stated if isinstance(v, str) and re.fullmatch(r"[\w.-]{1,80}", v)]
    return f"supernet-bench {' '.join(known)}"


def places(folder: Path) -> list[str]:
    """Return the place of every record file under ``folder``, in a fixed order; none if it does not exist.

    As texts, with slashes: a hundred thousand paths are slow to make and to send to other processes.
    """
    split = [
        [*Path(top).relative_to(folder).parts, name]
        for top, _, names in os.walk(folder)
        for name in names
        if _STORED.fullmatch(name)
    ]
    return ["/".join(parts) for parts in sorted(split)]


def paths(folder: Path) -> list[Path]:
    """Return every record file under ``folder``, in a fixed order; none if it does not exist."""
    return [folder / place for place in places(folder)]


def load_all(folder: Path, problems: list[str] | None = None) -> list[Record]:
    """Return every record under ``folder`` by task, profile, method and seed; none if it does not exist.

    Raises:
        InvalidRecordError: for the first bad file, unless ``problems`` is given: then its message is
            appended there and the rest is read.
    """
    records: list[Record] = []
    for path in paths(folder):
        try:
            records.append(load(path))
        except InvalidRecordError as error:
            if problems is None:
                raise
            problems.append(str(error))
    valid_contents.contents().flush()
    records.sort(key=lambda r: (*relative_path(r).parts[:-1], r["spec"]["seed"], r["id"]))
    return records
