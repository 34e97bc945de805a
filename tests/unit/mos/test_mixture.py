"""Mixture-of-supernets as a weight source: invariants against plain sharing."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mos.method import encoding_of
from mos.mixture import Mixture
from supernet.data.sentence_pairs import PairData, TokenBatches
from supernet.elastic import SuperNet
from supernet.families import family_of, image_family
from supernet.space import get_space
from supernet.train import Recipe, Sandwich, Trainer
from supernet.weights import SharedSlices
from tests.unit.supernet.test_elastic import VOCAB, family, sentences

ways = pytest.mark.parametrize("neuron_wise", [True, False])


def mixture(experts: int, neuron_wise: bool, **options) -> SuperNet:
    fam = family()
    source = Mixture(
        fam, torch.Generator().manual_seed(0), experts=experts, neuron_wise=neuron_wise, **options
    )
    net = SuperNet(fam, source)
    net.model.eval()
    return net


def plain_of(net: SuperNet, expert: int = 0) -> SuperNet:
    """Plain sharing with the weights of one expert."""
    source: Mixture = net.source
    weights = {}
    for name in net.family.slots():
        if name in source.mixed_shapes:
            linear, part = name.rsplit(".", 1)
            group = next(g for g, names in source.groups.items() if linear in names)
            weights[name] = source.master.views[f"experts.{group}.{part}"][0][
                source.groups[group].index(linear), expert
            ]
        else:
            weights[name] = source.master.views[name][0]
    plain = SharedSlices(net.family, torch.Generator().manual_seed(1))
    plain.load(weights)
    made = SuperNet(net.family, plain)
    made.model.eval()
    return made


def same(a: SuperNet, b: SuperNet, arch) -> float:
    source, target = sentences()
    with torch.no_grad():
        return float(
            (a.activate(arch)(source, target).clone() - b.activate(arch)(source, target)).abs().max()
        )


@ways
@settings(max_examples=10)
@given(seed=st.integers(0, 2**32 - 1))
def test_one_expert_is_plain_sharing(neuron_wise: bool, seed: int) -> None:
    net = mixture(1, neuron_wise)
    assert same(net, plain_of(net), net.space.sample(np.random.default_rng(seed))) <= 1e-5


@ways
@settings(max_examples=10)
@given(seed=st.integers(0, 2**32 - 1))
def test_identical_experts_are_plain_sharing_for_any_router(neuron_wise: bool, seed: int) -> None:
    net = mixture(3, neuron_wise)
    generator = torch.Generator().manual_seed(seed)
    for name, (view, _) in net.source.master.views.items():
        if name.startswith("experts"):
            view.copy_(view[:, :1].expand_as(view).clone())
        if name.startswith("router"):
            view.normal_(0, 2, generator=generator)
    net.source.refresh()
    assert same(net, plain_of(net), net.space.sample(np.random.default_rng(seed))) <= 1e-4


@ways
@settings(max_examples=10)
@given(seed=st.integers(0, 2**32 - 1))
def test_slicing_and_mixing_commute(neuron_wise: bool, seed: int) -> None:
    net = mixture(2, neuron_wise)
    arch = net.space.sample(np.random.default_rng(seed))
    baked = net.source.bake(arch)
    routed = net.source.route(arch)
    for group, names in net.source.groups.items():
        experts = net.source.master.views[f"experts.{group}.weight"][0]
        for i, name in enumerate(names):
            if f"{name}.weight" not in baked:
                continue
            got = baked[f"{name}.weight"]
            rows, columns = got.shape
            sliced = experts[i, :, :rows, :columns]
            share = routed[group][i][:rows].detach()
            by_hand = sum(share[:, k, None] * sliced[k] for k in range(2))
            assert torch.allclose(got, by_hand, atol=1e-6)


@ways
def test_gradients_reach_every_expert_and_the_router(neuron_wise: bool) -> None:
    net = mixture(2, neuron_wise)
    source, target = sentences()
    arch = net.space.largest()
    net.activate(arch)(source, target).square().mean().backward()
    net.source.collect()
    for name, (_, grad) in net.source.master.views.items():
        parts = grad.unbind(1) if name.startswith("experts") else [grad]
        for part in parts:
            assert part.abs().max() > 0, name


@ways
def test_gradients_are_those_of_mixing_inside_the_forward_pass(neuron_wise: bool) -> None:
    net = mixture(2, neuron_wise)
    arch = net.space.smallest()
    source, target = sentences()
    net.activate(arch)(source, target).square().mean().backward()
    net.source.collect()
    got = {name: grad.clone() for name, (_, grad) in net.source.master.views.items()}
    net.source.flat.grad.zero_()
    # The naive way: a plain network whose weights are the mixture, in one autograd graph.
    made = net.source.mix(arch)
    weights = {}
    for name, extents in net.family.extents(arch).items():
        part = tuple(slice(0, n) for n in extents)
        if name in net.source.mixed_shapes:
            linear, kind = name.rsplit(".", 1)
            group = next(g for g, names in net.source.groups.items() if linear in names)
            weights[name] = made[group][kind == "bias"][net.source.groups[group].index(linear)][part]
        else:
            weights[name] = net.source.parameter(name)[part]
    out = torch.func.functional_call(net.export(arch), weights, (source, target))
    out.square().mean().backward()
    for name, (_, grad) in net.source.master.views.items():
        assert torch.allclose(got[name], grad, atol=1e-5, rtol=1e-3), name


@ways
def test_a_constant_encoding_mixes_all_architectures_alike(neuron_wise: bool) -> None:
    blind, seeing = mixture(2, neuron_wise, constant=True), mixture(2, neuron_wise)
    a, b = blind.space.largest(), blind.space.smallest()
    for group in blind.source.groups:
        assert torch.equal(blind.source.route(a)[group], blind.source.route(b)[group])
        assert not torch.equal(seeing.source.route(a)[group], seeing.source.route(b)[group])


@ways
@pytest.mark.parametrize("experts", [2, 6])
def test_mixed_weights_start_at_the_scale_of_an_unmixed_layer(neuron_wise: bool, experts: int) -> None:
    fam = family(space="multi30k-xs")
    mixed = Mixture(fam, torch.Generator().manual_seed(0), experts=experts, neuron_wise=neuron_wise)
    plain = SharedSlices(fam, torch.Generator().manual_seed(0)).bake(fam.space.largest())
    for name, weight in mixed.bake(fam.space.largest()).items():
        if ".feed_forward.fc" in name and name.endswith("weight"):
            ratio = float(weight.std() / plain[name].std())
            # The public code starts at 1/sqrt(m): 0.71 for 2, 0.41 for 6.
            assert 0.97 < ratio < 1.25, (name, ratio)
            assert abs(ratio - 1 / math.sqrt(experts)) > 0.2


def test_fine_and_aggregated_encodings_differ_where_means_agree() -> None:
    fam = family()
    low, high = sorted(set(fam.space.largest()["encoder_ffn"]) | {32, 128})[:1] + [128]
    a = fam.space.architecture({**fam.space.largest().to_dict(), "encoder_ffn": [low, high]})
    b = fam.space.architecture({**fam.space.largest().to_dict(), "encoder_ffn": [high, low]})
    for encoding, differ in (("aggr", False), ("fine", True)):
        net = mixture(2, True, encoding=encoding)
        group = next(iter(net.source.groups))
        assert torch.equal(net.source.route(a)[group], net.source.route(b)[group]) is not differ


def test_bottlenecks_of_equal_mean_width_are_routed_apart_on_bert_and_translation_keeps_its_means() -> None:
    fam = whatever("supershaper-s")
    widths = ((256, 64, 64, 64, 64, 256), (64, 256, 64, 256, 64, 64), (128,) * 6)
    a, b, c = (fam.space.architecture({"widths": list(each)}) for each in widths)
    encoding = encoding_of("public", "bert")
    mixed = Mixture(fam, torch.Generator().manual_seed(0), encoding=encoding)
    for group in mixed.groups:
        routed = [mixed.route(each)[group] for each in (a, b, c)]
        assert not any(torch.equal(routed[i], routed[j]) for i, j in ((0, 1), (0, 2), (1, 2)))
    assert encoding_of("public", "mt") == encoding_of("public", "vision") == "aggr"
    assert encoding_of("aggr", "bert") == "aggr" and encoding_of("fine", "mt") == "fine"


@ways
def test_the_mixture_is_made_once_an_architecture_and_update(neuron_wise: bool, monkeypatch) -> None:
    net = mixture(2, neuron_wise)
    mixes = []
    real = Mixture.mix
    monkeypatch.setattr(Mixture, "mix", lambda self, arch: mixes.append(arch) or real(self, arch))
    rng = np.random.default_rng(0)
    words = [rng.integers(4, VOCAB, 6) for _ in range(64)]
    stream = iter(TokenBatches(PairData(words, words), 64, 0))
    trainer = Trainer(net, Recipe(accumulate=4), Sandwich(), 0)
    trainer.update([next(stream) for _ in range(4)], 0.5)
    assert len(mixes) == 3, (
        "one mixture for each of the sandwich's three sub-networks, whatever the micro-batches"
    )
    with torch.no_grad():
        for _ in range(5):
            net.activate(net.space.largest())
    assert len(mixes) == 4, "asked again for the same architecture between updates, it is not mixed again"


def test_the_exported_subnetwork_has_no_router() -> None:
    net = mixture(2, True)
    arch = net.space.smallest()
    names = {name for name, _ in net.export(arch).named_parameters()}
    assert names == set(net.family.extents(arch))


def test_no_expert_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        mixture(0, True)


@ways
@pytest.mark.parametrize("space", ["supershaper-smoke", "autodistil-smoke-all", "bert-smoke"])
def test_mixtures_of_encoders_start_at_the_weights_of_plain_sharing_with_their_seed(
    neuron_wise: bool, space: str
) -> None:
    fam = whatever(space)
    plain = SharedSlices(fam, torch.Generator().manual_seed(3)).bake(fam.space.largest())
    mixed = Mixture(fam, torch.Generator().manual_seed(3), experts=3, neuron_wise=neuron_wise)
    for name, shape in mixed.plain_shapes.items():
        if not name.startswith(("experts.", "router.")):
            assert torch.equal(mixed.master.views[name][0], plain[name]), (name, shape)
    for group, linears in mixed.groups.items():
        for part, experts in zip(("weight", "bias"), mixed.experts_of(group), strict=True):
            for linear, own in zip(linears, experts.detach(), strict=True):
                name = f"{linear}.{part}"
                torch.testing.assert_close(own.mean(0), plain[name], atol=1e-6, rtol=0)
                if part == "weight":  # copies, but for offsets that no router can undo
                    assert 0.05 < float((own[0] - own[1]).std() / plain[name].std()) < 0.2
    other = SharedSlices(fam, torch.Generator().manual_seed(4)).bake(fam.space.largest())
    assert not torch.equal(other["embedding.word.weight"], plain["embedding.word.weight"])


@ways
def test_a_mixture_adopts_the_weights_of_one_network_into_every_expert(neuron_wise: bool) -> None:
    fam = whatever("supershaper-smoke")
    parent = SharedSlices(fam, torch.Generator().manual_seed(5)).bake(fam.space.largest())
    mixed = Mixture(fam, torch.Generator().manual_seed(6), experts=2, neuron_wise=neuron_wise)
    before = mixed.version
    mixed.adopt(parent)
    assert mixed.version > before
    for name, baked in mixed.bake(fam.space.largest()).items():
        apart = float((baked - parent[name]).norm() / parent[name].norm().clamp(min=1e-9))
        assert apart < 0.1, (name, apart)  # routing shares differ, so do the offsets that remain
    with pytest.raises(ValueError, match="does not fill"):
        mixed.adopt({"ops.0_feed_forward.fc1.weight": torch.zeros(4, 4)})


@pytest.mark.parametrize("space", ["supershaper-s", "autodistil-s-all", "vit-s", "resnet-smoke", "vl-smoke"])
@pytest.mark.parametrize("neuron_wise", [True, False])
def test_mixed_weights_start_at_the_scale_of_plain_ones(space: str, neuron_wise: bool) -> None:
    """Mixed weights start at the scale of the weights they replace, in every family."""
    fam = whatever(space)
    plain = SharedSlices(fam, torch.Generator().manual_seed(0)).bake(fam.space.largest())
    mixed = Mixture(fam, torch.Generator().manual_seed(1), experts=2, neuron_wise=neuron_wise)
    made = mixed.bake(fam.space.largest())
    for _, linear in fam.mixable():
        ratio = float(made[f"{linear}.weight"].std() / plain[f"{linear}.weight"].std())
        # Coefficients (a, 1 - a) keep between 1 and sqrt(2) of the scale that even ones have.
        assert 0.9 < ratio < 1.5, linear


def whatever(space: str) -> Any:
    found = get_space(space)
    if space in IMAGES:
        return image_family(found, 10, **IMAGES[space])
    return family_of(found, [500])


IMAGES: dict[str, dict[str, Any]] = {
    "vit-s": {"image": 32, "channels": 3},
    "resnet-smoke": {"image": 8, "channels": 1},
    "vl-smoke": {"image": 64, "channels": 3, "text": 12, "vocab": 50},
}
