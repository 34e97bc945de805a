"""``supernet-bench doctor``: whatever the environment holds, each check is a finding."""

from __future__ import annotations

import json

import pytest

from benchmarks.cli import doctor, main
from benchmarks.hardware import profiles


@pytest.mark.parametrize("matching", [None, "cpu-2core-avx512.v1"])
@pytest.mark.parametrize("threads", ["4,2", "many", "-1", "2.0", " "])
def test_a_number_of_threads_that_is_none_is_a_note(
    threads: str, matching: str | None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", threads)
    monkeypatch.setattr(doctor.declared, "matching", lambda: matching)
    assert main.main(["doctor", "--json"]) in (0, 1)
    checks = json.loads(capsys.readouterr().out)["checks"]
    (note,) = [check for check in checks if check["what"] == "OMP_NUM_THREADS"] or [None]
    if not threads.strip():
        assert note is None
        return
    expected = profiles.get(matching).threads if matching else None
    assert note is not None and note["verdict"] == "note"
    assert note["found"].startswith(f"{threads}: not one whole number")
    assert f"export OMP_NUM_THREADS={expected or 1}," in note["found"]


def test_threads_other_than_the_profiles_are_a_note(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(doctor.declared, "matching", lambda: "cpu-2core-avx512.v1")
    notes = {}
    for threads in ("2", "7"):
        monkeypatch.setenv("OMP_NUM_THREADS", threads)
        main.main(["doctor", "--json"])
        checks = json.loads(capsys.readouterr().out)["checks"]
        notes[threads] = [check["found"] for check in checks if check["what"] == "OMP_NUM_THREADS"]
    assert notes == {"2": [], "7": ["7: the profile declares 2, which runs will use"]}
