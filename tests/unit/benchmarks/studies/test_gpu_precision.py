"""The study of precisions on a GPU: layers against float32, gates, rule, and a run on tiny networks."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from benchmarks.api import UsageError
from benchmarks.hardware import profiles
from benchmarks.measurement.interleaved import MeasurementRejectedError
from benchmarks.records.study_files import study_module, to_files
from benchmarks.studies.gpu_precision import layers, measure, study
from benchmarks.studies.gpu_precision.timings import DEPTH, TimedOnGpu
from tests.unit.benchmarks.studies.test_deployed_sizes import tiny_bert, tiny_vit


@pytest.mark.parametrize(("kind", "error"), [(layers.Int8Rows, 0.012), (layers.Fp8Rows, 0.05)])
@pytest.mark.parametrize("rows", [1, 16, 40])
def test_rowwise_layers_are_near_float32(kind: type[layers.RowwiseLinear], error: float, rows: int) -> None:
    random = torch.Generator().manual_seed(rows)
    layer = nn.Linear(64, 48).requires_grad_(False)
    layer.weight.normal_(0, 0.1, generator=random)
    x = torch.randn(2, rows, 64, generator=random) * torch.tensor([[[1.0]], [[300.0]]])
    expected, outputs = layer(x), kind(layer)(x.bfloat16()).float()
    for ours, theirs in zip(outputs, expected, strict=True):  # each by its own scale
        assert float((ours - theirs).norm() / theirs.norm()) < error


@pytest.mark.parametrize("kind", [layers.Int8Rows, layers.Fp8Rows])
def test_rowwise_layers_sum_their_rounded_numbers_exactly(kind: type[layers.RowwiseLinear]) -> None:
    """Weights and inputs that the type holds exactly give exact products."""
    layer = nn.Linear(16, 16, bias=False)
    layer.weight.data = torch.diag(torch.full((16,), kind.largest))
    x = torch.diag(torch.full((16,), kind.largest)).repeat(3, 1)
    assert torch.equal(kind(layer)(x.bfloat16()).float(), (x @ layer.weight.T).bfloat16().float())


@pytest.mark.parametrize("kind", [layers.Int8Rows, layers.Fp8Rows])
def test_rows_of_zeros_give_the_bias(kind: type[layers.RowwiseLinear]) -> None:
    layer = nn.Linear(32, 32)
    outputs = kind(layer)(torch.zeros(20, 32, dtype=torch.bfloat16))
    assert torch.equal(outputs, layer.bias.bfloat16().expand(20, 32))


def test_conversion_leaves_odd_widths_and_the_network_itself_alone() -> None:
    network = nn.Sequential(nn.Linear(32, 32), nn.Linear(32, 10), nn.Conv2d(3, 8, 3))
    converted = layers.convert(network, "fp8")
    assert [type(part) for part in converted] == [layers.Fp8Rows, nn.Linear, nn.Conv2d]
    assert converted[1].weight.dtype == torch.bfloat16 and network[1].weight.dtype == torch.float32
    with pytest.raises(ValueError, match="no convolution in int8"):
        layers.convert(nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3), nn.Linear(32, 32)), "int8")


def test_kernels_are_counted() -> None:
    network = layers.convert(nn.Sequential(nn.Linear(32, 32), nn.Linear(32, 32)), "int8")
    assert layers.check_kernels(network, torch.randn(20, 32).bfloat16()) == 2
    assert layers.check_kernels(nn.Linear(4, 4), torch.randn(1, 4)) == 0

    class Fallen(layers.Int8Rows):
        def product(self, x: Tensor, scale: Tensor) -> Tensor:
            return (x.float() @ self.weight.T.float() * scale * self.scale).bfloat16()

    with pytest.raises(MeasurementRejectedError, match="ran 0 times for 1 layers"):
        layers.check_kernels(Fallen(nn.Linear(32, 32)), torch.randn(20, 32).bfloat16())


@pytest.fixture
def subjects(monkeypatch: pytest.MonkeyPatch) -> list[measure.Subject]:
    """Two tiny networks at two batches, and one stack."""
    monkeypatch.setattr(measure, "BATCHES", (1, 2))
    monkeypatch.setattr(measure, "TOKENS", (32,))
    return list(measure.subjects_of([tiny_vit, tiny_bert], (64,)))


def complete(path: Path, subjects: list[measure.Subject], said: list[str] | None = None) -> Path:
    """Time on the processor in few rounds."""
    say = [].append if said is None else said.append
    return measure.complete(path, "gpu-test.v1", subjects, "cpu", 8, 5.0, say)


def test_tiny_networks_go_through_the_whole_study(tmp_path: Path, subjects: list[measure.Subject]) -> None:
    complete(tmp_path / "gpu-test.v1.json", subjects)
    outcome = study.run(tmp_path)
    (gpu,) = outcome.facts["gpus"]
    timed = {(t["network"], t["batch"], t["precision"]): t for t in gpu["networks"]}
    assert len(timed) == 16 and not any(t["failed"] for t in timed.values())
    for name in ("tiny ViT", "tiny BERT"):
        assert timed[name, 1, "bf16"]["ratio"] == 1 and timed[name, 2, "fp32"]["kernels"] == 0
        assert timed[name, 1, "int8"]["kernels"] == timed[name, 1, "fp8"]["kernels"] > 0
    assert [s["kernels"] for s in gpu["stacks"]] == [0, 0, DEPTH, DEPTH]
    assert {"md", "json", "png", "svg"} == set(to_files("gpu-precision", outcome, None, None))


def test_a_command_that_is_stopped_loses_no_network_and_goes_on(
    tmp_path: Path, subjects: list[measure.Subject]
) -> None:
    """Ten minutes of a lease were lost with the last of 18 networks."""
    path = tmp_path / "gpu-test.v1.json"

    def interrupted() -> tuple[nn.Module, Tensor]:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        complete(path, [*subjects[:2], replace(subjects[2], build=interrupted)])
    kept = json.loads(path.read_text())
    assert len(kept["networks"]) == 8
    said: list[str] = []
    # A note on other programs at work may stand before it.
    assert "Interim: 2 of 3 networks and stacks of gpu-test.v1." in study.run(tmp_path).notes[:2]
    complete(path, subjects, said)
    timed = json.loads(path.read_text())
    assert timed["networks"][:8] == kept["networks"] and len(timed["networks"]) == 16
    assert [line.partition(":")[0] for line in said] == ["3 of 5", "4 of 5", "5 of 5"]
    before, said = path.read_bytes(), []
    assert complete(path, subjects, said) == path and (path.read_bytes(), said) == (before, [])
    path.write_text(json.dumps({**timed, "written": {"commit": "b" * 40, "dirty_sha256": None}}))
    with pytest.raises(UsageError, match="another commit, or local changes: move it away"):
        complete(path, subjects)
    path.write_text(json.dumps({**timed, "torch": "2.0.0"}))
    with pytest.raises(UsageError, match="another torch: move it away"):
        complete(path, subjects)
    path.write_text("{}")
    with pytest.raises(UsageError, match="another content"):
        complete(path, subjects)


@pytest.mark.parametrize("failure", ["full", "broken"])
def test_a_gpu_that_fails_is_not_taken_for_a_precision_that_does(
    failure: str, tmp_path: Path, subjects: list[measure.Subject], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Written down as failed, its networks would never be timed again."""
    path = complete(tmp_path / "gpu-test.v1.json", subjects[:1])
    before = path.read_bytes()

    def refuse(*_: object) -> None:
        raise (
            torch.OutOfMemoryError("out of memory\nmore")
            if failure == "full"
            else RuntimeError("illegal\nmore")
        )

    monkeypatch.setattr(measure.Compiled, "of", refuse)
    if failure == "broken":
        monkeypatch.setattr(measure, "_computes", lambda device: False)
    with pytest.raises(UsageError, match="batch 2: (out of memory|illegal)\nfree the GPU"):
        complete(path, subjects)
    assert path.read_bytes() == before


