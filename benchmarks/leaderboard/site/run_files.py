"""Data files of the runs behind the site's rows: a hundred runs each, with provenance and commands."""

from __future__ import annotations

import json
from pathlib import Path

import orjson

from benchmarks.analysis.run_page import RunPage
from benchmarks.leaderboard.site import data_files

RUNS_A_FILE = 100


class RunFile:
    """A file of up to ``RUNS_A_FILE`` runs; a provenance that several runs share stands in it once.

    Args:
        folder: of the site.
        first: number of its first run among all records of the leaderboard.
    """

    def __init__(self, folder: Path, first: int) -> None:
        self._name = f"runs-{first // RUNS_A_FILE}"
        self._path = folder / "data" / f"{self._name}.js"
        self._runs: list[orjson.Fragment] = []
        self._origins: dict[bytes, int] = {}

    def add(self, page: RunPage) -> None:
        """Append the next run."""
        place = self._origins.setdefault(page.origin, len(self._origins))
        self._runs.append(data_files.exact({**page.fields, "made": place}))

    def write(self) -> None:
        """Write the file."""
        origins = [data_files.exact(json.loads(text)) for text in self._origins]
        data_files.write(self._path, "runs", {"id": self._name, "runs": self._runs, "made": origins})
