"""Tables of a large board that are kept: what is restored is what was made."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.leaderboard.known_tables import KnownTables
from benchmarks.leaderboard.site.pages import SiteTable
from benchmarks.leaderboard.tables import Board, BoardSource


@pytest.mark.parametrize("number", [2**70, 0.1, 1e-300, None])
def test_kept_tables_hold_any_number_of_a_record(
    number: float | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A seed of a stranger's record may have more than 64 bits."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    source = BoardSource(tmp_path / "results", tmp_path / "site", True)
    made = Board(
        ("t",), "title", "text", {"rows": [{"seed": number}]}, SiteTable({"id": "x"}, "plain", (1, 2, 3))
    )
    known = KnownTables(tmp_path / "index" / "tables-x.parquet")
    assert known.boards(source, lambda _: [made]) == [made]
    assert known.file.is_file()
    assert known.boards(source, lambda _: pytest.fail("it was kept")) == [made]
