"""Tables in a pipe."""

import pytest
from rich.table import Table

from benchmarks.cli.console import print_rich


def test_no_word_of_a_table_is_broken_in_a_pipe(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    table = Table(*(f"column{i}" for i in range(12)))
    table.add_row(*(f"unbreakable-word-{i}" for i in range(12)))
    print_rich(table)
    shown = capsys.readouterr().out
    assert all(f"unbreakable-word-{i}" in shown for i in range(12))
