"""Fine-tuning of stacked copies: each ends where it would have ended alone, and they learn."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from supernet.bert import CLS, PAD, Bert, BertConfig, family_of
from supernet.space import get_space
from supernet.train.finetune import (
    Classifier,
    Copy,
    Examples,
    FineTuneRecipe,
    LinearOfCopies,
    Stack,
    StackableConv1d,
    StackableLinear,
    _Training,
    length_classes,
)

COPIES = (Copy(1e-3, 1), Copy(3e-4, 2), Copy(1e-3, 3))
VOCAB = 60


def encoder(space: str = "bert-smoke", dropout: float = 0.0, seed: int = 1) -> Bert:
    found = get_space(space)
    config = BertConfig(VOCAB, dropout=dropout, attention_dropout=dropout, max_positions=16)
    family = family_of(found)(found, config)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return family.build(found.sample(np.random.default_rng(seed))).requires_grad_(False)


def rows(n: int, length: int = 12, seed: int = 1) -> Examples:
    """Sentences of random length; the label says which of two tokens comes second."""
    rng = np.random.default_rng(seed)
    tokens = rng.integers(7, VOCAB, (n, length))
    tokens[:, 0], tokens[:, 1] = CLS, 5 + rng.integers(0, 2, n)
    ends = rng.integers(4, length + 1, n)
    tokens[np.arange(length) >= ends[:, None]] = PAD
    segments = np.where(np.arange(length) >= 3, 1, 0) * (tokens != PAD)
    return Examples(*map(torch.from_numpy, (tokens, segments, tokens[:, 1] - 5)))


@pytest.mark.parametrize("lengths", [(), (6, 9)])
@pytest.mark.parametrize("space", ["bert-smoke", "supershaper-s", "nas-bert-s"])
def test_every_copy_ends_where_it_would_have_ended_alone(space: str, lengths: tuple[int, ...]) -> None:
    start, examples = encoder(space), rows(40 if lengths else 16)
    recipe = FineTuneRecipe(epochs=2, batch=8, lengths=lengths)
    stack = Stack(start, 2, COPIES).fit(examples, recipe)
    for number, one in enumerate(COPIES):
        fresh = Stack(start, 2, [one])
        before = fresh.state(0)
        alone = fresh.fit(examples, recipe)
        for name, weight in alone.state(0).items():
            torch.testing.assert_close(stack.state(number)[name], weight, rtol=1e-5, atol=1e-6)
        moved = max((before[name] - weight).abs().max() for name, weight in alone.state(0).items())
        assert moved > 1e-4
        torch.testing.assert_close(stack.predict(examples)[number], alone.predict(examples)[0])
    ends = [stack.state(number)["out.weight"] for number in range(len(COPIES))]
    assert all(not torch.equal(ends[0], end) for end in ends[1:])


def test_a_step_is_adamw() -> None:
    start, examples, recipe = encoder(), rows(8), FineTuneRecipe(epochs=3, batch=8, warmup=0.5)
    stack = Stack(start, 2, [Copy(1e-3, 5)]).fit(examples, recipe)
    model = Classifier(start, 2, 5).requires_grad_(True).train()
    matrices = [p for p in model.parameters() if p.dim() > 1]
    rest = [p for p in model.parameters() if p.dim() < 2]
    optimizer = torch.optim.AdamW(
        [{"params": matrices, "weight_decay": 0.01}, {"params": rest, "weight_decay": 0.0}], eps=1e-6
    )
    for share in recipe.factors(3):
        for group in optimizer.param_groups:
            group["lr"] = share * 1e-3
        optimizer.zero_grad()
        said = model(examples.tokens, examples.segments)
        torch.nn.functional.cross_entropy(said, examples.labels).backward()
        optimizer.step()
    for name, weight in model.named_parameters():
        torch.testing.assert_close(stack.state(0)[name], weight.detach(), rtol=1e-4, atol=2e-6)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_layers_of_all_copies_as_one_product_are_the_layers(precision: str) -> None:
    generator = torch.Generator().manual_seed(1)
    x, weight, bias = (
        torch.randn(shape, generator=generator).requires_grad_()
        for shape in ((3, 4, 7, 6), (3, 5, 6), (3, 5))
    )
    flow = torch.randn(3, 4, 7, 5, generator=generator)
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
        # The copies of the input are counted by its third dimension.
        stacked = torch.vmap(LinearOfCopies.apply, (2, 0, 0))(x.movedim(0, 2), weight, bias)
        alone = torch.stack(
            [torch.nn.functional.linear(*layer) for layer in zip(x, weight, bias, strict=True)]
        )
    assert stacked.dtype == alone.dtype
    near = {"rtol": 2e-2, "atol": 5e-2} if precision == "bf16" else {"rtol": 1e-5, "atol": 1e-5}
    torch.testing.assert_close(stacked, alone, **near)
    slopes, expected = (
        torch.autograd.grad((y.float() * flow).sum(), (x, weight, bias)) for y in (stacked, alone)
    )
    for slope, other in zip(slopes, expected, strict=True):
        assert slope.dtype == torch.float32
        torch.testing.assert_close(slope, other, **near)


def as_on_a_gpu(self: StackableLinear, x: torch.Tensor) -> torch.Tensor:
    product: torch.Tensor = LinearOfCopies.apply(x, self.weight, self.bias)
    return product


@pytest.mark.parametrize("space", ["bert-smoke", "supershaper-s", "nas-bert-s"])
def test_copies_end_alike_with_all_layers_as_one_product(space: str, monkeypatch: pytest.MonkeyPatch) -> None:
    start, examples, recipe = encoder(space), rows(40), FineTuneRecipe(epochs=2, batch=8)
    apart = Stack(start, 2, COPIES).fit(examples, recipe)
    monkeypatch.setattr(StackableLinear, "forward", as_on_a_gpu)
    stacked = Stack(start, 2, COPIES).fit(examples, recipe)
    for number in range(len(COPIES)):
        for name, weight in apart.state(number).items():
            torch.testing.assert_close(stacked.state(number)[name], weight, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("space", ["supershaper-s", "nas-bert-s", "autodistil-s-base"])
def test_layers_of_all_kinds_take_one_product_in_bf16(
    space: str, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    start, examples = encoder(space, seed=seed), rows(8)
    recipe = FineTuneRecipe(epochs=1, batch=8, precision="bf16")
    apart = Stack(start, 2, COPIES).fit(examples, recipe).predict(examples)
    monkeypatch.setattr(StackableLinear, "forward", as_on_a_gpu)
    stacked = Stack(start, 2, COPIES).fit(examples, recipe).predict(examples)
    torch.testing.assert_close(stacked, apart, rtol=0.1, atol=0.05)
    kinds = {type(module) for module in Stack(start, 2, COPIES[:1]).model.modules()}
    assert torch.nn.Linear not in kinds and torch.nn.Conv1d not in kinds
    if space == "nas-bert-s" and seed != 3:
        assert StackableConv1d in kinds


def test_padding_changes_nothing() -> None:
    model, examples = Classifier(encoder(), 2, 1).eval(), rows(20)
    more = torch.zeros(20, 4, dtype=torch.long)
    with torch.no_grad():
        short = model(examples.tokens, examples.segments)
        long = model(torch.cat([examples.tokens, more], 1), torch.cat([examples.segments, more], 1))
        blind = model(examples.tokens.where(examples.tokens != PAD, 7), examples.segments)
    torch.testing.assert_close(short, long, rtol=1e-5, atol=1e-6)
    assert not torch.allclose(short, blind, atol=1e-4), "what is no padding counts"


@settings(max_examples=50)
@given(st.integers(0, 60), st.lists(st.integers(1, 16), unique=True), st.integers(1, 20), st.integers(0, 99))
def test_classes_hold_each_example_once_and_cut_none(
    n: int, lengths: list[int], least: int, seed: int
) -> None:
    examples = rows(n, seed=seed)
    own = (examples.tokens != PAD).sum(1).numpy()
    classes = length_classes(examples, sorted(lengths), least)
    assert bool(classes) == (n >= least)
    if classes:
        assert sorted(number for _, numbers in classes for number in numbers) == list(range(n))
    ends = [most for most, _ in classes]
    assert ends == sorted(set(ends)) and set(ends) <= {*lengths, 12}
    for most, numbers in classes:
        assert len(numbers) >= least and list(numbers) == sorted(numbers) and (own[numbers] <= most).all()


def test_classes_change_no_prediction_and_an_epoch_has_every_example_of_whole_batches() -> None:
    examples, recipe = rows(100), FineTuneRecipe(epochs=3, batch=8, lengths=(6, 9))
    stack = Stack(encoder(), 2, COPIES)
    found = stack.predict(examples, 16, recipe.lengths)
    torch.testing.assert_close(found, stack.predict(examples), rtol=1e-5, atol=1e-6)
    training, classes = _Training(stack, examples, recipe), length_classes(examples, (6, 9), 8)
    assert [most for most, _ in classes] == [6, 9, 12] and training.updates_in_all % 3 == 0
    each, schedules = training.updates_in_all // 3, []
    for epoch in range(3):
        seen = []
        for at in range(each):
            which = training.load(epoch * each + at)
            assert all(set(row) <= set(classes[which][1].tolist()) for row in training.index.tolist())
            seen.append(training.index.clone())
        for copy_ in torch.stack(seen, 1):
            assert len(copy_.unique()) == copy_.numel() == 8 * sum(len(c) // 8 for _, c in classes)
        schedules.append(training.schedule.tolist())
    assert schedules[0] != schedules[1]


@pytest.mark.parametrize("lengths", [(), (6, 9)])
def test_a_separable_task_is_learnt(lengths: tuple[int, ...]) -> None:
    recipe = FineTuneRecipe(epochs=4, batch=16, lengths=lengths)
    stack = Stack(encoder(), 2, [Copy(2e-3, 1), Copy(1e-3, 2)]).fit(rows(320), recipe)
    held = rows(200, seed=2)
    right = (stack.predict(held, batch=64).argmax(-1) == held.labels).double().mean(1)
    assert (right > 0.9).all()


def test_bf16_is_another_precision_of_the_same_training() -> None:
    full, half = (
        Stack(encoder(), 2, COPIES[:1]).fit(rows(24), FineTuneRecipe(epochs=1, batch=8, precision=precision))
        for precision in ("fp32", "bf16")
    )
    assert half.state(0)["out.weight"].dtype == torch.float32
    assert not torch.equal(full.state(0)["out.weight"], half.state(0)["out.weight"])
    torch.testing.assert_close(full.predict(rows(20)), half.predict(rows(20)), rtol=0.1, atol=0.05)


def test_a_regression_is_learnt() -> None:
    examples = rows(320)
    aims = Examples(examples.tokens, examples.segments, examples.labels.float())
    stack = Stack(encoder(), 1, [Copy(2e-3, 1)]).fit(aims, FineTuneRecipe(epochs=4, batch=16))
    error = (stack.predict(aims)[0, :, 0] - aims.labels).square().mean()
    assert error < 0.1 < aims.labels.var()


def test_dropout_is_every_copys_own_and_leaves_global_state_alone() -> None:
    twins, recipe = [Copy(1e-3, 1), Copy(1e-3, 1)], FineTuneRecipe(epochs=1, batch=8)
    before = torch.get_rng_state()
    stacks = [Stack(encoder(dropout=0.3), 2, twins).fit(rows(24), recipe) for _ in range(2)]
    assert torch.equal(torch.get_rng_state(), before)
    first, second = (stacks[0].state(i)["pooler.weight"] for i in range(2))
    assert not torch.equal(first, second)
    assert torch.equal(stacks[1].state(0)["pooler.weight"], first), "the same seeds, the same dropout"
    said = stacks[0].predict(rows(5))
    assert torch.equal(said, stacks[0].predict(rows(5))), "no dropout in evaluation"


def test_the_encoder_is_not_changed_and_pauses_are_taken() -> None:
    start, pauses = encoder(), []
    before = {name: weight.clone() for name, weight in start.named_parameters()}
    Stack(start, 2, COPIES[:1]).fit(rows(24), FineTuneRecipe(epochs=2, batch=8), pauses.append)
    assert len(pauses) == 6
    assert all(torch.equal(before[name], weight) for name, weight in start.named_parameters())


def test_rates_rise_and_fall() -> None:
    assert FineTuneRecipe(warmup=0.2).factors(10) == [
        0.5,
        1.0,
        *(pytest.approx((10 - i) / 8) for i in range(2, 10)),
    ]
    assert FineTuneRecipe(warmup=0.0).factors(2) == [1.0, 0.5]


@pytest.mark.parametrize(
    "wrong",
    [
        {"precision": "fp8"},
        {"warmup": 1.0},
        {"epochs": 0},
        {"batch": 0},
        {"lengths": (9, 6)},
        {"lengths": (6, 6)},
        {"lengths": (0, 6)},
    ],
)
def test_an_invalid_recipe_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError):
        FineTuneRecipe(**wrong)  # type: ignore[arg-type]


def test_fewer_examples_than_a_batch() -> None:
    with pytest.raises(ValueError, match="7 examples do not fill a batch of 8"):
        Stack(encoder(), 2, COPIES).fit(rows(7), FineTuneRecipe(batch=8))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU: a captured step is one of CUDA")
@pytest.mark.parametrize("lengths", [(), (6, 9)])
def test_a_captured_step_is_the_step(lengths: tuple[int, ...]) -> None:
    recipe = FineTuneRecipe(epochs=2, batch=8, lengths=lengths)
    on_gpu, on_cpu = (Stack(encoder(), 2, COPIES, device).fit(rows(40), recipe) for device in ("cuda", "cpu"))
    for number in range(len(COPIES)):
        for name, weight in on_cpu.state(number).items():
            torch.testing.assert_close(on_gpu.state(number)[name].cpu(), weight, rtol=1e-2, atol=1e-4)
