"""The result record: schema, digests and the append-only store. One JSON file a run; no torch.

A record is a plain nested dict (see ``schema/record-1.json``). Every text in it was written by a
method or a machine that may be a stranger's: nothing here trusts or interprets it.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import tempfile
from collections.abc import Collection, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from benchmarks.api import InvalidRecord
from benchmarks.records.text import ascii_excerpt, printable

SCHEMA = "supernet-bench/record/1"
LARGEST = 64 * 2**20
"""Bytes. A record holds kilobytes; a larger file is not one of ours and is not read."""

Record = dict[str, Any]

SCHEMA_FILE = Path(__file__).parent / "schema" / "record-1.json"
_TIMED_KINDS = frozenset(("seconds", "joules"))
# A limit is a share of the measured latency of the reference network: a time as well.
_TIMED_FIELDS = frozenset(("latency", "memory", "energy", "limit_ms", "at"))
_UNDIGESTED = frozenset(("digest", "seal", "seals", "energy", "timings"))
_STORED = re.compile(r"[0-9a-f]{16}\.json")


def canonical(value: Any) -> bytes:
    """The one byte string of a JSON value: sorted keys, no spaces, UTF-8.

    Raises:
        ValueError: a figure is not finite or a text has no UTF-8 form.
    """
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    ).encode()


def spec_id(spec: Mapping[str, Any]) -> str:
    """16 hex digits: the content hash of a run's specification."""
    return hashlib.sha256(canonical(spec)).hexdigest()[:16]


def digest(record: Mapping[str, Any]) -> str:
    """sha256 of what two runs of one spec share: everything but times, energy and the digests."""
    return hashlib.sha256(canonical(digested_part(record))).hexdigest()


def digested_part(record: Mapping[str, Any]) -> Record:
    """What ``digest`` covers; shares what it does not change with the record."""
    kept = _without(record, _UNDIGESTED)
    ledger = _without(kept["ledger"], ("timeline", "harness_seconds", "lost_seconds", "cpu_seconds"))
    ledger["entries"] = [e for e in ledger["entries"] if e["kind"] not in _TIMED_KINDS]
    for name in ("totals", "share"):
        ledger[name] = _without(ledger[name], _TIMED_KINDS)
    kept["ledger"] = ledger
    if "search_log" in kept:
        kept["search_log"] = [_without(line, _TIMED_KINDS) for line in kept["search_log"]]
    kept["candidates"] = [_without(c, _TIMED_FIELDS) for c in kept["candidates"]]
    for candidate in kept["candidates"]:
        if "spent" in candidate:
            candidate["spent"] = _without(candidate["spent"], _TIMED_KINDS)
    kept["provenance"] = _without(kept["provenance"], ("started", "ended"))
    return kept


def _without(mapping: Mapping[str, Any], names: Collection[str]) -> Record:
    return {key: value for key, value in mapping.items() if key not in names}


def sealed_part(record: Mapping[str, Any]) -> Record:
    """What ``seal`` covers: everything but itself."""
    return _without(record, ("seal",))


def sections(record: Mapping[str, Any]) -> dict[str, str]:
    """Field -> 16 hex digits of its sha256: ``spec.seed``, ``candidates[0].latency``, ``status``...

    Objects are taken apart once and candidates twice, so that a change is named as closely as it is worth
    the bytes.
    """
    found: dict[str, Any] = {}
    for name, value in record.items():
        if name in ("schema", "id", "digest", "seal", "seals"):
            continue
        parts = {name: value}
        if name == "candidates":
            found["candidates (their number)"] = len(value)
            parts = {f"{name}[{i}]": candidate for i, candidate in enumerate(value)}
        for field, part in parts.items():
            if isinstance(part, Mapping):
                found |= {f"{field}.{key}": inner for key, inner in part.items()}
                found[f"{field} (its fields)"] = sorted(part)
            else:
                found[field] = part
    return {field: hashlib.sha256(canonical(value)).hexdigest()[:16] for field, value in found.items()}


def tampered(record: Mapping[str, Any]) -> list[str]:
    """The fields that no longer match their hash in ``seals``; none where an old record has no seals."""
    if "seals" not in record:
        return []
    due, said = sections(record), record["seals"]
    return sorted(field for field in {*due, *said} if due.get(field) != said.get(field))


def _seal(record: Mapping[str, Any]) -> str:
    return hashlib.sha256(canonical(sealed_part(record))).hexdigest()


def _storable(value: Any) -> Any:
    """A copy that JSON can hold: figures that are not finite become null, texts valid UTF-8."""
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


