"""Classifiers of sentences: what is counted, exported and deployed is what the supernet says."""

import numpy as np
import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from supernet.bert_classifier import SentenceConfig, SentenceFamily
from supernet.cost import cost, policy_units
from supernet.elastic import SuperNet
from supernet.families import from_spec
from supernet.quantization.fake_quantize import FakeQuantized
from supernet.quantization.precisions import units
from supernet.space import layered_space
from supernet.weights import SharedSlices
from tests.processor import needs_vnni

SPACE = layered_space("text", layers=(1, 2), heads=(1, 2), ffn=(32, 64), hidden=32, head_dim=16)
FAMILY = SentenceFamily(SPACE, SentenceConfig(50, max_positions=12, classes=3))
TOKENS = torch.randint(5, 50, (4, 9), generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def net() -> SuperNet:
    found = SuperNet(FAMILY, SharedSlices(FAMILY, torch.Generator().manual_seed(1), "cpu"))
    found.model.eval()
    return found


def test_an_exported_classifier_has_the_outputs_of_the_supernet(net: SuperNet) -> None:
    rng = np.random.default_rng(0)
    for _ in range(5):
        architecture = SPACE.sample(rng)
        with torch.no_grad():
            within = net.activate(architecture)(TOKENS)
            assert within.shape == (4, 3)
            assert torch.allclose(net.export(architecture)(TOKENS), within, atol=1e-6)


def test_padding_changes_nothing(net: SuperNet) -> None:
    module = net.export(SPACE.largest())
    with torch.no_grad():
        padded = torch.cat([TOKENS, TOKENS.new_zeros(4, 3)], 1)
        assert torch.allclose(module(padded), module(TOKENS), atol=1e-6)


def test_counts_are_those_of_the_module_and_of_torch() -> None:
    for architecture in (SPACE.largest(), SPACE.smallest()):
        module = FAMILY.build(architecture)
        found = cost(FAMILY, architecture, source_len=9, target_len=1)
        assert found.params == sum(p.numel() for p in module.parameters())
        assert policy_units(FAMILY, architecture) == units(module)
        counter = FlopCounterMode(display=False)
        with (
            counter,
            torch.no_grad(),
            sdpa_kernel(SDPBackend.MATH),
        ):  # the others' masked products are not counted
            module(TOKENS[:1])
        assert counter.get_total_flops() == 2 * found.macs


def test_a_family_is_made_again_from_its_spec() -> None:
    again = from_spec(FAMILY.spec())
    assert isinstance(again, SentenceFamily) and again.config == FAMILY.config
    assert again.slots() == FAMILY.slots()


@needs_vnni
def test_onnx_runtime_computes_the_same_at_any_length(net: SuperNet) -> None:
    pytest.importorskip("onnxruntime")
    from supernet.quantization.onnx_runtime import Ort
    from supernet.quantization.onnx_trace import trace

    module = net.export(SPACE.largest())
    traced = trace(module, (TOKENS,))
    policy = {name: "int8" for name in traced.layers if name.startswith("ops.")}
    assert set(traced.layers) == set(units(module))
    with torch.no_grad():
        for length in (2, 9, 12):
            row = torch.randint(5, 50, (1, length), generator=torch.Generator().manual_seed(length))
            assert torch.allclose(Ort(traced)(row), module(row), atol=1e-5)
            faked = FakeQuantized(module).select([policy])(row)
            assert torch.allclose(Ort(traced, policy)(row), faked, atol=1e-3)
