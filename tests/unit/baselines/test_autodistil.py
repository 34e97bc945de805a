"""AutoDistil's beginnings: sub-spaces apart, and weights that are a corner of the teacher."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch

from baselines.autodistil import AutoDistil
from benchmarks.tasks import get_task
from supernet.bert import BertConfig, HomogeneousBert
from supernet.elastic import SuperNet
from supernet.interop.bert_start import Parent, start_from
from supernet.space import get_space, homogeneous_space
from supernet.weights import SharedSlices

CONFIG = BertConfig(50, max_positions=12)


def network(space, seed: int) -> SuperNet:
    family = HomogeneousBert(space, CONFIG)
    return SuperNet(family, SharedSlices(family, torch.Generator().manual_seed(seed)))


def teacher() -> SuperNet:
    return network(
        homogeneous_space("t", width=(24,), heads=(3,), ffn_tenths=(40,), layers=(6,), head_dim=8), 1
    )


def test_sub_spaces_do_not_overlap_and_make_up_the_union() -> None:
    for family in ("autodistil-s", "autodistil-smoke"):
        parts = [set(get_space(f"{family}-{size}")) for size in ("small", "base")]
        assert not parts[0] & parts[1]
        assert parts[0] | parts[1] == set(get_space(f"{family}-all"))


def test_a_sub_network_starts_as_a_corner_of_the_teacher() -> None:
    options = {"width": (8, 16), "heads": (1, 2), "ffn_tenths": (20, 30), "layers": (2, 3)}
    space = homogeneous_space("s", **options, head_dim=8)
    master, net = teacher(), network(space, 2)
    start_from(net, Parent.of(master))
    narrow = space.architecture({"width": 8, "heads": 2, "ffn_tenths": 30, "layers": 3})
    own = dict(net.export(narrow).named_parameters())
    theirs = dict(master.export(master.space.largest()).named_parameters())
    for ours, layer in ((0, 0), (1, 2), (2, 4)):  # evenly spaced over six
        name = "_attention.q.weight"
        assert torch.equal(own[f"ops.{ours}{name}"], theirs[f"ops.{layer}{name}"][:16, :8]), "leftmost heads"
        name = "_feed_forward.fc1.weight"
        assert torch.equal(own[f"ops.{ours}{name}"], theirs[f"ops.{layer}{name}"][:24, :8])
    assert torch.equal(own["embedding.word.weight"], theirs["embedding.word.weight"][:, :8])
    assert torch.equal(own["head.bias"], theirs["head.bias"])


def test_the_whole_teacher_gives_the_teachers_outputs() -> None:
    master = teacher()
    net = network(master.space, 3)
    start_from(net, Parent.of(master))
    tokens = torch.arange(5, 17)[None]
    ours, theirs = (n.export(master.space.largest())(tokens) for n in (net, master))
    assert torch.equal(ours, theirs)


def test_the_declared_need_is_that_of_its_ranking_in_each_tier() -> None:
    """Every network of the sub-spaces on a part of the text; the option spaces=one may take more."""
    (need,) = AutoDistil.needs
    assert isinstance(need.least, Mapping)
    spaces = set()
    for name in ("bert-synthetic-en", "bert-enwiki"):
        task = get_task(name)
        for tier in (task.tier(tier, "cpu") for tier in task.tiers()):
            settings = tier.settings["autodistil"]
            networks = sum(get_space(space).size() for space in settings["several"])
            assert need.least[tier.space] == math.ceil(networks * settings["ranked_on"] - 1e-9)
            spaces.add(tier.space)
    assert spaces == set(need.least)
