"""Replayed sub-layers against the same steps launched kernel by kernel."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch

from mos.mixture import Mixture
from supernet.bert import BertConfig, family_of
from supernet.data.masked_text import SPECIAL, MaskedBatches, PackedText
from supernet.data.sentence_pairs import PairData, TokenBatches
from supernet.elastic import SuperNet
from supernet.seq2seq import Seq2SeqConfig, Seq2SeqFamily
from supernet.space import get_space
from supernet.train import Recipe, Sandwich, SinglePath, Trainer
from supernet.weights import SharedSlices

if not torch.cuda.is_available():
    pytest.skip("needs a GPU: CUDA graphs", allow_module_level=True)
from supernet.gpu import sublayer_graphs

VOCAB = 500


def translation(dropout: float, space: str = "hat-space1", share: str = "none") -> tuple[Any, Iterator[Any]]:
    """Return a space over a small vocabulary, and packed batches."""
    rng = np.random.default_rng(0)
    sides = [[rng.integers(4, VOCAB, rng.integers(1, 40)) for _ in range(2000)] for _ in range(2)]
    config = Seq2SeqConfig(VOCAB, VOCAB, share, dropout, dropout, 0.0)
    family = Seq2SeqFamily(get_space(space), config)
    return family, iter(TokenBatches(PairData(*sides), 1024, 0, device="cuda", packed=True))


def masked_words(name: str, dropout: float) -> tuple[Any, Iterator[Any]]:
    """Return an encoder space over a small vocabulary, and masked batches."""
    space = get_space(name)
    family = family_of(space)(space, BertConfig(VOCAB, dropout, dropout, 64))
    text = PackedText([np.random.default_rng(0).integers(SPECIAL, VOCAB, 20_000)], 32, VOCAB)
    return family, iter(MaskedBatches(text, 512, 0, device="cuda"))


WORK: dict[str, Callable[[float], tuple[Any, Iterator[Any]]]] = {
    "hat": translation,
    "one table": partial(translation, space="multi30k-xs", share="all"),
    "supershaper": partial(masked_words, "supershaper-s"),
    "nas-bert": partial(masked_words, "nas-bert-smoke"),
    "autodistil": partial(masked_words, "autodistil-small"),
}


def trainer(family: Any, sampling: Any, precision: str, source: Any = SharedSlices) -> Trainer:
    net = SuperNet(family, source(family, torch.Generator().manual_seed(0), "cuda"))
    net.precision(precision)
    net.model.train()
    return Trainer(net, Recipe(precision=precision), sampling, 3)


def gradients(
    steps: Trainer, group: list[Any], eager: bool, monkeypatch: pytest.MonkeyPatch
) -> tuple[float, torch.Tensor]:
    """Return the loss and the gradients of one update that changes no weight."""
    sums: list[torch.Tensor] = []
    source = steps.net.source

    def instead(_: object) -> None:
        source.collect()
        sums.append(steps.flat.grad.clone())
        steps.flat.grad.zero_()
        source.changed()

    with monkeypatch.context() as patch:
        patch.setattr(source, "collect_and_update", instead)
        if eager:
            patch.setattr(steps, "replaying", lambda: nullcontext[None]())
            patch.setattr(steps, "graphs", None)
        loss = steps.update(group, 0.5).item()
    steps.updates -= 1
    return loss, sums[0]


@pytest.mark.parametrize("name", WORK)
@pytest.mark.parametrize("sampling", [SinglePath(), Sandwich(distill=True)], ids=["single", "sandwich"])
@pytest.mark.parametrize("source", [SharedSlices, Mixture], ids=["plain", "mixture"])
def test_replays_equal_eager_steps(
    name: str, sampling: Any, source: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In float32, over random architectures, gradients agree to 1e-4 of the largest one."""
    family, stream = WORK[name](0.0)
    steps = trainer(family, sampling, "fp32", source)
    for _ in range(50 if (name, source) == ("hat", SharedSlices) else 10):
        group = [next(stream), next(stream)]
        loss, mine = gradients(steps, group, False, monkeypatch)
        expected, theirs = gradients(steps, group, True, monkeypatch)
        assert loss == pytest.approx(expected, rel=1e-5)
        assert (mine - theirs).abs().max() < 1e-4 * theirs.abs().max()
        steps.updates += 1


