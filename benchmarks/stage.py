"""The progress of a scoring: a small file in the run's folder for the command that waits. No torch.

A scoring is in equal parts, one a candidate or fine-tuning, and its steps call ``note`` wherever they are.
Outside of a scoring that does nothing.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

EVERY_S = 0.5
"""Seconds between two notes of a run, of its search as of its scoring."""
PROGRESS = "score.progress.json"


class _Scoring:
    """The scoring of this process."""

    path: Path | None = None
    pause: Callable[[], object] | None = None
    label, part, parts = "", 0, 1
    low, high = 0.0, 1.0
    written = float("-inf")


_open = _Scoring()


@contextmanager
def following(folder: Path, parts: int, pause: Callable[[], object]) -> Iterator[None]:
    """Write the progress of a scoring in so many parts into ``folder`` while inside.

    Args:
        folder: of the run.
        parts: of the scoring.
        pause: called by each ``note``, such as ``timing_lock.yield_to_timing``.
    """
    _open.pause = pause
    _open.path, _open.parts, _open.part = folder / PROGRESS, max(1, parts), 0
    _open.label, _open.written = "", float("-inf")
    try:
        yield
    finally:
        _open.path.unlink(missing_ok=True)
        _open.path = _open.pause = None


def enter(part: int, label: str, low: float = 0.0, high: float = 1.0) -> None:
    """Begin the step of a part that takes it from ``low`` to ``high``, shares of the part."""
    _open.part, _open.label, _open.low, _open.high = part, label, low, high
    _write(low, "")


def note(done: float, total: float, unit: str) -> None:
    """Take how far the open step is, such as 12 of 16 ``batches``, and pause where it must."""
    if _open.pause is not None:
        _open.pause()
    if _open.path is None or time.monotonic() - _open.written < EVERY_S:
        return
    share = min(1.0, done / total) if total else 0.0
    _write(_open.low + share * (_open.high - _open.low), f" {done:g} of {total:g} {unit}")


def _write(within: float, more: str) -> None:
    if _open.path is None:
        return
    _open.written = time.monotonic()
    state = {"at": _open.written, "progress": [_open.part + within, _open.parts, _open.label + more]}
    fresh = _open.path.with_suffix(".tmp")
    fresh.write_text(json.dumps(state))
    os.replace(fresh, _open.path)
