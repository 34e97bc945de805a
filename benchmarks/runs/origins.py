"""Commits and environments under which the parts of a resumed run were made.

Code that numbers depend on is part of a run's identity, so a run never goes on under other code of that
kind. Its commit, its torch and its processors are not: each is kept, and a run goes on under another torch
or with other processors only if asked to.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from benchmarks.api import UsageError
from benchmarks.records.assembly import SEARCH_FILE
from benchmarks.records.record import Origin, Provenance
from benchmarks.records.store import write_text
from benchmarks.runs import worker
from benchmarks.runs.heartbeat import JOURNAL

FILE = "origins.json"
"""In a run's folder: one entry for each commit or environment, the first one first."""
DECISIVE = ("python", "torch", "numpy")
"""Packages of which another version may change numbers."""
FLAG = "--resume-changed"


def origin_of(provenance: Provenance) -> Origin:
    """Return the part of a command's provenance that may differ between parts of a run."""
    return {
        "commit": provenance["commit"],
        "dirty_sha256": provenance["dirty_sha256"],
        "versions": dict(provenance["versions"]),
        "env": dict(provenance["env"]),
        "cpus": provenance["machine"]["cpus"],
        "machine": provenance["machine"]["fingerprint"],
    }


def changes(before: Origin, now: Origin) -> list[str]:
    """Return one phrase for each difference that may change numbers: ``torch 2.11.0, now 2.13.0``."""
    pairs = [(name, before["versions"].get(name), now["versions"].get(name)) for name in DECISIVE]
    pairs.append(("usable processors", str(before["cpus"]), str(now["cpus"])))
    # Latency limits and probes of two machines differ, though both have one profile.
    pairs.append(("machine", before.get("machine", now.get("machine")), now.get("machine")))
    return [f"{name} {old}, now {new}" for name, old, new in pairs if old != new]


def read(folder: Path) -> list[Origin]:
    """Return the origins of a run's parts; none if it has not begun, or the file is damaged."""
    try:
        entries: list[Origin] = list(json.loads((folder / FILE).read_text(encoding="utf-8")))
        for entry in entries:
            changes(entry, entry)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return []
    return entries


def is_resumable(folder: Path) -> bool:
    """Return whether a run's folder holds work to go on from: answers, a checkpoint or a finished search."""
    if (folder / worker.SKIPPED).exists():
        return False
    journal = folder / JOURNAL
    answered = journal.is_file() and journal.stat().st_size > 0
    return answered or (folder / SEARCH_FILE).exists() or any((folder / "checkpoints").glob("*"))


def check(runs: Sequence[tuple[str, Path]], now: Origin) -> None:
    """Refuse to go on with runs that were begun in an environment that may give other numbers.

    Runs without any work to go on from, such as skipped ones, simply start.

    Args:
        runs: label and folder of each run.

    Raises:
        UsageError: one of them was.
    """
    for label, folder in runs:
        entries = read(folder) if is_resumable(folder) else []
        if entries and (differences := changes(entries[-1], now)):
            raise UsageError(
                f"{label} was begun under {'; '.join(differences)}: go on there, start it anew with --fresh,"
                f" or accept a record that names both with {FLAG}"
            )


def enter(folder: Path, now: Origin) -> None:
    """Add today's origin to those of a run that goes on; let a run that starts have this one alone."""
    entries = read(folder) if is_resumable(folder) else []
    if not entries or entries[-1] != now:
        write_text(folder / FILE, json.dumps([*entries, now], indent=1))


def earlier(folder: Path) -> list[Origin]:
    """Return the origins of a run's parts but the last, which is the record's own."""
    return read(folder)[:-1]