def test_replays_in_bf16_are_as_close_as_rounding_allows(monkeypatch: pytest.MonkeyPatch) -> None:
    """The distance to the gradient in float32 is at most 1.2 times that of an eager step in bf16."""
    family, stream = translation(0.0)
    low, exact = trainer(family, SinglePath(), "bf16"), trainer(family, SinglePath(), "fp32")
    for i in range(10):
        low.updates = exact.updates = i
        group = [next(stream)]
        _, replayed = gradients(low, group, False, monkeypatch)
        _, eager = gradients(low, group, True, monkeypatch)
        _, right = gradients(exact, group, True, monkeypatch)
        apart, usual = ((x - right).norm() for x in (replayed, eager))
        assert apart < 1.2 * usual < 0.1 * right.norm()


def test_dropout_differs_from_step_to_step_and_repeats_with_the_seed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    family, stream = translation(0.3)
    group = [next(stream)]
    steps = trainer(family, SinglePath(), "bf16")
    monkeypatch.setattr(Recipe, "rate", lambda *_: 0.0)
    losses = []
    for update in (1, 2, 1, 2):
        steps.updates = update
        losses.append(steps.update(group, 0.5).item())
    # Update 1 captured its sub-layers the first time and only replayed them the second.
    assert losses[:2] == losses[2:]
    family, _ = translation(0.3)
    one = family.restrict_to(family.space.largest())
    steps = trainer(one, SinglePath(), "bf16")
    assert len({steps.update(group, 0.5).item() for _ in range(5)}) == 5


def test_variants_beyond_the_limit_are_captured_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sublayer_graphs, "LIMIT", 30)
    family, stream = translation(0.0)
    steps = trainer(family, SinglePath(), "fp32")
    for _ in range(12):
        group = [next(stream)]
        _, mine = gradients(steps, group, False, monkeypatch)
        _, theirs = gradients(steps, group, True, monkeypatch)
        assert (mine - theirs).abs().max() < 1e-4 * theirs.abs().max()
        assert steps.graphs is not None and len(steps.graphs.variants) <= 30
        steps.updates += 1


def test_memory_stays_bounded_over_architectures() -> None:
    family, stream = translation(0.1)
    steps = trainer(family, SinglePath(), "bf16")
    held = []
    for _ in range(4):
        for _ in range(80):
            steps.update([next(stream)], 0.5)
        torch.cuda.synchronize()
        held.append(torch.cuda.memory_reserved())
    assert held[3] < 1.2 * held[1]


def test_packed_attention_on_a_gpu_is_that_of_the_processor() -> None:
    family, stream = translation(0.0)
    batch = next(stream)
    net = trainer(family, SinglePath(), "fp32").net
    rng = np.random.default_rng(5)
    for _ in range(5):
        architecture = family.space.sample(rng)
        module = net.export(architecture)
        with torch.no_grad():
            mine = module.cuda()(*batch.inputs)
            on_cpu = batch.with_tensors([x.cpu() for x in batch.tensors])
            theirs = module.cpu()(*on_cpu.inputs)
        torch.testing.assert_close(mine.cpu(), theirs, rtol=1e-3, atol=1e-3)


def test_replaying_leaves_no_hook_behind() -> None:
    family, stream = translation(0.0)
    steps = trainer(family, SinglePath(), "bf16")
    steps.update([next(stream)], 0.5)
    held: list[AbstractContextManager[None]] = [steps.replaying()]
    with held[0]:
        assert steps.net.model.replayer is steps.graphs
    assert all(getattr(m, "replayer", None) is None for m in steps.net.model.modules())
