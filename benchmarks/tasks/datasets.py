"""Published data by checksum, and folders that are either whole or not there.

A dataset is declared with the SHA-256 and size of every file. ``locate`` finds them below
``--data-dir``; ``fetch`` downloads them for users with a network, resumes what broke off, and lets
nothing stand under its name that is not what was declared. ``build`` makes a folder of prepared data
atomically, and notices when a file in it has been altered since.
"""

from __future__ import annotations

import fcntl
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

Say = Callable[[str], None]
"""Takes one line for the user."""

MANIFEST = "manifest.json"
BLOCK = 1 << 20
ATTEMPTS = 3
TIMEOUT = 30.0
"""Seconds without a byte after which a download is tried again."""


@dataclass(frozen=True)
class DataFile:
    """One file as it must be."""

    sha256: str
    size: int
    """Bytes."""


@dataclass(frozen=True)
class Dataset:
    """Files that belong together, below a folder of the dataset's name.

    ``url`` is the folder they can be fetched from (None: they cannot); ``unpacked`` the bytes that one
    of them may at most unpack to; ``note`` says where else they come from, and under what licence.
    """

    name: str
    files: Mapping[str, DataFile]
    url: str | None
    unpacked: int
    note: str

    def digests(self) -> dict[str, str]:
        """``name/file`` -> SHA-256, for provenance."""
        return {f"{self.name}/{file}": declared.sha256 for file, declared in self.files.items()}


@cache
def datasets() -> dict[str, Dataset]:
    """What ``datasets.toml`` declares, by name."""
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
    """Where fetched data is kept: ``$XDG_CACHE_HOME/supernet-bench``, by default below ``~/.cache``."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    # The XDG specification has relative paths ignored.
    return (Path(base) if Path(base).is_absolute() else Path.home() / ".cache") / "supernet-bench"


def locate(data: Dataset, data_dir: Path | None, say: Say) -> dict[str, Path]:
    """Every file of a dataset, checked: below ``data_dir``, or else fetched into the cache.

    Raises:
        UsageError: a file is missing, truncated or altered, or cannot be fetched.
    """
    if data_dir is None:
        return fetch(data, cache_folder() / "data" / data.name, say)
    folder = data_dir / data.name
    if not folder.is_dir():
        inside = data_dir.is_dir() and any((data_dir / file).exists() for file in data.files)
        there = f"'{data_dir}' is that folder itself" if inside else "it is not there"
        raise UsageError(
            f"no folder '{folder}' with the files {', '.join(data.files)}: {there}\n"
            f"--data-dir names the folder above {data.name}/, such as {_hint(data, data_dir, inside)}"
        )
    for file, declared in data.files.items():
        if fault := differs(folder / file, declared):
            raise UsageError(f"{fault}\n{_then(data, folder / file)}")
    return {file: folder / file for file in data.files}


def _hint(data: Dataset, data_dir: Path, inside: bool) -> str:
    if inside:
        return f"--data-dir '{data_dir.resolve().parent}'"
    return "--data-dir ../data" + ("; without it the files are fetched" if data.url else f" ({data.note})")


def _then(data: Dataset, path: Path) -> str:
    if data.url:
        return f"put it right with: curl -L -o '{path}' {data.url}/{path.name}"
    return f"put the declared file there: {data.note}"


def differs(path: Path, declared: DataFile) -> str:
    """What is wrong with a file, naming it, what was expected and what is there; empty when nothing is."""
    if not path.is_file():
        return f"'{path}' is missing: expected {declared.size:,} bytes with sha256 {declared.sha256}"
    size = path.stat().st_size
    if size != declared.size:
        kind = "is cut short" if size < declared.size else "is too long"
        return f"'{path}' {kind}: expected {declared.size:,} bytes, found {size:,}"
    found = sha256(path)
    if found != declared.sha256:
        return f"'{path}' has been altered: expected sha256 {declared.sha256}, found {found}"
    return ""


def sha256(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fetch(data: Dataset, folder: Path, say: Say) -> dict[str, Path]:
    """Download what is not yet in ``folder``; a download that broke off goes on where it was.

    Raises:
        UsageError: there is nowhere to fetch from, no way there, or what came is not what was declared.
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
            return  # another process was quicker
        if attempt:
            time.sleep(attempt)
        try:
            _receive(url, part, declared.size)
        except (OSError, ValueError, http.client.HTTPException) as error:  # URLError is an OSError
            trouble = str(getattr(error, "reason", None) or error)
            if isinstance(error, urllib.error.HTTPError) and error.code == 416:
                part.unlink(missing_ok=True)  # what is there cannot be continued
            continue
        trouble = differs(part, declared).replace(part.name, path.name)
        if not trouble:
            os.replace(part, path)
            return
        if part.stat().st_size >= declared.size:
            part.unlink()  # wrong bytes: nothing to go on from
    raise UsageError(
        f"could not fetch {url}: {trouble}\n"
        "try again (it goes on where it was), or fetch it elsewhere and give the folder above "
        f"{path.parent.name}/: --data-dir FOLDER"
    )


def _receive(url: str, part: Path, size: int) -> None:
    """Append to ``part`` what is missing of ``size`` bytes; one byte more is kept as a sign of too many."""
    have = part.stat().st_size if part.exists() else 0
    if have > size:
        part.unlink()
        have = 0
    if have == size:
        return
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    with urllib.request.urlopen(request, timeout=TIMEOUT) as reply:
        # A server that ignores the range (and file://) sends all of it again.
        resumed = have and getattr(reply, "status", None) == 206
        with part.open("ab" if resumed else "wb") as file:
            left = size + 1 - (have if resumed else 0)
            while left > 0 and (block := reply.read(min(BLOCK, left))):
                file.write(block)
                left -= len(block)


def read_lines(path: Path, unpacked: int) -> list[str]:
    """The lines of a UTF-8 text packed by gzip or xz, unpacked to at most ``unpacked`` bytes.

    Raises:
        UsageError: it is no such text, or larger.
    """
    parts: list[bytes] = []
    left = unpacked
    try:
        with lzma.open(path) if path.suffix == ".xz" else gzip.open(path) as file:
            while block := file.read(min(BLOCK, left + 1)):
                left -= len(block)
                if left < 0:
                    raise UsageError(f"'{path}' unpacks to more than the {unpacked:,} bytes allowed")
                parts.append(block)
        # Only \n ends a line: str.splitlines would also split at a form feed or U+2028.
        lines = b"".join(parts).decode("utf-8").removesuffix("\n").split("\n")
    except (OSError, EOFError, zlib.error, lzma.LZMAError, UnicodeDecodeError) as error:
        raise UsageError(f"'{path}' is not packed UTF-8 text: {error}") from None
    return [line.removesuffix("\r") for line in lines]


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Only one process at a time; freed by the system whatever becomes of it."""
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def build(folder: Path, make: Callable[[Path], None]) -> bool:
    """Make ``folder`` by ``make(empty folder)`` unless it is there and whole; True when it was made.

    It appears under its name complete, with a manifest of its files' checksums, or not at all. One
    whose files have since been lost or altered is made anew.
    """
    if whole(folder):
        return False
    folder.parent.mkdir(parents=True, exist_ok=True)
    with locked(folder.with_name(f".{folder.name}.lock")):
        if whole(folder):
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


def whole(folder: Path) -> bool:
    """Whether a folder made by ``build`` is as it was made."""
    try:
        sums = json.loads((folder / MANIFEST).read_text())
        return all(sha256(folder / name) == digest for name, digest in sums.items())
    except (OSError, ValueError, AttributeError):
        return False
