"""Training: exact resume, accumulation, sampling rules, schedules, ranks."""

from __future__ import annotations

import copy
import subprocess
import sys
from collections.abc import Iterator
from contextlib import nullcontext, suppress

import numpy as np
import pytest
import torch

from mos.mixture import Mixture
from supernet.bert import BertConfig, family_of
from supernet.data.masked_text import SPECIAL, MaskedBatches, PackedText
from supernet.data.sentence_pairs import PairBatch, PairData, TokenBatches, validation_batches
from supernet.elastic import SuperNet
from supernet.space import homogeneous_space
from supernet.train import Recipe, Sandwich, SinglePath, Trainer, soft_loss, token_loss
from supernet.weights import SharedSlices
from tests.unit.supernet.test_elastic import VOCAB, family


def words(count: int = 120, seed: int = 0) -> PairData:
    rng = np.random.default_rng(seed)
    return PairData(*([rng.integers(4, VOCAB, rng.integers(2, 12)) for _ in range(count)] for _ in range(2)))


class Limited:
    """A stream with an end, as the harness hands out."""

    def __init__(self, total: int = 4000, max_tokens: int = 128, **ranks: int) -> None:
        self.stream = TokenBatches(words(), max_tokens, 5, **ranks)
        self.total, self.spent = float(total), 0.0

    def __iter__(self) -> Iterator[PairBatch]:
        for batch in self.stream:
            if self.spent + batch.tokens > self.total:
                return
            self.spent += batch.tokens
            yield batch

    def state(self) -> dict:
        return {"stream": self.stream.state(), "spent": self.spent}

    def restore(self, state: dict) -> None:
        self.stream.restore(state["stream"])
        self.spent = state["spent"]


class Interrupted(Exception):
    pass


class Store:
    """Keeps the last state; raises after ``stop`` saves, as a crash would."""

    def __init__(self, stop: int | None = None) -> None:
        self.kept, self.saves, self.stop = None, 0, stop

    def due(self) -> bool:
        return True

    def save(self, state: dict) -> None:
        self.kept, self.saves = copy.deepcopy(state), self.saves + 1
        if self.saves == self.stop:
            raise Interrupted

    def load(self) -> dict | None:
        return copy.deepcopy(self.kept)


def network(source: type = SharedSlices, **options) -> SuperNet:
    fam = family(dropout=0.2)
    return SuperNet(fam, source(fam, torch.Generator().manual_seed(0), **options))


@pytest.mark.parametrize("source", [SharedSlices, Mixture])
@pytest.mark.parametrize("recipe", [Recipe(average_checkpoints=3), Recipe(precision="bf16", accumulate=2)])
def test_a_resumed_run_equals_an_uninterrupted_one_bit_for_bit(source: type, recipe: Recipe) -> None:
    whole = Trainer(network(source), recipe, Sandwich(), 1)
    whole.fit(Limited())
    store = Store(stop=7)
    with pytest.raises(Interrupted):
        Trainer(network(source), recipe, Sandwich(), 1).fit(Limited(), store)
    store.stop = None
    torch.manual_seed(99)
    resumed = Trainer(network(source), recipe, Sandwich(), 1)
    resumed.fit(Limited(), store)
    assert whole.updates == resumed.updates > 7
    assert torch.equal(whole.flat, resumed.flat)


def test_training_leaves_the_global_random_state_alone() -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    Trainer(network(), Recipe(), SinglePath(), 0).fit(Limited(600))
    assert torch.equal(before, torch.get_rng_state())


def test_the_seed_changes_the_architecture_sequence() -> None:
    space = family(space="multi30k-xs").space

    def sequence(seed: int) -> list:
        return [SinglePath().draw(space, np.random.default_rng([seed, u]))[0] for u in range(20)]

    assert sequence(1) == sequence(1)
    assert sequence(1) != sequence(2)


def test_the_sandwich_holds_the_true_extremes() -> None:
    space = family(space="multi30k-xs").space
    drawn = Sandwich(random=2).draw(space, np.random.default_rng(0))
    assert len(drawn) == Sandwich(random=2).passes == 4
    assert drawn[0] == space.largest() and drawn[-1] == space.smallest()
    # Public code fixes both extremes' cross-attention to two encoder layers.
    assert set(drawn[0]["decoder_cross_source"]) == {2} and set(drawn[-1]["decoder_cross_source"]) == {-1}


