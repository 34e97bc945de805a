"""Published latencies in other runtimes: ``results/runtimes/<record id>/<16 digits of the seal>.json``.

``supernet-bench export --time`` writes them. Each is of one candidate of a published record, interleaved with
the same network in PyTorch, under a profile that need not be the record's. Such latencies have columns of
their own and are compared with no latency of PyTorch's. No torch.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TypedDict

from benchmarks.records import attachments, integrity
from benchmarks.records.attachments import Attachment, AttachmentKind, FieldError
from benchmarks.records.canonical import JsonObject
from benchmarks.records.record import Candidate, Latency, Provenance, Record
from benchmarks.records.selection import P90_FROM
from benchmarks.records.text import sanitize

SCHEMA = "supernet-bench/runtime/1"
NAMES = {"ort": "ONNX Runtime", "ctranslate2": "CTranslate2"}
POLICIES = ("fp32", "int8", "deployed")
"""float32; int8 in every linear layer; the candidate's own deployment policy."""


class RuntimeLatency(Latency, total=False):
    """A latency in another runtime, whose ratio is to the same network in PyTorch.

    ``pytorch_p50`` is the median in PyTorch; ``p50_low`` and ``p50_high`` are the 95 % interval of ``p50``.
    """

    pytorch_p50: float
    p50_low: float
    p50_high: float


class CopyCheck(TypedDict):
    """One comparison of the exported copy with the original."""

    what: str
    value: str
    signature: str


class StoredLatency(Attachment):
    """A latency of one candidate in another runtime, as ``schema/runtime-1.json`` states it."""

    candidate: int
    weights_sha256: str
    runtime: str
    policy: str
    profile: str
    latency: RuntimeLatency
    checks: list[CopyCheck]


def to_attachment(
    published: Record,
    candidate: Candidate,
    policy: str,
    profile: str,
    latency: RuntimeLatency,
    checks: Sequence[tuple[str, str, str]],
    provenance: Provenance,
) -> StoredLatency:
    """Return one latency as it is stored, sealed.

    Args:
        published: record of the candidate.
        candidate: one of the record's.
        policy: one of ``POLICIES``.
        profile: of the machine that it was timed on.
        latency: of ``measurement.latency.runtime_latency``.
        checks: name, value and signature of each comparison of the copy with the original.
        provenance: of ``provenance.provenance``.
    """
    fields: JsonObject = {
        "schema": SCHEMA,
        "record": published["id"],
        "record_seal": published["seal"],
        "candidate": candidate["index"],
        "weights_sha256": candidate["weights_sha256"],
        "runtime": signature_parts(latency["signature"]).get("rt", ""),
        "policy": policy,
        "profile": profile,
        "latency": dict(latency),
        "checks": [dict(zip(("what", "value", "signature"), line, strict=True)) for line in checks],
        "provenance": dict(provenance),
    }
    attachment: StoredLatency = integrity.with_seal(fields)  # type: ignore[assignment]
    return attachment


def signature_parts(signature: str) -> dict[str, str]:
    """Return the parts of a signature by name."""
    return dict(part.partition(":")[::2] for part in signature.split("|"))


def _contradictions(attachment: StoredLatency) -> Iterator[FieldError]:
    """Yield the fields in which a latency contradicts itself."""
    latency = attachment["latency"]
    stated = signature_parts(latency["signature"])
    expected = {"rt": attachment["runtime"], "prof": attachment["profile"], "n": str(latency["n"])}
    expected["thr"] = "1"
    if attachment["policy"] != "deployed":
        expected["prec"] = attachment["policy"]
    for name, value in expected.items():
        # Of all layers, some may have no int8: then both stand there.
        part = stated.get(name, "")
        if part != value and not (name == "prec" and value in part.split("+")):
            yield "latency.signature", f"{name} is '{sanitize(part, 40)}', due is {sanitize(value, 60)}"
    for name, figure, low, high in (
        ("p50", latency["p50"], latency["p50_low"], latency["p50_high"]),
        ("ratio", latency["ratio"], latency["ratio_low"], latency["ratio_high"]),
    ):
        if not low <= figure <= high:
            yield f"latency.{name}", f"{figure:g} is outside its own interval [{low:g}, {high:g}]"
    if not math.isclose(latency["ratio"] * latency["pytorch_p50"], latency["p50"], rel_tol=1e-6):
        yield "latency.ratio", f"{latency['ratio']:g} x {latency['pytorch_p50']:g} ms is not the median"
    p90, n = latency["p90"], latency["n"]
    if p90 is not None and (p90 < latency["p50"] or n < P90_FROM):
        yield "latency.p90", f"{p90:g} ms: below the median, or of fewer than {P90_FROM} timings ({n})"
    if attachments.ended(attachment) is None:
        yield "provenance.ended", "no ISO time; a latency needs time and place of its measurement"


def _misfit(attachment: StoredLatency, record: Record) -> FieldError | None:
    """Return the first field of a latency that its record does not have, and its fault; None if it fits."""
    index = attachment["candidate"]
    candidate = next((c for c in record["candidates"] if c["index"] == index), None)
    if candidate is None:
        return "candidate", f"the record has no candidate {index}"
    if candidate["weights_sha256"] != attachment["weights_sha256"]:
        return "weights_sha256", f"of another network than the record's candidate {index}"
    if attachment["policy"] == "deployed" and not candidate.get("policy"):
        return "policy", f"candidate {index} is deployed without one: fp32"
    return None


LATENCIES: AttachmentKind[StoredLatency] = AttachmentKind(
    folder="runtimes",
    noun="latency in another runtime",
    schemas={SCHEMA: "runtime-1.json"},
    contradiction=lambda attachment: next(_contradictions(attachment), None),
    misfit=_misfit,
)
"""The latencies under ``results/runtimes``."""


def heading(attachment: StoredLatency, profile: str) -> str:
    """Return the heading of a column of such latencies in a table of ``profile``."""
    name, _, version = attachment["runtime"].partition("-")
    policy = "as deployed" if attachment["policy"] == "deployed" else attachment["policy"]
    other = "" if attachment["profile"] == profile else f", on {attachment['profile']}"
    return f"ms ({NAMES[name]} {version}, {policy}{other})"