def seal(record: Mapping[str, Any]) -> Record:
    """A copy with ``schema``, ``id``, ``digest`` and ``seal`` filled in.

    Figures that are not finite become null, so that a method that emits NaN still has a record.

    Raises:
        InvalidRecord: a field is missing or of the wrong kind.
    """
    sealed: Record = _storable(record) | {
        "schema": SCHEMA,
        "id": "0" * 16,
        "digest": "0" * 64,
        "seal": "0" * 64,
        "seals": {},
    }
    _check_schema(sealed)
    sealed["id"] = spec_id(sealed["spec"])
    sealed["digest"] = digest(sealed)
    sealed["seals"] = sections(sealed)
    sealed["seal"] = _seal(sealed)
    return sealed


@cache
def _validator() -> Any:
    from jsonschema import Draft202012Validator

    return Draft202012Validator(json.loads(SCHEMA_FILE.read_text("utf-8")))


def _check_schema(record: Any) -> None:
    from jsonschema.exceptions import best_match

    if isinstance(record, dict) and record.get("schema") != SCHEMA:
        raise InvalidRecord(
            f"field schema: {ascii_excerpt(record.get('schema'))}, this version reads {SCHEMA!r}"
        )
    error = best_match(_validator().iter_errors(record))
    if error:
        field = error.json_path.removeprefix("$").removeprefix(".") or "(the whole record)"
        said = error.message
        raise InvalidRecord(f"field {field}: {said if len(said) < 160 else said[:60] + ' ... ' + said[-90:]}")


