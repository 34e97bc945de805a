"""Static int8 in the real runtime: against ONNX Runtime's own quantiser and against fake quantisation."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from benchmarks.measurement import serving
from benchmarks.measurement.interleaved import MeasurementRejectedError
from benchmarks.measurement.workload import RUNTIMES
from supernet.quantization.calibration import calibrate
from supernet.quantization.fake_quantize import FakeQuantized
from supernet.quantization.onnx_static import Static, fused_sums
from supernet.quantization.precisions import STATIC, deployed_precisions, policy_bytes, quantize, units
from supernet.quantization.rounding import LARGEST, REDUCED
from tests.processor import VNNI
from tests.unit.supernet.quantization.trained import digits, residual_network, vision_transformer

pytest.importorskip("onnx", reason="needs the extra onnx")
pytest.importorskip("onnxruntime", reason="needs the extra onnx")

from supernet.quantization import onnx_runtime, onnx_trace

NETWORKS = {"resnet": residual_network, "vit": vision_transformer}


def traced(net: nn.Module) -> Any:
    return onnx_trace.trace(net, [digits()[0][:2]], fold=True)


def static(net: nn.Module) -> Static:
    return onnx_runtime.on_this_machine(calibrate(net, [[digits()[0][:256]]]))


def distance(a: Tensor, b: Tensor) -> float:
    return float((a - b).norm() / b.norm())


def test_weights_have_as_many_bits_as_this_machine_multiplies_exactly() -> None:
    assert onnx_runtime.largest_weight() == (LARGEST if VNNI else REDUCED)


class Reader:
    """Calibration data for ONNX Runtime's quantiser."""

    def __init__(self, pixels: Tensor) -> None:
        self.batches = iter([{"tokens": pixels.numpy()}])

    def get_next(self) -> dict[str, Any] | None:
        return next(self.batches, None)


def runtime_quantized(graph: bytes, folder: Path) -> Any:
    """The session of a float32 graph quantised by ONNX Runtime itself, ranges and all."""
    from onnxruntime import quantization as q
    from onnxruntime.quantization.shape_inference import quant_pre_process

    logging.getLogger().setLevel(logging.ERROR)
    plain, prepared, out = (folder / f"{name}.onnx" for name in ("plain", "prepared", "out"))
    plain.write_bytes(graph)
    quant_pre_process(str(plain), str(prepared), skip_symbolic_shape=True)
    q.quantize_static(
        str(prepared), str(out), Reader(digits()[0][:256]), quant_format=q.QuantFormat.QDQ, per_channel=True,
        reduce_range=not VNNI, activation_type=q.QuantType.QUInt8, weight_type=q.QuantType.QInt8,
    )  # fmt: skip
    return onnx_runtime.open_session(out.read_bytes())


def test_a_residual_network_is_quantised_as_onnx_runtimes_own_tool_does_it(tmp_path: Path) -> None:
    net, pixels = residual_network(), digits()[0][1200:]
    graph = traced(net)
    theirs = runtime_quantized(graph.under(), tmp_path)
    ours = onnx_runtime.Ort(graph, dict.fromkeys(units(net), STATIC), static=static(net))
    expected = torch.from_numpy(theirs.run(None, {"tokens": pixels.numpy()})[0])
    outputs, exact = ours(pixels), net(pixels)
    assert distance(outputs, expected) < 0.8 * max(distance(expected, exact), distance(outputs, exact)) < 0.1
    assert distance(outputs, exact) < 1.3 * distance(expected, exact)
    assert float((outputs.argmax(1) == expected.argmax(1)).float().mean()) > 0.99
    # Theirs also rounds the mean over places, and the output.
    assert len(ours.graph) < 1.1 * len(theirs._model_bytes)


