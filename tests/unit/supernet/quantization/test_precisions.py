"""Int8 layers against their arithmetic by hand, and precision policies."""

from __future__ import annotations

import copy
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from benchmarks.measurement import parity
from supernet import export
from supernet.cost import cost
from supernet.quantization import precisions
from supernet.quantization.precisions import Int8Linear, uniform_int8
from tests.unit.supernet.quantization.int8_networks import (
    ENCODER,
    TRANSLATOR,
    bert,
    translator,
)


def by_hand(x: np.ndarray, weight: np.ndarray, bias: np.ndarray, bits: int) -> tuple[np.ndarray, float]:
    """The layer in plain numpy and exact integers, and how far one step of the activations can move it."""
    scale = np.abs(weight).max(1) / 127
    scale[scale == 0] = 1
    whole = np.rint(weight / scale[:, None]).astype(np.int64)
    low, high = min(x.min(), 0.0), max(x.max(), 0.0)
    step = (high - low) / (2**bits - 1) or 1.0
    zero = round(-low / step)
    given = np.clip(np.rint(x / step) + zero, 0, 2**bits - 1).astype(np.int64)
    out = ((given - zero) @ whole.T) * step * scale + bias
    return out, step * float(np.abs(weight).max())


@pytest.mark.parametrize("shift", [0.0, 3.0, -3.0])
@pytest.mark.parametrize("size", [(1, 7, 5), (4, 64, 96), (33, 200, 17)])
def test_the_layer_is_its_arithmetic(size: tuple[int, int, int], shift: float) -> None:
    rows, inside, out = size
    rng = np.random.default_rng(rows)
    weight, bias = rng.standard_normal((out, inside)), rng.standard_normal(out)
    weight *= 10.0 ** rng.uniform(-2, 1, (out, 1))  # one scale for all channels would not do
    weight[out // 2] = 0
    x = rng.standard_normal((rows, inside)) + shift
    linear = nn.Linear(inside, out)
    linear.weight.data, linear.bias.data = (torch.tensor(v, dtype=torch.float32) for v in (weight, bias))
    found = Int8Linear(linear)(torch.tensor(x, dtype=torch.float32)).numpy()
    due, step = by_hand(x, weight, bias, precisions.activation_bits())
    apart = np.abs(found - due)
    # A tie may be rounded the other way in float32: that moves one product by one step, and few products.
    assert apart.max() <= 2.5 * step and np.median(apart) < 0.02 * step


def test_channels_have_scales_of_their_own() -> None:
    linear = nn.Linear(64, 2, bias=False)
    torch.manual_seed(0)
    linear.weight.data[0] *= 1000
    x = torch.rand(8, 64)
    with torch.no_grad():
        small, found = linear(x)[:, 1], Int8Linear(linear)(x)[:, 1]
    assert float((found - small).norm() / small.norm()) < 0.05


def test_full_range_products_do_not_overflow() -> None:
    """Without VNNI, x86 kernels add pairs of products in 16 bits."""
    linear = nn.Linear(128, 16, bias=False)
    linear.weight.data.fill_(1.0)
    found = Int8Linear(linear)(torch.full((4, 128), 2.0))
    assert found.numpy() == pytest.approx(256.0, rel=1e-4)


def test_a_constant_zero_input_gives_the_bias_and_shapes_stay() -> None:
    linear = nn.Linear(8, 3)
    found = Int8Linear(linear)(torch.zeros(2, 5, 8))
    assert found.shape == (2, 5, 3) and torch.equal(found, linear.bias.detach().expand(2, 5, 3))
    assert Int8Linear(nn.Linear(8, 3, bias=False))(torch.zeros(1, 8)).abs().max() == 0


@pytest.mark.parametrize("make", [bert, lambda: bert(1, "nas-bert-s"), translator])
def test_every_linear_layer_is_exchanged_and_the_given_module_stays(make: Any) -> None:
    _, module = make()
    before = copy.deepcopy(module)
    policy = uniform_int8(module)
    made = precisions.quantize(module, policy)
    assert set(precisions.precisions(made).values()) == {"int8"} and set(policy) == set(
        precisions.precisions(module)
    )
    assert not any(isinstance(layer, nn.Linear) for layer in made.modules()) and not made.training
    assert all(torch.equal(a, b) for a, b in zip(module.parameters(), before.parameters(), strict=True))
    assert all(type(a) is type(b) for a, b in zip(module.modules(), before.modules(), strict=True))
    work = TRANSLATOR if make is translator else ENCODER
    with torch.inference_mode():
        assert torch.equal(work.run(module, work.source("cpu")), work.run(before, work.source("cpu")))
    assert 0 < parity.check_quantized(made, module, policy, work) < 0.1


def test_tied_output_layers_stay_fp32_and_others_do_not() -> None:
    assert "head.dense" in uniform_int8(bert()[1]) and not any("word" in n for n in uniform_int8(bert()[1]))
    assert "output" in uniform_int8(translator("none")[1]) and "output" not in uniform_int8(
        translator("all")[1]
    )


@pytest.mark.parametrize("policy", [None, {}, "fp32"])
def test_a_policy_without_a_word_changes_no_bit(policy: Any) -> None:
    _, module = bert()
    if policy == "fp32":
        policy = dict.fromkeys(uniform_int8(module), "fp32")
    made = precisions.quantize(module, policy)
    tokens = torch.randint(5, 60, (3, 12))
    with torch.inference_mode():
        assert torch.equal(made(tokens), module(tokens))
    assert made is not module and precisions.recipe(made) == {} and precisions.lowered(policy) is None
    assert not {p.data_ptr() for p in made.parameters()} & {p.data_ptr() for p in module.parameters()}


def test_a_network_that_is_one_linear_layer() -> None:
    linear = nn.Linear(4, 4)
    made = precisions.quantize(linear, uniform_int8(linear))
    assert isinstance(made, Int8Linear) and isinstance(linear, nn.Linear)


def test_a_policy_may_name_some_layers() -> None:
    _, module = bert()
    made = precisions.quantize(module, {"head.dense": "int8"})
    assert (
        isinstance(made.head.dense, Int8Linear)
        and list(precisions.precisions(made).values()).count("int8") == 1
    )
    assert precisions.recipe(made)["prec"] == "fp32+int8"


def test_policies_that_cannot_be(monkeypatch: pytest.MonkeyPatch) -> None:
    _, module = bert()
    with pytest.raises(ValueError, match=r"names 'head\.dens'.* the nearest name is 'head\.dense'$"):
        precisions.quantize(module, {"head.dens": "int8"})
    with pytest.raises(ValueError, match=r"'embedding\.word', which is no linear layer"):
        precisions.quantize(module, {"embedding.word": "int8"})
    with pytest.raises(ValueError, match=r"no precision 'int3', choose one of fp32, bf16, int8, w4"):
        precisions.quantize(module, {"head.dense": "int3"})
    with pytest.raises(ValueError, match="run on the processor, and these weights are on meta"):
        precisions.quantize(nn.Sequential(nn.Linear(2, 2, device="meta")), {"0": "int8"})
    monkeypatch.setattr(precisions.torch.backends, "quantized", types.SimpleNamespace(engine="none"))
    with pytest.raises(ValueError, match="no int8 engine on this processor: only fp32"):
        precisions.quantize(module, {"head.dense": "int8"})


@pytest.mark.parametrize("make", [bert, lambda: bert(1, "nas-bert-s"), translator, lambda: translator("all")])
def test_bytes_are_those_that_the_deployed_network_holds(make: Any) -> None:
    family, module = make()
    architecture = family.space.largest() if family.kind == "seq2seq" else None
    architecture = architecture or family.space.sample(
        np.random.default_rng(1 if "cells" in family.kind else 0)
    )
    policy = uniform_int8(module)
    made = precisions.quantize(module, policy)
    plain = cost(family, architecture, source_len=5, target_len=5)
    counted = cost(family, architecture, source_len=5, target_len=5, policy=policy)
    held = sum(p.numel() * 4 for p in made.parameters()) + precisions.packed_bytes(made)
    assert counted.bytes == held < plain.bytes and plain.bytes == sum(
        p.numel() * 4 for p in module.parameters()
    )
    assert (counted.params, counted.macs) == (plain.params, plain.macs)


def test_bytes_of_a_layer_by_hand() -> None:
    layer = Int8Linear(nn.Linear(10, 3))
    assert layer.bytes == 10 * 3 + 3 * 4 + 3 * 4
    assert Int8Linear(nn.Linear(10, 3, bias=False)).bytes == 10 * 3 + 3 * 4


def test_the_cost_of_a_policy_for_another_network() -> None:
    family, _ = bert()
    for name in ("ops.9_attention.q", "embedding.word"):
        with pytest.raises(ValueError, match="no linear layer"):
            cost(family, family.space.smallest(), source_len=5, target_len=5, policy={name: "int8"})


def test_an_export_brings_its_policy_back(tmp_path: Path) -> None:
    family, module = bert()
    architecture = family.space.sample(np.random.default_rng(0))
    tokens = torch.randint(5, 60, (2, 12))
    for policy in (None, uniform_int8(module)):
        export.save(tmp_path, module, family.spec(), architecture, policy)
        read, about = export.load(tmp_path)
        assert about["policy"] == policy and set(precisions.precisions(read).values()) == {"fp32"}
        with torch.inference_mode():
            due = precisions.quantize(module, policy)(tokens)
            assert torch.equal(export.load_deployed(tmp_path)(tokens), due)
