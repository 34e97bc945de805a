"""The page on ``--json``: a line for each command that has the flag, with every field that it prints."""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path

import pytest

from benchmarks.cli import main
from benchmarks.records import store
from supernet.space import get_space
from tests import ROOT
from tests.fake_records import fake


def lines() -> dict[str, str]:
    """First words of a command, as the page has them -> its description of what is printed."""
    rows = re.findall(r"^\| (`.+?) \| (.+) \|$", (ROOT / "docs" / "json.md").read_text("utf-8"), re.MULTILINE)
    return {name: text for names, text in rows for name in re.findall(r"`([^`]+)`", names)}


def flags(command: str) -> set[str]:
    (commands,) = (
        action for action in main.parser()._actions if isinstance(action, argparse._SubParsersAction)
    )
    return {flag for action in commands.choices[command]._actions for flag in action.option_strings}


def test_every_command_that_prints_json_has_a_line_on_the_page() -> None:
    with_json = {command for command in main.COMMANDS if "--json" in flags(command)}
    assert {name.split()[0] for name in lines()} == with_json


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a record, an architecture and a study file, in which commands are typed."""
    monkeypatch.chdir(tmp_path)
    store.write(Path("own/mt-small/records"), fake("hat", 1))
    Path("architecture.json").write_text(json.dumps(get_space("hat-space1").smallest().to_dict()))
    Path("study.yml").write_text("suite: mt\nmethods: hat\nprofile: undeclared\nresults: own\n")
    assert main.main("pack mt --tier small --results own --to there.tar".split()) == 0
    return tmp_path


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("list methods", "list methods"),
        ("list tasks", "list tasks"),
        ("list profiles", "list profiles"),
        ("plan", "plan mt --methods hat --profile undeclared --results own"),
        ("status", "status study.yml"),
        ("claims", "claims --results own"),
        ("profiles", "profiles"),
        ("profiles new", "profiles new --out mine.v1.toml"),
        ("validate", "validate own"),
        ("doctor", "doctor"),
        ("cost", "cost --space hat-space1 architecture.json"),
        ("pack", "pack mt --tier small --results own --to own.tar"),
        ("unpack", "unpack there.tar --results other"),
        ("study", "study"),
    ],
)
def test_every_field_that_is_printed_is_on_its_line(
    name: str, words: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    main.main([*words.split(), "--json"])
    printed = json.loads(capsys.readouterr().out)
    fields = {field for entry in (printed if isinstance(printed, list) else [printed]) for field in entry}
    assert fields and fields <= set(re.findall(r"`(\w+)`", lines()[name]))
