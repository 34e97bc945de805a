"""Records that stand for the present code of a method."""

from __future__ import annotations

from collections.abc import Iterable

from benchmarks import identity
from benchmarks.records import store
from benchmarks.records.record import Record
from benchmarks.registry import MethodRef


def of_method(ref: MethodRef, records: Iterable[Record]) -> list[Record]:
    """Return the records of a method's present code, or of code that is declared to make equal numbers."""
    named = (record for record in records if record["spec"]["method"] == ref.name)
    return [record for record in named if identity.of_record(record).method == _code(ref, record)]


def _code(ref: MethodRef, record: Record) -> str:
    return identity.equivalent(identity.METHOD, ref.sha256, identity.device_of(record))


def is_result(record: Record) -> bool:
    """Return whether a record is of a search that neither failed nor was stopped."""
    return record["status"] == "done" and not store.stopped_by_seconds(record)
