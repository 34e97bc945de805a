"""Ranges against ONNX Runtime's own calibration, and folding against the network itself."""

from __future__ import annotations

import contextlib
import io

import numpy as np
import pytest
import torch
from scipy.stats import entropy
from torch import nn

from supernet.quantization import calibration
from supernet.quantization.calibration import calibrate, rectified_layers, shared_inputs
from supernet.quantization.folding import fold_batch_norms
from supernet.quantization.precisions import units
from supernet.quantization.rounding import activation_grid, w8_grid
from tests.unit.supernet.quantization.trained import digits, residual_network

DRAWN = {
    "normal": lambda rng: rng.normal(size=100_000),
    "rectified": lambda rng: np.maximum(rng.normal(size=100_000), 0),
    "heavy": lambda rng: rng.standard_t(3, size=100_000),
    "skewed": lambda rng: rng.gumbel(size=100_000),
}


def of_runtime(method: str, values: np.ndarray) -> tuple[float, float]:
    ort = pytest.importorskip("onnxruntime.quantization.calibrate", reason="needs the extra onnx")
    collector = ort.HistogramCollector(
        method, False, calibration.BINS, calibration.QUANTIZED_BINS, calibration.PERCENTILE, "same"
    )
    with contextlib.redirect_stdout(io.StringIO()):
        collector.collect({"x": values})
        low, high, *_ = collector.compute_collection_result()["x"]
    return float(low), float(high)


@pytest.mark.parametrize("kind", DRAWN)
def test_percentiles_are_those_of_onnx_runtime(kind: str) -> None:
    values = DRAWN[kind](np.random.default_rng(0)).astype(np.float32)
    ranges = calibrate(nn.Identity(), [[torch.zeros(1)]])
    assert ranges == {}
    net = nn.Linear(1, 1, bias=False)
    nn.init.ones_(net.weight)
    one = calibrate(net, [[torch.from_numpy(values)[:, None]]], "percentile")[""]
    np.testing.assert_allclose((one.low, one.high), of_runtime("percentile", values), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("kind", DRAWN)
def test_entropy_clips_where_the_divergence_is_least(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibration, "QUANTIZED_BINS", 8)
    values = DRAWN[kind](np.random.default_rng(1))
    edge = np.abs(values).max()
    counts, edges = np.histogram(values, 64, (-edge, edge))

    def divergence(half: int) -> float:  # by scipy, bin by bin
        start, end = 32 - half, min(32 + half + 1, 64)
        p = counts[start:end].astype(float)
        inside = p.copy()
        p[0] += counts[:start].sum()
        p[-1] += counts[end:].sum()
        q, width = np.zeros_like(p), len(p) // 8
        for i in range(8):
            part = range(i * width, (i + 1) * width if i < 7 else len(p))
            full = [j for j in range(i * width, (i + 1) * width) if p[j]]
            for j in full:
                q[j] = sum(inside[k] for k in part) / len(full)
        small = [np.where(x == 0, 1e-4, x - 1e-4 * (x == 0).sum() / (x > 0).sum()) for x in (p, q)]
        return float(entropy(*small)) if all((x > 0).all() for x in small) else np.inf

    half = min(range(4, 33), key=divergence)
    expected = max(edges[32 - half], values.min()), min(edges[min(32 + half + 1, 64)], values.max())
    assert calibration.entropy_ends(counts, values.min(), values.max()) == pytest.approx(expected)


def test_entropy_is_near_onnx_runtimes_and_cuts_heavy_tails() -> None:
    values = DRAWN["heavy"](np.random.default_rng(0)).astype(np.float32)
    edge = float(np.abs(values).max())
    counts = np.histogram(values, calibration.BINS, (-edge, edge))[0]
    low, high = calibration.entropy_ends(counts, float(values.min()), float(values.max()))
    theirs = of_runtime("entropy", values)
    np.testing.assert_allclose((low, high), theirs, rtol=0.1)
    assert high < 0.6 * edge


def test_ranges_are_the_extremes_over_all_batches() -> None:
    net, pixels = residual_network(), digits()[0]
    whole = calibrate(net, [[pixels[:120]]])
    parts = calibrate(net, [[pixels[:50]], [pixels[50:120]]])
    assert set(whole) == set(units(net))
    for name, one in whole.items():
        other = parts[name]
        assert (one.low, one.high) == pytest.approx((other.low, other.high), rel=1e-4, abs=1e-5), name
    for name in rectified_layers(net) & set(whole):
        assert whole[name].output_low == 0
    first = whole["stem.first.conv"]
    assert (first.low, first.high) == (float(pixels[:120].min()), float(pixels[:120].max()))


def test_padding_enters_no_range() -> None:
    net = nn.Linear(1, 1, bias=False)
    x = torch.tensor([[[1.0], [50.0]], [[-2.0], [3.0]]])
    real = torch.tensor([[[True], [False]], [[True], [True]]])
    one = calibrate(net, [[x]], real=lambda *_: real)[""]
    assert (one.low, one.high) == (-2.0, 3.0)


def test_impossible_calibrations_are_refused() -> None:
    net = nn.Linear(1, 1)
    with pytest.raises(ValueError, match="choose one of min-max, percentile, entropy"):
        calibrate(net, [[torch.ones(2, 1)]], "kl")
    with pytest.raises(ValueError, match="at least one batch"):
        calibrate(net, [])
    with pytest.raises(ValueError, match="not finite"):
        calibrate(net, [[torch.tensor([[float("nan")]])]])


def test_folded_networks_compute_the_same() -> None:
    net, pixels = residual_network(), digits()[0][:64]
    folded = fold_batch_norms(net)
    assert units(folded) == units(net)
    assert not any(hasattr(m, "running_mean") for m in folded.modules())
    torch.testing.assert_close(folded(pixels), net(pixels), rtol=1e-4, atol=1e-4)
    plain = nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.BatchNorm2d(3)).eval()
    for norm in (plain[1], plain[3]):
        nn.init.uniform_(norm.running_var, 1e-4, 3.0)
        nn.init.uniform_(norm.running_mean, -100.0, 100.0)
        nn.init.uniform_(norm.weight, -2.0, 2.0)
        nn.init.uniform_(norm.bias)
    torch.testing.assert_close(fold_batch_norms(plain)(pixels), plain(pixels), rtol=1e-4, atol=1e-3)
    assert sum(isinstance(m, nn.BatchNorm2d) for m in fold_batch_norms(plain).modules()) == 1


