"""``supernet-bench status``: a folder that does not exist, and records that cannot be read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.cli.main import main


@pytest.fixture
def study(tmp_path: Path) -> str:
    path = tmp_path / "study.yml"
    path.write_text("suite: mt\ntier: smoke\nmethods: [hat]\nseeds: 2\nprofile: undeclared\n")
    return str(path)


def test_a_folder_that_does_not_exist_is_named(study, tmp_path, capsys):
    missing = str(tmp_path / "misspelt")
    for more in ([], ["--json"]):
        assert main(["status", study, "--results", missing, *more]) == 0
        shown = capsys.readouterr()
        assert f"no folder {missing}/mt-smoke: no run of this study has begun there" in shown.err
    assert json.loads(shown.out)[0]["counts"]["waiting"] == 2
    (tmp_path / "misspelt" / "mt-smoke").mkdir(parents=True)
    assert main(["status", study, "--results", missing]) == 0
    assert not capsys.readouterr().err


def test_a_truncated_record_has_one_state_in_plan_and_status(study, tmp_path, capsys):
    results = str(tmp_path / "results")
    assert main(["plan", "-C", study, "--results", results, "--json"]) == 0
    run = json.loads(capsys.readouterr().out)["runs"][0]
    folder = tmp_path / "results" / "mt-smoke" / "records" / run["spec"]["task"] / "undeclared" / "hat"
    folder.mkdir(parents=True)
    (folder / f"{run['id']}.json").write_text('{"spec": {')
    assert main(["plan", "-C", study, "--results", results, "--json"]) == 0
    states = [run["state"] for run in json.loads(capsys.readouterr().out)["runs"]]
    assert main(["status", study, "--results", results, "--json"]) == 0
    (status,) = json.loads(capsys.readouterr().out)
    assert {state: count for state, count in status["counts"].items() if count} == {
        "unreadable": 1,
        "waiting": 1,
    }
    assert states == ["unreadable", "new"] and status["estimate_seconds"] is None
    assert main(["status", study, "--results", results]) == 0
    assert "2 runs: 1 waiting, 1 unreadable" in capsys.readouterr().out
