"""Names of phases, by which ledgers book charges and records hold them. Standard library only."""

from __future__ import annotations

import re

INHERITED = "inherited"
"""Phase of the charges for a run whose weights a search takes; no method books under it."""
_TRIAL = re.compile(r"trial \d+: ")


def of_trial(phase: str, trial: int) -> str:
    """Return the name of a phase in a trial of external tuning; in trial 0, that of no trial, ``phase``."""
    return f"trial {trial}: {phase}" if trial else phase


def without_trial(phase: str) -> str:
    """Return a phase without the number of its trial, which external tuning puts before it."""
    return _TRIAL.sub("", phase, count=1) if _TRIAL.match(phase) else phase


def is_inherited(phase: str) -> bool:
    """Return whether a phase is ``INHERITED``, in any trial."""
    return without_trial(phase) == INHERITED
