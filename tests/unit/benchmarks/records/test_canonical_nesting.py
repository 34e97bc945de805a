"""JSON and TOML nested 100,000 deep, in every place where this program reads a file that others may write."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.api import InvalidRecordError, UsageError
from benchmarks.cli import main
from benchmarks.hardware import profiles
from benchmarks.lab import checkpoints, journal
from benchmarks.records import assembly, store, study_files
from benchmarks.runs import origins
from benchmarks.runs.heartbeat import read_heartbeat
from benchmarks.tasks.datasets import intact
from benchmarks.tasks.folders import settings
from benchmarks.verification.verdict_files import VERDICTS
from supernet import export
from supernet.export import CorruptExportError

DEEP = "[" * 100_000
TOML = f"a = {DEEP}"


def test_a_profile_and_a_tasks_settings(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(TOML)
    for read in (profiles.read, lambda path: settings.read(path, settings.TEXT)):
        with pytest.raises(UsageError, match="is not TOML"):
            read(tmp_path / "mine.toml")


def test_a_record_a_verdict_and_a_study(tmp_path: Path) -> None:
    (tmp_path / "file.json").write_text(DEEP)
    for read in (store.load, VERDICTS.load, study_files.load):
        with pytest.raises(InvalidRecordError):
            read(tmp_path / "file.json")


def test_files_of_a_runs_folder(tmp_path: Path) -> None:
    for name in ("search.json", "score.json", "heartbeat.json", "origins.json", "manifest.json"):
        (tmp_path / name).write_text(DEEP)
    assert assembly.read_search(tmp_path) is None and not assembly.read_scores(tmp_path)
    assert not read_heartbeat(tmp_path) and origins.read(tmp_path) == [] and not intact(tmp_path)
    (tmp_path / "journal.jsonl").write_text(DEEP + "\n")
    with pytest.raises(journal.CorruptFileError):
        journal.Journal(tmp_path / "journal.jsonl")
    said: list[str] = []
    for number in ("000001", "1", "\u00b2"):
        (tmp_path / "name" / number).mkdir(parents=True)
        (tmp_path / "name" / number / checkpoints.STATE).write_text(DEEP + "\n" + DEEP)
    assert checkpoints.load(tmp_path / "name", said.append, lambda digest: True) is None
    assert len(said) == 1 and "000001 is damaged" in said[0]


def test_an_architecture_and_an_export(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "architecture.json").write_text(DEEP)
    assert main.main(["cost", "--space", "hat-space1", str(tmp_path / "architecture.json")]) == 2
    assert "Traceback" not in capsys.readouterr().err
    with pytest.raises(CorruptExportError):
        export.load(tmp_path)
