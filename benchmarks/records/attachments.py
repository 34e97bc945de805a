"""Attachments: sealed files about published records, ``results/FOLDER/<record id>/<seal's start>.json``.

There are two kinds: verdicts of second runs (``verification.verdict_files``) and latencies in other runtimes
(``records.runtime_latencies``). A file is a stranger's until it is checked: against its schema, its seal and
itself, then against the record that it is about. No torch.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Generic, TypedDict, TypeVar

from benchmarks.api import InvalidRecordError
from benchmarks.records import integrity, store
from benchmarks.records.canonical import JsonObject
from benchmarks.records.record import Provenance, Record
from benchmarks.records.text import sanitize

if TYPE_CHECKING:
    from jsonschema import Draft202012Validator

LARGEST = 2**20
"""Bytes. Such a file holds kilobytes; a larger file is refused unread."""

_RECORD, _FILE = re.compile(r"[0-9a-f]{16}"), re.compile(r"[0-9a-f]{16}\.json")
FieldError = tuple[str, str]
"""A field and its fault."""


class Attachment(TypedDict):
    """Fields of every attachment; ``record_seal`` is the seal of the record that it is about."""

    schema: str
    record: str
    record_seal: str
    provenance: Provenance | None
    seal: str


A = TypeVar("A", bound=Attachment)


@dataclass(frozen=True)
class AttachmentKind(Generic[A]):
    """One kind of attachment: its folder, its schemas and its checks.

    Attributes:
        folder: under the results folder.
        noun: for messages, such as ``verdict``.
        schemas: allowed value of the field ``schema`` -> file in the folder ``schema``; newest last.
        contradiction: the first field that contradicts another; None if none does.
        misfit: the first field that does not fit the record; None if all do.
        upgrade: turns a file of an older schema into one of the newest; None if there is no older schema.
    """

    folder: str
    noun: str
    schemas: Mapping[str, str]
    contradiction: Callable[[A], FieldError | None]
    misfit: Callable[[A, Record], FieldError | None]
    upgrade: Callable[[JsonObject], A] | None = None

    def path(self, results: Path, attachment: A) -> Path:
        """Return the place of an attachment."""
        return results / self.folder / attachment["record"] / f"{attachment['seal'][:16]}.json"

    def write(self, results: Path, attachment: A) -> Path:
        """Write an attachment to its place."""
        path = self.path(results, attachment)
        store.write_text(path, json.dumps(attachment, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
        return path

    def load(self, path: Path) -> A:
        """Read one attachment and check it against its schema, its seal, itself and the clock.

        Raises:
            InvalidRecordError: naming the file, the field and its fault.
        """
        from jsonschema.exceptions import best_match

        try:
            if path.stat().st_size > LARGEST:
                raise InvalidRecordError(f"{path}: larger than {LARGEST:,} bytes")
            parsed = json.loads(path.read_bytes().decode())
            stated = parsed.get("schema") if isinstance(parsed, dict) else None
            schema = self.schemas.get(str(stated), [*self.schemas.values()][-1])
            error = best_match(_schema(schema).iter_errors(parsed))
            if error:
                fault = error.message if len(error.message) < 160 else "... " + error.message[-90:]
                field = sanitize(error.json_path.removeprefix("$").removeprefix("."), 80) or "(all)"
                raise InvalidRecordError(f"{path}: field {field}: {sanitize(fault)}")
            if parsed["seal"] != integrity.seal_of(parsed):
                raise InvalidRecordError(f"{path}: field seal: changed after writing")
        except (OSError, ValueError, RecursionError) as error:
            fault = f"{path}: not a {self.noun} that can be read: {sanitize(error)}"
            raise InvalidRecordError(fault) from None
        attachment: A = self.upgrade(parsed) if self.upgrade is not None else parsed
        if fault_in := self.contradiction(attachment):
            raise InvalidRecordError(f"{path}: field {fault_in[0]}: {fault_in[1]}")
        if (end := ended(attachment)) is not None and in_future(end):
            raise InvalidRecordError(f"{path}: field provenance.ended: {end.isoformat()} {IN_FUTURE}")
        return attachment

    def paths(self, results: Path) -> dict[str, tuple[Path, ...]]:
        """Return record id -> the files about that record, in a fixed order.

        Raises:
            InvalidRecordError: a file under the folder is not named as an attachment.
        """
        by_record: dict[str, list[Path]] = {}
        top = results / self.folder
        for below, _, names in os.walk(top):
            for name in sorted(names):
                path = Path(below, name)
                if (
                    path.parent.parent != top
                    or not _RECORD.fullmatch(path.parent.name)
                    or not _FILE.fullmatch(name)
                ):
                    raise InvalidRecordError(
                        f"{path}: not named as a {self.noun} is ({self.folder}/<record id>/<16 digits>.json):"
                        " remove it"
                    )
                by_record.setdefault(path.parent.name, []).append(path)
        return {name: tuple(by_record[name]) for name in sorted(by_record)}

    def of_record(self, record: Record, files: Sequence[Path]) -> list[A]:
        """Return the attachments of one published record, newest first, without those of an earlier version.

        Raises:
            InvalidRecordError: a file is damaged, misplaced, or does not fit the record.
        """
        attachments = []
        for path in files:
            attachment = self.load(path)
            if attachment["record"] != record["id"] or path.stem != attachment["seal"][:16]:
                place = self.path(Path("."), attachment)
                raise InvalidRecordError(f"{path}: field record: belongs in {place}")
            if attachment["record_seal"] != record["seal"]:
                continue
            if fault := self.misfit(attachment, record):
                raise InvalidRecordError(f"{path}: field {fault[0]}: {fault[1]}")
            attachments.append(attachment)
        attachments.sort(
            key=lambda a: (ended(a) or datetime.min.replace(tzinfo=UTC), a["seal"]), reverse=True
        )
        return attachments


@cache
def _schema(name: str) -> Draft202012Validator:
    from jsonschema import Draft202012Validator

    return Draft202012Validator(json.loads((Path(__file__).parent / "schema" / name).read_text("utf-8")))


def ended(attachment: Attachment) -> datetime | None:
    """Return the end of the work behind an attachment, in UTC; None if no time is stated."""
    provenance = attachment["provenance"]
    try:
        return None if provenance is None else moment(provenance["ended"])
    except (KeyError, TypeError, ValueError, OverflowError):
        return None


def moment(text: str) -> datetime:
    """Return an ISO time in UTC; a time without a zone counts as UTC.

    Raises:
        ValueError: no ISO time.
        OverflowError: outside of the years 1 to 9999 in UTC.
    """
    time = datetime.fromisoformat(text)
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)


CLOCKS_APART = timedelta(days=1)
"""Largest difference of two machines' clocks that is taken for an accident."""
IN_FUTURE = (
    "is in the future by this machine's clock: state the time at which the run ended, or set the clock"
)


def in_future(time: datetime) -> bool:
    """Return whether a time is later than now: the newest file counts, and one from 2099 would for ever."""
    return time > datetime.now(UTC) + CLOCKS_APART


def date(attachment: Attachment) -> str:
    """Return the day of ``ended`` in UTC, ISO; empty if there is none."""
    end = ended(attachment)
    return end.date().isoformat() if end else ""
