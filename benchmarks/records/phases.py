"""Phases of ledgers, as readers of records and heartbeats see them. Standard library only."""

from __future__ import annotations

import re

INHERITED = "inherited"
"""Phase of the charge for the run whose weights were taken over."""
_TRIAL = re.compile(r"trial \d+: ")


def without_trial(phase: str) -> str:
    """Return a phase without the number of its trial, which external tuning puts before it."""
    return _TRIAL.sub("", phase, count=1) if _TRIAL.match(phase) else phase
