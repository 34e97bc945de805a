"""Errors for unknown names, with the nearest name that is known."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from benchmarks.api import UsageError


def suggest(word: str, known: Iterable[str]) -> str:
    """``Did you mean 'x'?``, or an empty string where nothing known is near ``word``."""
    near = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f"Did you mean '{near[0]}'?" if near else ""


def unknown(kind: str, word: str, known: Iterable[str], then: str) -> UsageError:
    """Return the error for an unknown name, with the nearest name, all known ones and the command to type."""
    names = sorted(known)
    first = f"no {kind} '{word}'. {suggest(word, names)}".rstrip()
    return UsageError(f"{first}\nknown: {' '.join(names) or 'none'}\n{then}")
