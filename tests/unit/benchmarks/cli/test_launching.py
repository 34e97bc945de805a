"""Start of workers from the command line: mistakes end before anything is written."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import tasks
from benchmarks.cli import launching, main
from benchmarks.records import integrity, store
from tests import ROOT
from tests.fake_records import fake
from tests.unit.benchmarks.tasks.folders import sentences


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


def test_the_bytes_of_a_record_are_the_mean_of_the_published_ones() -> None:
    sizes = [path.stat().st_size for path in store.paths(ROOT / "results" / "records")]
    assert sizes and launching.RECORD_BYTES == pytest.approx(sum(sizes) / len(sizes), rel=0.2)


def test_workers_read_the_task_of_a_folder_and_published_runs_from_the_study(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, folder = tmp_path / "engine.yml", sentences.write(tmp_path / "news")
    engine.write_text("backend: script\nhours: 1\n")
    words = ["--task", f"text:{folder}", "--source", "en", "--target", "fr", "--tier", "check"]
    words += ["--seeds", "1", "--methods", "hat,scratch", "--profile", "undeclared"]
    words += ["--results", str(tmp_path / "results"), "--published", str(tmp_path / "shared")]
    monkeypatch.setattr(tasks, "_DECLARED", {})
    assert main.main(["plan", "mt", *words, "--json"]) == 0
    runs = {run["spec"]["method"]: run for run in json.loads(capsys.readouterr().out)["runs"]}
    published = {**fake("scratch"), "spec": runs["hat"]["spec"]}
    store.write(tmp_path / "shared" / "records", integrity.seal(published))
    assert main.main(["run", "mt", *words, "--parallel-config", str(engine)]) == 0
    (study,) = tmp_path.glob("results/*/studies/*.yml")
    monkeypatch.setattr(tasks, "_DECLARED", {})  # as in the process of a worker
    capsys.readouterr()
    assert main.main(["plan", "-C", str(study), "--json"]) == 0
    read = {run["id"]: run["state"] for run in json.loads(capsys.readouterr().out)["runs"]}
    assert read == {runs["hat"]["id"]: "done", runs["scratch"]["id"]: "new"}
