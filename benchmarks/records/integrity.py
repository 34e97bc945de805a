"""Integrity of a record: schema, content digest, seals and contradictions between its fields.

Everything here works on parsed JSON that may be a stranger's; ``validate`` is what makes it a ``Record``.
"""

from __future__ import annotations

import copy
import hashlib
import json
import math
import string
from collections.abc import Collection, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import orjson

from benchmarks.api import InvalidRecordError
from benchmarks.records.canonical import (
    JsonObject,
    JsonView,
    as_python,
    canonical,
    has_huge,
    has_small,
    sorted_text,
    without_base64,
)
from benchmarks.records.record import Record
from benchmarks.records.spec import ID_DIGITS, spec_id
from benchmarks.records.text import ascii_excerpt

if TYPE_CHECKING:
    import jsonschema_rs

SCHEMA = "supernet-bench/record/1"
SCHEMA_FILE = Path(__file__).parent / "schema" / "record-1.json"
# Updates follow from tokens and batches; former records have none.
_UNDIGESTED_KINDS = frozenset(("seconds", "joules", "updates"))
# A limit is a share of the measured latency of the reference network: a time as well.
_TIMED_FIELDS = frozenset(("latency", "memory", "energy", "limit_ms", "at"))
_UNDIGESTED = frozenset(("digest", "seal", "seals", "energy", "timings", "units", "declared", "oversight"))


def digest(record: JsonView) -> str:
    """Return the sha256 of what two runs of one spec share.

    That is all but times, energy, updates, units, declarations, oversight and digests.
    """
    return _sha256(canonical(digested_part(record)))


def _sha256(text: bytes) -> str:
    return hashlib.sha256(text).hexdigest()


def digested_part(record: JsonView) -> JsonObject:
    """Return the fields that ``digest`` covers; unchanged parts are shared with the record."""
    kept = _without(record, _UNDIGESTED)
    ledger = _without(kept["ledger"], ("timeline", "harness_seconds", "lost_seconds", "cpu_seconds"))
    ledger["entries"] = [e for e in ledger["entries"] if e["kind"] not in _UNDIGESTED_KINDS]
    for name in ("totals", "share"):
        ledger[name] = _without(ledger[name], _UNDIGESTED_KINDS)
    kept["ledger"] = ledger
    if "search_log" in kept:
        kept["search_log"] = [_without(line, _UNDIGESTED_KINDS) for line in kept["search_log"]]
    kept["candidates"] = [_without(c, _TIMED_FIELDS) for c in kept["candidates"]]
    for candidate in kept["candidates"]:
        if "spent" in candidate:
            candidate["spent"] = _without(candidate["spent"], _UNDIGESTED_KINDS)
    kept["provenance"] = _without(kept["provenance"], ("started", "ended"))
    return kept


def _without(fields: JsonView, names: Collection[str]) -> JsonObject:
    kept = dict(fields)
    for name in names:
        kept.pop(name, None)
    return kept


def _sealed_part(record: JsonView) -> JsonObject:
    """Return the fields that a seal covers: everything but the seal itself."""
    return _without(record, ("seal",))


def sections(record: JsonView) -> dict[str, str]:
    """Return field -> 16 hex digits of its sha256: ``spec.seed``, ``candidates[0].latency``, ``status``...

    Objects are taken apart once and candidates twice: fine enough to name a change, at few bytes.
    """
    values: JsonObject = {}
    for name, value in record.items():
        if name in ("schema", "id", "digest", "seal", "seals"):
            continue
        parts = {name: value}
        if name == "candidates":
            values["candidates (their number)"] = len(value)
            parts = {f"{name}[{i}]": candidate for i, candidate in enumerate(value)}
        for field, part in parts.items():
            if isinstance(part, Mapping):
                values |= {f"{field}.{key}": inner for key, inner in part.items()}
                values[f"{field} (its fields)"] = sorted(part)
            else:
                values[field] = part
    return {field: hashlib.sha256(canonical(value)).hexdigest()[:16] for field, value in values.items()}


def tampered(record: JsonView) -> list[str]:
    """Return the fields that do not match their hash in ``seals``; none if an old record has no seals."""
    if "seals" not in record:
        return []
    actual, stated = sections(record), record["seals"]
    return sorted(field for field in {*actual, *stated} if actual.get(field) != stated.get(field))


