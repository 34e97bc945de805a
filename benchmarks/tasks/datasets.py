"""Published datasets by checksum, and folders that appear atomically.

A dataset is declared with the SHA-256 and size of every file. ``locate`` finds its files below
``--data-dir``. ``fetch`` downloads them, resumes interrupted downloads, and keeps no file that differs from
its declaration. ``build`` makes a folder of prepared data atomically, and detects files altered since.
"""

from __future__ import annotations

import gzip
import hashlib
import http.client
import json
import lzma
import os
import shutil
import tempfile
import time
import tomllib
import urllib.error
import urllib.request
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from benchmarks.api import UsageError
from benchmarks.hardware.file_lock import lock

Say = Callable[[str], None]
"""Function that shows one line to the user."""

MANIFEST = "manifest.json"
BLOCK = 1 << 20
ATTEMPTS = 3
TIMEOUT = 30.0
"""Seconds without a byte after which a download is tried again."""


@dataclass(frozen=True)
class DataFile:
    """Declaration of one file."""

    sha256: str
    size: int
    """Bytes."""


@dataclass(frozen=True)
class Dataset:
    """Files that belong together, below a folder of the dataset's name."""

    name: str
    files: Mapping[str, DataFile]
    url: str | None
    """Folder that the files can be fetched from; None: they cannot be fetched."""
    unpacked: int
    """Most bytes that one file may unpack to."""
    note: str
    """Other sources of the files, and their licence."""

    def digests(self) -> dict[str, str]:
        """Return ``name/file`` -> SHA-256, for provenance."""
        return {f"{self.name}/{file}": declared.sha256 for file, declared in self.files.items()}


@cache
def datasets() -> dict[str, Dataset]:
    """Return the datasets that ``datasets.toml`` declares, by name."""
    rows = tomllib.loads(Path(__file__).with_name("datasets.toml").read_text(encoding="utf-8"))
    return {
        name: Dataset(
            name,
            {file: DataFile(*declared) for file, declared in row["files"].items()},
            row.get("url"),
            row["unpacked"],
            row["note"],
        )
        for name, row in rows.items()
    }


