"""Keys of architectures in a record's probes: short, so that thousands of probes fit into it. No torch."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping

from benchmarks.records.record import Probe, Timings

LONGEST = 13
"""Characters of a key that is stored as it is; a longer one is stored as its digest, of that length."""
MOST = 12_000
"""Probes that a record holds; the tiers allow 2,000, and five trials of tuning have that each."""


def stored_key(key: str) -> str:
    """Return the form of an architecture's key in a record: a long one is its digest."""
    if len(key) <= LONGEST:
        return key
    return "#" + hashlib.sha256(key.encode("utf-8", "replace")).hexdigest()[: LONGEST - 1]


def shortened(timings: Timings | None) -> tuple[list[list[float]], list[Probe]] | None:
    """Return timings with keys as new records store them, to compare those of any two records."""
    if timings is None:
        return None
    limits = [[*map(float, limit)] for limit in timings["limits"]]
    return limits, [(n, stored_key(str(key)), value) for n, key, value in timings["probes"]]


def stored(probes: Iterable[Probe]) -> list[Probe]:
    """Return probes as a record stores them; none if they are too many, and a second run takes its own."""
    kept: list[Probe] = [(n, stored_key(str(key)), value) for n, key, value in probes]
    return kept if len(kept) <= MOST else []


class PublishedProbes(dict[tuple[int, str], float]):
    """Answers of a published run by number of the call and key, full or as records store it."""

    def __init__(self, answers: Mapping[tuple[int, str], float]) -> None:
        super().__init__({(n, stored_key(key)): value for (n, key), value in answers.items()})

    def get(self, call: tuple[int, str], default: float | None = None) -> float | None:  # type: ignore[override]
        """Return the answer to a call under its full key; ``default`` if there is none."""
        return super().get((call[0], stored_key(call[1])), default)
