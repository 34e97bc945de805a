"""Published records that came with an installed release: one packed file, unpacked where they are wanted."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import zipfile
from pathlib import Path, PurePosixPath

from benchmarks.api import UsageError

PACKED = Path(__file__).with_name("published.zip")
"""The packed records; absent in a clone, which has ``results``."""
MOST_BYTES = 1 << 30
"""Bytes that they may unpack to."""


def unpack(folder: Path) -> int:
    """Unpack the records into a folder that is new or empty; return the number of files.

    The folder appears complete or not at all.

    Raises:
        UsageError: this is no release with records, the folder has files, or the packed file is damaged.
    """
    if not PACKED.is_file():
        raise UsageError(
            "no published records came with this installation: a clone has them in results/records"
        )
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(
            f"'{folder}' exists and is not empty\nname a new folder: supernet-bench published DIR"
        )
    folder.parent.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        with zipfile.ZipFile(PACKED) as archive:
            entries = archive.infolist()
            if sum(entry.file_size for entry in entries) > MOST_BYTES:
                raise UsageError(f"'{PACKED}' unpacks to more than {MOST_BYTES:,} bytes: install it again")
            for entry in entries:
                parts = PurePosixPath(entry.filename).parts
                if ".." in parts or PurePosixPath(entry.filename).is_absolute():
                    raise UsageError(f"'{PACKED}' is not ours: install supernet-bench again")
                path = fresh.joinpath(*parts)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(archive.read(entry))
        fresh.chmod(0o755)
        if folder.exists():
            folder.rmdir()
        os.replace(fresh, folder)
        return len(entries)
    except (zipfile.BadZipFile, OSError) as error:
        raise UsageError(f"the published records cannot be unpacked: {error}") from None
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


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
