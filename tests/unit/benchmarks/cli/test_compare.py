"""``compare``: the method that the others are compared with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import registry
from benchmarks.cli.main import main
from benchmarks.records import integrity, store
from tests.fake_records import fake


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """A folder of results of HAT, with default and other options, and of training from scratch."""
    for seed in (1, 2):
        for method, options in (("hat", {}), ("hat", {"after": "continue"}), ("scratch", {})):
            record: dict[str, Any] = fake(method, seed)
            record["spec"] |= {"options": options, "method_sha256": registry.find(method).sha256}
            store.write(tmp_path / "mt-small" / "records", integrity.seal(record))
    return tmp_path


@pytest.mark.parametrize(
    ("word", "label"),
    [
        ("scratch", "scratch"),
        ("hat", "hat (default options)"),
        ("hat (default options)", "hat (default options)"),
        ("hat (after=continue)", "hat (after=continue)"),
    ],
)
def test_a_baseline_is_named_by_its_method_or_its_label(
    results: Path, capsys: pytest.CaptureFixture[str], word: str, label: str
) -> None:
    words = ["compare", "hat", "scratch", "--tier", "small", "--results", str(results), "--json"]
    assert main([*words, "--baseline", word]) == 0
    table = json.loads(capsys.readouterr().out)
    assert table["baseline"] == label
    assert {line["baseline"] for line in table["comparisons"]} == {label}


def test_a_baseline_that_is_not_compared_names_the_labels(
    results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["compare", "hat", "scratch", "--tier", "small", "--results", str(results)]
    for word in ("lts", "scrach", "hat (after=scratch)"):
        assert main([*words, "--baseline", word]) == 2
        shown = capsys.readouterr()
        assert shown.err.startswith(f"error: --baseline '{word}': no such method is compared in the table")
        assert "\nits labels: hat (after=continue), hat (default options), scratch\n" in shown.err
        assert shown.err.endswith("name one: --baseline 'hat (after=continue)'\n") and not shown.out
    assert main([*words, "--baseline", "./none.py:Mine"]) == 2
    assert "none.py" in capsys.readouterr().err
