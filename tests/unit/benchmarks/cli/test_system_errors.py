"""Full disks, read-only folders, files in place of folders: one message with a remedy."""

from __future__ import annotations

import argparse
import errno
import os
from pathlib import Path

import pytest

from benchmarks.api import UsageError
from benchmarks.cli import main, system_errors


def raising(number: int, name: str | None = None) -> OSError:
    return OSError(number, os.strerror(number), name)


@pytest.mark.parametrize("number", sorted(system_errors.REMEDIES))
def test_each_error_names_place_problem_and_remedy(number: int) -> None:
    options = argparse.Namespace(results=Path("some/results"))
    problem, remedy = system_errors.message(raising(number, "a/file"), options).splitlines()
    assert problem == f"a/file: {os.strerror(number)}"
    assert ("--results DIR" in remedy) == (number in system_errors.ELSEWHERE)
    assert "--results" not in system_errors.message(raising(number, "a/file"), None)


def test_a_full_disk_names_the_folder_that_was_written_to() -> None:
    full = raising(errno.ENOSPC)
    results = Path("some/results")
    assert system_errors.message(full, argparse.Namespace(results=results)).startswith(
        "some/results: No space"
    )
    both = argparse.Namespace(results=results, out=Path("paper"))
    assert system_errors.message(full, both).startswith("paper: No space")
    unset = argparse.Namespace(results=results, out=None)
    assert system_errors.message(full, unset).startswith("some/results: No space")
    assert system_errors.message(full, None).startswith("No space left")


def test_an_error_without_number_keeps_its_words() -> None:
    assert system_errors.message(OSError("odd"), None) == "odd"
    assert system_errors.message(raising(errno.EIO, "f"), None) == f"f: {os.strerror(errno.EIO)}"
    by_descriptor = OSError(errno.EIO, "bad", 3)
    assert system_errors.message(by_descriptor, None) == "bad"


@pytest.mark.parametrize(
    "words", [["run", "mt", "--tier", "check", "--methods", "scratch"], ["report", "mt"]]
)
def test_a_file_in_place_of_the_results_is_a_mistake_of_the_user(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    assert main.main([*words, "--results", str(tmp_path / "file")]) == main.USAGE
    shown = capsys.readouterr().err
    assert shown.startswith("error: ") and len(shown.splitlines()) == 2 and "Traceback" not in shown


@pytest.mark.parametrize("name", ["/dev/full"])
def test_a_full_disk_under_standard_output_has_no_traceback(name: str) -> None:
    if not os.path.exists(name):
        pytest.skip("needs /dev/full")
    import subprocess
    import sys

    with open(name, "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks", "list", "tasks"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
        )
    assert done.returncode == main.USAGE and "No space left" in done.stderr and "Traceback" not in done.stderr


def test_a_mistake_keeps_its_own_message(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise UsageError("this\nthat")

    monkeypatch.setattr(main, "parser", refuse)
    assert main.main(["list"]) == main.USAGE
    assert capsys.readouterr().err == "error: this\nthat\n"