def test_gpus_stand_side_by_side_and_disturbed_ones_are_named(
    tmp_path: Path, subjects: list[measure.Subject]
) -> None:
    path = complete(tmp_path / "gpu-a.v1.json", [subjects[0], subjects[-1]])
    facts = json.loads(path.read_text())
    for one in facts["networks"]:
        one["others_cpu"] = 1.5
    (tmp_path / "gpu-b.v1.json").write_text(json.dumps({**facts, "profile": "gpu-b.v1"}))
    outcome = study.run(tmp_path)
    assert {row[0] for row in outcome.rows} == {"gpu-test.v1", "gpu-b.v1"}
    assert outcome.notes[0].startswith("Disturbed") and "gpu-b.v1" in outcome.notes[0]


def test_folders_without_timings_are_one_message(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="supernet-bench study gpu-precision-measure"):
        study.run(tmp_path)
    (tmp_path / "x.json").write_text('{"networks": [], "stacks": []}')
    with pytest.raises(UsageError, match="x.json has no timings"):
        study.run(tmp_path)


def test_a_precision_that_the_gpu_refuses_loses_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: object, x: Tensor, scale: Tensor) -> Tensor:
        raise RuntimeError("CUDA error: no kernel image\nCompile with TORCH_USE_CUDA_DSA")

    monkeypatch.setattr(layers.Fp8Rows, "product", refuse)
    network = nn.Sequential(nn.Linear(32, 32)).eval().requires_grad_(False)
    timed = measure.time_network("one layer", 2, network, torch.randn(2, 32), "cpu", 8, 5.0)
    failed = {t.precision: t.failed for t in timed if t.failed}
    assert failed == {"fp8": "CUDA error: no kernel image"} and len(timed) == 4


def test_a_precision_without_kernels_is_named() -> None:
    network = nn.Sequential(nn.Conv2d(3, 16, 3), nn.Conv2d(16, 16, 3)).eval().requires_grad_(False)
    timed = measure.time_network("convolutions", 2, network, torch.randn(2, 3, 8, 8), "cpu", 8, 5.0)
    failed = {t.precision: t.failed for t in timed if t.failed}
    assert set(failed) == {"int8", "fp8"} and "no convolution" in failed["fp8"]
    assert study._cells(timed[-1])[-1] in failed.values()


@pytest.mark.parametrize(
    ("low", "high", "verdict"), [(0.4, 0.6, "faster"), (1.1, 1.3, "slower"), (0.9, 1.1, "undecided")]
)
def test_a_verdict_follows_from_the_interval(low: float, high: float, verdict: str) -> None:
    assert study.verdict(TimedOnGpu("n", 1, "int8", 1.0, 0.5 * (low + high), low, high)) == verdict


def test_a_machine_without_a_declared_gpu_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert study_module("gpu-precision") is study
    monkeypatch.setattr(profiles, "matching", lambda: "cpu-2core-avx512.v1")
    with pytest.raises(UsageError, match="declared GPU profile"):
        measure.measure(tmp_path, [].append)
