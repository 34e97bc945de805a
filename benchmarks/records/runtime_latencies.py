"""Published latencies in other runtimes: ``results/runtimes/<record id>/<16 digits of the seal>.json``.

``supernet-bench export --time`` writes them. Each is of one candidate of one published record, timed in turns
with the same network in PyTorch, and says on which profile, which need not be the record's. They stand in
columns of their own and are compared with no latency of PyTorch's. No torch.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.records import attachments
from benchmarks.records.attachments import Attachment, FieldError
from benchmarks.records.record import Record
from benchmarks.records.selection import P90_FROM
from benchmarks.records.text import sanitize

SCHEMA = "supernet-bench/runtime/1"
FOLDER, WHAT = "runtimes", "latency in another runtime"
NAMES = {"ort": "ONNX Runtime", "ctranslate2": "CTranslate2"}
POLICIES = ("fp32", "int8", "deployed")
"""float32; int8 in every linear layer; what the candidate itself is deployed under."""


def to_record(
    published: Record,
    candidate: Mapping[str, Any],
    policy: str,
    profile: str,
    latency: Mapping[str, Any],
    checks: Sequence[tuple[str, str, str]],
    provenance: Mapping[str, Any],
) -> Attachment:
    """One latency as it is stored (``schema/runtime-1.json``), sealed.

    Args:
        policy: one of ``POLICIES``.
        latency: of ``measure.runtime_latency``.
        checks: what, value and signature of how the copy compares with the original.
        provenance: of ``provenance.provenance``.
    """
    return attachments.sealed(
        {
            "schema": SCHEMA,
            "record": published["id"],
            "record_seal": published["seal"],
            "candidate": candidate["index"],
            "weights_sha256": candidate["weights_sha256"],
            "runtime": signed(latency["signature"]).get("rt", ""),
            "policy": policy,
            "profile": profile,
            "latency": dict(latency),
            "checks": [dict(zip(("what", "value", "signature"), line, strict=True)) for line in checks],
            "provenance": dict(provenance),
        }
    )


def signed(signature: str) -> dict[str, str]:
    """The parts of a signature by name."""
    return dict(part.partition(":")[::2] for part in signature.split("|"))


def load(path: Path) -> Attachment:
    """A stored latency, checked against its schema, its seal and itself.

    Raises:
        InvalidRecord: naming the file and what is wrong.
    """
    return attachments.load(
        path, {SCHEMA: "runtime-1.json"}, WHAT, lambda made: next(_contradictions(made), None)
    )


def _contradictions(made: Attachment) -> Iterator[FieldError]:
    """Fields in which a latency contradicts itself."""
    latency = made["latency"]
    told = signed(latency["signature"])
    due = {"rt": made["runtime"], "prof": made["profile"], "n": str(latency["n"]), "thr": "1"}
    due |= {} if made["policy"] == "deployed" else {"prec": made["policy"]}
    for name, value in due.items():
        # Of all layers, some may have no int8: then both stand there.
        said = told.get(name, "")
        if said != value and not (name == "prec" and value in said.split("+")):
            yield "latency.signature", f"{name} is '{sanitize(said, 40)}', due is {sanitize(value, 60)}"
    for name in ("p50", "ratio"):
        value, low, high = (latency[f"{name}{part}"] for part in ("", "_low", "_high"))
        if not low <= value <= high:
            yield f"latency.{name}", f"{value:g} is outside its own interval [{low:g}, {high:g}]"
    if not math.isclose(latency["ratio"] * latency["pytorch_p50"], latency["p50"], rel_tol=1e-6):
        yield "latency.ratio", f"{latency['ratio']:g} x {latency['pytorch_p50']:g} ms is not the median"
    p90, n = latency["p90"], latency["n"]
    if p90 is not None and (p90 < latency["p50"] or n < P90_FROM):
        yield "latency.p90", f"{p90:g} ms: below the median, or of fewer than {P90_FROM} timings ({n})"
    if attachments.ended(made) is None:
        yield "provenance.ended", "no ISO time; a latency says when and where it was measured"


def paths(results: Path) -> dict[str, tuple[Path, ...]]:
    """Record id -> the files of its latencies, as ``sealed.paths``."""
    return attachments.paths(results, FOLDER, WHAT)


def of_record(record: Record, files: Sequence[Path]) -> list[Attachment]:
    """The latencies of one published record, the newest first; those of an earlier version of it left out.

    Raises:
        InvalidRecord: a file is damaged, misplaced, or does not fit the record.
    """
    return attachments.of_record(record, files, FOLDER, load, _misfit)


def _misfit(made: Attachment, record: Record) -> FieldError | None:
    """Where a latency is of what its record does not have, or None."""
    index = made["candidate"]
    mine = next((c for c in record["candidates"] if c["index"] == index), None)
    if mine is None:
        return "candidate", f"the record has no candidate {index}"
    if mine["weights_sha256"] != made["weights_sha256"]:
        return "weights_sha256", f"of another network than the record's candidate {index}"
    if made["policy"] == "deployed" and not mine.get("policy"):
        return "policy", f"candidate {index} is deployed without one: fp32"
    return None


def heading(made: Attachment, profile: str) -> str:
    """What a column of such latencies is called in a table of ``profile``."""
    name, _, version = made["runtime"].partition("-")
    policy = "as deployed" if made["policy"] == "deployed" else made["policy"]
    other = "" if made["profile"] == profile else f", on {made['profile']}"
    return f"ms ({NAMES[name]} {version}, {policy}{other})"
