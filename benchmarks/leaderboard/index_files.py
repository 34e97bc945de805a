"""Parquet files of the index of a large board: written by this user's commands alone, or as if not there.

The digest of each is kept in the cache folder, as those of valid records are. A file of other origin, of
other code or damaged is never parsed.
"""

from __future__ import annotations

import hashlib
import importlib
import io
import stat
import sys
from collections.abc import Iterable, Sequence
from functools import cache
from importlib import metadata
from pathlib import Path

from benchmarks.identity import OURS
from benchmarks.records import valid_contents
from benchmarks.records.store import write_text
from benchmarks.tasks import GROUP

LARGEST = 2**26
"""Bytes of a file, at most: a larger one is not written, and is not read."""
_SOURCES = ("*.py", "*.toml", "*.json")
_LIBRARIES = ("moocore", "numpy", "orjson", "pandas", "pyarrow", "scipy")


@cache
def rules() -> bytes:
    """Return the digest of everything that decides what follows from a record: code and names of tasks."""
    root = Path(__file__).resolve().parents[2]
    files = sorted(path for top in OURS for kind in _SOURCES for path in (root / top).rglob(kind))
    entries = sorted((entry.name, entry.value) for entry in metadata.entry_points(group=GROUP))
    state = hashlib.sha256(repr((sys.version_info[:2], entries, _versions())).encode())
    for path in files:
        state.update(path.relative_to(root).as_posix().encode() + b"\0")
        state.update(hashlib.sha256(path.read_bytes()).digest())
    return state.hexdigest().encode()


def _versions() -> list[str]:
    versions = []
    for name in _LIBRARIES:
        try:
            versions.append(metadata.version(name))
        except metadata.PackageNotFoundError:  # not installed by pip
            versions.append(str(getattr(importlib.import_module(name), "__version__", "")))
    return versions


def read(path: Path, columns: Iterable[str]) -> list[dict[str, bytes]]:
    """Return the rows of a file of the index; none if it is missing, not ours, or of other rules."""
    try:
        about = path.stat()
        if not stat.S_ISREG(about.st_mode) or about.st_size > LARGEST:
            return []
        data = path.read_bytes()
    except OSError:
        return []
    if valid_contents.content_digest(data) not in valid_contents.own_indices():
        return []
    parquet = importlib.import_module("pyarrow.parquet")
    try:
        table = parquet.read_table(io.BytesIO(data), columns=[*columns])
        if (table.schema.metadata or {}).get(b"rules") != rules():
            return []
        lists = {name: table.column(name).to_pylist() for name in columns}
    except Exception:  # our own file under another release of pyarrow, whose errors have no common class
        return []
    rows = [dict(zip(lists, row, strict=True)) for row in zip(*lists.values(), strict=True)]
    return rows if all(type(value) is bytes for row in rows for value in row.values()) else []


def write(folder: Path, rows: Sequence[dict[str, bytes]], columns: dict[str, str], name: str = "") -> str:
    """Write a file of the index; return its name, by default its digest, or nothing if it cannot be kept."""
    pyarrow = importlib.import_module("pyarrow")
    parquet = importlib.import_module("pyarrow.parquet")
    schema = pyarrow.schema(list(columns.items()), metadata={b"rules": rules()})
    arrays = [pyarrow.array([row[column] for row in rows], kind) for column, kind in columns.items()]
    buffer = io.BytesIO()
    parquet.write_table(
        pyarrow.Table.from_arrays(arrays, schema=schema), buffer, compression="zstd",
        use_dictionary=["shared", "origin"] if "shared" in columns else False, write_statistics=False,
    )  # fmt: skip
    data = buffer.getvalue()
    digest = valid_contents.content_digest(data)
    if len(data) > LARGEST:
        return ""
    name = name or f"{digest.decode()}.parquet"
    try:
        write_text(folder / name, data)
    except OSError:
        return ""
    valid_contents.own_indices().add(digest)
    return name
