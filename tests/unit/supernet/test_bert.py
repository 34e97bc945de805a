"""Encoders: what a sub-network computes does not depend on where it lives."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode

from mos.mixture import Mixture
from supernet import export
from supernet.bert import FORMS, PAD, BertConfig, BertFamily, CellBert, family_of
from supernet.bert_states import effective_rank
from supernet.cost import cost
from supernet.elastic import SuperNet
from supernet.space import (
    SearchSpace,
    bottleneck_space,
    cell_space,
    get_space,
    homogeneous_space,
    layered_space,
)
from supernet.weights import SharedSlices

VOCAB = 50
SPACES = {
    "homogeneous": homogeneous_space(
        "h", width=(16, 24, 32), heads=(1, 2), ffn_tenths=(20, 35), layers=(2, 3, 4), head_dim=8
    ),
    "shared heads": homogeneous_space(
        "s", width=(16, 24), heads=(2, 4), ffn_tenths=(20, 40), layers=(3,), head_dim=0
    ),
    "layered": layered_space("l", layers=(1, 2, 3), heads=(1, 3), ffn=(16, 40), hidden=24, head_dim=8),
    "bottleneck": bottleneck_space("b", (8, 16, 24), 3, hub=24, heads=2, ffn=40),
    "cells": cell_space("c", (8, 16), blocks=2, layers=2, hub=24, embedding=16, head_dim=8),
}
kinds = st.sampled_from(sorted(SPACES))
seeds = st.integers(0, 2**32 - 1)


def family(kind: str, **config: float) -> BertFamily:
    space = SPACES[kind]
    return family_of(space)(space, BertConfig(VOCAB, max_positions=16, **config))


def shaken(fam: BertFamily, source: type = SharedSlices, **options: object) -> SuperNet:
    """A supernet whose weights are nothing special: not identities, not zeros."""
    weights = source(fam, torch.Generator().manual_seed(0), **options)
    with torch.no_grad():
        weights.flat += 0.1 * torch.randn(weights.flat.shape, generator=torch.Generator().manual_seed(1))
    weights.refresh()
    net = SuperNet(fam, weights)
    net.model.eval()
    return net


def tokens(seed: int = 0) -> torch.Tensor:
    return torch.randint(5, VOCAB, (3, 9), generator=torch.Generator().manual_seed(seed))


@settings(max_examples=40)
@given(kinds, seeds)
def test_built_exported_and_collapsed_networks_are_the_subnetwork(kind: str, seed: int) -> None:
    fam = family(kind)
    net = shaken(fam)
    arch = fam.space.sample(np.random.default_rng(seed))
    built = {name: tuple(p.shape) for name, p in fam.build(arch).named_parameters()}
    assert built == fam.collapsed(arch).extents(arch)
    with torch.no_grad():
        bound = net.activate(arch)(tokens()).clone()
        assert torch.allclose(net.export(arch)(tokens()), bound, atol=1e-5)
        alone = net.collapse(arch)
        alone.model.eval()
        assert torch.allclose(alone.activate(alone.space.largest())(tokens()), bound, atol=1e-5)


@settings(max_examples=25)
@given(kinds, seeds)
def test_macs_equal_those_torch_counts_on_the_built_module(kind: str, seed: int) -> None:
    fam = family(kind)
    arch = fam.space.sample(np.random.default_rng(seed))
    with torch.device("meta"):
        model = fam.build(arch)
        some = torch.zeros(1, 9, dtype=torch.long), torch.arange(4)
    with FlopCounterMode(display=False) as counter:
        model(*some)
    counted = cost(fam, arch, source_len=9, target_len=4)
    assert 2 * counted.macs == counter.get_total_flops()
    assert counted.params == sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize("kind", sorted(SPACES))
def test_gradients_of_a_subnetwork_are_those_of_the_same_network_alone(kind: str) -> None:
    fam = family(kind)
    net = shaken(fam)
    arch = fam.space.smallest()
    net.activate(arch)(tokens()).square().sum().backward()
    net.source.collect()
    alone = net.export(arch).requires_grad_(True)
    alone(tokens()).square().sum().backward()
    used = fam.extents(arch)
    for name, p in alone.named_parameters():
        if name in used and not name.startswith("linears."):
            part = tuple(slice(0, n) for n in used[name])
            got = net.source.master.views[name][1][part]
            assert torch.allclose(got, p.grad, atol=1e-3, rtol=1e-3), name
    for name in fam.slots():
        if name not in used:
            assert not net.source.master.views[name][1].any(), f"{name} is not of this sub-network"


@pytest.mark.parametrize("kind", sorted(SPACES))
def test_training_computes_as_evaluation_does_with_the_same_gradients(kind: str) -> None:
    fam = family(kind, dropout=0.0, attention_dropout=0.0)
    net = shaken(fam)
    arch = fam.space.sample(np.random.default_rng(3))
    found = []
    for training in (False, True):
        net.model.train(training)
        out = net.activate(arch)(tokens())
        out.square().sum().backward()
        net.source.collect()
        found.append((out.detach(), net.source.flat.grad.clone()))
        net.source.flat.grad.zero_()
    (alone, slopes), (together, fused) = found
    assert torch.allclose(together, alone, atol=1e-5)
    assert slopes.any() and torch.allclose(fused, slopes, rtol=1e-3, atol=1e-3)


def test_bridges_start_as_the_identity_so_a_full_width_supernet_is_a_plain_bert() -> None:
    fam = family("bottleneck")
    net = SuperNet(fam, SharedSlices(fam, torch.Generator().manual_seed(0)))
    model = net.activate(fam.space.largest()).eval()
    with torch.no_grad():
        x = model.embedding(tokens(), None)
        for op in model.plan.ops:
            x = model.ops[op.name](x, None)
        assert torch.allclose(model.encode(tokens()), x, atol=1e-6)


@pytest.mark.parametrize("kind", ["bottleneck", "cells"])
@pytest.mark.parametrize("form", FORMS)
def test_every_bridge_starts_as_the_identity_in_every_form(kind: str, form: str) -> None:
    space = SPACES[kind]
    fam = family_of(space)(space, BertConfig(VOCAB, max_positions=16), form)
    weights = SharedSlices(fam, torch.Generator().manual_seed(0)).bake(fam.space.largest())
    bridges = {name: weight for name, weight in weights.items() if name.startswith("linears.")}
    assert bridges or form == "plain"
    for name, weight in bridges.items():
        assert torch.equal(weight, torch.eye(*weight.shape) if weight.ndim == 2 else 0 * weight), name


def test_a_bottleneck_network_by_itself_starts_with_the_rank_of_a_plain_one() -> None:
    space = get_space("supershaper-s")
    fam = family_of(space)(space, BertConfig(500, max_positions=32))
    words = torch.randint(5, 500, (16, 32), generator=torch.Generator().manual_seed(1))
    narrow = fam.restrict_to(space.architecture({"widths": [192, 128, 96, 64, 64, 96]}))
    ranks = []
    for identity in (True, False):
        source = SharedSlices(narrow, torch.Generator().manual_seed(0))
        for name, (weight, _) in source.master.views.items():
            if name.startswith("linears.") and not identity:
                weight.normal_(0, 0.02) if weight.ndim == 2 else None
        source.refresh()
        with torch.no_grad():
            ranks.append(
                effective_rank(SuperNet(narrow, source).export(narrow.space.largest()).encode(words))
            )
    assert ranks[0] > 1.5 * ranks[1]


def test_depthwise_convolutions_keep_the_scale_of_their_input() -> None:
    """So that a convolution adds about as much to its residual as the operations it is ranked with."""
    space = get_space("nas-bert-s")
    fam = family_of(space)(space, BertConfig(200, max_positions=16))
    net = SuperNet(fam, SharedSlices(fam, torch.Generator().manual_seed(0)))
    model = net.bind_all()
    x = torch.randn(4, 16, 192, generator=torch.Generator().manual_seed(2))
    added = {}
    with torch.no_grad():
        for kernel in (3, 5, 7):
            unit = model.ops[f"0_0_convolution{kernel}_192"].first
            through = unit.depthwise(x.transpose(1, 2))
            assert 0.7 < float(through.std()) < 1.2
            added[kernel] = float(F.gelu(unit.pointwise(through.transpose(1, 2))).std())
        feed_forward = model.ops["0_0_feed_forward_192"]
        beside = float(feed_forward.fc2(F.gelu(feed_forward.fc1(x))).std())
    assert all(0.3 < share / beside < 3 for share in added.values()), (added, beside)


def test_a_shallow_subnetwork_takes_layers_evenly_spaced() -> None:
    fam = family("homogeneous")
    arch = fam.space.smallest()
    assert arch["layers"] == 2
    assert [op.name for op in fam.plan(arch).ops] == [
        "0_attention",
        "0_feed_forward",
        "2_attention",
        "2_feed_forward",
    ]


def test_a_head_keeps_its_width_under_any_number_of_layers() -> None:
    fam = family("homogeneous")
    for arch in (fam.space.smallest(), fam.space.largest()):
        op = fam.plan(arch).ops[0]
        assert op.inner == 8 * op.heads


@pytest.mark.parametrize("kind", sorted(SPACES))
def test_padding_changes_nothing(kind: str) -> None:
    fam = family(kind)
    arch = fam.space.largest()
    if kind == "cells":
        # The largest has nothing but feed-forwards, which look at one token each.
        arch = fam.space.architecture({**arch.to_dict(), "ops_0": [0, 3], "ops_1": [4, 2]})
    model = shaken(fam).export(arch)
    short = tokens()
    long = F.pad(short, (0, 4), value=PAD)
    with torch.no_grad():
        alone = model.encode(short)
        assert torch.allclose(model.encode(long, padded=True)[:, :9], alone, atol=1e-5)
        assert not torch.allclose(model.encode(long)[:, :9], alone, atol=1e-5)


def test_logits_at_places_are_those_of_all_positions() -> None:
    model = shaken(family("homogeneous")).export(family("homogeneous").space.largest())
    places = torch.tensor([3, 17, 20])
    with torch.no_grad():
        whole = model(tokens()).flatten(0, 1)
        assert torch.allclose(model(tokens(), places), whole[places], atol=1e-6)


def test_cells_made_by_themselves_bridge_only_where_the_width_changes() -> None:
    fam = family("cells")
    assert isinstance(fam, CellBert)
    common = {"layers_0": 1, "ops_0": [0], "layers_1": 2, "ops_1": [2, 1]}
    for widths, bridges in (((16, 16), 0), ((8, 8), 1), ((16, 8), 1), ((8, 16), 2)):
        arch = fam.space.architecture({"width_0": widths[0], "width_1": widths[1], **common})
        plan = fam.restrict_to(arch).plan(arch)
        assert (plan.embedding, len(plan.bridges), plan.out) == (16, bridges, widths[1])
        inherited = fam.collapsed(arch).plan(arch)
        assert (inherited.embedding, len(inherited.bridges), inherited.out) == (24, 3, 24)


@pytest.mark.parametrize("kind", sorted(SPACES))
def test_export_and_load_round_trip(tmp_path, kind: str) -> None:
    fam = family(kind)
    net = shaken(fam)
    arch = fam.space.sample(np.random.default_rng(4))
    export.save(tmp_path / "one", net.export(arch), fam.spec(), arch)
    module, about = export.load(tmp_path / "one")
    assert fam.space.architecture(about["architecture"]) == arch
    with torch.no_grad():
        assert torch.equal(module(tokens()), net.export(arch)(tokens()))


@pytest.mark.parametrize("kind", ["homogeneous", "bottleneck"])
@pytest.mark.parametrize("neuron_wise", [False, True])
def test_a_mixture_is_exported_with_the_outputs_it_has(kind: str, neuron_wise: bool) -> None:
    fam = family(kind)
    net = shaken(fam, Mixture, neuron_wise=neuron_wise)
    for arch in (fam.space.smallest(), fam.space.sample(np.random.default_rng(2))):
        with torch.no_grad():
            bound = net.activate(arch)(tokens()).clone()
            assert torch.allclose(net.export(arch)(tokens()), bound, atol=1e-5)
        assert not any("router" in name for name, _ in net.export(arch).named_parameters())


def test_a_sentence_longer_than_the_table_of_positions_is_refused() -> None:
    model = family("homogeneous").build(SPACES["homogeneous"].largest())
    with pytest.raises(ValueError, match="at most 16"):
        model(torch.zeros(1, 17, dtype=torch.long))


@pytest.mark.parametrize("name", ["autodistil-tiny", "supershaper", "nas-bert", "mos-bert-v5.1"])
def test_the_papers_spaces_make_networks(name: str) -> None:
    space: SearchSpace = get_space(name)
    fam = family_of(space)(space, BertConfig(100))
    for arch in (space.largest(), space.smallest()):
        with torch.device("meta"):
            out = fam.build(arch)(torch.zeros(2, 8, dtype=torch.long))
        assert out.shape == (2, 8, 100)
