"""DynaBERT: rewiring against the teacher, importance against removal, sampling against the paper's counts."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from baselines.dynabert import (
    Depths,
    Importance,
    StateDistillation,
    Widths,
    adaptive,
    adaptive_space,
    measure_importance,
    order_of,
    rewired,
)
from supernet.bert import BertConfig, HomogeneousBert
from supernet.elastic import SuperNet
from supernet.weights import SharedSlices

SHAPE = {"width": 16, "heads": 4, "head_dim": 4, "layers": 4}
SPACE = adaptive_space(SHAPE)
FAMILY = HomogeneousBert(SPACE, BertConfig(30, max_positions=16))


def network(seed: int = 1) -> SuperNet:
    return SuperNet(FAMILY, SharedSlices(FAMILY, torch.Generator().manual_seed(seed)))


def batch(seed: int = 0) -> SimpleNamespace:
    rng = torch.Generator().manual_seed(seed)
    shown = torch.randint(5, 30, (3, 8), generator=rng)
    places = torch.tensor([1, 5, 9, 20])
    labels = torch.randint(5, 30, (4,), generator=rng)
    return SimpleNamespace(shown=shown, places=places, labels=labels, inputs=(shown, places))


def test_the_space_is_every_quarter_of_width_at_three_depths() -> None:
    shapes = adaptive(SPACE)
    assert len(shapes) == len(set(shapes)) == 12 and shapes[0] == SPACE.largest()
    assert {(a["heads"], a["ffn_tenths"]) for a in shapes} == {(1, 10), (2, 20), (3, 30), (4, 40)}
    assert {a["layers"] for a in shapes} == {2, 3, 4}


def test_an_update_trains_every_width_then_every_depth() -> None:
    rng = np.random.default_rng(0)
    widths = Widths().draw(SPACE, rng)
    assert [a["heads"] for a in widths] == [4, 3, 2, 1] and len(widths) == Widths().passes
    assert {a["layers"] for a in widths} == {4}
    for _ in range(10):
        depths = Depths().draw(SPACE, rng)
        assert [a["layers"] for a in depths] == [4, 3, 2] and len({a["heads"] for a in depths}) == 1


def test_a_rewired_teacher_computes_the_same_with_any_order() -> None:
    net = network()
    largest = SPACE.largest()
    rng = torch.Generator().manual_seed(2)
    channels = {
        name: torch.rand(16 if "attention" in name else 64, generator=rng) for name in net.export(largest).ops
    }
    other = network(seed=5)
    other.source.adopt(rewired(net.source.bake(largest), Importance(channels), 4))
    given = batch()
    before, after = net.export(largest)(*given.inputs), other.export(largest)(*given.inputs)
    torch.testing.assert_close(after, before, atol=1e-5, rtol=1e-5)


def test_importance_is_the_first_order_effect_of_removal() -> None:
    module = network().export(SPACE.largest())
    with torch.no_grad():
        for p in module.parameters():
            if p.ndim == 2:
                p.mul_(0.3)  # near linear, so that the first order tells the effect of a small change
    given = batch()

    def loss(scale: float, neuron: int) -> float:
        mask = torch.ones(64)
        mask[neuron] = 1 - scale
        handle = module.ops["1_feed_forward"].fc2.register_forward_pre_hook(lambda _m, x: (x[0] * mask,))
        with torch.no_grad():
            value = torch.nn.functional.cross_entropy(
                module(*given.inputs).double(), given.labels, reduction="sum"
            )
        handle.remove()
        return float(value)

    rank = measure_importance(module, [given])  # type: ignore[list-item]
    measured = [abs(loss(0.05, n) - loss(-0.05, n)) / 0.1 for n in range(64)]
    torch.testing.assert_close(rank.channels["1_feed_forward"], torch.tensor(measured), atol=2e-4, rtol=0.02)
    heads = rank.channels["0_attention"].unflatten(0, (4, 4))
    assert bool((heads == heads[:, :1]).all())
    assert not any(p.requires_grad for p in module.parameters())
    with pytest.raises(ValueError, match="larger share"):
        measure_importance(module, [])


def test_heads_stay_together_in_order_of_importance() -> None:
    importance = torch.tensor([1.0, 1.0, 5.0, 5.0, 3.0, 3.0])
    assert order_of(importance, 2).tolist() == [2, 3, 4, 5, 0, 1]
    assert order_of(importance, 1).tolist() == [2, 3, 4, 5, 0, 1]


def test_a_student_equal_to_its_teacher_has_the_entropy_as_its_loss() -> None:
    net, given = network(), batch()
    teacher = net.export(SPACE.largest())
    objective = StateDistillation(teacher, 0.5)
    loss, output = objective(teacher, given, None)  # type: ignore[arg-type]
    p = teacher(*given.inputs).softmax(-1)
    torch.testing.assert_close(loss, -(p * p.log()).sum())
    narrow = net.export(adaptive(SPACE)[-1])
    other, again = objective(narrow, given, output)  # type: ignore[arg-type]
    assert again is output and float(other) > float(loss)