def seal_of(record: JsonView) -> str:
    """Return the sha256 over everything in an object but its seal."""
    return _sha256(canonical(_sealed_part(record)))


def with_seal(fields: JsonView) -> JsonObject:
    """Return a copy of an object with its seal."""
    return {**fields, "seal": seal_of(fields)}


def _storable(value: object) -> object:
    """Return a copy that JSON can hold: figures that are not finite become null, texts valid UTF-8."""
    value = value.item() if hasattr(value, "item") else value  # a figure of numpy's
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, Mapping):
        return {_storable(str(k)): _storable(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_storable(v) for v in value]
    return value


def seal(record: JsonView) -> Record:
    """Return a copy with ``schema``, ``id``, ``digest``, ``seals`` and ``seal`` filled in.

    Figures that are not finite become null, so that a method that emits NaN still has a record.

    Raises:
        InvalidRecordError: a field is missing or of the wrong kind.
    """
    fields = {key: _storable(value) for key, value in record.items()}
    digests = {"schema": SCHEMA, "id": "0" * 16, "digest": "0" * 64, "seal": "0" * 64, "seals": {}}
    sealed: JsonObject = fields | digests
    _check_schema(sealed)
    sealed["id"] = spec_id(sealed["spec"])
    sealed["digest"] = digest(sealed)
    sealed["seals"] = sections(sealed)
    sealed["seal"] = seal_of(sealed)
    return _as_record(sealed)


def _as_record(checked: JsonObject) -> Record:
    """Return checked JSON under its type."""
    record: Record = checked  # type: ignore[assignment]
    return record


@cache
def _schema() -> JsonObject:
    schema: JsonObject = json.loads(SCHEMA_FILE.read_text("utf-8"))
    return schema


@cache
def _compiled_schema() -> jsonschema_rs.Draft202012Validator:
    """Return the schema for ``intact``, with a quicker check of the statistics of sentences.

    A search for their pattern, through half of a record's bytes, takes longer than all other checks together.
    """
    import jsonschema_rs

    schema = copy.deepcopy(_schema())
    statistics = schema["$defs"]["candidate"]["properties"]["sentences"]["properties"]["bleu"]
    assert statistics.pop("pattern") == "^[0-9A-Za-z+/]*={0,2}$"
    statistics["format"] = "base64"
    return jsonschema_rs.Draft202012Validator(schema, validate_formats=True, formats={"base64": is_base64})


_BASE64 = f"{string.digits}{string.ascii_letters}+/".encode()


def is_base64(text: str) -> bool:
    """Return whether a text has the characters of base64 alone, then two signs of equality at most."""
    data = text.encode()
    others = data.translate(None, _BASE64)
    return not others or (others in (b"=", b"==") and data.endswith(others))


def parse(data: bytes) -> Record:
    """Return the record in a file's content that was found valid before."""
    record: Record = orjson.loads(data)
    return record


def intact(data: bytes) -> Record | None:
    """Return the record in a file's content if it is valid and unchanged, otherwise None.

    ``validate`` checks the same, slower, and names the fault.
    """
    try:
        record = orjson.loads(data)
        if not isinstance(record, dict) or not _compiled_schema().is_valid(record):
            return None
        sealed = sorted_text(_sealed_part(record))
        figures = without_base64(
            sealed, [c["sentences"]["bleu"] for c in record["candidates"] if "sentences" in c]
        )
        if has_huge(figures):
            return None
        texts = [sealed, sorted_text(record["spec"]), sorted_text(digested_part(record))]
        if has_small(figures):
            texts = [as_python(text) for text in texts]
        seal_, id_, digest_ = map(_sha256, texts)
    except (TypeError, ValueError, RecursionError):
        return None
    if (record["seal"], record["id"], record["digest"]) != (seal_, id_[:ID_DIGITS], digest_):
        return None
    return None if contradiction(record) else _as_record(record)


def _check_schema(record: object) -> None:
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import best_match

    if isinstance(record, dict) and record.get("schema") != SCHEMA:
        stated = ascii_excerpt(record.get("schema"))
        raise InvalidRecordError(f"field schema: {stated}, this version reads {SCHEMA!r}")
    error = best_match(Draft202012Validator(_schema()).iter_errors(record))
    if error:
        field = error.json_path.removeprefix("$").removeprefix(".") or "(the whole record)"
        reason = error.message
        if len(reason) >= 160:
            reason = reason[:60] + " ... " + reason[-90:]
        raise InvalidRecordError(f"field {field}: {reason}")


def _leaves(value: object, path: str) -> Iterator[tuple[str, object]]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield path, key
            yield from _leaves(item, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list):
        for i, item in enumerate(value):
            yield from _leaves(item, f"{path}[{i}]")
    else:
        yield path, value


def _unstorable(record: JsonView) -> tuple[str, str] | None:
    """Return the first field with a figure or text that JSON cannot hold, and its fault; None if all can."""
    for path, value in _leaves(record, ""):
        if isinstance(value, float | int) and not abs(value) < 1e300:
            return path, f"{ascii_excerpt(value)} is not a finite number"
        if isinstance(value, str) and any("\ud800" <= c <= "\udfff" for c in value):
            return path, f"{ascii_excerpt(value)} is not valid Unicode text"
    return None


def contradiction(record: JsonView) -> tuple[str, str] | None:
    """Return the first field that contradicts another of the record, and its fault; None if none does."""
    totals = record["ledger"]["totals"]
    amounts: dict[str, list[float]] = {"tokens": [], "evaluations": [], "probes": [], "updates": []}
    for entry in record["ledger"]["entries"]:
        if entry["kind"] in amounts:
            amounts[entry["kind"]].append(entry["amount"])
    for kind, booked_amounts in amounts.items():
        booked = sum(booked_amounts)
        if not math.isclose(booked, totals.get(kind, 0), rel_tol=1e-9, abs_tol=1e-6):
            return f"ledger.totals.{kind}", f"{totals.get(kind, 0):g} but the entries sum to {booked:g}"
    if (units := record.get("units")) is not None:
        deciding = units["metrics"].get(units["metric"])
        if deciding is None or not deciding["higher_is_better"]:
            fault = "not among the metrics" if deciding is None else "less of it is better"
            return "units.metric", f"{ascii_excerpt(units['metric'])}: {fault}"
    status, candidates = record["status"], record["candidates"]
    if status == "failed" and not record["message"].strip():
        return "message", "a failed run needs a message"
    if status == "done" and not candidates:
        return "candidates", "a run that is done has at least one (otherwise its status is failed)"
    indices = [c["index"] for c in candidates]
    if len(set(indices)) != len(indices):
        return "candidates", f"two have the same index: {indices}"
    for i, candidate in enumerate(candidates):
        # Low-precision layers run on the processor only: on another device there is no latency, for a reason.
        excused = candidate.get("policy") and candidate.get("not_measured")
        for name in ("test", "cost") if excused else ("test", "cost", "latency"):
            if status == "done" and not candidate.get(name):
                return f"candidates[{i}].{name}", "missing, but the run's status is done"
    return None


def validate(record: object) -> Record:
    """Return parsed JSON as a record, once its schema, id and digests are checked.

    Raises:
        InvalidRecordError: with the field and its fault.
    """
    _check_schema(record)
    assert isinstance(record, dict)
    if unstorable := _unstorable(record):
        raise InvalidRecordError(f"field {unstorable[0]}: {unstorable[1]}")
    seal_ = seal_of(record)
    changed = tampered(record) if record["seal"] != seal_ else []
    named = f"field {', '.join(changed[:3])}{', ...' if len(changed) > 3 else ''}: changed after writing"
    if problem := contradiction(record):
        fault = f"field {problem[0]}: {problem[1]}"
        raise InvalidRecordError(f"{fault} ({named})" if changed else fault)
    if changed:
        raise InvalidRecordError(f"{named}: does not match its hash in `seals`")
    expected = {"id": spec_id(record["spec"]), "digest": digest(record), "seal": seal_}
    for name, value in expected.items():
        if record[name] != value:
            raise InvalidRecordError(f"field {name}: {record[name]}, not {value}: changed after writing")
    return _as_record(record)
