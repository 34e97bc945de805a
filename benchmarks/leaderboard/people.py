"""People behind rows: who ran them, and which implementations their methods' authors have verified.

``results/people.toml`` states both. A verification names the digest of the implementation that the authors
looked at; an implementation that has changed since is not verified by it.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.api import InvalidRecordError
from benchmarks.comparability.run_summary import RunSummary
from benchmarks.records.canonical import JsonObject
from benchmarks.records.text import sanitize

if TYPE_CHECKING:
    from benchmarks.analysis.table import Table

FILE = "people.toml"
NOT_STATED = "not stated"
NOT_YET = "no"
_ID = re.compile(r"[0-9a-f]{16}")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")
_FIELDS: dict[str, dict[str, type]] = {
    "run": {"by": str, "records": list},
    "verified": {"method": str, "method_sha256": str, "by": str, "statement": str, "on": str},
}


@dataclass(frozen=True)
class Verification:
    """Statement of a method's authors about one implementation."""

    by: str
    on: str
    statement: str
    """Address at which the authors say so."""


@dataclass(frozen=True)
class People:
    """Contents of ``people.toml``."""

    runs: Mapping[str, str] = field(default_factory=dict)
    """Record id -> who ran it."""
    verified: Mapping[tuple[str, str], Verification] = field(default_factory=dict)
    """Method and digest of its implementation -> the authors' statement."""

    def who_ran(self, record: str) -> str:
        """Return the person who ran a record."""
        return self.runs.get(record, NOT_STATED)

    def run_by(self, runs: Iterable[RunSummary]) -> str:
        """Return the names of the people who ran a row's runs, joined."""
        return ", ".join(dict.fromkeys(self.who_ran(run.id) for run in runs)) or NOT_STATED

    def authors_of(self, runs: Iterable[RunSummary]) -> str:
        """Return the authors' verification of a row's implementations; all of them must be verified."""
        statements = [self.verified.get((run.method, run.source)) for run in runs]
        if not statements or None in statements:
            return NOT_YET
        return ", ".join(
            dict.fromkeys(
                f"{statement.by}, {statement.on}" for statement in statements if statement is not None
            )
        )

    def of_rows(self, table: Table) -> list[tuple[str, str]]:
        """Return the authors' verification, and who ran it, of each row of a table."""
        runs_of: dict[str, list[RunSummary]] = {}
        for run in table.runs:
            runs_of.setdefault(table.named[run.id], []).append(run)
        texts = {label: (self.authors_of(runs), self.run_by(runs)) for label, runs in runs_of.items()}
        return [texts.get(str(row["of"]), (NOT_YET, NOT_STATED)) for row in table.each]


def load(results: Path) -> People:
    """Read ``people.toml`` of a folder of results; nobody if there is none.

    Raises:
        InvalidRecordError: it is not of the expected form; the message names the entry and the field.
    """
    path = results / FILE
    if not path.exists():
        return People()
    try:
        contents = tomllib.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise InvalidRecordError(f"{path}: {error}\nsee docs/publish.md, Who ran it") from error
    runs: dict[str, str] = {}
    verified: dict[tuple[str, str], Verification] = {}
    for kind, entries in contents.items():
        if kind not in _FIELDS or not isinstance(entries, list):
            raise InvalidRecordError(f"{path}: {sanitize(kind, 40)}: write [[run]] or [[verified]]")
        for number, entry in enumerate(entries, 1):
            _check(path, kind, number, entry)
            by = sanitize(entry["by"], 80)
            if kind == "run":
                for record in entry["records"]:
                    if runs.setdefault(record, by) != by:
                        raise InvalidRecordError(f"{path}: record {record}: run by two; leave one")
            else:
                key = entry["method"], entry["method_sha256"]
                verified[key] = Verification(by, entry["on"], sanitize(entry["statement"], 300))
    return People(runs, verified)


def _check(path: Path, kind: str, number: int, entry: JsonObject) -> None:
    where = f"{path}: [[{kind}]] {number}"
    if not isinstance(entry, dict):
        raise InvalidRecordError(f"{where}: not a table")
    for name, type_ in _FIELDS[kind].items():
        if not isinstance(entry.get(name), type_) or not entry[name]:
            raise InvalidRecordError(f"{where}: field {name}: missing or empty")
    if unknown := sorted(set(entry) - set(_FIELDS[kind])):
        fields = " ".join(_FIELDS[kind])
        raise InvalidRecordError(f"{where}: field {sanitize(unknown[0], 40)}: unknown; allowed: {fields}")
    for record in entry.get("records", ()):
        if not isinstance(record, str) or not _ID.fullmatch(record):
            shown = sanitize(record, 40)
            raise InvalidRecordError(f"{where}: field records: {shown}: an id has 16 hex digits")
    if kind == "verified":
        checks = {"method_sha256": (_DIGEST, "64 hex digits"), "on": (_DAY, "a day as 2026-01-31"),
                  "statement": (re.compile(r"https://[^\s/]+/\S+"), "an https:// address")}  # fmt: skip
        for name, (form, words) in checks.items():
            if not form.fullmatch(entry[name]):
                raise InvalidRecordError(f"{where}: field {name}: {sanitize(entry[name], 80)}: write {words}")
