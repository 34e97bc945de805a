"""``supernet-bench profiles new``: a profile is complete or absent, and none is written over."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from benchmarks.cli import main


def test_a_profile_that_a_full_disk_cuts_off_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)

    def fail(_file: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as disk:
        disk.setattr(os, "fsync", fail)
        assert main.main(["profiles", "new", "--out", "mine.v1.toml"]) == 2
    assert "No space left on device" in capsys.readouterr().err and not list(tmp_path.iterdir())
    assert main.main(["profiles", "new", "--out", "mine.v1.toml"]) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["mine.v1.toml"]


def test_a_profile_that_is_there_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.v1.toml").write_text("mine")
    assert main.main(["profiles", "new", "--out", "mine.v1.toml"]) == 2
    assert "'mine.v1.toml' is there already" in capsys.readouterr().err
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"mine.v1.toml": "mine"}
