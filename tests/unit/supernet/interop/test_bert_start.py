"""Every kind of space starts from one plain encoder; where it is as large, it computes what that computes."""

from __future__ import annotations

import pytest
import torch

from mos.mixture import Mixture
from supernet.bert import BertConfig, BertFamily, CellBert, HomogeneousBert, family_of
from supernet.elastic import SuperNet
from supernet.interop.bert_start import Parent, cut, start_from
from supernet.interop.errors import InexpressibleError
from supernet.space import SearchSpace, bottleneck_space, cell_space, homogeneous_space, layered_space
from supernet.weights import SharedSlices

CONFIG = BertConfig(50, max_positions=16)
FULL = homogeneous_space("p", width=(24,), heads=(3,), ffn_tenths=(40,), layers=(4,), head_dim=8)
SPACES = {
    "homogeneous": homogeneous_space(
        "h", width=(16, 24), heads=(2, 3), ffn_tenths=(20, 40), layers=(2, 4), head_dim=8
    ),
    "shared heads": homogeneous_space(
        "s", width=(12, 24), heads=(3,), ffn_tenths=(40,), layers=(4,), head_dim=0
    ),
    "layered": layered_space("l", layers=(2, 4), heads=(1, 3), ffn=(16, 96), hidden=24, head_dim=8),
    "bottleneck": bottleneck_space("b", (12, 24), 4, hub=24, heads=3, ffn=96),
    "cells": cell_space("c", (8, 24), blocks=2, layers=4, hub=24, embedding=16, head_dim=8),
}
TOKENS = torch.randint(5, 50, (3, 9), generator=torch.Generator().manual_seed(0))


def family(space: SearchSpace) -> BertFamily:
    return family_of(space)(space, CONFIG)


def trained() -> SuperNet:
    """A plain encoder whose weights are nothing special."""
    plain = family(FULL)
    source = SharedSlices(plain, torch.Generator().manual_seed(1))
    with torch.no_grad():
        source.flat += 0.1 * torch.randn(source.flat.shape, generator=torch.Generator().manual_seed(2))
    source.refresh()
    return SuperNet(plain, source)


def largest(space: SearchSpace) -> object:
    if not space.name == "c":
        return space.largest()
    blocks = {f"width_{b}": 24 for b in range(2)} | {f"layers_{b}": 4 for b in range(2)}
    return space.architecture(blocks | {f"ops_{b}": [0, 1, 0, 1] for b in range(2)})


@pytest.mark.parametrize("source", [SharedSlices, Mixture])
@pytest.mark.parametrize("kind", SPACES)
def test_the_largest_network_of_every_kind_computes_its_parents_outputs(kind: str, source: type) -> None:
    space, master = SPACES[kind], trained()
    if source is Mixture and kind == "cells":
        pytest.skip("cells mix nothing")
    options = {"experts": 1} if source is Mixture else {}
    own = family(space)
    net = SuperNet(own, source(own, torch.Generator().manual_seed(3), **options))
    start_from(net, Parent.of(master))
    with torch.no_grad():
        ours = net.export(largest(space))(TOKENS)
        theirs = master.export(FULL.largest())(TOKENS)
    torch.testing.assert_close(ours, theirs, atol=2e-4, rtol=1e-4)


@pytest.mark.parametrize("kind", SPACES)
def test_a_network_trained_alone_starts_as_the_sub_network_of_its_started_supernet(kind: str) -> None:
    space, parent = SPACES[kind], Parent.of(trained())
    whole = SuperNet(family(space), SharedSlices(family(space), torch.Generator().manual_seed(3)))
    start_from(whole, parent)
    architecture = {**largest(space)}
    if "widths" in architecture:
        architecture["widths"] = [12, 24, 12, 24]
    if "width" in architecture:
        architecture["width"] = min(space.choice("width").options)
    architecture = space.architecture(architecture)
    own = whole.family.restrict_to(architecture)
    alone = SuperNet(own, SharedSlices(own, torch.Generator().manual_seed(4)))
    start_from(alone, parent)
    if isinstance(own, CellBert):  # a factorised embedding of its own
        assert torch.equal(
            alone.source.master.views["embedding.word.weight"][0],
            parent.weights["embedding.word.weight"][:, :16],
        )
        return
    with torch.no_grad():
        ours, theirs = alone.export(architecture)(TOKENS), whole.export(architecture)(TOKENS)
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)


def test_convolutions_keep_their_own_values_and_cells_come_from_the_layer_at_their_place() -> None:
    own, parent = family(SPACES["cells"]), Parent.of(trained())
    weights = cut(own, parent)
    assert not any("convolution" in name for name in weights)
    for place, layer in ((0, 0), (1, 0), (2, 1), (3, 1)):  # eight places over four layers
        for block in (0, 1):
            name = f"ops.{block}_{place}_attention_8.q.weight"
            assert weights[name] is parent.weights[f"ops.{layer + 2 * block}_attention.q.weight"]


@pytest.mark.parametrize(
    ("space", "why"),
    [
        (bottleneck_space("b", (8, 24), 4, hub=24, heads=2, ffn=96), "of a head: 8 in the model, 12"),
        (bottleneck_space("b", (8, 24), 5, hub=24, heads=3, ffn=96), "4 layers, the supernet up to 5"),
        (bottleneck_space("b", (8, 24), 4, hub=24, heads=3, ffn=97), "cut, not made larger"),
        (bottleneck_space("b", (8, 32), 4, hub=32, heads=4, ffn=96), "cut, not made larger"),
    ],
)
def test_a_parent_that_is_too_small_is_refused_with_the_reason(space: SearchSpace, why: str) -> None:
    with pytest.raises(InexpressibleError, match=why):
        cut(family(space), Parent.of(trained()))


def test_a_network_deeper_than_its_parent_repeats_layers_only_where_it_is_trained_alone() -> None:
    deep = homogeneous_space("d", width=(16,), heads=(2,), ffn_tenths=(40,), layers=(8,), head_dim=8)
    parent = Parent.of(trained())
    weights = cut(HomogeneousBert(deep, CONFIG), parent)
    assert weights["ops.7_attention.q.weight"] is weights["ops.6_attention.q.weight"]


def test_only_a_plain_encoder_is_a_parent() -> None:
    own = family(SPACES["bottleneck"])
    with pytest.raises(InexpressibleError, match="no plain encoder"):
        Parent.of(SuperNet(own, SharedSlices(own, torch.Generator().manual_seed(0))))
