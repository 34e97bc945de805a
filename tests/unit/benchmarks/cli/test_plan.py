"""``plan``: totals hold for every run of the plan."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.cli import main

RANGE = "0.5 to 1 M tokens | 30 to 60 evaluations | 12 to 24 probes | 1800 to 3600 s]"


@pytest.mark.parametrize(
    ("scale", "allowances"),
    [("1", "1 M tokens | 60 evaluations | 24 probes | 3600 s]"), ("[0.5, 1]", RANGE), ("[1, 0.5]", RANGE)],
)
def test_a_total_names_the_range_of_allowances(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], scale: str, allowances: str
) -> None:
    study = tmp_path / "study.yml"
    study.write_text(
        f"suite: mt\nmethods: hat\nprofile: undeclared\nbudget-scale: {scale}\nresults: {tmp_path / 'r'}\n"
    )
    assert main.main(["plan", "-C", str(study)]) == 0
    assert f"each at most [train {allowances}" in capsys.readouterr().out
