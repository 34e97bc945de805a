"""Encoders of images and text: what a sub-network computes does not depend on where it lives; experts."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode

from mos.mixture import Mixture
from supernet import export
from supernet.cost import cost, policy_units
from supernet.elastic import SuperNet
from supernet.families import family_of
from supernet.space import get_space, layered_space
from supernet.vision_language import LANGUAGE, VISION, VLConfig, VLFamily
from supernet.vit import ViTConfig, ViTFamily
from supernet.weights import SharedSlices

SPACE = layered_space(
    "vl", layers=(1, 2, 3), heads=(1, 2, 3), ffn=(16, 24), hidden=24, head_dim=8, patch=4, experts=2
)
seeds = st.integers(0, 2**32 - 1)


def family(vocab: int = 11) -> VLFamily:
    return VLFamily(SPACE, VLConfig(5, image=8, vocab=vocab, text=6 if vocab else 0))


def shaken(fam: VLFamily, source: type = SharedSlices, **options: object) -> SuperNet:
    """A supernet whose weights are nothing special: no zeros, no ones."""
    weights = source(fam, torch.Generator().manual_seed(0), **options)
    with torch.no_grad():
        weights.flat += 0.1 * torch.randn(weights.flat.shape, generator=torch.Generator().manual_seed(1))
    weights.refresh()
    net = SuperNet(fam, weights)
    net.model.eval()
    return net


def images() -> torch.Tensor:
    return torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(2))


def questions() -> torch.Tensor:
    found = torch.randint(1, 11, (4, 6), generator=torch.Generator().manual_seed(3))
    found[1, 3:] = 0
    return found


@settings(max_examples=30)
@given(st.booleans(), seeds)
def test_built_exported_and_collapsed_networks_are_the_subnetwork(pairs: bool, seed: int) -> None:
    fam = family(11 if pairs else 0)
    net = shaken(fam)
    inputs = (images(), questions()) if pairs else (images(),)
    arch = fam.space.sample(np.random.default_rng(seed))
    built = {name: tuple(p.shape) for name, p in fam.build(arch).named_parameters()}
    assert built == fam.collapsed(arch).extents(arch)
    with torch.no_grad():
        bound = net.activate(arch)(*inputs).clone()
        assert torch.allclose(net.export(arch)(*inputs), bound, atol=1e-5)
        alone = net.collapse(arch)
        alone.model.eval()
        assert torch.allclose(alone.activate(alone.space.largest())(*inputs), bound, atol=1e-5)


@settings(max_examples=20)
@given(st.booleans(), seeds)
def test_macs_equal_those_torch_counts_on_the_built_module(pairs: bool, seed: int) -> None:
    fam = family(11 if pairs else 0)
    arch = fam.space.sample(np.random.default_rng(seed))
    with torch.device("meta"):
        model, some = fam.build(arch), [torch.zeros(1, 3, 8, 8)]
        some += [torch.ones(1, 6, dtype=torch.long)] if pairs else []
    with FlopCounterMode(display=False) as counter:
        model(*some)
    counted = cost(fam, arch, source_len=5, target_len=1)
    assert 2 * counted.macs == counter.get_total_flops()
    assert counted.params == sum(p.numel() for p in model.parameters())


def test_every_weight_of_an_exported_network_has_a_slope() -> None:
    fam = family()
    for arch in (fam.space.smallest(), fam.space.largest()):
        module = shaken(fam).export(arch).requires_grad_(True)
        module(images(), questions()).square().sum().backward()
        for name, p in module.named_parameters():
            # A bias of all keys alike shifts no attention.
            assert p.grad is not None and (name.endswith("attention.k.bias") or p.grad.any()), name


def test_an_image_alone_passes_through_the_vision_experts_of_a_plain_vit() -> None:
    fam = family()
    net = shaken(fam)
    plain = ViTFamily(SPACE, ViTConfig(5, image=8))
    arch = fam.space.sample(np.random.default_rng(4))
    ours = net.export(arch)
    theirs = plain.build(arch)
    named = dict(ours.named_parameters())
    with torch.no_grad():
        for name, p in theirs.named_parameters():
            at = name.replace("embedding.", "embedding.image.")
            if ".attention_norm" in name or ".ffn" in name:
                start, _, rest = name.partition(".")
                number, _, rest = rest.partition(".")
                at = f"{start}.{number}.experts.{VISION}.{rest}"
            p.copy_(named[at])
        assert torch.allclose(ours(images()), theirs(images()), atol=1e-5)


def test_each_modality_has_its_experts() -> None:
    fam = family()
    module = shaken(fam).export(fam.space.largest())
    with torch.no_grad():
        before, alone = module(images(), questions()), module(images())
        module.layers[0].experts[LANGUAGE].ffn.fc1.weight += 1
        assert not torch.allclose(module(images(), questions()), before, atol=1e-4)
        assert torch.equal(module(images()), alone)


def test_padding_of_a_text_changes_nothing() -> None:
    fam = family()
    module = shaken(fam).export(fam.space.largest())
    with torch.no_grad():
        whole, cut = module(images()[1:2], questions()[1:2]), module(images()[1:2], questions()[1:2, :3])
    assert torch.allclose(whole, cut, atol=1e-5)
    with pytest.raises(ValueError, match="7 tokens of text: at most 6"):
        module(images()[:1], torch.ones(1, 7, dtype=torch.long))


@pytest.mark.parametrize("neuron_wise", [False, True])
def test_a_mixture_of_one_expert_is_plain_sharing(neuron_wise: bool) -> None:
    fam = family()
    net = shaken(fam, Mixture, experts=1, neuron_wise=neuron_wise)
    plain = SharedSlices(fam, torch.Generator().manual_seed(0))
    plain.load(net.source.bake(fam.space.largest()))
    alone = SuperNet(fam, plain)
    alone.model.eval()
    for seed in range(4):
        arch = fam.space.sample(np.random.default_rng(seed))
        with torch.no_grad():
            found = [one.activate(arch)(images(), questions()).clone() for one in (net, alone)]
        assert torch.allclose(*found, atol=1e-5)


def test_an_export_survives_the_disk(tmp_path) -> None:
    fam = family()
    arch = fam.space.smallest()
    module = shaken(fam).export(arch)
    export.save(tmp_path, module, fam.spec(), arch)
    read, _ = export.load(tmp_path)
    assert torch.equal(read(images(), questions()), module(images(), questions()))


def test_the_papers_space_of_images_alone() -> None:
    fam = family_of(get_space("simq-beit3"), [1000])
    assert isinstance(fam, VLFamily) and not fam.config.vocab
    largest = fam.space.largest()
    # The vision experts of the base size are ViT-B/16: 86,567,656 parameters.
    assert cost(fam, largest, source_len=fam.tokens, target_len=1).params == 86_567_656
    units = list(policy_units(fam, largest))
    # Published: 72, the layers' alone; here the patches' layer and the head may have a precision, too.
    assert [u for u in units if not u.startswith("layers.")] == ["patch", "head"] and len(units) == 72 + 2
    genes = largest.genes
    for i, options in enumerate(fam.space.allowed):
        found = {
            tuple(fam.extents(fam.space.from_genes([*genes[:i], value, *genes[i + 1 :]])).items())
            for value in options
        }
        assert len(found) == len(options), f"gene {i} is dead"
    assert round(math.log10(math.prod(map(len, fam.space.allowed))) + 72 * math.log10(2), 1) == 34.9
