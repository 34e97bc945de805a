"""Replayed sub-layers, by recordings that compute anew: a GPU differs in what repeats a step alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch

from mos.mixture import Mixture
from supernet import layers
from supernet.bert import BertConfig, family_of
from supernet.data.masked_text import SPECIAL, MaskedBatches, PackedText
from supernet.data.sentence_pairs import PairData, TokenBatches
from supernet.elastic import SuperNet
from supernet.gpu.sublayer_graphs import SublayerGraphs
from supernet.seq2seq import Seq2SeqConfig, Seq2SeqFamily
from supernet.space import get_space, homogeneous_space
from supernet.train import Recipe, Sandwich, SinglePath, Trainer
from supernet.train.distill import BlockDistillation, RelationDistillation
from supernet.weights import SharedSlices

VOCAB = 60


class Recomputed:
    """Recordings that run their step again."""

    @contextmanager
    def session(self) -> Iterator[None]:
        with torch.random.fork_rng(devices=[]):
            yield

    def record(self, step: Callable[[], None], place: int | None) -> Callable[[], None]:
        return torch.enable_grad()(step)


def translation(share: str) -> tuple[Any, Iterator[Any], None]:
    rng = np.random.default_rng(0)
    sides = [[rng.integers(4, VOCAB, rng.integers(1, 9)) for _ in range(200)] for _ in range(2)]
    family = Seq2SeqFamily(get_space("multi30k-xs"), Seq2SeqConfig(VOCAB, VOCAB, share, 0.2, 0.1, 0.1))
    return family, iter(TokenBatches(PairData(*sides), 64, 0, packed=True)), None


def masked_words(name: str, taught: bool = False) -> tuple[Any, Iterator[Any], Any]:
    space = get_space(name)
    family = family_of(space)(space, BertConfig(VOCAB, 0.1, 0.1, 16))
    text = PackedText([np.random.default_rng(0).integers(SPECIAL, VOCAB, 2000)], 16, VOCAB)
    objective = None
    if taught:
        blocks = space.constants.get("blocks")
        width = space.constants["hub"] if blocks else 16
        one = homogeneous_space("t", width=(width,), heads=(2,), ffn_tenths=(20,), layers=(2,), head_dim=0)
        of_teacher = family_of(one)(one, BertConfig(VOCAB, 0.0, 0.0, 16))
        teacher = SuperNet(of_teacher, SharedSlices(of_teacher, torch.Generator().manual_seed(1)))
        guide: Any = teacher.export(one.largest())
        objective = BlockDistillation(guide, family) if blocks else RelationDistillation(guide, 2)
    return family, iter(MaskedBatches(text, 64, 0)), objective


WORK: dict[str, Callable[[], tuple[Any, Iterator[Any], Any]]] = {
    "translation, one table": lambda: translation("all"),
    "translation, two tables": lambda: translation("decoder"),
    "translation, three tables": lambda: translation("none"),
    "supershaper": lambda: masked_words("supershaper-smoke"),
    "autodistil": lambda: masked_words("autodistil-smoke-all"),
    "autodistil, taught": lambda: masked_words("autodistil-smoke-all", True),
    "nas-bert": lambda: masked_words("nas-bert-smoke"),
    "nas-bert, taught": lambda: masked_words("nas-bert-smoke", True),
}


def trainer(family: Any, sampling: Any, objective: Any, source: Any, replays: bool) -> Trainer:
    net = SuperNet(family, source(family, torch.Generator().manual_seed(0)))
    net.model.train()
    made = Trainer(net, Recipe(), sampling, 3, objective)
    made.optimizer = torch.optim.SGD([made.flat], lr=0.0)
    if replays:
        made.graphs = SublayerGraphs(net.model, net.source.homes(), Recomputed())
    return made


def gradient(steps: Trainer, group: list[Any]) -> tuple[float, torch.Tensor]:
    """Return loss and gradients of one update, with dropout."""
    sums: list[torch.Tensor] = []
    steps.optimizer.step = lambda *_: sums.append(steps.flat.grad.clone())  # type: ignore[method-assign, assignment, union-attr]
    if steps.graphs is None:
        return steps.update(group, 0.5).item(), sums[0]
    with steps.graphs.attached():
        return steps.update(group, 0.5).item(), sums[0]


@pytest.mark.parametrize("name", WORK)
@pytest.mark.parametrize(
    ("sampling", "source"), [(SinglePath(), SharedSlices), (Sandwich(distill=True), Mixture)]
)
def test_replays_are_the_direct_steps(name: str, sampling: Any, source: Any) -> None:
    """Every architecture meets what others have recorded; losses and gradients are those without."""
    family, stream, objective = WORK[name]()
    replayed, direct = (trainer(family, sampling, objective, source, x) for x in (True, False))
    for _ in range(8):
        group = [next(stream), next(stream)]
        loss, mine = gradient(replayed, group)
        expected, theirs = gradient(direct, group)
        assert loss == pytest.approx(expected, rel=1e-5)
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["translation, one table", "supershaper"])
def test_recordings_have_leaves_of_their_own(name: str) -> None:
    """A pass that is alive ties the leaves it uses to its stream, and nothing that waits can be recorded."""
    family, stream, _ = WORK[name]()
    steps = trainer(family, Sandwich(), None, SharedSlices, True)
    assert steps.graphs is not None
    recording, used = [False], []

    class Watched(Recomputed):
        def record(self, step: Callable[[], None], place: int | None) -> Callable[[], None]:
            def watched() -> None:
                recording[0] = True
                Recomputed.record(self, step, place)()
                recording[0] = False

            return watched

    steps.graphs.capture = Watched()
    leaf = steps.net.source.compute.leaf

    def hooked(name: str, extents: tuple[int, ...]) -> torch.Tensor:
        tensor = leaf(name, extents)
        if not getattr(tensor, "watched", False):
            tensor.watched = True  # type: ignore[attr-defined]
            tensor.register_hook(lambda _: used.append((name, recording[0])))
        return tensor

    steps.net.source.compute.leaf = hooked  # type: ignore[method-assign]
    for _ in range(2):
        gradient(steps, [next(stream)])
    assert used and not any(inside for _, inside in used)


@pytest.mark.parametrize("name", WORK)
def test_another_batch_needs_no_other_recording(name: str) -> None:
    """Wherever a batch, a teacher's states or a mask lie in memory."""
    family, stream, objective = WORK[name]()
    one = family.restrict_to(family.space.largest())
    if isinstance(objective, BlockDistillation):
        one = family  # its objective splits the cells of the whole family
    steps = trainer(one, SinglePath(), objective, SharedSlices, True)
    assert steps.graphs is not None
    seen, held = [], []
    for _ in range(4):
        steps.updates = 0  # the same architecture
        held.append(next(stream))
        gradient(steps, [held[-1]])
        seen.append(len(steps.graphs.variants))
    assert seen == [seen[0]] * 4 and seen[0] > 0


def test_no_fused_kernel_runs_under_vmap_or_in_place_of_a_hook(monkeypatch: pytest.MonkeyPatch) -> None:
    """``fused`` says yes on a GPU alone: here it is asked about a tensor that pretends to lie there."""
    linear = torch.nn.Linear(4, 4)

    class There(torch.Tensor):
        is_cuda = True  # type: ignore[assignment]

    x = torch.randn(2, 3, 4).as_subclass(There)
    assert layers.fused(x, linear)
    asked: list[bool] = []

    def one(row: torch.Tensor) -> torch.Tensor:
        asked.append(layers.fused(x, linear))
        return linear(row)

    torch.func.vmap(one)(torch.randn(2, 3, 4))
    with torch.no_grad():
        asked.append(layers.fused(x, linear))
    handle = linear.register_forward_hook(lambda *_: None)
    asked.append(layers.fused(x, linear))
    handle.remove()
    asked.append(layers.fused(x, torch.nn.LazyLinear(4)))
    assert asked == [False] * 4
