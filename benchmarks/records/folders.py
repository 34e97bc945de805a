"""Folders of results: published ones, and those of this machine. Imports nothing heavy."""

from __future__ import annotations

import os
from pathlib import Path

from benchmarks.records import shipped

VARIABLE = "SUPERNET_BENCH_RESULTS"
"""Environment variable that names the folder of this machine's results."""
PUBLISHED = Path("results")
"""Default folder of the published records and of the pages made from them."""


def published_results() -> Path:
    """Return the folder of published records: ``results`` of a clone, else those that came with a release."""
    if (PUBLISHED / "records").is_dir():
        return PUBLISHED
    return shipped.cached(cache_folder()) or PUBLISHED


def cache_folder() -> Path:
    """Return ``$XDG_CACHE_HOME/supernet-bench``, or that below ``~/.cache`` if it is not absolute."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if Path(base).is_absolute() else Path.home() / ".cache") / "supernet-bench"


def local_results(results: Path = PUBLISHED) -> Path:
    """Return the folder of this machine's results that belongs to a folder of published ones.

    It is ``local`` therein; for the default folder it is the folder that ``VARIABLE`` names, if any.
    """
    named = os.environ.get(VARIABLE)
    return Path(named).expanduser() if named and results == PUBLISHED else results / "local"
