"""Export of one candidate: a folder for another runtime with its model card, and a file of its latency."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.api import UsageError
from benchmarks.export.model_card import render_card
from benchmarks.export.request import ExportRequest, Row, Written
from benchmarks.export.source import StoredCandidate
from benchmarks.export.targets import TARGETS, profile_here
from benchmarks.records import provenance, runtime_latencies, store
from benchmarks.records.folders import local_results
from benchmarks.records.store import write_text
from benchmarks.tasks.datasets import datasets

if TYPE_CHECKING:
    from benchmarks.records.runtime_latencies import RuntimeLatency


@dataclass(frozen=True)
class ExportedFolder:
    """A finished export.

    Attributes:
        folder: the folder.
        checks: comparison of the copy with the original, and its latency.
        latency_file: file of its latency; None if it was not timed.
    """

    folder: Path
    checks: list[Row]
    latency_file: Path | None


def export_candidate(request: ExportRequest, target: str, out: Path | None = None) -> ExportedFolder:
    """Export one candidate into a folder that appears complete or not at all.

    Args:
        request: the candidate, and the user's choices.
        target: key of ``TARGETS``.
        out: the folder; by default one below ``local/exports`` of the results.

    Raises:
        UsageError: the folder exists, or the target cannot represent the network.
    """
    stored = request.stored
    out = out or local_results(request.results) / "exports" / f"{stored.label}.{target}"
    if out.exists():
        raise UsageError(f"{out} is there already: move it away, or name another folder: --out DIR")
    out.parent.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    began = _now()
    try:
        written = _write(request, target, fresh / "model")
        os.replace(fresh / "model", out)
    except (ValueError, ArithmeticError, OSError) as error:
        if isinstance(error, UsageError):
            raise
        raise UsageError(f"cannot be exported to {target}: {error}") from error
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    latency_file = None
    if written.latency is not None:
        latency_file = _store_latency(request, written.checks, written.latency, began)
    return ExportedFolder(out, _all_rows(written), latency_file)


def _write(request: ExportRequest, target: str, out: Path) -> Written:
    """Write the folder of one target with its model card."""
    from supernet import export

    module, about = export.load(request.stored.folder)
    written = TARGETS[target].write(request, module, about, out)
    licence = _licence(request.stored)
    card = render_card(request.stored, TARGETS[target], _all_rows(written), licence, written.auto_class)
    write_text(out / "README.md", card)
    return written


def _licence(stored: StoredCandidate) -> str:
    """Return the terms of the data that the weights were trained on, as far as they are known."""
    from benchmarks.tasks import get_task

    try:
        task = get_task(stored.record["spec"]["task"])
    except UsageError:
        return "ask the author of the task"
    data = datasets().get(getattr(task, "dataset", None) or "")
    return data.note if data else f"what task {task.name} generates or brings"


def _all_rows(written: Written) -> list[Row]:
    """Return the checks of a copy, and the rows of its latency if it was timed."""
    return [*written.checks, *(latency_rows(written.latency) if written.latency is not None else ())]


def latency_rows(latency: RuntimeLatency) -> list[Row]:
    """Return a latency as rows of name, figure and signature."""
    signature = latency["signature"]
    span = f"{latency['p50']:.4g} [{latency['p50_low']:.4g}, {latency['p50_high']:.4g}]"
    rows = [("latency p50, ms, 95 %", span, signature)]
    if latency["p90"] is not None:
        rows.append(("latency p90, ms", f"{latency['p90']:.4g}", signature))
    ratio = f"{latency['ratio']:.3g} [{latency['ratio_low']:.3g}, {latency['ratio_high']:.3g}]"
    median = f"{ratio} x {latency['pytorch_p50']:.4g} ms"
    rows.append(("times PyTorch's median, fp32, 95 %", median, signature))
    return rows


def _store_latency(
    request: ExportRequest, checks: Sequence[Row], latency: RuntimeLatency, began: str
) -> Path:
    """Write a latency beside the records among which its own is: the published or the local ones."""
    record, candidate = request.stored.record, request.stored.candidate
    published = (request.results / "records" / store.relative_path(record)).is_file()
    home = request.results if published else local_results(request.results)
    policy = request.precision or ("deployed" if candidate.get("policy") else "fp32")
    origin = provenance.provenance(started=began, ended=_now())
    runtimes = {name: version(name) for name in ("onnxruntime", "ctranslate2") if find_spec(name) is not None}
    origin["versions"] = {**origin["versions"], **runtimes}
    profile = profile_here(record).name
    kept = runtime_latencies.to_attachment(record, candidate, policy, profile, latency, checks, origin)
    return runtime_latencies.LATENCIES.write(home, kept)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
