"""Latencies that smoke's searches are told: as an idle machine times them, and the same on every machine."""

from __future__ import annotations

import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats

from benchmarks.lab.lab import BenchLab
from benchmarks.measurement import counted, latency
from benchmarks.measurement.workload import Workload
from benchmarks.runs import worker
from benchmarks.runs.job import ReferenceJob
from benchmarks.tasks import get_task
from supernet.seq2seq import Seq2SeqConfig, Seq2SeqFamily
from supernet.space import get_space
from tests import ROOT

TASK = get_task("mt-synthetic-en-de")
TIER = TASK.tier("smoke", "cpu")
WORKLOAD = Workload.of(TIER.workload)
SMOKE = ("mt-synthetic-en-de", "bert-synthetic-en", "vision-digits")
RECORDS = ROOT / "results/records"
PUBLISHED = RECORDS / "mt-synthetic-en-de/cpu-2core-avx512.v1"


@pytest.fixture(scope="module")
def family() -> Seq2SeqFamily:
    return Seq2SeqFamily(get_space(TIER.space), Seq2SeqConfig(1500, 1500, **TIER.model))


def small(name: str, space: str | None = None) -> tuple[Any, Any]:
    """Return a task's smoke tier and its family, of the tier's space unless named, without its data."""
    task = get_task(name)
    tier = task.tier("smoke", "cpu")
    words = 0 if tier.workload.get("image") else tier.vocab or 1500
    return tier, task.family(
        tier,
        SimpleNamespace(source_vocab=words, target_vocab=tier.vocab),
        get_space(space or tier.space),
    )


def ms(family: Any, architecture: Any) -> float:
    return counted.milliseconds(family, architecture, WORKLOAD, "cpu", counted.Prices.of(TIER.counted))


@pytest.mark.parametrize(
    ("name", "space", "off", "most"),
    [
        ("mt-synthetic-en-de", None, 0.06, 0.15),
        ("vision-digits", None, 0.12, math.inf),
        ("bert-synthetic-en", "nas-bert-smoke", 0.12, math.inf),
    ],
)
def test_the_prices_rank_networks_as_a_clock_does(name: str, space: str | None, off: float, most: float):
    tier, family = small(name, space)
    workload, prices = Workload.of(tier.workload), counted.Prices.of(tier.counted)
    timings = json.loads(Path(__file__).with_name("smoke_timings.json").read_text())["timings"][name]
    due = [
        counted.milliseconds(
            family, family.space.architecture(row["network"]), workload, "cpu", prices, row["policy"]
        )
        for row in timings
    ]
    timed = [row["ms"] for row in timings]
    assert len(timed) >= 25
    assert stats.spearmanr(due, timed).statistic > 0.85
    apart = np.abs(np.array(due) / timed - 1)
    assert apart.mean() < off and apart.max() < most


def test_no_limit_of_smoke_lies_near_a_latency_of_its_space(family: Seq2SeqFamily):
    reference, drawn = ms(family, family.space.largest()), np.random.default_rng(0)
    shares = np.array([ms(family, family.space.sample(drawn)) / reference for _ in range(24)])
    for limit in TIER.limits:
        assert np.abs(shares / limit - 1).min() > 0.03
    assert (shares < min(TIER.limits)).any() and (shares > max(TIER.limits)).any()


@pytest.mark.parametrize("name", SMOKE)
def test_searches_of_smoke_time_nothing(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def timed(*_: Any) -> float:
        raise AssertionError("a timing, which other programs move")

    monkeypatch.setattr(latency, "probe_latency", timed)
    tier, family = small(name)
    task, workload = get_task(name), Workload.of(tier.workload)
    monkeypatch.setattr(task, "family", lambda tier, prepared: family, raising=False)
    lab = SimpleNamespace(_tier=tier, _workload=workload, device="cpu", family_of=lambda space: family)
    space, prices = family.space, counted.Prices.of(tier.counted)
    before = torch.get_rng_state()
    smallest, largest = (
        BenchLab.probe_ms(lab, architecture)  # type: ignore[arg-type]
        for architecture in (space.smallest(), space.largest())
    )
    assert torch.equal(torch.get_rng_state(), before), "building networks to count draws nothing of the run's"
    assert smallest == counted.milliseconds(family, space.smallest(), workload, "cpu", prices)
    assert smallest < largest
    out = tmp_path / "ms.json"
    worker.reference(ReferenceJob("undeclared", name, "smoke", None, "cpu", out, {}))  # type: ignore[arg-type]
    assert json.loads(out.read_text())["ms"] == largest


@pytest.mark.parametrize("precision", ["bf16", "int8", "w4"])
def test_policies_are_counted_too_at_prices_of_their_own(precision: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(latency, "probe_latency", None)
    tier, family = small("vision-digits")
    lab = SimpleNamespace(
        _tier=tier, _workload=Workload.of(tier.workload), device="cpu", family_of=lambda space: family
    )
    largest = family.space.largest()
    layers = [f"layers.{layer}.ffn.fc2" for layer in range(largest["layers"])]
    whole, half = (
        BenchLab.probe_ms(lab, largest, dict.fromkeys(chosen, precision))  # type: ignore[arg-type]
        for chosen in (layers, layers[::2])
    )
    plain = BenchLab.probe_ms(lab, largest)  # type: ignore[arg-type]
    assert plain != half != whole
    assert whole - plain == pytest.approx(2 * (half - plain)), "each layer costs the same"


def test_a_price_of_its_own_replaces_the_price_of_a_launch():
    prices = counted.Prices(operator_us=2.0, macs_per_us=10.0, operators_us={"conv1d": 100.0})
    assert prices.microseconds({"aten.conv1d": 3, "aten.add": 4}, 50) == 3 * 100 + 4 * 2 + 5
    assert prices.microseconds({"aten.conv1d.extra": 1}, 0) == 2, "a name is a name as a whole"


@pytest.mark.parametrize("name", SMOKE)
def test_seconds_of_smoke_are_at_least_ten_times_those_on_idle_cores(name: str):
    published = [json.loads(path.read_text()) for path in sorted((RECORDS / name).rglob("*.json"))]
    took = [r["ledger"]["totals"]["seconds"] for r in published if r["spec"]["tier"] == "smoke"]
    if not took:
        pytest.skip("no published records")
    assert get_task(name).tier("smoke", "cpu").budget["seconds"] >= 10 * max(took)
