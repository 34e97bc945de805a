"""Digest of a sealed test split: what was prepared is what is scored. No torch."""

from __future__ import annotations

import hashlib
from pathlib import Path

from benchmarks.api import UsageError
from benchmarks.tasks.datasets import sha256


def references_digest(folder: Path | None) -> str:
    """Return the digest of all files below a folder, by name and content; empty for None."""
    if folder is None:
        return ""
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        digest.update(f"{path.relative_to(folder).as_posix()}\0{sha256(path)}\n".encode())
    return digest.hexdigest()


def check_references(folder: Path | None, expected: str) -> None:
    """Check that a sealed test split is the one that was prepared.

    Args:
        folder: of the split; None: the task has none.
        expected: its digest when it was prepared; empty: any.

    Raises:
        UsageError: it is another.
    """
    if expected and references_digest(folder) != expected:
        raise UsageError(
            "the test references were changed after they were prepared: remove the folder cache/sealed of"
            " the results, and type the command again"
        )
