"""Latency limits of a run, kept from its first session on: another machine of its profile may finish it."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.records.assembly import read_json
from benchmarks.records.canonical import JsonView
from benchmarks.records.store import write_text

if TYPE_CHECKING:  # archives read limits without torch
    from benchmarks.runs.job import Limits
    from benchmarks.runs.task_context import TaskContext

SUFFIX = ".limits.json"
"""End of the name of a run's file of limits, after the run's id."""


def limits_path(folder: Path) -> Path:
    """Return the file of a run's limits, beside its folder, where no search can write."""
    return folder.with_name(f"{folder.name}{SUFFIX}")


def parse_limits(stored: JsonView) -> tuple[Limits, float]:
    """Return the limits in a run's file, shares with milliseconds, and the reference network's latency.

    Raises:
        KeyError, TypeError, ValueError, OverflowError: the file holds no limits.
    """
    limits = tuple((float(share), float(ms)) for share, ms in stored["limits"])
    reference_ms = float(stored["reference_ms"])
    if not all(math.isfinite(x) and x > 0 for x in (reference_ms, *(x for pair in limits for x in pair))):
        raise ValueError("limits are shares and milliseconds above zero")
    return limits, reference_ms


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
    limits, reference_ms = parse_limits(stored)
    return replace(context, limits=limits, reference_ms=reference_ms)
