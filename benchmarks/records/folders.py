"""Folders of results: published ones, and those of this machine. Imports nothing heavy."""

from __future__ import annotations

import os
import shlex
from functools import lru_cache
from pathlib import Path

from benchmarks.api import UsageError
from benchmarks.records import release

VARIABLE = "SUPERNET_BENCH_RESULTS"
"""Environment variable that names the folder of this machine's results."""
PUBLISHED = Path("results")
"""Default folder of the published records and of the pages made from them."""


def published_results() -> Path:
    """Return the folder of published records: ``results`` of a clone, else those that came with a release."""
    if (PUBLISHED / "records").is_dir():
        return PUBLISHED
    return release.cached(cache_folder()) or PUBLISHED


def cache_folder() -> Path:
    """Return ``$XDG_CACHE_HOME/supernet-bench``, or that below ``~/.cache`` if it is not absolute."""
    return _cache_folder(os.environ.get("XDG_CACHE_HOME", ""), os.environ.get("HOME", ""))


@lru_cache(maxsize=4)
def _cache_folder(base: str, home: str) -> Path:
    """Return ``cache_folder`` under two variables of the environment, which every record read asks for."""
    return (
        Path(base) if Path(base).is_absolute() else Path(home or Path.home()) / ".cache"
    ) / "supernet-bench"


def readable(results: Path) -> Path:
    """Return the folder whose records are read: ``results`` itself; of the default, ``published_results``."""
    return published_results() if results == PUBLISHED else results


def require_records(results: Path) -> None:
    """Refuse a folder of results without records.

    Raises:
        UsageError: there is no ``records`` in it; the message names the sources of records.
    """
    if (results / "records").is_dir():
        return
    get = "name a folder with records/ in it: --results DIR"
    if release.PACKED.is_file():
        get = f"unpack those that came with this release: supernet-bench published {results}"
    raise UsageError(f"no folder '{results / 'records'}' with records\n{get}")


def local_results(results: Path = PUBLISHED) -> Path:
    """Return the folder of this machine's results that belongs to a folder of published ones.

    It is ``local`` therein; for the default folder it is the folder that ``VARIABLE`` names, if any.
    """
    named = os.environ.get(VARIABLE)
    return Path(named).expanduser() if named and results == PUBLISHED else results / "local"


def results_flag(results: Path, default: Path | None = None) -> str:
    """Return `` --results DIR`` for a command to type next; empty for the folder that it has by default.

    Args:
        results: folder of the command that is typed now.
        default: of the next command; None for this machine's results, ``local_results``.
    """
    return "" if results == (default or local_results()) else f" --results {shlex.quote(str(results))}"
