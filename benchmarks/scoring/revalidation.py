"""Validation of candidates anew, before they are scored: the search's own figures are its claims."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.api import Measurement
from benchmarks.measurement.serving import scoring_module
from benchmarks.measurement.workload import Workload
from benchmarks.records.assembly import SCORE_FILE, read_json, read_search
from benchmarks.records.record import Candidate, ScoreOutcome
from benchmarks.records.store import write_text
from benchmarks.scoring.references import check_references
from benchmarks.scoring.score import RejectedCandidateError, load_candidate, score_run
from benchmarks.tasks import Prepared, Task
from supernet.export import CorruptExportError
from supernet.quantization import precisions

RELATIVE = 1e-3
"""Largest relative difference of two validation losses of the same weights: GPUs do not add up in order."""


def score_checked(run_dir: Path, prepared: Prepared, device: str, jobs: int, references_sha256: str) -> None:
    """Score a run (``score_run``); hold its test split and its search's validation losses to what they were.

    A false validation loss leaves a ``score.json`` without scores, whose message names it.

    Args:
        run_dir: folder of the run.
        prepared: the task's data, sealed test split included.
        device: ``cpu`` or ``cuda``.
        jobs: runs side by side.
        references_sha256: digest of the test split when it was prepared; empty: any.

    Raises:
        UsageError: the test split is another, before or after.
    """
    from benchmarks.tasks import get_task

    check_references(prepared.sealed, references_sha256)
    score_run(run_dir, prepared=prepared, device=device, jobs=jobs)
    check_references(prepared.sealed, references_sha256)
    spec = read_json(run_dir / "spec.json")
    task = get_task(spec["task"])
    searched = read_search(run_dir)
    candidates = searched["candidates"] if searched is not None else []
    try:
        revalidate(run_dir, candidates, task, task.tier(spec["tier"], device), prepared, device)
    except (FalseClaimError, RejectedCandidateError, CorruptExportError) as error:
        print(error)
        outcome: ScoreOutcome = {"candidates": [], "message": str(error)}
        write_text(run_dir / SCORE_FILE, json.dumps(outcome))


class FalseClaimError(Exception):
    """A validation loss that the exported weights do not have."""


def revalidate(
    run_dir: Path, candidates: Sequence[Candidate], task: Task, tier: Any, prepared: Prepared, device: str
) -> None:
    """Validate every candidate from its exported files, as the search validated it.

    Args:
        run_dir: folder of the run.
        candidates: of ``search.json``.
        task: the task.
        tier: settings of its tier.
        prepared: its data.
        device: ``cpu`` or ``cuda``.

    Raises:
        FalseClaimError: a candidate has another validation loss than its search stated.
    """
    validation = task.validation(prepared)
    for candidate in candidates:
        claimed = candidate["valid"]["loss"]
        actual = _validate(run_dir, candidate, task, tier, validation, device).loss
        if claimed is None or not math.isclose(claimed, actual, rel_tol=RELATIVE, abs_tol=1e-6):
            raise FalseClaimError(
                f"candidate {candidate['index']}: its search stated a validation loss of {claimed}, its"
                f" weights have {actual:.6g}"
            )


def _validate(
    run_dir: Path, candidate: Candidate, task: Task, tier: Any, validation: Any, device: str
) -> Measurement:
    """Return the validation of one candidate in the form in which it is deployed."""
    module, _ = load_candidate(run_dir, candidate)
    policy, workload = candidate.get("policy"), Workload.of(tier.workload)
    if policy or (workload.runtime != "torch" and device == "cpu"):
        module, device = scoring_module(module, policy, workload), "cpu"
    precision = str(tier.settings.get("evaluate_precision", "fp32"))
    if precisions.is_low_precision(module):
        precision = "fp32"
    return task.evaluate(module.to(device), validation, device, precision)
