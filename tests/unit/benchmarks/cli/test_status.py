"""``status``: mistakes that would cost the study or end in a traceback."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.cli import main


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """A study file in an empty folder."""
    path = tmp_path / "study.yml"
    path.write_text(f"suite: mt\nmethods: hat\nprofile: undeclared\nresults: {tmp_path / 'r'}\n")
    return path


def test_a_page_never_replaces_its_study(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = study.read_text()
    (link := study.with_name("link.yml")).hardlink_to(study)
    for page in (study, study.parent / "." / study.name, link):
        assert main.main(["status", str(study), "--page", str(page)]) == 2
        assert "is the study itself; name a new file" in capsys.readouterr().err
    assert study.read_text() == text
    page = study.with_name("status.html")
    for _ in range(2):
        assert main.main(["status", str(study), "--page", str(page)]) == 0
    assert page.read_text().startswith("<!doctype html>")


@pytest.mark.parametrize("every", ["inf", "nan", "0", "-1", "1e300"])
def test_seconds_that_are_no_time_to_wait_are_refused(
    study: Path, capsys: pytest.CaptureFixture[str], every: str
) -> None:
    assert main.main(["status", str(study), "--every", every]) == 2
    assert "seconds above zero, at most 86400" in capsys.readouterr().err
