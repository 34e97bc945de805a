"""Archives of a suite's runs: one file that moves a plan with its records and runs to another machine.

An archive is a tar file of the ustar format: ``manifest.json``, then the files that the manifest lists with
size and SHA-256. It may be a stranger's, so nothing in it is trusted. Headers are read one by one, regular
files with plain names alone are taken, and all of them are checked in a folder of their own before the first
one reaches its place. No torch.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import shutil
import stat
import tarfile
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, NamedTuple

from benchmarks.api import InvalidRecordError, UsageError
from benchmarks.records import store
from benchmarks.records.canonical import JsonView
from benchmarks.records.folders import results_flag
from benchmarks.records.spec import spec_id
from benchmarks.records.text import sanitize
from benchmarks.runs.execution import exclusive
from benchmarks.runs.plan import Folders
from benchmarks.runs.run_limits import SUFFIX, limits_path, parse_limits

FORMAT = 1
MANIFEST = "manifest.json"
PARTS = ("records", "runs")
"""Folders of a suite's results that an archive holds."""
LOCK = "lock"
"""Name of files that mean something to processes of their own machine alone."""
MOST_FILES = 50_000
LARGEST_MANIFEST = 8 * 2**20
"""Bytes of a manifest, at most."""
BLOCK = 512
"""Bytes of a tar block."""
CHUNK = 2**20
SPARE = 256 * 2**20
"""Bytes that have to be left free on the disk."""
_PLAIN = re.compile(r"[A-Za-z0-9_+,=@-][A-Za-z0-9_.+,=@ -]{0,199}")
_NAME = re.compile(r"[\w.-]{1,80}", re.ASCII)
_RECORD = re.compile(r"[0-9a-f]{16}(\.(failed|stopped)-\d{1,6})?\.json")
_RUN = re.compile(r"[0-9a-f]{16}")
_LIMITS = re.compile(rf"runs/[0-9a-f]{{16}}{re.escape(SUFFIX)}")
_DIGEST = re.compile(r"[0-9a-f]{64}")


class ArchivedFile(NamedTuple):
    """Size in bytes and SHA-256 of one file."""

    size: int
    sha256: str


@dataclass(frozen=True)
class Contents:
    """The manifest of an archive.

    Attributes:
        suite, tier: of all runs.
        files: path below the suite's folder -> size and digest.
    """

    suite: str
    tier: str
    files: Mapping[str, ArchivedFile]

    @property
    def records(self) -> list[str]:
        """Paths of records."""
        return [path for path in self.files if path.startswith("records/")]

    @property
    def runs(self) -> list[str]:
        """Ids of the runs that have files in their folders."""
        inside = (path for path in self.files if path.startswith("runs/") and not _LIMITS.fullmatch(path))
        return sorted({path.split("/")[1] for path in inside})

    @property
    def limits(self) -> list[str]:
        """Paths of runs' latency limits, which lie beside their folders."""
        return [path for path in self.files if _LIMITS.fullmatch(path)]

    def summary(self) -> str:
        """Return numbers and size in one line."""
        size = sum(file.size for file in self.files.values())
        return f"{len(self.records)} records, files of {len(self.runs)} runs, {size / 1e6:,.1f} MB"


