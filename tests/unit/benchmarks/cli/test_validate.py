"""``supernet-bench validate``: the files of a folder of results that it checks."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.cli.main import main
from benchmarks.records import store
from tests.fake_records import fake


def checked(folder: Path, capsys: pytest.CaptureFixture[str]) -> int:
    main(["validate", str(folder), "--results", str(folder / "none"), "--json"])
    return int(json.loads(capsys.readouterr().out)["records"])


def test_validate_checks_the_records_of_a_results_folder_alone(tmp_path, capsys):
    path = store.write(tmp_path / "mt-small" / "records", fake("hat", 1))
    store.write(tmp_path / "records", fake("hat", 2))
    for aside in ("failed-1", "invalid-1", "stopped-1"):
        path.with_name(f"{path.stem}.{aside}.json").write_text("{}")
    others = ("cache/words.json", "local/cache/a/b.json", "mt-small/runs/0/spec.json", "studies/s.json")
    for other in (*others, "mt-small/table.json"):
        (tmp_path / other).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / other).write_text("{}")
    assert checked(tmp_path, capsys) == 2
    assert checked(tmp_path / "mt-small", capsys) == 1
    assert checked(path.parent, capsys) == 1, "a folder inside a store"
    (tmp_path / "verified" / "0").mkdir(parents=True)
    (tmp_path / "verified" / "0" / "v.json").write_text("{}")
    assert checked(tmp_path, capsys) == 3, "attachments are checked too"


def test_a_folder_of_records_of_any_name_is_checked_completely(tmp_path, capsys):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "any.json").write_text("{}")
    assert checked(tmp_path / "mine", capsys) == 1


def test_a_results_folder_without_records_has_none(tmp_path, capsys):
    for other in ("cache/words.json", "mt-small/runs/0/spec.json"):
        (tmp_path / other).parent.mkdir(parents=True)
        (tmp_path / other).write_text("{}")
    assert main(["validate", str(tmp_path)]) == 2
    assert "no records in" in capsys.readouterr().err