def test_containers_declare_the_structure_of_their_graph() -> None:
    onnx_trace = pytest.importorskip("supernet.quantization.onnx_trace")
    pytest.importorskip("onnx", reason="needs the extra onnx")
    net = residual_network()
    graph = onnx_trace.trace(net, [digits()[0][:2]], fold=True).model.graph
    inputs, rectified = {}, set()
    for node in graph.node:
        if node.domain == onnx_trace.MARK:
            name = onnx_trace._layer(node)
            inputs[name] = node.input[0]
            readers = [other for other in graph.node if node.output[0] in other.input]
            if [other.op_type for other in readers] == ["Relu"]:
                rectified.add(name)
    assert rectified == rectified_layers(net) & set(inputs)
    sums = {name for node in graph.node if node.op_type == "Add" for name in node.input}
    for layer in shared_inputs(net):
        shortcut = layer.replace("reduce", "shortcut")
        assert inputs[layer] in sums or inputs.get(shortcut) is not None


def test_zero_is_exact_in_every_range() -> None:
    for low, high in ((-1.0, 3.0), (0.5, 2.0), (-3.0, -1.0), (0.0, 0.0)):
        step, zero = activation_grid(low, high)
        assert 0 <= zero <= 255 and step > 0
        for end in (min(low, 0.0), max(high, 0.0)):
            assert abs((round(end / step) + zero) - np.clip(round(end / step) + zero, 0, 255)) <= 1
    weight = np.random.default_rng(0).normal(size=(4, 9)).astype(np.float32)
    numbers, step7 = w8_grid(weight, 64)
    assert np.abs(numbers).max() == 64
    assert np.abs(numbers * step7[:, None] - weight).max() <= 0.5001 * step7.max()
