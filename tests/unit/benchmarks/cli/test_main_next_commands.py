"""Commands that messages offer: the nearest names first, and the folders of the command typed before."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.api import UsageError
from benchmarks.cli.main import main
from benchmarks.leaderboard import build
from benchmarks.records import store
from benchmarks.records.folders import PUBLISHED, VARIABLE, results_flag
from tests.fake_records import fake


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("report mt --tier chek", "no tier 'chek'. Did you mean 'check'?"),
        ("report mtt", "no suite 'mtt'. Did you mean 'mt'?"),
        ("pack mtt", "no suite 'mtt'. Did you mean 'mt'?"),
        ("pack mt --tier smok", "no tier 'smok'. Did you mean 'smoke'?"),
        ("compare hat lts --suite mtt", "no suite 'mtt'. Did you mean 'mt'?"),
        ("compare hat lts --tier smok", "no tier 'smok'. Did you mean 'smoke'?"),
        ("compare hat lts --tier smok --published RESULTS", "no tier 'smok'. Did you mean 'smoke'?"),
    ],
)
def test_a_mistyped_suite_or_tier_gets_the_nearest(words, message, tmp_path, capsys):
    results = str(tmp_path / "results")
    typed = [*words.replace("RESULTS", results).split(), "--results", results]
    assert main(typed) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: {message}") and "supernet-bench run" not in error
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "words",
    [
        "report mt --tier check",
        "pack mt --tier check",
        "compare hat lts --tier check",
        "compare hat lts --tier check --published RESULTS",
    ],
)
def test_the_command_that_makes_missing_records_writes_where_they_are_missing(
    words, tmp_path, capsys, monkeypatch
):
    results = str(tmp_path / "my results")
    typed = [results if word == "RESULTS" else word for word in words.split()]
    assert main([*typed, "--results", results]) == 2
    error = capsys.readouterr().err.strip()
    assert "supernet-bench run mt --tier check" in error and error.endswith(f" --results '{results}'")
    monkeypatch.setenv(VARIABLE, results)
    assert main(typed) == 2
    assert "--results" not in capsys.readouterr().err, "the folder that the next command has by default"


def test_an_unpacked_archive_is_reported_on_where_it_lies(tmp_path, capsys):
    store.write(tmp_path / "a" / "mt-small" / "records", fake("hat", 1))
    archive = str(tmp_path / "p.tar")
    assert main(["pack", "mt", "--tier", "small", "--to", archive, "--results", str(tmp_path / "a")]) == 0
    capsys.readouterr()
    assert main(["unpack", archive, "--results", str(tmp_path / "b")]) == 0
    last = capsys.readouterr().out.strip().splitlines()[-1]
    assert last == f"table: supernet-bench report mt --tier small --results {tmp_path / 'b'}"


def test_commands_on_published_records_keep_their_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(build, "check", lambda folder: ["LEADERBOARD.md"])
    with pytest.raises(UsageError, match=rf"supernet-bench leaderboard --results {tmp_path}$"):
        build.require_current(tmp_path)
    assert results_flag(PUBLISHED, PUBLISHED) == "" and results_flag(Path("r"), PUBLISHED) == " --results r"