def pack(folders: Folders, out: Path) -> Contents:
    """Write the records and runs of a suite and tier into one archive, which appears complete or not at all.

    Prepared data, latencies of reference networks, tables, plots and pages are left out: the other machine
    makes its own.

    Raises:
        UsageError: nothing to pack, a run is in progress, a file of that name exists, a record is damaged, or
            a name cannot travel.
    """
    if not any((folders.home / part).is_dir() for part in PARTS):
        command = f"supernet-bench run {folders.suite} --tier {folders.tier}{results_flag(folders.results)}"
        raise UsageError(f"{folders.home}: no runs to pack\nmake some: {command}")
    if out.exists():
        raise UsageError(f"{out} is there already: move it away, or name another file: --to FILE")
    out.parent.mkdir(parents=True, exist_ok=True)
    with (
        exclusive(folders.home),
        tempfile.NamedTemporaryFile(
            prefix=f".{out.name}.", suffix=".tmp", dir=out.parent, delete=False
        ) as file,
    ):
        try:
            files = {path: _digested(folders.home / path) for path in _packed(folders.home)}
            contents = Contents(folders.suite, folders.tier, files)
            _check(folders.home, contents, "cannot be packed")
            manifest = {"format": FORMAT, "suite": folders.suite, "tier": folders.tier}
            listed = {path: entry._asdict() for path, entry in files.items()}
            text = json.dumps(manifest | {"files": listed}).encode()
            with tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as tar:
                _append(tar, MANIFEST, len(text), io.BytesIO(text))
                for path, entry in files.items():
                    with (folders.home / path).open("rb") as packed:
                        _append(tar, path, entry.size, packed)
            file.flush()
            os.fsync(file.fileno())
            os.chmod(file.name, 0o644)
            os.replace(file.name, out)
        except ValueError as error:  # a path or a size that ustar cannot hold
            raise UsageError(f"cannot be packed: {error}") from None
        finally:
            Path(file.name).unlink(missing_ok=True)
    return contents


def _packed(home: Path) -> Iterator[str]:
    """Yield the paths that travel, sorted.

    Raises:
        UsageError: the name of a file is not plain, so that another machine would refuse it.
    """
    for part in PARTS:
        for top, folders, names in os.walk(home / part):
            folders.sort()
            for name in sorted(names):
                path = Path(top, name)
                relative = path.relative_to(home).as_posix()
                parts = relative.split("/")
                if not stat.S_ISREG(path.lstat().st_mode) or name == LOCK or name.endswith(".tmp"):
                    continue
                if part == "records" and not _RECORD.fullmatch(name):
                    continue  # set aside, or no record
                run = parts[1].removesuffix(SUFFIX)
                if part == "runs" and not (home / "runs" / run / "spec.json").is_file():
                    continue  # a reference network's
                if problem := _improper(relative):
                    raise UsageError(f"{path}: {problem}: move the file away, then pack again")
                yield relative


def _digested(path: Path) -> ArchivedFile:
    with path.open("rb") as file:
        return ArchivedFile(os.fstat(file.fileno()).st_size, hashlib.file_digest(file, "sha256").hexdigest())


def _append(tar: tarfile.TarFile, name: str, size: int, data: IO[bytes]) -> None:
    member = tarfile.TarInfo(name)
    member.size, member.mode = size, 0o644
    tar.addfile(member, data)


def _improper(path: str) -> str:
    """Return why an archive may not hold a path; empty if it may."""
    if _LIMITS.fullmatch(path):
        return ""
    parts = PurePosixPath(path).parts
    if "/".join(parts) != path or not 3 <= len(parts) <= 12 or parts[0] not in PARTS:
        return "not a file of a record or a run"
    if bad := next((part for part in parts if not _PLAIN.fullmatch(part)), None):
        return f"{sanitize(bad, 40)!r} is not a plain name"
    if parts[0] == "runs" and not _RUN.fullmatch(parts[1]):
        return f"{sanitize(parts[1], 40)!r} is not the id of a run"
    if parts[0] == "records" and not _RECORD.fullmatch(parts[-1]):
        return f"{sanitize(parts[-1], 40)!r} is not the name of a record"
    return "belongs to its own machine" if parts[-1] == LOCK else ""