def _leaves(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield path, key
            yield from _leaves(item, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list):
        for i, item in enumerate(value):
            yield from _leaves(item, f"{path}[{i}]")
    else:
        yield path, value


def _unstorable(record: Mapping[str, Any]) -> tuple[str, str] | None:
    """The first ``(field, what is wrong)`` of the figures and texts that JSON cannot hold, or None."""
    for path, value in _leaves(record, ""):
        if isinstance(value, float | int) and not abs(value) < 1e300:
            return path, f"{ascii_excerpt(value)} is not a finite number"
        if isinstance(value, str) and any("\ud800" <= c <= "\udfff" for c in value):
            return path, f"{ascii_excerpt(value)} is not valid Unicode text"
    return None


def contradiction(record: Mapping[str, Any]) -> tuple[str, str] | None:
    """The first ``(field, what is wrong)`` where fields of a record contradict one another, or None."""
    totals = record["ledger"]["totals"]
    for kind in ("tokens", "evaluations", "probes"):
        booked = sum(e["amount"] for e in record["ledger"]["entries"] if e["kind"] == kind)
        if not math.isclose(booked, totals.get(kind, 0), rel_tol=1e-9, abs_tol=1e-6):
            return f"ledger.totals.{kind}", f"{totals.get(kind, 0):g} but the entries sum to {booked:g}"
    status, candidates = record["status"], record["candidates"]
    if status == "failed" and not record["message"].strip():
        return "message", "a failed run must say why"
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


def validate(record: Any) -> None:
    """Check one record against the schema, its own id and its own digests.

    Raises:
        InvalidRecord: with the field and what is wrong with it.
    """
    _check_schema(record)
    unstorable = _unstorable(record)
    if unstorable:
        raise InvalidRecord(f"field {unstorable[0]}: {unstorable[1]}")
    whole = _seal(record)
    changed = tampered(record) if record["seal"] != whole else []
    named = f"field {', '.join(changed[:3])}{', ...' if len(changed) > 3 else ''}: changed after writing"
    problem = contradiction(record)
    if problem:
        said = f"field {problem[0]}: {problem[1]}"
        raise InvalidRecord(f"{said} ({named})" if changed else said)
    if changed:
        raise InvalidRecord(f"{named}: does not match its hash in `seals`")
    due = {"id": spec_id(record["spec"]), "digest": digest(record), "seal": whole}
    for name, value in due.items():
        if record[name] != value:
            raise InvalidRecord(f"field {name}: {record[name]}, not {value}: changed after writing")


def stopped_by_seconds(record: Mapping[str, Any]) -> bool:
    """Return whether the clock cut the search of a record, or of a search's outcome, short."""
    kind = record.get("stopped_by")
    if record["status"] != "budget" or kind is not None:
        return bool(record["status"] == "budget" and kind == "seconds")
    # Records of before ``stopped_by`` have nothing but their message.
    return re.search(r"(^|trial \d+: )(seconds: |did not )", record["message"]) is not None


def relative_path(record: Mapping[str, Any]) -> Path:
    """Where a record lies in a store: ``<task>/<profile>/<method>/<id>.json``."""
    return Path(place(record))


def place(record: Mapping[str, Any]) -> str:
    """``relative_path`` as text, with slashes."""
    spec = record["spec"]
    return f"{spec['task']}/{spec['profile']}/{spec['method']}/{record['id']}.json"


def write(store: Path, record: Mapping[str, Any]) -> Path:
    """Seal, validate and write one record; the store only ever grows.

    An equal record already there is left alone. Under the same id one that failed, that the clock stopped or
    that cannot be read is set aside (renamed) and kept: a crash is never served instead of a run.

    Raises:
        InvalidRecord: the record is not valid, or a finished one with other content is there.
    """
    sealed = seal(record)
    validate(sealed)
    path = store / relative_path(sealed)
    if path.exists():
        try:
            old = load(path)
        except InvalidRecord:
            _set_aside(path, "invalid")
        else:
            if old["seal"] == sealed["seal"]:
                return path
            if old["status"] != "failed" and not stopped_by_seconds(old):
                raise InvalidRecord(
                    f"{path}: a finished record of this run is there (digest {old['digest'][:12]}, the new"
                    f" one {sealed['digest'][:12]}) and the store is append-only\n"
                    "keep both: write the new one to another folder with --results DIR"
                )
            _set_aside(path, "failed" if old["status"] == "failed" else "stopped")
    write_text(path, json.dumps(sealed, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
    return path


def _set_aside(path: Path, why: str) -> None:
    n = 1
    while (aside := path.with_name(f"{path.stem}.{why}-{n}.json")).exists():
        n += 1
    os.replace(path, aside)


def write_text(path: Path, text: str | bytes) -> None:
    """Write a file in one step: readers see the old one or the whole new one, also after a crash."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(text if isinstance(text, bytes) else text.encode())
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, 0o644)
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise


def load(path: Path) -> Record:
    """Read and check one record.

    Raises:
        InvalidRecord: naming the file and the field when it is missing, truncated, corrupt, of
            another schema, or changed after it was written.
    """
    from benchmarks.records import quickload

    record: Any = None
    try:
        with open(path, "rb", buffering=0) as file:
            if (size := os.fstat(file.fileno()).st_size) > LARGEST:
                raise InvalidRecord(f"larger than {LARGEST} bytes: not a record")
            data = file.read(size + 1)
        if (record := quickload.in_order(data)) is None:
            record = json.loads(data.decode())
            validate(record)
        if _STORED.fullmatch(path.name) and path.stem != record["id"]:
            raise InvalidRecord(f"field id: {record['id']} is not the file's name")
        return record  # type: ignore[no-any-return]
    except OSError as error:
        problem = f"cannot be read: {error.strerror}"
    except InvalidRecord as error:
        problem = str(error)
    except (ValueError, RecursionError) as error:
        problem = f"truncated or not JSON: {error}"
    raise InvalidRecord(
        f"{path}: {printable(problem)}\nmove the file away and make it again: {_again(record)}"
    )


def _again(record: Any) -> str:
    """The command that makes a broken record anew, as far as it can be read."""
    spec = record.get("spec") if isinstance(record, dict) else None
    if not isinstance(spec, dict):
        return "type the run's command again (finished runs are kept)"
    words = {"suite": "run", "task": "--task", "tier": "--tier", "method": "--methods"}
    known = [(k, word) for k, word in words.items() if re.fullmatch(r"[\w.-]{1,80}", str(spec.get(k)))]
    return "supernet-bench " + " ".join(f"{word} {spec[k]}" for k, word in known)


def paths(folder: Path) -> list[Path]:
    """Every record file under ``folder``, in a fixed order; none where it does not exist."""
    found = [
        [*top.split(os.sep), name]
        for top, _, names in os.walk(folder)
        for name in names
        if _STORED.fullmatch(name)
    ]
    return [Path(os.sep.join(parts)) for parts in sorted(found)]


def load_all(folder: Path, problems: list[str] | None = None) -> list[Record]:
    """Every record under ``folder`` (none where it does not exist), by task, profile, method and seed.

    Raises:
        InvalidRecord: for the first bad file, unless ``problems`` is given: then its message is
            appended there and the rest is read.
    """
    found: list[Record] = []
    for path in paths(folder):
        try:
            found.append(load(path))
        except InvalidRecord as error:
            if problems is None:
                raise
            problems.append(str(error))
    found.sort(key=lambda r: (*relative_path(r).parts[:-1], r["spec"]["seed"], r["id"]))
    return found
