"""The smoke plan on a machine as it is and beside busy loops: the same results, to the bit."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from benchmarks.records.store import load_all
from benchmarks.verification.compare import first_difference, outcome

LONGEST_S = 3 * 3600.0
"""For one plan; some 6 minutes on two idle cores."""


@contextmanager
def busy(loops: int) -> Iterator[None]:
    """Keep so many processes busy while inside."""
    started = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(loops)]
    try:
        yield
    finally:
        for loop in started:
            loop.kill()
            loop.wait()


def smoke(bench: Any, folder: str) -> subprocess.CompletedProcess[str]:
    done: subprocess.CompletedProcess[str] = bench("run", "mt", "--results", folder, timeout=LONGEST_S)
    return done


@pytest.mark.slow
@pytest.mark.timeout(2 * LONGEST_S)
def test_the_smoke_plan_beside_busy_loops_is_the_smoke_plan(bench: Any, tmp_path: Path):
    quiet = smoke(bench, "quiet")
    with busy(os.cpu_count() or 2):
        loaded = smoke(bench, "loaded")
    assert quiet.returncode == loaded.returncode == 0, quiet.stderr + loaded.stderr
    assert "latencies will be marked as disturbed" in loaded.stdout
    runs = {
        name: {r["spec"]["method"]: r for r in load_all(tmp_path / name / "mt-smoke" / "records")}
        for name in ("quiet", "loaded")
    }
    assert runs["quiet"].keys() == runs["loaded"].keys() and len(runs["loaded"]) >= 7
    for method, record in runs["loaded"].items():
        assert record["status"] == "done" and all(c["test"] for c in record["candidates"]), method
        assert first_difference(outcome(runs["quiet"][method]), outcome(record)) is None, method
        assert record["timings"] == runs["quiet"][method]["timings"], method
        spent = record["ledger"]
        assert 0 < spent["cpu_seconds"]["search"] and spent["share"]["seconds"] < 0.5, method
