"""Shells of all kinds: backends of notebooks, encodings of old terminals, folders that cannot be written."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests import ROOT


def bench(*words: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    variables = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
    return subprocess.run([sys.executable, "-m", "benchmarks", *words], env=variables, capture_output=True)


@pytest.mark.parametrize("backend", ["module://matplotlib_inline.backend_inline", "nonsense"])
def test_the_backend_of_a_notebooks_shell_ends_no_command(backend: str, tmp_path: Path) -> None:
    record = next((ROOT / "results/records/mt-synthetic-en-de").rglob("*.json"))
    folder = tmp_path / "mt-smoke" / "records"
    folder.mkdir(parents=True)
    (folder / record.name).write_bytes(record.read_bytes())
    done = bench("report", "--results", str(tmp_path), MPLBACKEND=backend)
    assert done.returncode == 0, done.stderr.decode()
    assert list(tmp_path.rglob("*.png")) or list(tmp_path.rglob("*.svg"))


def test_a_terminal_without_the_middle_dot_shows_the_rest() -> None:
    done = bench("plan", "mt", PYTHONIOENCODING="ascii", LC_ALL="C")
    assert done.returncode == 0, done.stderr.decode()
    assert b"hat" in done.stdout


def test_a_file_where_a_folder_is_needed_is_one_message(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = bench("run", "mt", "--results", str(tmp_path / "file" / "results"))
    assert done.returncode == 2 and done.stderr.startswith(b"error: ") and b"Traceback" not in done.stderr
