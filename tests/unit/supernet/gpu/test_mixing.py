"""Mixing kernels against automatic differentiation."""

from __future__ import annotations

import os

import numpy as np
import pytest
import torch

from mos.mixture import Mixture
from supernet.seq2seq import Seq2SeqConfig, Seq2SeqFamily
from supernet.space import get_space

if not torch.cuda.is_available() and os.environ.get("TRITON_INTERPRET") != "1":
    pytest.skip("needs a GPU, or Triton with TRITON_INTERPRET=1", allow_module_level=True)
mixing = pytest.importorskip("supernet.gpu.mixing", reason="needs Triton")

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


@pytest.mark.parametrize("experts", [1, 2, 4])
@pytest.mark.parametrize("neuron_wise", [True, False])
def test_mixing_and_its_gradients(experts: int, neuron_wise: bool) -> None:
    linears, rows, columns = 3, 12, 1500
    generator = torch.Generator().manual_seed(0)

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator).to(DEVICE)

    extents = torch.tensor([[12, 1500], [5, 700], [0, 0]], dtype=torch.int32, device=DEVICE)
    weight, bias = random(linears, experts, rows, columns), random(linears, experts, rows)
    share = random(linears, rows if neuron_wise else 1, experts).softmax(-1)
    weight_flow, bias_flow = random(linears, rows, columns), random(linears, rows)
    for i, (r, c) in enumerate(extents.tolist()):
        weight_flow[i, r:], weight_flow[i, :, c:], bias_flow[i, r:] = 0, 0, 0
    leaves = [x.clone().requires_grad_() for x in (weight, bias, share)]
    w = (leaves[0] * leaves[2].transpose(1, 2)[..., None]).sum(1)
    b = (leaves[1] * leaves[2].transpose(1, 2)).sum(1)
    torch.autograd.backward([w, b], [weight_flow, bias_flow])

    mixed = torch.full_like(w, 7.0), torch.full_like(b, 7.0)
    mixing.mix((weight, bias), share, extents, mixed)
    for i, (r, c) in enumerate(extents.tolist()):
        torch.testing.assert_close(mixed[0][i, :r, :c], w[i, :r, :c], rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(mixed[1][i, :r], b[i, :r], rtol=1e-5, atol=1e-5)
        assert (mixed[0][i, r:] == 7).all() and (mixed[0][i, :, c:] == 7).all()
    weight.grad, bias.grad = torch.ones_like(weight), torch.ones_like(bias)
    of_share = mixing.mix_gradients((weight, bias), share, extents, (weight_flow, bias_flow))
    for mine, leaf in zip((weight.grad - 1, bias.grad - 1, of_share), leaves, strict=True):
        torch.testing.assert_close(mine, leaf.grad, rtol=1e-4, atol=1e-4)
    assert not weight_flow.any() and not bias_flow.any()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="graphs need a GPU")
@pytest.mark.parametrize("constant", [False, True])
@pytest.mark.parametrize("neuron_wise", [True, False])
def test_replayed_mixtures_are_those_of_the_processor(neuron_wise: bool, constant: bool) -> None:
    """Weights and gradients of 20 random architectures, which one recording each way serves, in any order."""
    family = Seq2SeqFamily(get_space("multi30k-xs"), Seq2SeqConfig(40, 40, "all"))
    rng, generator = np.random.default_rng(0), torch.Generator().manual_seed(1)
    one, other = (
        Mixture(family, torch.Generator().manual_seed(0), device, neuron_wise=neuron_wise, constant=constant)
        for device in ("cpu", "cuda")
    )
    for step in range(20):
        architecture = family.space.sample(rng)
        if step % 3 == 1:
            with torch.inference_mode():  # as an evaluation between two updates
                other.bind(family.space.sample(rng))
        mine, theirs = one.bind(architecture), other.bind(architecture)
        for name, leaf in mine.items():
            torch.testing.assert_close(theirs[name].cpu(), leaf, rtol=1e-5, atol=1e-6)
            flow = torch.randn(leaf.shape, generator=generator)
            leaf.grad += flow
            theirs[name].grad += flow.cuda()
        one.collect()
        other.collect()
        torch.testing.assert_close(other.flat.grad.cpu(), one.flat.grad, rtol=1e-4, atol=1e-4)
        assert not other.mixed.grad.any()
        if step % 5 == 4:
            for source in (one, other):
                with torch.no_grad():
                    source.flat -= 0.01 * source.flat.grad
                source.flat.grad.zero_()
                source.refresh()
    assert set(other.recorded) == {"mix", "collect"}
