"""Published records that came with an installed release: one packed file, unpacked where they are wanted."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import zipfile
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from benchmarks.api import UsageError

PACKED = Path(__file__).with_name("published.zip")
"""The packed records; absent in a clone, which has ``results``."""
MOST_BYTES = 1 << 30
"""Bytes that they may unpack to."""


class Unpacked(NamedTuple):
    """Numbers of files that came, and of those whose place another file has, which stays."""

    files: int
    kept: int


def unpack(folder: Path) -> Unpacked:
    """Unpack the records into a folder.

    A new folder appears complete or not at all. In one with other files, such as ``local``, no file is
    changed and the records themselves come last.

    Raises:
        UsageError: this is no release with records, or the packed file is damaged.
    """
    if not PACKED.is_file():
        raise UsageError(
            "no published records came with this installation: a clone has them in results/records"
        )
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"'{folder}' is no folder\nname another: supernet-bench published DIR")
    folder.parent.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        with zipfile.ZipFile(PACKED) as archive:
            entries = archive.infolist()
            if sum(entry.file_size for entry in entries) > MOST_BYTES:
                raise UsageError(f"'{PACKED}' unpacks to more than {MOST_BYTES:,} bytes: install it again")
            for entry in entries:
                parts = PurePosixPath(entry.filename).parts
                if not parts or ".." in parts or PurePosixPath(entry.filename).is_absolute():
                    raise UsageError(f"'{PACKED}' is not ours: install supernet-bench again")
                path = fresh.joinpath(*parts)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(archive.read(entry))
        fresh.chmod(0o755)
        if folder.exists():
            return Unpacked(len(entries), _merge(fresh, folder))
        os.replace(fresh, folder)
        return Unpacked(len(entries), 0)
    except (zipfile.BadZipFile, OSError) as error:
        raise UsageError(f"the published records cannot be unpacked: {error}") from None
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _merge(fresh: Path, folder: Path) -> int:
    """Move files where there is none, records last; return the number of others that were there."""
    kept = 0
    files = [path for path in fresh.rglob("*") if path.is_file()]
    for path in sorted(files, key=lambda path: (path.relative_to(fresh).parts[0] == "records", path)):
        target = folder / path.relative_to(fresh)
        if target.exists():
            kept += target.read_bytes() != path.read_bytes()
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        os.replace(path, target)
    return kept


def cached(cache: Path) -> Path | None:
    """Return the folder of the unpacked records below a cache; None if none came with this installation."""
    if not PACKED.is_file():
        return None
    with PACKED.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()[:16]
    folder = cache / f"published-{digest}"
    if not folder.is_dir():
        try:
            unpack(folder)
        except UsageError:
            if not folder.is_dir():  # else another process was quicker
                raise
    return folder
