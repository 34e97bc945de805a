"""``run``: typed flags win over files."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.cli import main, run
from benchmarks.runs.options import RunOptions


@pytest.mark.parametrize(
    ("typed", "study", "engine", "jobs"),
    [
        (["-j", "3"], "", "jobs: 2\n", 3),
        (["--jobs", "1"], "", "jobs: 2\n", 1),
        (["-j", "3"], "jobs: 4\n", "jobs: 2\n", 3),
        ([], "jobs: 4\n", "", 4),
        (["-j", "3"], "", "", 3),
        ([], "", "jobs: 2\n", 2),
        ([], "", "", 1),
        (["-j", "3"], "jobs: 4\n", None, 3),
        ([], "jobs: 4\n", None, 4),
        ([], "", None, 1),
    ],
)
def test_typed_jobs_win_over_those_of_a_file(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    typed: list[str],
    study: str,
    engine: str | None,
    jobs: int,
) -> None:
    made: list[RunOptions] = []
    monkeypatch.setattr(run, "execute", lambda *words, **_: made.append(words[3]))
    monkeypatch.setattr(run, "report", lambda *_, **__: 0)
    (tmp_path / "study.yml").write_text(
        f"suite: mt\nmethods: scratch\nseeds: 1\nprofile: undeclared\nresults: {tmp_path / 'r'}\n{study}"
    )
    words = ["run", "-C", str(tmp_path / "study.yml"), *typed]
    if engine is not None:
        (tmp_path / "engine.yml").write_text(f"backend: local\n{engine}")
        words += ["--parallel-config", str(tmp_path / "engine.yml")]
    assert main.main(words) == 0
    assert [options.jobs for options in made] == [jobs]
