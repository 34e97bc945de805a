"""Single files by address: resumed downloads, published checksums, or a checksum pinned on first use."""

from __future__ import annotations

import http.client
import os
import time
import tomllib
import urllib.error
import urllib.request
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from benchmarks.api import UsageError
from benchmarks.tasks import datasets
from benchmarks.tasks.datasets import DataFile, Dataset, Say

FOLDER = "papers"
"""Folder below ``--data-dir`` or the cache that holds the files."""
PIN = ".sha256"
"""Ending of the file that holds a checksum pinned on first use."""


@dataclass(frozen=True)
class Download:
    """One file with its address and, if somebody published them, its checksum and size."""

    name: str
    url: str
    source: str
    """Publisher of the checksum, or why there is none."""
    sha256: str | None = None
    bytes: int | None = None

    @property
    def file(self) -> str:
        """Name of the file."""
        return self.url.rpartition("/")[2]


@cache
def downloads() -> dict[str, Download]:
    """Return the files that ``downloads.toml`` declares, by name."""
    rows = tomllib.loads(Path(__file__).with_name("downloads.toml").read_text(encoding="utf-8"))
    return {name: Download(name, **row) for name, row in rows.items()}


def obtain(download: Download, data_dir: Path | None, say: Say) -> Path:
    """Return the checked path of a file: below ``data_dir``, else in the cache, fetched if it is not there.

    Raises:
        UsageError: the file is missing, truncated or altered, or cannot be fetched.
    """
    folder = (data_dir or datasets.cache_folder() / "data") / FOLDER
    path = folder / download.file
    if not path.is_file() and data_dir is not None:
        raise UsageError(
            f"no file '{path}'\nput it there: curl -L -C - -o '{path}' {download.url}\n"
            "or leave --data-dir out: then it is fetched, and the download resumes if it breaks off"
        )
    if download.sha256 is not None and download.bytes is not None:
        declared = DataFile(download.sha256, download.bytes)
        if data_dir is not None:
            if fault := datasets.differs(path, declared):
                raise UsageError(f"{fault}\nfetch it again: curl -L -o '{path}' {download.url}")
            return path
        base = download.url.rpartition("/")[0]
        note = f"checksum published by {download.source}"
        one_file = Dataset(FOLDER, {download.file: declared}, base, 0, note)
        return datasets.fetch(one_file, folder, say)[download.file]
    return _pinned(download, path, say)


def pinned_digest(path: Path) -> str:
    """Return the SHA-256 that a file without a published checksum had when it was first used."""
    return path.with_name(path.name + PIN).read_text(encoding="ascii").strip()


def _pinned(download: Download, path: Path, say: Say) -> Path:
    """Fetch a file that nobody published a checksum of, or compare it with its pin.

    Raises:
        UsageError: it cannot be fetched, or is another file than it was at first use.
    """
    pin = path.with_name(path.name + PIN)
    if not path.is_file():
        say(f"fetching {download.file}: no checksum is published ({download.source})")
        _fetch(download.url, path)
    actual = datasets.sha256(path)
    if not pin.is_file():
        pin.write_text(actual + "\n", encoding="ascii")
        say(f"{download.file}: pinned to sha256 {actual}, which is stated in every record")
    elif (first := pinned_digest(path)) != actual:
        raise UsageError(
            f"'{path}' has been altered: sha256 {actual}, and {first} when it was first used\n"
            f"fetch it again: rm '{path}' '{pin}'"
        )
    return path


def _fetch(url: str, path: Path) -> None:
    """Download a file of a size that only the server states; a part that has arrived is kept and resumed.

    Raises:
        UsageError: every attempt failed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part, trouble = path.with_name(path.name + ".part"), ""
    with datasets.locked(path.with_name(f".{path.name}.lock")):
        for attempt in range(datasets.ATTEMPTS):
            if path.is_file():
                return  # another process has fetched it
            if attempt:
                time.sleep(attempt)
            try:
                missing = _receive(url, part)
            except (OSError, ValueError, http.client.HTTPException) as error:  # URLError is an OSError
                trouble = str(getattr(error, "reason", None) or error)
                if isinstance(error, urllib.error.HTTPError) and error.code == 416:
                    part.unlink(missing_ok=True)  # longer than the file, or the server cannot resume it
                continue
            if not missing:
                os.replace(part, path)
                return
            trouble = f"broke off {missing:,} bytes before its end"
    raise UsageError(
        f"could not fetch {url}: {trouble}\ntry again (the download resumes), or put the file there: {path}"
    )


def _receive(url: str, part: Path) -> int:
    """Append to ``part`` what the server has beyond it; return the number of bytes still missing."""
    present = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={present}-"} if present else {})
    with urllib.request.urlopen(request, timeout=datasets.TIMEOUT) as reply:
        resumed = present > 0 and getattr(reply, "status", None) == 206
        length = reply.headers.get("Content-Length")
        if length is None:
            raise ValueError("the server does not state the length, so a broken download would look whole")
        remaining = int(length)
        with part.open("ab" if resumed else "wb") as file:
            while remaining > 0 and (block := reply.read(min(datasets.BLOCK, remaining))):
                file.write(block)
                remaining -= len(block)
    return remaining