class ArchiveReader:
    """Reader of one archive: its manifest, then its files in the order in which they lie there.

    Raises:
        UsageError: not an archive of this program, truncated, or dangerous.
    """

    def __init__(self, file: IO[bytes], name: Path) -> None:
        self._file, self._name = file, name
        path, size = self._header()
        if path != MANIFEST or size > LARGEST_MANIFEST:
            raise self._refused("not an archive of supernet-bench pack")
        self.contents = self._contents(b"".join(self._data(size)))

    def files(self) -> Iterator[tuple[str, Iterator[bytes]]]:
        """Yield path and chunks of each file, which have to be read before the next one.

        Raises:
            UsageError: a file that the manifest does not list, of another size or content, or too few.
        """
        due = dict(self.contents.files)
        while due:
            path, size = self._header()
            expected = due.pop(path, None)
            if expected is None or expected.size != size:
                raise self._refused(f"{sanitize(path, 200)} is not as the manifest lists it")
            yield path, self._checked(path, size, expected.sha256)

    def _checked(self, path: str, size: int, sha256: str) -> Iterator[bytes]:
        hashed = hashlib.sha256()
        for chunk in self._data(size):
            hashed.update(chunk)
            yield chunk
        if hashed.hexdigest() != sha256:
            raise self._refused(f"{path} has another content than the manifest names: it was damaged")

    def _header(self) -> tuple[str, int]:
        """Return path and size of the next member, which has to be a regular file."""
        try:
            member = tarfile.TarInfo.frombuf(self._file.read(BLOCK), "utf-8", "strict")
        except (tarfile.HeaderError, UnicodeError, ValueError, IndexError):
            raise self._refused("truncated, or not an archive of supernet-bench pack") from None
        if member.type != tarfile.REGTYPE or member.size < 0:
            raise self._refused(f"{sanitize(member.name, 200)} is no regular file")
        return member.name, member.size

    def _data(self, size: int) -> Iterator[bytes]:
        remaining = size
        while remaining:
            chunk = self._file.read(min(CHUNK, remaining))
            if not chunk:
                raise self._refused("truncated")
            remaining -= len(chunk)
            yield chunk
        self._file.read(-size % BLOCK)

    def _contents(self, text: bytes) -> Contents:
        """Return the manifest, checked in every part."""
        try:
            parsed: JsonView = json.loads(text)
            if parsed["format"] != FORMAT:
                raise self._refused(
                    f"of format {sanitize(str(parsed['format']), 20)}; this program reads {FORMAT}"
                )
            suite, tier = str(parsed["suite"]), str(parsed["tier"])
            files = {
                str(path): ArchivedFile(int(entry["size"]), str(entry["sha256"]))
                for path, entry in parsed["files"].items()
            }
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError, OverflowError):
            raise self._refused("its manifest cannot be read") from None
        if not (_NAME.fullmatch(suite) and _NAME.fullmatch(tier)) or {suite, tier} & {".", ".."}:
            raise self._refused("its suite and tier are no plain names")
        if len(files) > MOST_FILES:
            raise self._refused(f"{len(files):,} files; at most {MOST_FILES:,}")
        folded: dict[str, str] = {}
        for path, entry in files.items():
            problem = _improper(path)
            if not problem and (entry.size < 0 or not _DIGEST.fullmatch(entry.sha256)):
                problem = "size or digest is impossible"
            if problem or folded.setdefault(path.casefold(), path) != path:
                raise self._refused(
                    f"{sanitize(path, 200)}: {problem or 'two names that differ in case alone'}"
                )
        return Contents(suite, tier, files)

    def _refused(self, why: str) -> UsageError:
        return UsageError(
            f"{self._name}: {why}\nnothing was unpacked; make it again: supernet-bench pack SUITE"
        )


