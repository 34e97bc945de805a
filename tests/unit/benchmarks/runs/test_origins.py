"""Resumed runs: every commit and environment is kept, and one that may change numbers is refused."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from benchmarks.api import UsageError
from benchmarks.hardware.profiles import Profile
from benchmarks.runs import execution, origins
from benchmarks.runs.options import RunOptions
from benchmarks.runs.repeat import obstacles
from tests.fake_records import fake


def origin(commit: str = "a" * 40, torch: str = "2.13.0", cpus: int = 2, dirty: str | None = None) -> Any:
    versions = {"python": "3.11.7", "torch": torch, "numpy": "2.4.0", "scipy": "1.0"}
    part = {"commit": commit, "dirty_sha256": dirty, "versions": versions, "env": {}, "cpus": cpus}
    return part | {"machine": "e" * 16}


@pytest.fixture
def tmp_path(tmp_path: Path) -> Path:
    """A run's folder with work to go on from."""
    (tmp_path / "journal.jsonl").write_text("{}")
    return tmp_path


def test_parts_of_a_run_are_kept_in_order(tmp_path: Path) -> None:
    assert origins.earlier(tmp_path) == []
    for part in (origin(), origin(), origin("b" * 40), origin("b" * 40, torch="2.11.0")):
        origins.enter(tmp_path, part)
    assert origins.earlier(tmp_path) == [origin(), origin("b" * 40)]


@pytest.mark.parametrize(
    ("now", "message"),
    [
        (origin(torch="2.11.0"), r"hat seed 1 was begun under torch 2.13.0, now 2.11.0: .*--resume-changed"),
        (origin(cpus=1), "usable processors 2, now 1"),
        (origin() | {"machine": "f" * 16}, "machine eeeeeeeeeeeeeeee, now ffffffffffffffff"),
    ],
)
def test_another_environment_is_refused(tmp_path: Path, now: Any, message: str) -> None:
    origins.enter(tmp_path, origin())
    with pytest.raises(UsageError, match=message):
        origins.check([("hat seed 1", tmp_path)], now)


def test_a_part_from_before_machines_were_kept_goes_on(tmp_path: Path) -> None:
    origins.enter(tmp_path, {k: v for k, v in origin().items() if k != "machine"})  # type: ignore[arg-type]
    origins.check([("hat seed 1", tmp_path)], origin())


def test_another_commit_and_a_run_that_has_not_begun_are_fine(tmp_path: Path) -> None:
    origins.check([("hat seed 1", tmp_path)], origin())
    origins.enter(tmp_path, origin())
    origins.check([("hat seed 1", tmp_path)], origin("b" * 40))


@pytest.mark.parametrize("text", ["", "{}", "[1]", '[{"versions": 3}]', "[" * 500])
def test_a_damaged_file_counts_as_none(tmp_path: Path, text: str) -> None:
    (tmp_path / origins.FILE).write_text(text)
    assert origins.read(tmp_path) == []


def plan_of(folder: Path, state: str = "new") -> Any:
    run = SimpleNamespace(label="hat seed 1", spec=SimpleNamespace(id="run", task="none"), state=state)
    return SimpleNamespace(pending=[run], folders=SimpleNamespace(runs=folder))


class PreparationError(Exception):
    """Raised in place of the preparation of data."""


def execute(
    folder: Path, monkeypatch: pytest.MonkeyPatch, *, state: str = "new", resume_changed: bool = False
) -> None:
    """Execute a plan up to the preparation of its data."""

    def stop(*_: Any) -> None:
        raise PreparationError

    monkeypatch.setattr(execution, "raise_at_once", stop)
    options, nothing = RunOptions(command=["supernet-bench"], resume_changed=resume_changed), cast(Any, None)
    execution.execute(plan_of(folder, state), [], Profile("x", "cpu", 1), options, nothing)


def begun(folder: Path, file: str, text: str = "{}") -> None:
    """Leave a run that was begun under another torch, with a file of its work."""
    (folder / "run" / file).parent.mkdir(parents=True, exist_ok=True)
    (folder / "run" / file).write_text(text)
    (folder / "run" / origins.FILE).write_text(json.dumps([origin(torch="1.0")]))


@pytest.mark.parametrize("work", ["journal.jsonl", "search.json", "checkpoints/train.pt"])
def test_nothing_is_prepared_where_one_run_was_begun_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, work: str
) -> None:
    begun(tmp_path, work)
    with pytest.raises(UsageError, match=r"hat seed 1 was begun under .*torch 1\.0, now"):
        execute(tmp_path, monkeypatch)
    with pytest.raises(PreparationError):
        execute(tmp_path, monkeypatch, resume_changed=True)


def test_a_run_without_work_starts_under_any_torch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun(tmp_path, "journal.jsonl", "")
    with pytest.raises(PreparationError):
        execute(tmp_path, monkeypatch)
    origins.enter(tmp_path / "run", origin())
    assert origins.read(tmp_path / "run") == [origin()], "the earlier attempt left nothing in the record"


def test_a_run_that_its_seconds_stopped_starts_afresh(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun(tmp_path, "search.json")
    with pytest.raises(PreparationError):
        execute(tmp_path, monkeypatch, state="stopped")


def test_a_skipped_run_never_stops_a_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun(tmp_path, "journal.jsonl")
    begun(tmp_path, "skip.json")
    with pytest.raises(PreparationError):
        execute(tmp_path, monkeypatch)


def test_a_part_with_uncommitted_changes_cannot_be_published() -> None:
    record = fake()
    assert not [text for text in obstacles(record, {record["spec"]["method_sha256"]}) if "resumed" in text]
    record["provenance"]["resumed_from"] = [origin(dirty="d" * 64)]
    (text,) = [text for text in obstacles(record, set()) if "resumed" in text]
    assert "resumed_from.0.dirty_sha256" in text
