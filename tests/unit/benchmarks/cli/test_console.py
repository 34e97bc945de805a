"""Tables in a pipe."""

import io
import re

import pytest
from rich.console import Console, RenderableType
from rich.table import Table

from benchmarks.analysis.table import build_table
from benchmarks.claims import judge
from benchmarks.cli.console import print_rich
from benchmarks.leaderboard.claims_page import TerminalClaims
from benchmarks.report.console import TerminalTable
from tests.fake_records import study


def plain() -> Table:
    table = Table(*(f"column{i}" for i in range(12)))
    table.add_row(*(f"unbreakable-word-{i}" for i in range(12)))
    return table


def comparison() -> TerminalTable:
    """Return a comparison whose tables of pairs hold words longer than their columns on 80 characters."""
    return TerminalTable(build_table(study(("hat", "hat-with-distilled-intermediate-layers"), 6)))


def claims() -> TerminalClaims:
    return TerminalClaims(judge.judge(study(("hat",), 1)))


@pytest.mark.parametrize("make", [plain, comparison, claims])
def test_no_word_is_broken_in_a_pipe(make, monkeypatch, capsys):
    monkeypatch.delenv("COLUMNS", raising=False)
    print_rich(make())
    piped = set(capsys.readouterr().out.split())
    lost = _words(make(), 5000) - piped
    assert len(piped) > 12 and not lost
    if make is not plain:
        assert _words(make(), 5000) - _words(make(), 60), "the case is too easy: 60 columns break nothing"


def test_a_pipe_that_names_its_columns_gets_as_many(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "60")
    print_rich(comparison())
    assert max(map(len, capsys.readouterr().out.splitlines())) == 60


def _words(renderable: RenderableType, width: int) -> set[str]:
    console = Console(width=width, file=io.StringIO())
    console.print(renderable)
    return {word for word in console.file.getvalue().split() if re.search(r"\w", word)}
