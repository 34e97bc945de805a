"""Objectives with a teacher, against what they say written out in loops."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from baselines.shrinking import cells_of
from supernet.bert import Bert, BertConfig, CellBert, HomogeneousBert
from supernet.data.masked_text import SPECIAL, MaskedBatch, MaskedBatches, PackedText, masked
from supernet.elastic import SuperNet
from supernet.space import cell_space, homogeneous_space
from supernet.train import Recipe, Sandwich, SinglePath, Trainer, distill
from supernet.train.distill import (
    BlockDistillation,
    LogitDistillation,
    RelationDistillation,
    block_runs,
    mean_loss,
    score_block,
    teacher_states,
)
from supernet.weights import SharedSlices

VOCAB = 40
CONFIG = BertConfig(VOCAB, dropout=0.0, attention_dropout=0.0, max_positions=12)
WIDE = homogeneous_space("t", width=(24,), heads=(3,), ffn_tenths=(20,), layers=(4,), head_dim=8)
NARROW = homogeneous_space("s", width=(12, 16), heads=(1, 2), ffn_tenths=(20,), layers=(1, 2), head_dim=8)
CELLS = cell_space("c", (8, 16), blocks=2, layers=2, hub=24, embedding=16, head_dim=8)


def text() -> PackedText:
    rng = np.random.default_rng(0)
    return PackedText([rng.integers(SPECIAL, VOCAB, 40) for _ in range(30)], 12, VOCAB)


def batch(rows: int = 4) -> MaskedBatch:
    return masked(text().rows[:rows], VOCAB, torch.Generator().manual_seed(3))


def network(space=WIDE, kind=HomogeneousBert, seed: int = 1) -> SuperNet:
    family = kind(space, CONFIG)
    weights = SharedSlices(family, torch.Generator().manual_seed(seed))
    with torch.no_grad():
        weights.flat += 0.2 * torch.randn(weights.flat.shape, generator=torch.Generator().manual_seed(seed))
    weights.refresh()
    return SuperNet(family, weights)


@pytest.fixture(scope="module")
def teacher() -> Bert:
    net = network()
    made = net.export(net.space.largest())
    assert isinstance(made, Bert)
    return made


def student(space=NARROW, kind=HomogeneousBert) -> tuple[SuperNet, Bert]:
    net = network(space, kind, 2)
    model = net.activate(net.space.sample(np.random.default_rng(5)))
    assert isinstance(model, Bert)
    return net, model.eval()


def test_the_original_rows_are_those_that_were_masked() -> None:
    assert torch.equal(batch().original, text().rows[:4].long())


@pytest.mark.parametrize("raw", [False, True])
def test_relations_are_those_of_the_paper(teacher: Bert, raw: bool) -> None:
    _, model = student()
    loss, _ = RelationDistillation(teacher, heads=4, raw=raw)(model, batch(), None)
    tokens = batch().original
    expected = 0.0
    for ours, theirs in zip(model.projections(tokens), teacher.projections(tokens), strict=True):
        for b in range(4):
            for head in range(4):
                scores = []
                for x in (ours, theirs):
                    width = x.shape[-1] // 4
                    part = x[b, :, head * width : (head + 1) * width].double()
                    score = part @ part.T / math.sqrt(width)
                    scores.append(score if raw else score.softmax(-1))
                expected += ((scores[0] - scores[1]) ** 2).mean().item() / 4
    assert loss.item() == pytest.approx(expected, rel=1e-4)


def test_relations_to_oneself_are_learnt_already_and_the_last_feed_forward_learns_nothing(
    teacher: Bert,
) -> None:
    goal = RelationDistillation(teacher, heads=3)
    assert goal(teacher, batch(), None)[0].item() == 0
    net, model = student()
    goal(model, batch(), None)[0].backward()
    net.source.collect()
    last = [op for op in model.plan.ops if op.kind == "feed_forward"][-1]
    grads = {name: net.source.master.views[name][1].abs().sum().item() for name in net.source.shapes}
    assert grads[f"ops.{last.name}.fc1.weight"] == 0
    assert grads["embedding.word.weight"] > 0
    assert all(p.grad is None for p in teacher.parameters())
    with pytest.raises(ValueError, match="relation heads: use fewer"):
        RelationDistillation(teacher, heads=99)(model, batch(), None)


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_logits_mix_labels_and_teacher(teacher: Bert, share: float) -> None:
    _, model = student()
    loss, teacher_output = LogitDistillation(teacher, share)(model, batch(), None)
    logp = model(*batch().inputs).double().log_softmax(-1)
    p = teacher(*batch().inputs).double().softmax(-1)
    labels = F.nll_loss(logp, batch().labels, reduction="sum").item()
    apart = (p * (p.log() - logp)).sum().item()
    assert loss.item() == pytest.approx((1 - share) * labels + share * apart, rel=1e-4)
    again, _ = LogitDistillation(teacher, share)(model, batch(), teacher_output)
    assert again.item() == pytest.approx(loss.item(), rel=1e-6)


def test_blocks_start_from_the_teachers_states_and_aim_at_them(teacher: Bert) -> None:
    net, model = student(CELLS, CellBert)
    family = net.family
    states = teacher_states(teacher, batch().original, 2)
    assert torch.allclose(states[-1], teacher.encode(batch().original), atol=1e-5)
    arch = net.space.sample(np.random.default_rng(5))
    expected = 0.0
    for block in range(2):
        stages = family.block(block, arch[f"width_{block}"], arch[f"ops_{block}"])
        found = model.run(states[block], stages=stages)
        expected += 4 * ((found - states[block + 1]) ** 2).mean().item()
    loss, _ = BlockDistillation(teacher, family)(model, batch(), None)
    assert loss.item() == pytest.approx(expected, rel=1e-5)
    with pytest.raises(ValueError, match="does not divide into 3 blocks"):
        teacher_states(teacher, batch().original, 3)


@pytest.mark.parametrize("piece", [1, 60, 10_000])
def test_all_architectures_of_a_block_are_scored_as_each_would_be_alone(
    teacher: Bert, piece: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(distill.PIECE, "cpu", piece)
    net, _ = student(CELLS, CellBert)
    family = net.family
    pairs = []
    for rows in (2, 3):
        states = teacher_states(teacher, batch(rows).original, 2)
        pairs.append((states[1], states[2]))
    every = list(cells_of(net.space, 1))
    scores = score_block(net, 1, pairs, every)
    assert set(scores) == set(every)
    assert len(scores) == block_runs(every) == 2 * (5 + 25)
    some = [cell for cell in every if len(cell[1]) == 2][::3]
    assert block_runs(some) < 2 * len(some)
    assert score_block(net, 1, pairs, some) == {cell: pytest.approx(scores[cell]) for cell in some}
    fixed = {"width_0": 8, "layers_0": 1, "ops_0": [0]}
    for (width, ops), loss in list(scores.items())[::7]:
        arch = net.space.architecture(fixed | {"width_1": width, "layers_1": len(ops), "ops_1": list(ops)})
        model = net.activate(arch).eval()
        alone = [F.mse_loss(model.run(x, stages=family.block(1, width, ops)), y).item() for x, y in pairs]
        assert loss == pytest.approx(np.mean(alone), rel=1e-5)


@pytest.mark.parametrize("goal", ["relations", "logits"])
def test_students_are_scored_as_each_would_be_alone_and_the_teacher_is_asked_once_a_batch(
    teacher: Bert, goal: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    objective = (
        RelationDistillation(teacher, heads=4) if goal == "relations" else LogitDistillation(teacher, 0.5)
    )
    net = network(NARROW, HomogeneousBert, 2)
    some = [net.space.largest(), net.space.smallest(), net.space.sample(np.random.default_rng(5))]
    batches = [batch(2), batch(3)]
    expected = []
    for architecture in some:
        model = net.activate(architecture).eval()
        losses = [objective(model, one, None)[0].item() for one in batches]
        expected.append(sum(losses) / sum(objective.weight(one) for one in batches))
    asked = []
    for name in ("projections", "forward"):
        real = getattr(teacher, name)
        monkeypatch.setattr(teacher, name, lambda *x, real=real: asked.append(1) or real(*x))
    teacher_outputs = [None] * len(batches)
    found = [mean_loss(net.activate(a).eval(), objective, batches, teacher_outputs) for a in some]
    assert found == pytest.approx(expected, rel=1e-5)
    assert len(asked) == len(batches)
    assert len({round(loss, 6) for loss in expected}) == len(some)


@pytest.mark.parametrize("goal", ["relations", "logits", "blocks"])
def test_training_comes_nearer_to_the_teacher(teacher: Bert, goal: str) -> None:
    cells = goal == "blocks"
    net = network(CELLS, CellBert, 2) if cells else network(NARROW, HomogeneousBert, 2)
    objective = {
        "relations": RelationDistillation(teacher, heads=4),
        "logits": LogitDistillation(teacher, 1.0),  # the labels are random: nothing can be learnt of them
        "blocks": BlockDistillation(teacher, net.family) if cells else None,
    }[goal]
    sampling = SinglePath() if cells else Sandwich(random=2)
    trainer = Trainer(net, Recipe(learning_rate=3e-3, label_smoothing=0.0), sampling, 0, objective)
    net.model.train()
    stream = iter(MaskedBatches(text(), 96, 1))
    losses = [trainer.update([next(stream)], 0.5).item() for _ in range(60)]
    assert np.mean(losses[-10:]) < 0.8 * np.mean(losses[:10])
