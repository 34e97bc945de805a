"""Resumed runs: every commit and environment is kept, and one that may change numbers is refused."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks.api import UsageError
from benchmarks.hardware.profiles import Profile
from benchmarks.runs import origins
from benchmarks.runs.options import RunOptions
from benchmarks.runs.repeat import obstacles
from benchmarks.runs.runner import Runner
from tests.fake_records import fake


def origin(commit: str = "a" * 40, torch: str = "2.13.0", cpus: int = 2, dirty: str | None = None) -> Any:
    versions = {"python": "3.11.7", "torch": torch, "numpy": "2.4.0", "scipy": "1.0"}
    return {"commit": commit, "dirty_sha256": dirty, "versions": versions, "env": {}, "cpus": cpus}


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
    ],
)
def test_another_environment_is_refused(tmp_path: Path, now: Any, message: str) -> None:
    origins.enter(tmp_path, origin())
    with pytest.raises(UsageError, match=message):
        origins.check([("hat seed 1", tmp_path)], now)


def test_another_commit_and_a_run_that_has_not_begun_are_fine(tmp_path: Path) -> None:
    origins.check([("hat seed 1", tmp_path)], origin())
    origins.enter(tmp_path, origin())
    origins.check([("hat seed 1", tmp_path)], origin("b" * 40))


@pytest.mark.parametrize("text", ["", "{}", "[1]", '[{"versions": 3}]', "[" * 500])
def test_a_damaged_file_counts_as_none(tmp_path: Path, text: str) -> None:
    (tmp_path / origins.FILE).write_text(text)
    assert origins.read(tmp_path) == []


def runner(folder: Path, *, resume_changed: bool) -> Runner:
    run = SimpleNamespace(label="hat seed 1", spec=SimpleNamespace(id="run"), first=None)
    plan: Any = SimpleNamespace(pending=[run], folders=SimpleNamespace(runs=folder))
    nothing: Any = None
    options = RunOptions(command=["supernet-bench"], jobs=0, resume_changed=resume_changed)
    return Runner(plan, {}, Profile("x", "cpu", 1), nothing, nothing, options)


def test_nothing_starts_where_one_run_was_begun_elsewhere(tmp_path: Path) -> None:
    origins.enter(tmp_path / "run", origin(torch="1.0"))
    with pytest.raises(UsageError, match=r"torch 1\.0, now"):
        runner(tmp_path, resume_changed=False).run()


def test_it_goes_on_when_asked_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    origins.enter(tmp_path / "run", origin(torch="1.0"))
    begun = runner(tmp_path, resume_changed=True)

    def start(self: Runner, run: Any) -> None:
        raise KeyboardInterrupt  # it would have been started

    monkeypatch.setattr(Runner, "_start", start)
    begun.options = RunOptions(command=[], jobs=1, resume_changed=True)
    with pytest.raises(KeyboardInterrupt):
        begun.run()


def test_a_part_with_uncommitted_changes_cannot_be_published() -> None:
    record = fake()
    assert not [text for text in obstacles(record, {record["spec"]["method_sha256"]}) if "resumed" in text]
    record["provenance"]["resumed_from"] = [origin(dirty="d" * 64)]
    (text,) = [text for text in obstacles(record, set()) if "resumed" in text]
    assert "resumed_from.0.dirty_sha256" in text