def unpack(archive: Path, results: Path) -> tuple[Contents, Folders]:
    """Add the records and runs of an archive to a folder of results.

    Files that are there with the same content stay. Interrupted at any time, the same command finishes it.

    Raises:
        UsageError: the archive is not in order, or a run or a record is there with other content; then
            nothing was changed.
    """
    if not stat.S_ISREG(archive.stat().st_mode):
        raise UsageError(f"{archive}: not a file")
    with archive.open("rb") as file:
        reader = ArchiveReader(file, archive)
        contents = reader.contents
        size = sum(entry.size for entry in contents.files.values())
        if size > archive.stat().st_size:
            raise UsageError(f"{archive}: truncated: its files have {size:,} bytes\nnothing was unpacked")
        folders = Folders(results, contents.suite, contents.tier)
        with exclusive(folders.home):
            if size + SPARE > shutil.disk_usage(folders.home).free:
                raise UsageError(f"{folders.home}: no room for {size / 1e9:,.1f} GB: --results DIR elsewhere")
            for stale in folders.home.glob(".unpack-*"):  # of a command that was killed
                shutil.rmtree(stale, ignore_errors=True)
            fresh = Path(tempfile.mkdtemp(prefix=".unpack-", dir=folders.home))
            try:
                for path, chunks in reader.files():
                    _write(fresh / path, chunks)
                _check(fresh, contents, f"{archive}: nothing was unpacked")
                _merge(fresh, folders.home, contents)
            finally:
                shutil.rmtree(fresh, ignore_errors=True)
    return contents, folders


def _write(path: Path, chunks: Iterator[bytes]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("xb") as file:
        for chunk in chunks:
            file.write(chunk)
        file.flush()
        os.fsync(file.fileno())


def _check(home: Path, contents: Contents, refusal: str) -> None:
    """Refuse records that are not valid or not in place, runs of another name, and limits that are none."""
    for path in contents.records:
        try:
            record = store.load(home / path)
        except InvalidRecordError as error:
            raise UsageError(f"{refusal}: {str(error).replace(f'{home}/', '')}") from None
        spec, name = record["spec"], PurePosixPath(path)
        due = PurePosixPath("records", store.place(record))
        if name.parent != due.parent or not name.name.startswith(f"{record['id']}."):
            raise UsageError(f"{refusal}: {path} is not the place of its record")
        if (spec["suite"], spec["tier"]) != (contents.suite, contents.tier):
            raise UsageError(f"{refusal}: {path} is of another suite or tier")
    for run in contents.runs:
        named = ""
        with suppress(OSError, ValueError, TypeError, RecursionError):
            named = spec_id(json.loads((home / "runs" / run / "spec.json").read_bytes()))
        if named != run:
            raise UsageError(f"{refusal}: run {run} has the specification of another")
    beside = {limits_path(Path("runs", run)).as_posix() for run in contents.runs}
    for path in contents.limits:
        if path not in beside:
            raise UsageError(f"{refusal}: {path} is of a run that has no files")
        try:
            parse_limits(json.loads((home / path).read_bytes()))
        except (OSError, KeyError, TypeError, ValueError, OverflowError, RecursionError):
            raise UsageError(f"{refusal}: {path} holds no latency limits") from None


def _merge(fresh: Path, home: Path, contents: Contents) -> None:
    """Move absent runs and records into their place, one at a time."""
    # Limits come before their run: one that is there without them would go on under this machine's.
    units = [*contents.records, *contents.limits, *(f"runs/{run}" for run in contents.runs)]
    for unit in units:
        place, problem = home / unit, ""
        if place.exists() or place.is_symlink():
            problem = _difference(fresh / unit, place)
        if problem:
            raise UsageError(f"{place}: {problem}\nnothing was unpacked; take another folder: --results DIR")
    for unit in units:
        place = home / unit
        if not place.exists():
            place.parent.mkdir(parents=True, exist_ok=True)
            os.rename(fresh / unit, place)


def _difference(packed: Path, place: Path) -> str:
    """Return how what is there differs from what was packed; empty if it has the same content."""
    if packed.is_file():
        same = place.is_file() and _digested(place) == _digested(packed)
        return "" if same else "is there with other content"
    files = [path.relative_to(packed) for path in packed.rglob("*") if path.is_file()]
    if all(
        (place / path).is_file() and _digested(place / path) == _digested(packed / path) for path in files
    ):
        return ""
    return "this run was begun here too, and differs"
