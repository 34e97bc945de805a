"""``work``: times as people write them, and what it refuses."""

from __future__ import annotations

from datetime import datetime

import pytest

from benchmarks.api import UsageError
from benchmarks.cli import main, work

NOW = datetime(2026, 11, 28, 20, 0)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("3h50m", 13800), ("1.5h", 5400), ("1d", 86400), ("20:30", 1800), ("08:00", 43200)]
    + [("2026-11-28T21:00", 3600), ("2026-11-29", 14400)],
)
def test_seconds_until_a_time_or_a_duration(text, seconds):
    assert work.seconds_until(text, NOW) == seconds


@pytest.mark.parametrize("text", ["", "3", "h", "3x", "25:99", "tomorrow", "2026-11-28T19:00", "-1h", "1h-"])
def test_an_invalid_or_past_time_is_refused(text):
    with pytest.raises(UsageError, match="--until"):
        work.seconds_until(text, NOW)


def test_mistakes_end_before_anything_begins(tmp_path, capsys):
    study = tmp_path / "study.yml"
    study.write_text(f"suite: mt\nprofile: nvidia-h200.v1\nresults: {tmp_path / 'r'}\n")
    assert main.main(["work", str(study)]) == 2
    assert "this machine is not nvidia-h200.v1" in capsys.readouterr().err
    assert main.main(["work", str(study), "--idle", "10"]) == 2
    assert "--idle 10: a duration" in capsys.readouterr().err
    for lease in ("0s", "99999999999d", "1d1s"):
        assert main.main(["work", str(study), "--lease", lease]) == 2
        assert f"--lease {lease}: at least 1s, at most 1d" in capsys.readouterr().err
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize(
    ("typed", "study", "jobs"), [([], "", 1), ([], "jobs: 4\n", 4), (["-j", "3"], "jobs: 4\n", 3)]
)
def test_typed_jobs_win_over_those_of_the_study(tmp_path, monkeypatch, typed, study, jobs):
    made = []
    monkeypatch.setattr(work, "execute", lambda *words: made.append(words[3].jobs))
    file = tmp_path / "study.yml"
    file.write_text(
        f"suite: mt\nmethods: scratch\nseeds: 1\nprofile: undeclared\nresults: {tmp_path / 'r'}\n{study}"
    )
    assert main.main(["work", str(file), *typed]) == 0
    assert made == [jobs]