def cache_folder() -> Path:
    """Return the folder of fetched data: ``$XDG_CACHE_HOME/supernet-bench``, or that below ``~/.cache``."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    # By the XDG specification, relative paths are ignored.
    return (Path(base) if Path(base).is_absolute() else Path.home() / ".cache") / "supernet-bench"


def locate(data: Dataset, data_dir: Path | None, say: Say) -> dict[str, Path]:
    """Return the checked path of every file of a dataset, below ``data_dir`` or fetched into the cache.

    Raises:
        UsageError: a file is missing, truncated or altered, or cannot be fetched.
    """
    if data_dir is None:
        return fetch(data, cache_folder() / "data" / data.name, say)
    folder = data_dir / data.name
    if not folder.is_dir():
        inside = data_dir.is_dir() and any((data_dir / file).exists() for file in data.files)
        reason = f"'{data_dir}' is that folder itself" if inside else "it is not there"
        raise UsageError(
            f"no folder '{folder}' with the files {', '.join(data.files)}: {reason}\n"
            f"--data-dir names the folder above {data.name}/, such as {_folder_hint(data, data_dir, inside)}"
        )
    for file, declared in data.files.items():
        if fault := differs(folder / file, declared):
            raise UsageError(f"{fault}\n{_repair_hint(data, folder / file)}")
    return {file: folder / file for file in data.files}


def _folder_hint(data: Dataset, data_dir: Path, inside: bool) -> str:
    if inside:
        return f"--data-dir '{data_dir.resolve().parent}'"
    return "--data-dir ../data" + ("; without it the files are fetched" if data.url else f" ({data.note})")


def _repair_hint(data: Dataset, path: Path) -> str:
    if data.url:
        return f"put it right with: curl -L -o '{path}' {data.url}/{path.name}"
    return f"put the declared file there: {data.note}"


def differs(path: Path, declared: DataFile) -> str:
    """Describe how a file differs from its declaration; empty if it does not."""
    if not path.is_file():
        return f"'{path}' is missing: expected {declared.size:,} bytes with sha256 {declared.sha256}"
    size = path.stat().st_size
    if size != declared.size:
        kind = "is cut short" if size < declared.size else "is too long"
        return f"'{path}' {kind}: expected {declared.size:,} bytes, found {size:,}"
    actual = sha256(path)
    if actual != declared.sha256:
        return f"'{path}' has been altered: expected sha256 {declared.sha256}, found {actual}"
    return ""


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fetch(data: Dataset, folder: Path, say: Say) -> dict[str, Path]:
    """Download the files that ``folder`` lacks; an interrupted download resumes.

    Raises:
        UsageError: the dataset has no URL, the download fails, or a file differs from its declaration.
    """
    missing = {file: d for file, d in data.files.items() if differs(folder / file, d)}
    if missing and data.url is None:
        raise UsageError(
            f"{data.name} cannot be fetched by checksum: {data.note}\n"
            f"give the folder that holds {data.name}/ ({', '.join(data.files)}): --data-dir FOLDER"
        )
    if missing:
        folder.mkdir(parents=True, exist_ok=True)
        with locked(folder / ".lock"):
            for i, (file, declared) in enumerate(missing.items()):
                say(f"fetching {data.name}/{file} ({declared.size:,} bytes, {i + 1} of {len(missing)})")
                _download(f"{data.url}/{file}", folder / file, declared)
    return {file: folder / file for file in data.files}


def _download(url: str, path: Path, declared: DataFile) -> None:
    part = path.with_name(path.name + ".part")
    trouble = ""
    for attempt in range(ATTEMPTS):
        if not differs(path, declared):
            return  # another process has fetched it
        if attempt:
            time.sleep(attempt)
        try:
            _receive(url, part, declared.size)
        except (OSError, ValueError, http.client.HTTPException) as error:  # URLError is an OSError
            trouble = str(getattr(error, "reason", None) or error)
            if isinstance(error, urllib.error.HTTPError) and error.code == 416:
                part.unlink(missing_ok=True)  # the server cannot resume this part
            continue
        trouble = differs(part, declared).replace(part.name, path.name)
        if not trouble:
            os.replace(part, path)
            return
        if part.stat().st_size >= declared.size:
            part.unlink()  # wrong bytes cannot be resumed
    raise UsageError(
        f"could not fetch {url}: {trouble}\n"
        "try again (the download resumes), or fetch it elsewhere and give the folder above "
        f"{path.parent.name}/: --data-dir FOLDER"
    )


def _receive(url: str, part: Path, size: int) -> None:
    """Append the missing bytes to ``part``; a file that is too long gets one byte more than ``size``."""
    present = part.stat().st_size if part.exists() else 0
    if present > size:
        part.unlink()
        present = 0
    if present == size:
        return
    request = urllib.request.Request(url, headers={"Range": f"bytes={present}-"} if present else {})
    with urllib.request.urlopen(request, timeout=TIMEOUT) as reply:
        # A server that ignores the range (and file://) sends all of it again.
        resumed = present and getattr(reply, "status", None) == 206
        with part.open("ab" if resumed else "wb") as file:
            room = size + 1 - (present if resumed else 0)
            while room > 0 and (block := reply.read(min(BLOCK, room))):
                file.write(block)
                room -= len(block)


def read_lines(path: Path, unpacked: int) -> list[str]:
    """Read the lines of a UTF-8 text packed by gzip or xz.

    Raises:
        UsageError: the file is not packed UTF-8 text, or unpacks to more than ``unpacked`` bytes.
    """
    parts: list[bytes] = []
    room = unpacked
    try:
        with lzma.open(path) if path.suffix == ".xz" else gzip.open(path) as file:
            while block := file.read(min(BLOCK, room + 1)):
                room -= len(block)
                if room < 0:
                    raise UsageError(f"'{path}' unpacks to more than the {unpacked:,} bytes allowed")
                parts.append(block)
        # Only \n ends a line: str.splitlines would also split at a form feed or U+2028.
        lines = b"".join(parts).decode("utf-8").removesuffix("\n").split("\n")
    except (OSError, EOFError, zlib.error, lzma.LZMAError, UnicodeDecodeError) as error:
        raise UsageError(f"'{path}' is not packed UTF-8 text: {error}") from None
    return [line.removesuffix("\r") for line in lines]


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold an exclusive lock on a file; the system frees it when the process ends."""
    with path.open("a") as file:
        lock(file)
        yield


def build(folder: Path, make: Callable[[Path], None]) -> bool:
    """Fill ``folder`` by ``make(empty folder)`` unless it exists intact; return True if it was made.

    The folder appears under its name complete, with a manifest of its files' checksums, or not at all. One
    with lost or altered files is made anew.
    """
    if intact(folder):
        return False
    folder.parent.mkdir(parents=True, exist_ok=True)
    with locked(folder.with_name(f".{folder.name}.lock")):
        if intact(folder):
            return False
        fresh = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
        try:
            make(fresh)
            files = sorted(path for path in fresh.rglob("*") if path.is_file())
            sums = {path.relative_to(fresh).as_posix(): sha256(path) for path in files}
            (fresh / MANIFEST).write_text(json.dumps(sums, indent=1) + "\n")
            shutil.rmtree(folder, ignore_errors=True)
            fresh.chmod(0o755)
            os.replace(fresh, folder)
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
    return True


def intact(folder: Path) -> bool:
    """Return whether all files of a folder made by ``build`` match its manifest."""
    try:
        sums = json.loads((folder / MANIFEST).read_text())
        return all(sha256(folder / name) == digest for name, digest in sums.items())
    except (OSError, ValueError, AttributeError, RecursionError):
        return False
