"""Every installed method of ours finishes the smoke tier of every suite that it is for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks import registry, tasks
from benchmarks.api import UsageError
from benchmarks.records.store import load_all

ROOMS = ("baselines", "mos", "simq")
SUITES = ("bert", "mt", "simq")
ELSEWHERE = ("fairseq-transformer",)
"""Methods that need an environment of their own."""


def methods_of(suite: str) -> list[str]:
    """Names of our methods that a suite may run."""
    return [
        name
        for name, ref in registry.methods().items()
        if not isinstance(ref, UsageError)
        and ref.source.partition(".")[0] in ROOMS
        and ref.suite in (None, suite)
        and name not in ELSEWHERE
    ]


def test_the_suites_are_those_that_have_a_smoke_tier() -> None:
    found = {
        tasks.get_task(name).suite for name in tasks.task_names() if "smoke" in tasks.get_task(name).tiers()
    }
    assert found == set(SUITES)
    assert {"bignas", "supershaper", "nas-bert", "autodistil"} <= set(methods_of("bert"))


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("suite", SUITES)
def test_every_method_finishes_the_smoke_tier(bench: Callable[..., Any], tmp_path: Path, suite: str) -> None:
    done = bench("run", suite, "--methods", ",".join(methods_of(suite)), "--results", "out", timeout=3500)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    records = load_all(tmp_path / "out" / f"{suite}-smoke" / "records")
    assert records
    failed = {record["spec"]["method"]: record["outcome"] for record in records if record["status"] != "done"}
    assert not failed
    assert all(record["candidates"] for record in records)
