"""ONNX graphs against the networks that they were made of, in the real runtime."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from supernet.bert import BertConfig, family_of
from supernet.decode import forced_steps
from supernet.quantization import onnx_trace
from supernet.quantization.onnx_translator import OnnxTranslator, encoder_and_step
from supernet.quantization.precisions import choices, quantize, units
from supernet.seq2seq import Seq2SeqConfig, Seq2SeqFamily
from supernet.space import get_space
from tests.processor import needs_vnni

pytest.importorskip("onnx", reason="needs the extra onnx")
ort = pytest.importorskip("onnxruntime", reason="needs the extra onnx")
WORDS = 120


def to_onnx(module: nn.Module, inputs: list[torch.Tensor], policy: Any = None, **how: Any) -> bytes:
    return onnx_trace.trace(module, inputs, **how).under(policy)


def bert(space: str = "bert-smoke") -> nn.Module:
    found = get_space(space)
    torch.manual_seed(3)
    module: nn.Module = family_of(found)(found, BertConfig(WORDS)).build(found.smallest())
    return module.eval()


def words(*shape: int) -> torch.Tensor:
    return torch.randint(5, WORDS, shape, generator=torch.Generator().manual_seed(sum(shape)))


def run(graph: bytes, *inputs: torch.Tensor) -> list[np.ndarray[Any, Any]]:
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    names = [given.name for given in session.get_inputs()]
    found: list[np.ndarray[Any, Any]] = session.run(
        None, dict(zip(names, (x.numpy() for x in inputs), strict=True))
    )
    return found


@pytest.mark.parametrize("space", ["bert-smoke", "supershaper-smoke", "nas-bert-smoke"])
def test_the_graph_computes_the_network_at_every_shape(space: str) -> None:
    module = bert(space)
    graph = to_onnx(module, [words(2, 7)])
    for shape in ((2, 7), (1, 3), (5, 11), (1, 1)):
        with torch.no_grad():
            expected = module(words(*shape)).numpy()
        np.testing.assert_allclose(run(graph, words(*shape))[0], expected, rtol=1e-4, atol=1e-4)


def test_every_layer_is_found_by_its_name_and_its_weight_with_it() -> None:
    onnx = pytest.importorskip("onnx")
    module = bert("nas-bert-smoke")
    model = onnx.load_from_string(to_onnx(module, [words(2, 7)]))
    onnx.checker.check_model(model)
    kinds = {node.name: node.op_type for node in model.graph.node}
    weights = {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}
    for name, shape in units(module).items():
        assert kinds[name] == ("MatMul" if len(shape) == 2 else "Conv")
        assert weights[f"{name}.weight"] == (shape[::-1] if len(shape) == 2 else shape)
    assert sum(shape == (WORDS, 32) or shape == (32, WORDS) for shape in weights.values()) <= 1


def test_under_a_policy_the_kernels_of_the_policy_stand_there() -> None:
    onnx = pytest.importorskip("onnx")
    module = bert()
    first, second, *_ = units(module)
    model = onnx.load_from_string(
        to_onnx(module, [words(2, 7)], {first: "int8", second: "w4"}),
    )
    kinds = {node.name: node.op_type for node in model.graph.node}
    assert kinds[first] == "MatMulInteger" and kinds[second] == "MatMulNBits"
    assert {kinds[name] for name in units(module) if name not in (first, second)} == {"MatMul"}


@pytest.mark.parametrize("precision", [pytest.param("int8", marks=needs_vnni), "w4"])
@pytest.mark.parametrize("space", ["bert-smoke", "supershaper-smoke", "nas-bert-smoke"])
def test_both_runtimes_agree_on_single_sentences(precision: str, space: str) -> None:
    module = bert(space)
    policy = {n: precision for n, s in units(module).items() if len(s) == 2 and precision in choices(s)}
    x = words(1, 9)
    with torch.no_grad():
        expected, plain = (net(x).numpy() for net in (quantize(module, policy), module))
    found = run(to_onnx(module, [words(2, 7)], policy), x)[0]
    assert np.linalg.norm(found - expected) < 0.15 * np.linalg.norm(found - plain) + 1e-4 * np.linalg.norm(
        plain
    )


def test_w4_rounds_activations_to_int8_in_the_weights_groups() -> None:
    torch.manual_seed(0)
    net = nn.Linear(96, 32).eval()
    x = torch.randn(1, 7, 96) * torch.logspace(-2, 2, 96)
    graph = to_onnx(net, [torch.randn(2, 7, 96)], {"": "w4"})
    model = pytest.importorskip("onnx").load_from_string(graph)
    (node,) = [one for one in model.graph.node if one.op_type == "MatMulNBits"]
    assert {a.name: a.i for a in node.attribute}["accuracy_level"] == 4
    groups = x.reshape(1, 7, 3, 32)
    step = groups.abs().amax(-1, keepdim=True) / 127
    with torch.no_grad():
        rounded = quantize(net, {"": "w4"})((torch.round(groups / step) * step).reshape(x.shape)).numpy()
        exact = quantize(net, {"": "w4"})(x).numpy()
    found = run(graph, x)[0]
    assert np.linalg.norm(found - rounded) < 2e-3 * np.linalg.norm(exact)
    assert 2e-3 * np.linalg.norm(exact) < np.linalg.norm(found - exact) < 2e-2 * np.linalg.norm(exact)


def test_the_graph_has_named_inputs_and_outputs() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 8, 4, stride=4), nn.ReLU(), nn.Flatten(2), nn.Linear(4, 5, bias=False)
    ).eval()
    x = torch.randn(2, 3, 8, 8)
    graph = to_onnx(net, [x], names=(("picture",), ("state",)))
    for y in (x, torch.randn(3, 3, 8, 8)):
        with torch.no_grad():
            np.testing.assert_allclose(run(graph, y)[0], net(y).numpy(), atol=1e-5)
    deployed = run(to_onnx(net, [x], {"0": "int8"}, names=(("picture",), ("state",))), x[:1])[0]
    with torch.no_grad():
        np.testing.assert_allclose(deployed, quantize(net, {"0": "int8"})(x[:1]).numpy(), atol=2e-2)


@pytest.mark.parametrize("precision", ["fp32", pytest.param("int8", marks=needs_vnni), "w4"])
def test_tensors_that_the_exporter_merges_stay_with_their_layers(precision: str) -> None:
    torch.manual_seed(1)
    net = nn.Sequential(*(nn.Linear(32, 32) for _ in range(3)), nn.LayerNorm(32)).eval()
    with torch.no_grad():
        for layer in net[:3]:
            layer.bias.zero_()
        net[2].weight.copy_(net[0].weight)
    kinds = {node.op_type for node in onnx_trace.trace(net, [torch.randn(2, 5, 32)]).model.graph.node}
    assert "Identity" in kinds, "torch's exporter no longer merges equal tensors: this tests nothing"
    x = torch.randn(1, 5, 32)
    policy = {"0": precision, "1": precision, "2": precision}
    found = run(to_onnx(net, [torch.randn(2, 5, 32)], policy), x)[0]
    with torch.no_grad():
        expected = quantize(net, policy)(x).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-5 if precision == "fp32" else 5e-2)


@pytest.mark.parametrize("low", [False, pytest.param(True, marks=needs_vnni)])
def test_a_translator_runs_step_by_step(low: bool) -> None:
    torch.manual_seed(2)
    space = get_space("mt-smoke")
    module = Seq2SeqFamily(space, Seq2SeqConfig(40, 40)).build(space.sample(np.random.default_rng(4))).eval()
    policy = dict.fromkeys(units(module), "int8") if low else None
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    encoder, step = (
        ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        for graph in encoder_and_step(module, policy)
    )
    source = torch.tensor([[5, 9, 12, 7, 2, 1, 1], [8, 6, 30, 11, 21, 9, 2]])[: 1 if low else 2]
    beam = 1 if low else 3
    rows = beam * len(source)
    told = dict(
        zip(
            (o.name for o in encoder.get_outputs()),
            encoder.run(None, {"source": source.numpy()}),
            strict=True,
        )
    )
    kept = {
        given.name: np.zeros((rows, given.shape[1], 0, given.shape[3]), np.float32)
        for given in step.get_inputs()
        if given.name.startswith("own")
    }
    net = quantize(module, policy)
    with torch.no_grad():
        cache, plain = (one.decoder_cache(one.encode(source), beam) for one in (net, module))
        for i in range(4):
            tokens = torch.arange(rows) + 4 + i
            logits, *now = step.run(None, {"tokens": tokens.numpy(), **told, **kept})
            kept = dict(zip(kept, now, strict=True))
            expected, exact = net.step(tokens, cache).numpy(), module.step(tokens, plain).numpy()
            if low:
                assert np.linalg.norm(logits - expected) < 0.5 * np.linalg.norm(logits - exact)
            else:
                np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-4)


def test_operations_that_the_runtime_lacks_are_refused_with_the_layer() -> None:
    module = bert()
    name = next(iter(units(module)))
    with pytest.raises(ValueError, match=rf"{name}.*bfloat16.*torch runtime"):
        to_onnx(module, [words(2, 7)], {name: "bf16"})
    with pytest.raises(ValueError, match="nearest name"):
        to_onnx(module, [words(2, 7)], {name[:-1]: "int8"})


def test_without_onnx_the_message_has_the_install_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ValueError, match=r"pip install 'supernet-bench\[onnx\]'"):
        to_onnx(bert(), [words(2, 7)])


@pytest.mark.parametrize("seed", range(3))
def test_a_translator_whose_layers_read_different_encoder_layers_runs_forced_steps(seed: int) -> None:
    space, rng = get_space("multi30k-xs"), np.random.default_rng(seed)
    drawn = (space.sample(rng) for _ in range(200))
    apart = next(a for a in drawn if len({min(n, 3) for n in a.to_dict()["decoder_cross_source"]}) > 1)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        module = Seq2SeqFamily(space, Seq2SeqConfig(50, 50)).build(apart).requires_grad_(False).eval()
    source = torch.arange(5, 12)[None]
    with torch.no_grad():
        expected = forced_steps(module, source, 6, 5)
    found = OnnxTranslator(module).forced_steps(source.numpy(), 6, 5)
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-4)
