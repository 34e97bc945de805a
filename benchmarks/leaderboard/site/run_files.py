"""Data files of the runs behind the site's rows: a hundred runs each, with provenance and commands."""

from __future__ import annotations

import json
from pathlib import Path

import orjson

from benchmarks.analysis.run_page import RunPage
from benchmarks.leaderboard.people import People
from benchmarks.leaderboard.site import data_files, links

RUNS_A_FILE = 100


class RunFile:
    """A file of up to ``RUNS_A_FILE`` runs; a provenance that several runs share stands in it once.

    Args:
        folder: of the site.
        first: number of its first run among all records of the leaderboard.
        people: behind the runs; default nobody.
        repository: web address of the board's own; empty if it has none.
    """

    def __init__(self, folder: Path, first: int, people: People | None = None, repository: str = "") -> None:
        self._people, self._repository = people or People(), repository
        self._name = f"runs-{first // RUNS_A_FILE}"
        self._path = folder / "data" / f"{self._name}.js"
        self._runs: list[orjson.Fragment] = []
        self._origins: dict[bytes, int] = {}
        self._code: dict[tuple[bytes, str], dict[str, links.Link]] = {}

    def add(self, page: RunPage) -> None:
        """Append the next run."""
        place = self._origins.setdefault(page.origin, len(self._origins))
        code = self._code.get((page.origin, page.method))
        if code is None:
            code = links.of_code(self._repository, page.method, json.loads(page.origin))
            self._code[page.origin, page.method] = code
        addresses = {"record": links.of_record(self._repository, page.path), **code}
        more = {"made": place, "links": addresses, "run_by": self._people.who_ran(page.id)}
        if isinstance(page.fields, bytes):
            self._runs.append(data_files.exact_text(page.fields[:-1] + b"," + orjson.dumps(more)[1:]))
        else:
            self._runs.append(data_files.exact({**page.fields, **more}))

    def write(self) -> None:
        """Write the file."""
        origins = [data_files.exact(json.loads(text)) for text in self._origins]
        data_files.write(self._path, "runs", {"id": self._name, "runs": self._runs, "made": origins})