def unfused(graph: bytes, pixels: Tensor) -> Tensor:
    """Outputs of a file, operator by operator."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    return torch.from_numpy(session.run(None, {"tokens": pixels.numpy()})[0])


@pytest.mark.parametrize("kind", NETWORKS)
def test_fake_quantisation_computes_as_the_runtime_does(kind: str) -> None:
    net, pixels = NETWORKS[kind](), digits()[0][1200:1400]
    facts, graph = static(net), traced(net)
    fake = FakeQuantized(net, ranges=facts.ranges, largest=facts.largest)
    rng = np.random.default_rng(0)
    names = list(units(net))
    policies: list[dict[str, str]] = [dict.fromkeys(names, STATIC)]
    policies += [{name: str(rng.choice(["fp32", STATIC])) for name in names} for _ in range(2)]
    exact = net(pixels)
    for policy, outputs in zip(policies, fake(policies, pixels), strict=True):
        # Without fusions the file means exactly this; fusions move outputs, less than rounding does.
        assert distance(outputs, unfused(graph.under(policy, facts), pixels)) < 0.1 * distance(outputs, exact)
        expected = onnx_runtime.Ort(graph, policy, static=facts)(pixels)
        assert distance(outputs, expected) < 0.5 * distance(expected, exact)
        if kind == "resnet":  # trained: its classes mean something
            assert float((outputs.argmax(1) == expected.argmax(1)).float().mean()) >= 0.995


@pytest.mark.parametrize("kind", NETWORKS)
def test_policies_in_one_batch_are_those_alone(kind: str) -> None:
    net, pixels = NETWORKS[kind](), digits()[0][:12]
    ranges = calibrate(net, [[digits()[0][:64]]])
    fake = FakeQuantized(net, ranges=ranges)
    first, *rest = units(net)
    policies = [{first: STATIC}, None, dict.fromkeys(rest, STATIC), dict.fromkeys([first, *rest], "int8")]
    together = fake(policies, pixels)
    for policy, outputs in zip(policies, together, strict=True):
        torch.testing.assert_close(fake([policy], pixels)[0], outputs, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(together[1], net(pixels), rtol=1e-4, atol=1e-4)


def test_seven_bits_lose_more_than_eight() -> None:
    net, pixels = residual_network(), digits()[0][1200:1600]
    ranges, exact = calibrate(net, [[digits()[0][:256]]]), net(pixels)
    policy = dict.fromkeys(units(net), STATIC)
    errors = [
        distance(FakeQuantized(net, ranges=ranges, largest=largest)([policy], pixels)[0], exact)
        for largest in (LARGEST, REDUCED)
    ]
    assert errors[0] < errors[1] < 0.1


@pytest.mark.parametrize("kind", NETWORKS)
def test_gates_count_the_kernels_that_ran(kind: str) -> None:
    net, pixels = NETWORKS[kind](), digits()[0]
    graph, facts = traced(net), static(net)
    served = onnx_runtime.Ort(graph, dict.fromkeys(units(net), STATIC), static=facts)
    samples = [[pixels[i : i + 1]] for i in range(16)]
    assert serving.check_served(served, net, samples) < 0.2
    due, ran = served.due(), served.executed(pixels[:1])
    convolutions = sum(len(shape) == 4 for shape in units(net).values())
    assert due["int8s convolution"] == convolutions == ran.get("QLinearConv", 0)
    assert due["int8"] == len(units(net)) - convolutions
    # The stem's sum, and two of the three blocks': no rounded convolution reads the last one.
    assert served.due_sums() == ran.get("QLinearAdd", 0) == (3 if kind == "resnet" else 0)
    assert served.recipe()[STATIC] == f"w{8 if VNNI else 7}c-a8t-static"


@pytest.mark.parametrize("kind", NETWORKS)
def test_layers_that_stay_in_float32_run_in_float32(kind: str) -> None:
    """Between rounded tensors the runtime's optimiser would quantise their weights by itself."""
    net, pixels = NETWORKS[kind](), digits()[0]
    graph, facts, rng = traced(net), static(net), np.random.default_rng(2)
    samples = [[pixels[i : i + 1]] for i in range(4)]
    alternating = {name: STATIC for i, name in enumerate(units(net)) if i % 2 == 0}
    drawn = [{name: STATIC for name in units(net) if rng.random() < 0.6} for _ in range(6)]
    for policy in (alternating, *drawn):
        served = onnx_runtime.Ort(graph, policy, static=facts)
        ran = served.executed(*samples[0])
        chosen = [units(net)[name] for name in graph.calls if name in policy]
        assert ran.get("QLinearConv", 0) == sum(len(shape) == 4 for shape in chosen), policy
        fake = FakeQuantized(net, ranges=facts.ranges, largest=facts.largest).select([policy])
        assert serving.check_served(served, fake, samples) < 0.2


def test_a_graph_that_lost_its_int8_kernels_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    net, pixels = residual_network(), digits()[0]
    graph, facts = traced(net), static(net)
    served = onnx_runtime.Ort(graph, dict.fromkeys(units(net), STATIC), static=facts)
    plain = onnx_runtime.Ort(graph)
    samples = [[pixels[i : i + 1]] for i in range(4)]
    with monkeypatch.context() as patch:
        patch.setattr(served, "session", plain.session)
        patch.setattr(served, "executed", plain.executed)
        with pytest.raises(MeasurementRejectedError, match="0 int8 kernels ran where its policy makes it 1"):
            serving.check_served(served, net, samples)
    monkeypatch.setattr(served, "due_sums", lambda: 5)
    with pytest.raises(MeasurementRejectedError, match="3 sums ran in int8 where its policy makes it 5"):
        serving.check_served(served, net, samples)


def test_files_are_valid_and_small() -> None:
    onnx = pytest.importorskip("onnx")
    net = residual_network()
    graph = traced(net)
    policy = dict.fromkeys(units(net), STATIC)
    file = graph.under(policy, static(net))
    model = onnx.load_from_string(file)
    onnx.checker.check_model(model, full_check=True)
    names = [node.name for node in model.graph.node]
    assert len(set(names)) == len(names)
    assert not any(node.op_type == "BatchNormalization" for node in model.graph.node)
    assert {node.name for node in model.graph.node if node.op_type in ("Conv", "Gemm")} == set(units(net))
    assert fused_sums(model) == 3
    assert sum(policy_bytes(net, policy).values()) < len(file) < 0.6 * len(graph.under())


def test_alphabets_of_published_runs_keep_their_order() -> None:
    found = {runtime: deployed_precisions("int8", names) for runtime, names in RUNTIMES.items()}
    assert found == {
        "torch": ("fp32", "bf16", "int8", "w4"),
        "ort": ("fp32", "int8", "w4"),
        "openvino": ("fp32", STATIC),
    }
    assert deployed_precisions(STATIC, RUNTIMES["torch"]) == found["torch"]
    assert deployed_precisions(STATIC, RUNTIMES["ort"]) == ("fp32", STATIC, "w4")


def test_missing_ranges_and_folding_are_refused() -> None:
    net = residual_network()
    name = next(iter(units(net)))
    with pytest.raises(ValueError, match=r"calibrate on training batches"):
        traced(net).under({name: STATIC})
    with pytest.raises(ValueError, match="fold=True"):
        onnx_trace.trace(net, [digits()[0][:2]]).under({name: STATIC}, static(net))
    with pytest.raises(ValueError, match="torch has no kernel for int8s.*openvino"):
        quantize(net, {name: STATIC})
    with pytest.raises(ValueError, match="need ranges"):
        FakeQuantized(net)([{name: STATIC}], digits()[0][:2])
