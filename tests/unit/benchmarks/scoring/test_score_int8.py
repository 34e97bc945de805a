"""Scores, sizes and latencies of candidates with a precision policy."""

from __future__ import annotations

import json
import types
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
from torch import nn

from benchmarks.hardware import energy
from benchmarks.measurement import latency, serving
from benchmarks.measurement.workload import Workload
from benchmarks.records import integrity
from benchmarks.scoring import score
from supernet import export
from supernet.quantization import precisions
from supernet.quantization.precisions import uniform_int8
from tests.processor import needs_vnni
from tests.unit.supernet.quantization.int8_networks import (
    bert,
    garbage,
    unlocked,
)


class EncoderTask:
    def __init__(self, family: Any) -> None:
        self.made = family
        self.asked: list[tuple[str, str, dict[str, str]]] = []

    def tier(self, name: str, device: str) -> Any:
        workload = {"source_len": 12, "steps": 0, "beam": 1, "energy_seconds": 0.0}
        return types.SimpleNamespace(name=name, workload=workload)

    def family(self, tier: Any, prepared: Any) -> Any:
        return self.made

    def score(self, module: Any, prepared: Any, tier: Any, device: str, precision: str) -> dict[str, Any]:
        self.asked.append((device, precision, precisions.recipe(module)))
        figure = {"value": 1.0, "low": 0.0, "high": 2.0, "signature": "acc|version:1"}
        return {"test": {"test": {"accuracy": figure}}, "test_loss": 1.5}


class SilentMeter(energy.EnergyMeter):
    def __init__(self, profile: Any = None) -> None:
        pass

    def ready(self, seconds: float = 0.0) -> bool:
        return True

    def start(self) -> None:
        pass

    def stop(self) -> dict[str, Any]:
        return {"joules": 1.0, "source": "fake", "covered_seconds": 1.0}


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """A finished search with one int8 and one fp32 candidate of the same weights, and its task."""
    family, module = bert()
    architecture = family.space.sample(np.random.default_rng(0))
    task, policy, proposed = EncoderTask(family), uniform_int8(module), []
    for index, chosen in enumerate((policy, None)):
        folder = tmp_path / "run" / "candidates" / f"{index:02d}"
        digest = export.save(folder, module, family.spec(), architecture, chosen)
        proposed.append(
            {"index": index, "architecture": architecture.to_dict(), "policy": chosen, "origin": "int8"}
            | {"limit_ms": None, "weights_sha256": digest, "valid": {"loss": 2.0}}
        )
    (tmp_path / "run" / "spec.json").write_text('{"task": "fake", "tier": "t", "profile": "undeclared"}')
    (tmp_path / "run" / "search.json").write_text(json.dumps({"candidates": proposed}))
    monkeypatch.setattr("benchmarks.tasks.get_task", lambda name: task)
    monkeypatch.setattr(score, "EnergyMeter", SilentMeter)
    monkeypatch.setattr(latency, "EnergyMeter", SilentMeter)
    monkeypatch.setattr(latency, "exclusive", unlocked)
    return types.SimpleNamespace(folder=tmp_path / "run", task=task, proposed=proposed)


def scored(run: Any) -> list[dict[str, Any]]:
    prepared = types.SimpleNamespace(digests={"data": "1"})
    found = score.score_run(run.folder, prepared=prepared, device="cpu", say=lambda _: None)["candidates"]
    schema = json.loads(integrity.SCHEMA_FILE.read_text())
    for made, entry in zip(run.proposed, found, strict=True):
        if entry["failed"] is None:
            jsonschema.validate({**made, **entry}, {"$defs": schema["$defs"], "$ref": "#/$defs/candidate"})
    return found


def test_a_candidate_with_a_policy_is_scored_and_timed_under_it(run: Any) -> None:
    low, plain = scored(run)
    assert [entry["failed"] for entry in (low, plain)] == [None, None]
    assert [recipe.get("prec") for *_, recipe in run.task.asked] == ["int8", None]
    assert (
        low["cost"]["bytes"] < 0.6 * plain["cost"]["bytes"]
        and low["cost"]["params"] == plain["cost"]["params"]
    )
    assert low["latency"]["fp32_ratio"] > 0 and "fp32_ratio" not in plain["latency"]
    signatures = [entry["test"]["test"]["accuracy"]["signature"] for entry in (low, plain)]
    assert signatures[0].startswith("acc|version:1|prec:int8|int8:") and signatures[1] == "acc|version:1"


def test_under_a_profile_of_a_gpu_it_has_quality_and_a_reason(
    run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    make = score._Bench.__init__

    def elsewhere(bench: Any, *arguments: Any) -> None:
        make(bench, *arguments)
        bench.device = "cuda"

    monkeypatch.setattr(score._Bench, "__init__", elsewhere)
    monkeypatch.setattr(nn.Module, "to", lambda module, device: module)
    low = scored(run)[0]
    assert low["failed"] is None and run.task.asked[0][:2] == ("cpu", "fp32")
    assert low["test"] and low["cost"]["bytes"] > 0 and not {"latency", "memory", "energy"} & set(low)
    assert low["not_measured"] == "low-precision layers run on the processor, profile undeclared is cuda"


def test_a_garbled_quantised_candidate_fails_alone(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(module: nn.Module, policy: Any) -> nn.Module:
        made = precisions.quantize(module, policy)
        garbage(made)
        return made

    monkeypatch.setattr(serving, "quantize", broken)
    low, plain = scored(run)
    assert "from those in fp32" in low["failed"] and "test" not in low and plain["failed"] is None


def test_another_policy_on_disk_is_noticed(run: Any) -> None:
    run.proposed[0]["policy"] = {"head.dense": "int8"}
    (run.folder / "search.json").write_text(json.dumps({"candidates": run.proposed}))
    assert scored(run)[0]["failed"] == "its policy on disk is not the one that the search proposed"


@needs_vnni
def test_a_candidate_of_a_tier_that_onnx_runtime_serves(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("onnxruntime", reason="needs the extra onnx")
    pytest.importorskip("onnx", reason="needs the extra onnx")
    tier = run.task.tier("t", "cpu")
    workload = {**vars(Workload.of(tier.workload)), **dict(tier.workload), "runtime": "ort"}
    monkeypatch.setattr(
        run.task, "tier", lambda *_: types.SimpleNamespace(**{**vars(tier), "workload": workload})
    )
    low, plain = scored(run)
    assert [entry["failed"] for entry in (low, plain)] == [None, None]
    for entry, used in ((low, "prec:int8|"), (plain, "prec:fp32|")):
        told = entry["latency"]["signature"]
        assert "|rt:ort-" in told and "mode:graph" in told and used in told
        assert "rt:ort-" in entry["test"]["test"]["accuracy"]["signature"]
        assert entry["memory"]["peak_bytes"] == entry["cost"]["bytes"]
    assert low["latency"]["fp32_ratio"] > 0 and "fp32_ratio" not in plain["latency"]
