"""One per cent of the papers' tier of every family of tasks, as whole runs."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks.records.store import load_all
from benchmarks.tasks.papers import downloads, encoders, translation
from tests.e2e import paper_slices

HERE = Path(__file__).parent
SUITES = {"iwslt14": ("mt", "hat"), "encoders": ("bert", "supershaper")}
"""Slice -> suite and method. ImageNet and VQA refuse the paper tier, for want of a published recipe."""
OWN = {"budget", "recipe", "name", "sha256"}
"""Fields of a slice's tier that are not the paper's."""


@pytest.mark.parametrize(
    ("part", "whole"),
    [
        (paper_slices.iwslt14, translation.iwslt14_de_en),
        (paper_slices.encoders, encoders.wikipedia_task),
    ],
)
@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_a_slice_is_the_papers_tier_with_a_hundredth_of_its_allowance(
    part: Any, whole: Any, device: str
) -> None:
    ours, papers = part.tier("paper", device), whole.tier("paper", device)
    own = set(OWN)
    if part is paper_slices.encoders:  # from untrained networks, without fine-tuning
        own |= {"finetune"}
        papers = dataclasses.replace(papers, settings={**papers.settings})
        assert papers.settings.pop("parent") == "teacher"
    for field in dataclasses.fields(papers):
        if field.name not in own:
            assert getattr(ours, field.name) == getattr(papers, field.name), field.name
    assert {k: v for k, v in ours.recipe.items() if k != "accumulate"} == {
        k: v for k, v in papers.recipe.items() if k != "accumulate"
    }
    assert ours.recipe["accumulate"] == max(1, math.ceil(papers.recipe["accumulate"] / 100))
    for kind in ("evaluations", "probes", "seconds"):
        assert ours.budget[kind] == pytest.approx(papers.budget[kind] / 100, abs=1)
    assert ours.budget["tokens"] < papers.budget["tokens"] / 100


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", [*SUITES])
def test_one_per_cent_of_the_papers_tier_runs(bench: Callable[..., Any], tmp_path: Path, name: str) -> None:
    suite, method = SUITES[name]
    folder = tmp_path / "data" / "papers"
    folder.mkdir(parents=True)
    (folder / downloads.downloads()["iwslt14-de-en"].file).write_bytes(paper_slices.archive())
    task = f"{HERE / 'paper_slices.py'}:{name}"
    words = ("run", suite, "--task", task, "--tier", "paper", "--methods", method, "--profile", "undeclared")
    words += ("--data-dir", str(folder.parent), "--results", "out")
    # Nothing timed here is published: it need not wait for other programs' timings.
    done = bench(*words, timeout=1700, SUPERNET_BENCH_LOCKS=str(tmp_path))
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    records = load_all(tmp_path / "out" / f"{suite}-paper" / "records")
    (record,) = (r for r in records if r["spec"]["method"] == method)
    tier = getattr(paper_slices, name).tier("paper", "cpu")
    assert record["status"] == "done" and record["spec"]["budget"] == dict(tier.budget)
    assert len(record["candidates"]) >= len(tier.limits) + len(tier.windows)
    for candidate in record["candidates"]:
        figures = candidate["test"][next(iter(candidate["test"]))]
        assert set(getattr(paper_slices, name).units.metrics) <= set(figures), "every published score"
        assert candidate["latency"]["p50"] > 0
    spent = record["ledger"]["totals"]
    assert 0 < spent["tokens"] <= tier.budget["tokens"] and spent["evaluations"] > 1
    assert (tmp_path / "out" / f"{suite}-paper" / "table.md").is_file()
