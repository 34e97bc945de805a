"""Records that studies of published winners load."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchmarks.records import integrity, store
from benchmarks.studies import published_winners
from benchmarks.studies.published_winners import load_present, method_name
from tests.fake_records import fake


def made(ended: str = "2026-01-01", source: str = "a", **options: str) -> dict[str, Any]:
    """A run with some options; another source makes it another run of the same method and seed."""
    record = fake()
    spec = record["spec"] | {"options": options, "method_sha256": source * 64}
    ends = record["provenance"] | {"ended": f"{ended}T00:00:00+00:00"}
    return integrity.seal(record | {"spec": spec, "provenance": ends})


def test_a_run_that_was_made_twice_counts_once_and_other_options_are_other_methods(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(published_winners, "has_former_settings", lambda spec: False)
    later = made("2026-01-02")
    for record in (made(source="b"), later, made("2026-01-01", after="inherit"), made(after="scratch")):
        store.write(tmp_path, record)
    records, former = load_present(tmp_path, lambda record: True, "none")
    assert [method_name(record) for record in records] == ["hat", "hat after=inherit", "hat after=scratch"]
    assert records[0]["id"] == later["id"] and former == 0
