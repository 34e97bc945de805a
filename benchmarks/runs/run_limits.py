"""Latency limits of a run, kept from its first session on: another machine of its profile may finish it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from benchmarks.records.assembly import read_json
from benchmarks.records.store import write_text
from benchmarks.runs.task_context import TaskContext


def limits_path(folder: Path) -> Path:
    """Return the file of a run's limits, beside its folder, where no search can write."""
    return folder.with_name(f"{folder.name}.limits.json")


def run_limits(context: TaskContext, folder: Path) -> TaskContext:
    """Return the context with the limits that a run began under, maybe on another machine of its profile.

    Args:
        folder: of the run; the limits are stored beside it as the run begins.
    """
    path = limits_path(folder)
    stored = read_json(path)
    if not stored:
        stored = {"limits": context.limits, "reference_ms": context.reference_ms}
        write_text(path, json.dumps(stored))
    limits = tuple((float(share), float(ms)) for share, ms in stored["limits"])
    return replace(context, limits=limits, reference_ms=float(stored["reference_ms"]))
