"""Start of workers from the command line: mistakes end before anything is written."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.cli import main


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("overrides: {nas-bart: {jobs: 2}}", "overrides: no method 'nas-bart'. Did you mean 'nas-bert'?"),
        ('slurm_comment: "a\\nrm -rf /"', "slurm_comment: one line"),
    ],
)
def test_a_mistake_in_an_engine_leaves_no_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, message: str
) -> None:
    engine = tmp_path / "engine.yml"
    engine.write_text(f"backend: script\n{text}\n")
    words = [
        "run",
        "mt",
        "--methods",
        "hat",
        "--profile",
        "undeclared",
        "--results",
        str(tmp_path / "results"),
    ]
    assert main.main([*words, "--parallel-config", str(engine)]) == 2
    assert message in capsys.readouterr().err and not list(tmp_path.glob("results/*/studies"))