def test_accumulated_micro_batches_are_one_large_batch() -> None:
    data = words()
    groups = [np.arange(0, 8), np.arange(8, 16)]
    flats = []
    for batches in (data.collate(groups, "cpu"), data.collate([np.concatenate(groups)], "cpu")):
        fam = family(dropout=0.0, attention_dropout=0.0)
        net = SuperNet(fam, SharedSlices(fam, torch.Generator().manual_seed(0)))
        trainer = Trainer(net, Recipe(learning_rate=1e-3), Sandwich(), 0)
        trainer.optimizer = torch.optim.SGD([trainer.flat], lr=0.0)
        trainer.update(batches, 0.08)
        flats.append(trainer.flat.detach().clone())
    assert torch.allclose(flats[0], flats[1], atol=1e-6)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_loss_and_its_gradient_are_those_of_torch(smoothing: float) -> None:
    logits = torch.randn(7, VOCAB, requires_grad=True)
    other = logits.detach().clone().requires_grad_(True)
    labels = torch.randint(0, VOCAB, (7,))
    mine = token_loss(logits, labels, smoothing)
    theirs = torch.nn.functional.cross_entropy(other, labels, reduction="sum", label_smoothing=smoothing)
    (3 * mine).backward()
    (3 * theirs).backward()
    assert torch.allclose(mine, theirs, rtol=1e-6)
    assert torch.allclose(logits.grad, other.grad, atol=1e-6)


def test_distillation_is_least_where_the_student_is_the_teacher() -> None:
    logits, teacher = torch.randn(5, VOCAB), torch.randn(5, VOCAB)
    assert soft_loss(logits, teacher) > soft_loss(teacher, teacher)


def test_in_place_distillation_trains_the_others_on_the_largest() -> None:
    plain, distilled = network(), network()
    batch = next(iter(TokenBatches(words(), 128, 0)))
    Trainer(plain, Recipe(), Sandwich(), 0).update([batch], 0.5)
    Trainer(distilled, Recipe(), Sandwich(distill=True), 0).update([batch], 0.5)
    assert not torch.equal(plain.source.flat, distilled.source.flat)


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_every_precision_learns(precision: str) -> None:
    net = network()
    fam = net.family
    recipe = Recipe(learning_rate=3e-3, precision=precision, label_smoothing=0.0)
    rng = np.random.default_rng(0)
    same = [rng.integers(4, VOCAB, 6) for _ in range(20)]
    data = PairData(same, same)

    def loss() -> float:
        with torch.no_grad():
            model = net.export(fam.space.largest())
            batch = validation_batches(data, 1000)[0]
            return (
                float(token_loss(model(batch.source, batch.target_in, batch.real), batch.labels, 0.0))
                / batch.tokens
            )

    before = loss()
    stream = Limited(12000)
    stream.stream.data = data
    Trainer(net, recipe, SinglePath(), 0).fit(stream)
    assert loss() < 0.8 * before


def test_schedules_peak_after_the_warm_up() -> None:
    for schedule in ("inverse-sqrt", "cosine"):
        recipe = Recipe(learning_rate=2.0, warmup=0.1, schedule=schedule)
        rates = [recipe.rate(x / 100) for x in range(101)]
        assert rates[0] == 0 and max(rates) == pytest.approx(2.0) and rates.index(max(rates)) == 10
        assert rates[10:] == sorted(rates[10:], reverse=True)
    assert Recipe(schedule="cosine").rate(1.0) == pytest.approx(0.0, abs=1e-12)


def test_a_loss_that_is_not_a_number_stops_training() -> None:
    net = network()
    with torch.no_grad():
        net.source.flat[0:100_000] = float("nan")
    with pytest.raises(FloatingPointError, match="after"):
        Trainer(net, Recipe(), SinglePath(), 0).fit(Limited(400))


def test_passes_beyond_those_paid_for_reach_the_meter() -> None:
    net, charged = network(), []
    net.meter = charged.append
    batch = next(iter(TokenBatches(words(), 128, 0)))
    trainer = Trainer(net, Recipe(), Sandwich(), 0)
    batch.prepaid = 3
    trainer.update([batch], 0.5)
    assert charged == []
    batch.passes, batch.prepaid = 0, 1
    trainer.update([batch], 0.5)
    assert charged == [batch.tokens] * 2


def ranked(number: int, world: int) -> tuple[Trainer, Limited]:
    """Return the trainer of one of ``world`` ranks; without dropout, which every rank draws for itself."""
    fam = family(dropout=0.0, attention_dropout=0.0)
    net = SuperNet(fam, SharedSlices(fam, torch.Generator().manual_seed(0)))
    # The ranks' allowances differ: their streams end at different updates.
    return Trainer(net, Recipe(), Sandwich(), 0), Limited(1000 + 300 * number, rank=number, world=world)


