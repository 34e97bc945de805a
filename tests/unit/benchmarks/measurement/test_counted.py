"""Latencies that smoke's searches are told: as an idle machine times them, and the same on every machine."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks.lab.batches import derive_seed
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
RECORDS = ROOT / "results/records"
PUBLISHED = RECORDS / "mt-synthetic-en-de/cpu-2core-avx512.v1"


@pytest.fixture(scope="module")
def family() -> Seq2SeqFamily:
    return Seq2SeqFamily(get_space(TIER.space), Seq2SeqConfig(1500, 1500, **TIER.model))


def ms(family: Any, architecture: Any) -> float:
    return counted.milliseconds(family, architecture, WORKLOAD, "cpu", TIER.counted)


def test_the_prices_are_those_of_the_published_probes(family: Seq2SeqFamily):
    probes = {}
    for path in sorted(PUBLISHED.rglob("*.json")):
        record = json.loads(path.read_text())
        method = record["spec"]["method"]
        if record["spec"]["tier"] != "smoke" or method == "fairseq-transformer":  # probed on another day
            continue
        # Every search draws its probes from the same generator, so their keys name what is drawn here.
        drawn, space = np.random.default_rng(derive_seed(1, TASK.name, method)), family.space
        asked = [space.largest(), space.smallest(), *(space.sample(drawn) for _ in range(22))]
        known = {architecture.key(): architecture for architecture in asked}
        timings = record["timings"]["probes"][::8]
        probes |= {(method, key): (known[key], timed) for _, key, timed in timings}
    if not probes:
        pytest.skip("no published records")
    assert len(probes) == 15
    off = [abs(ms(family, architecture) / timed - 1) for architecture, timed in probes.values()]
    assert np.mean(off) < 0.02 and max(off) < 0.15


def test_no_limit_of_smoke_lies_near_a_latency_of_its_space(family: Seq2SeqFamily):
    reference, drawn = ms(family, family.space.largest()), np.random.default_rng(0)
    shares = np.array([ms(family, family.space.sample(drawn)) / reference for _ in range(24)])
    for limit in TIER.limits:
        assert np.abs(shares / limit - 1).min() > 0.03
    assert (shares < min(TIER.limits)).any() and (shares > max(TIER.limits)).any()


def test_searches_of_smoke_time_nothing(
    family: Seq2SeqFamily, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def timed(*_: Any) -> float:
        raise AssertionError("a timing, which other programs move")

    monkeypatch.setattr(latency, "probe_latency", timed)
    monkeypatch.setattr(TASK, "family", lambda tier, prepared: family, raising=False)
    lab = SimpleNamespace(_tier=TIER, _workload=WORKLOAD, device="cpu", family_of=lambda space: family)
    smallest = family.space.smallest()
    due, before = ms(family, smallest), torch.get_rng_state()
    assert BenchLab.probe_ms(lab, smallest) == due  # type: ignore[arg-type]
    assert torch.equal(torch.get_rng_state(), before), "building networks to count draws nothing of the run's"
    out = tmp_path / "ms.json"
    worker.reference(ReferenceJob("undeclared", TASK.name, "smoke", None, "cpu", out, {}))  # type: ignore[arg-type]
    assert json.loads((tmp_path / "ms.json").read_text())["ms"] == ms(family, family.space.largest())


@pytest.mark.parametrize("name", ["mt-synthetic-en-de", "bert-synthetic-en", "vision-digits"])
def test_seconds_of_smoke_are_at_least_ten_times_what_idle_cores_took(name: str):
    published = [json.loads(path.read_text()) for path in sorted((RECORDS / name).rglob("*.json"))]
    took = [r["ledger"]["totals"]["seconds"] for r in published if r["spec"]["tier"] == "smoke"]
    if not took:
        pytest.skip("no published records")
    assert get_task(name).tier("smoke", "cpu").budget["seconds"] >= 10 * max(took)
