"""The study of precisions on a GPU: layers against float32, gates, rule, and a run on tiny networks."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from benchmarks.api import UsageError
from benchmarks.hardware import profiles
from benchmarks.measurement.interleaved import MeasurementRejectedError
from benchmarks.records.study_files import study_module, to_files
from benchmarks.studies.gpu_precision import layers, study
from benchmarks.studies.gpu_precision.study import TimedOnGpu
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


def test_tiny_networks_go_through_the_whole_study(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(study, "BATCHES", (1, 2))
    monkeypatch.setattr(study, "TOKENS", (32,))
    outcome = study.study("gpu-test.v1", [tiny_vit, tiny_bert], (64,), "cpu", 8, 5.0, lambda line: None)
    timed = {(t["network"], t["batch"], t["precision"]): t for t in outcome.facts["timed"]}
    assert len(timed) == 16 and not any(t["failed"] for t in timed.values())
    for name in ("tiny ViT", "tiny BERT"):
        assert timed[name, 1, "bf16"]["ratio"] == 1 and timed[name, 2, "fp32"]["kernels"] == 0
        assert timed[name, 1, "int8"]["kernels"] == timed[name, 1, "fp8"]["kernels"] > 0
    assert [s["kernels"] for s in outcome.facts["stacks"]] == [0, 0, study.DEPTH, study.DEPTH]
    assert {"md", "json", "png", "svg"} == set(to_files("gpu-precision", outcome, None, None))


def test_a_precision_that_the_gpu_refuses_loses_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: object, x: Tensor, scale: Tensor) -> Tensor:
        raise RuntimeError("CUDA error: no kernel image\nCompile with TORCH_USE_CUDA_DSA")

    monkeypatch.setattr(layers.Fp8Rows, "product", refuse)
    network = nn.Sequential(nn.Linear(32, 32)).eval().requires_grad_(False)
    timed = study.time_network("one layer", network, torch.randn(2, 32), "cpu", 8, 5.0)
    failed = {t.precision: t.failed for t in timed if t.failed}
    assert failed == {"fp8": "CUDA error: no kernel image"} and len(timed) == 4


def test_a_precision_without_kernels_is_named() -> None:
    network = nn.Sequential(nn.Conv2d(3, 16, 3), nn.Conv2d(16, 16, 3)).eval().requires_grad_(False)
    timed = study.time_network("convolutions", network, torch.randn(2, 3, 8, 8), "cpu", 8, 5.0)
    failed = {t.precision: t.failed for t in timed if t.failed}
    assert set(failed) == {"int8", "fp8"} and "no convolution" in failed["fp8"]
    assert study._row(timed[-1])[-1] in failed.values()


@pytest.mark.parametrize(
    ("low", "high", "verdict"), [(0.4, 0.6, "faster"), (1.1, 1.3, "slower"), (0.9, 1.1, "undecided")]
)
def test_a_verdict_follows_from_the_interval(low: float, high: float, verdict: str) -> None:
    assert TimedOnGpu("n", 1, "int8", 1.0, 0.5 * (low + high), low, high).verdict == verdict


def test_a_machine_without_a_declared_gpu_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    assert study_module("gpu-precision") is study
    monkeypatch.setattr(profiles, "matching", lambda: "cpu-2core-avx512.v1")
    with pytest.raises(UsageError, match="declared GPU profile"):
        study.run(None)
