"""The command line as a user has it, with a stranger's tiny task and methods installed beside it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
REPOSITORY = HERE.parents[1]


@pytest.fixture(scope="session")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """An environment in which the distribution ``tiny-task`` is installed."""
    site = tmp_path_factory.mktemp("site")
    for file in (HERE / "plugin").glob("*.py"):
        shutil.copy(file, site)
    about = site / "tiny_task-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: tiny-task\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(
        "[supernet_bench.tasks]\ntiny-repeat = tiny_task:tiny\n"
        "[supernet_bench.methods]\ntiny-good = tiny_methods:Good\ntiny-after = tiny_methods:After\n"
        "tiny-tuned = tiny_methods:Tuned\n"
    )
    path = os.pathsep.join([str(site), str(REPOSITORY), *filter(None, [os.environ.get("PYTHONPATH")])])
    # The source may be edited while the tests run; records of one test are compared with one another.
    fixed = {"SUPERNET_BENCH_COMMIT": "tested", "OMP_NUM_THREADS": "1", "COLUMNS": "200", "NO_COLOR": "1"}
    return {**os.environ, **fixed, "PYTHONPATH": path}


@pytest.fixture(scope="session")
def command() -> list[str]:
    return [sys.executable, "-m", "benchmarks"]


@pytest.fixture
def bench(environment: dict[str, str], command: list[str], tmp_path: Path) -> Callable[..., Any]:
    """Run ``supernet-bench`` in an empty folder."""

    def run(*words: str, timeout: float = 240, **more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*command, *words],
            cwd=tmp_path,
            env={**environment, **more},
            capture_output=True,
            text=True,
            timeout=timeout,
        )

    return run


@pytest.fixture
def records(tmp_path: Path) -> Callable[..., list[dict[str, Any]]]:
    """All records in the test's folder, by method."""

    def read() -> list[dict[str, Any]]:
        from benchmarks.records.store import load_all

        return load_all(tmp_path / "results/local/tiny-smoke/records")

    return read


def outcome(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "search.json").read_text())
    return found