def test_a_state_of_another_number_of_ranks_is_refused() -> None:
    steps, _ = ranked(0, 1)
    state = steps.state()
    steps.restore(state)
    steps.world = 2
    with pytest.raises(ValueError, match="begun by 1 ranks and there are 2 now"):
        steps.restore(state)
    state.pop("world")  # of before 2026-11-28, when it was not stored
    steps.restore(state)


@pytest.mark.slow
def test_two_ranks_under_torchrun_train_as_one_process_on_both_batches(tmp_path) -> None:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command += ["-m", "tests.unit.supernet.two_ranks", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    straight, resumed = (
        [np.load(tmp_path / f"{n}-{i}.npy") for i in range(2)] for n in ("straight", "resumed")
    )
    for other in (straight[1], *resumed):
        assert np.array_equal(straight[0], other)
    alone, first = ranked(0, 2)
    _, second = ranked(1, 2)
    alone.net.model.train()
    share = 0.0
    for one, two in zip(first, second, strict=False):
        alone.update([one, two], share)
        share = (first.spent + second.spent) / (first.total + second.total)
    assert alone.updates > 5
    assert np.allclose(straight[0], alone.flat.detach().numpy(), atol=2e-4)


def test_batches_hold_every_pair_once_and_keep_to_the_size() -> None:
    data = words(200)
    groups = data.plan(64, np.random.default_rng(0))
    assert sorted(np.concatenate(groups).tolist()) == list(range(200))
    for batch in data.collate(groups, "cpu"):
        assert batch.source.numel() <= 64 and batch.target_out.numel() <= 64
        assert int((batch.target_out != 1).sum()) == batch.tokens
        assert torch.equal(
            batch.target_in[:, 1:][batch.target_in[:, 1:] != 1], batch.target_out[batch.target_out > 2]
        )
        assert (batch.target_in[:, 0] == 2).all()


def test_a_stream_goes_on_where_it_stood() -> None:
    stream = TokenBatches(words(), 128, 3)
    batches = iter(stream)
    for _ in range(25):
        next(batches)
    again = TokenBatches(words(), 128, 3)
    again.restore(stream.state())
    for a, b in zip((next(batches) for _ in range(30)), iter(again), strict=False):
        assert torch.equal(a.source, b.source) and torch.equal(a.target_out, b.target_out)


def test_ranks_share_an_epoch_without_overlap() -> None:
    halves = [TokenBatches(words(), 128, 3, rank=i, world=2).order(0) for i in range(2)]
    assert len(halves[0]) == len(halves[1])
    assert not {tuple(x) for x in halves[0]} & {tuple(x) for x in halves[1]}


class Rows(Limited):
    """Masked rows, all of one shape, on a GPU."""

    def __init__(self, count: int) -> None:
        text = PackedText([np.random.default_rng(0).integers(SPECIAL, 50, 300)], 8, 50)
        self.stream = MaskedBatches(text, 64, 0, device="cuda")
        self.total, self.spent = count * 64.0, 0.0


@pytest.mark.skipif(
    not torch.cuda.is_available(), reason="needs a GPU: sub-layers are replayed as CUDA graphs"
)
@pytest.mark.parametrize("stop", [None, 15])
def test_training_by_replays_is_training(stop: int | None) -> None:
    """Interrupted or not; where additions come in another order, weights differ by little of their way."""
    space = homogeneous_space("one", width=(16,), heads=(2,), ffn_tenths=(40,), layers=(2,), head_dim=0)
    one = family_of(space)(space, BertConfig(50, 0.0, 0.0, 8))

    def trainer(replays: bool) -> Trainer:
        net = SuperNet(one, SharedSlices(one, torch.Generator().manual_seed(0), "cuda"))
        made = Trainer(net, Recipe(clip_norm=1.0, weight_decay=0.1), SinglePath(), seed=1)
        if not replays:
            made.replaying = lambda: nullcontext()  # type: ignore[method-assign]
        return made

    eager, store = trainer(False), Store(stop)
    start = eager.flat.detach().clone()
    eager.fit(Rows(40))
    with suppress(Interrupted):
        trainer(True).fit(Rows(40), store)
    replayed = trainer(True)
    replayed.fit(Rows(40), store if stop else None)
    assert (replayed.flat - eager.flat).norm() < 0.02 * (eager.flat - start).norm()
