"""Beam search against references that are slow and plain: enumeration, and fairseq's rules on lists."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from supernet import decode
from supernet.decode import Hypothesis, NonFiniteError, batches, forced_steps, translate
from supernet.seq2seq import Seq2SeqConfig, Seq2SeqFamily, Transformer
from supernet.space import seq2seq_space

BOS, PAD, EOS, UNK = 0, 1, 2, 3
WORDS = st.integers(3, 8)
CUDA = pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU"))


def network(seed: int, vocab: int = 9, spread: float = 3.0, share: str = "all") -> Transformer:
    """A tiny network with random weights; ``spread`` sharpens what it predicts."""
    space = seq2seq_space(
        "tiny", embed=(8,), ffn=(8,), heads=(2,), qkv_dim=8, encoder_layers=2, decoder_layers=(2,)
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Seq2SeqFamily(space, Seq2SeqConfig(vocab, vocab, share, max_positions=64)).build(
            space.largest()
        )
        for p in model.parameters():
            if p.ndim == 2:
                torch.nn.init.normal_(p, std=spread / math.sqrt(p.shape[1]))
    return model.requires_grad_(False)


def log_probabilities(model: Transformer, source: list[int], tokens: list[int]) -> torch.Tensor:
    """``[len(tokens) + 1, V]``: of what follows each prefix, by one forward pass without a cache."""
    logits = model(torch.tensor([[*source, EOS]]), torch.tensor([[EOS, *tokens]]))
    return logits[0].double().log_softmax(-1)


def score_of(model: Transformer, source: list[int], tokens: list[int], lenpen: float) -> float:
    steps = log_probabilities(model, source, tokens)
    total = sum(float(steps[i, token]) for i, token in enumerate([*tokens, EOS]))
    return total / (len(tokens) + 1) ** lenpen


def by_enumeration(model: Transformer, source: list[int], longest: int, lenpen: float) -> Hypothesis:
    alphabet = [t for t in range(model.config.target_vocab) if t not in (PAD, EOS)]
    every = itertools.chain.from_iterable(
        itertools.product(alphabet, repeat=n) for n in range(1, longest + 1)
    )
    scored = [(score_of(model, source, list(tokens), lenpen), list(tokens)) for tokens in every]
    score, tokens = max(scored)
    return Hypothesis(tokens, score)


def test_progress_comes_within_a_batch_too_and_changes_nothing() -> None:
    model, sources = network(3), [[4, 5, 6, 7, 8], [5, 4], [6, 6, 7]]
    told: list[tuple[int, int]] = []
    plain = translate(model, sources, beam=2, batch_sentences=2)
    heard = translate(
        model, sources, beam=2, batch_sentences=2, progress=lambda done, total: told.append((done, total))
    )
    assert heard == plain
    assert {total for _, total in told} == {3} and [done for done, _ in told] == sorted(d for d, _ in told)
    assert {done for done, _ in told} == {0, 2, 3} and told.count((0, 3)) > 1


def by_the_rules(
    model: Transformer, source: list[int], beam: int, lenpen: float, longest: int, min_len: int = 1
) -> Hypothesis:
    """fairseq's search for one sentence, on Python lists and without a cache."""
    alive: list[tuple[float, list[int]]] = [(0.0, [])]
    finished: list[tuple[float, list[int]]] = []
    for step in range(longest + 1):
        candidates = []
        for score, tokens in alive:
            following = log_probabilities(model, source, tokens)[-1]
            for token in range(len(following)):
                if token == PAD or (step >= longest and token != EOS):
                    continue
                if token == EOS and step < min(min_len, longest):
                    continue
                candidates.append((score + float(following[token]), tokens, token))
        candidates.sort(key=lambda c: -c[0])
        candidates = candidates[: 2 * beam]
        for score, tokens, token in candidates[:beam]:
            if token == EOS and len(finished) < beam:
                finished.append((score / (step + 1) ** lenpen, tokens))
        if len(finished) == beam:
            break
        alive = [(score, [*tokens, token]) for score, tokens, token in candidates if token != EOS][:beam]
    score, tokens = max(finished, key=lambda f: f[0])
    return Hypothesis(tokens, score)


def same(ours: Hypothesis, other: Hypothesis) -> None:
    assert ours.score == pytest.approx(other.score, abs=2e-4)
    assert ours.tokens == other.tokens


@pytest.mark.parametrize("lenpen", [0.0, 0.6, 1.0, 2.0])
@pytest.mark.parametrize("seed", range(4))
def test_wide_beam_finds_the_best_of_all_sequences(seed: int, lenpen: float) -> None:
    model = network(seed, vocab=6, spread=2.0)
    source = [4, 5, 3]
    (ours,) = translate(model, [source], beam=130, lenpen=lenpen, max_len_a=0, max_len_b=3)
    same(ours, by_enumeration(model, source, 3, lenpen))


@settings(max_examples=60)
@given(
    seed=st.integers(0, 30),
    sources=st.lists(st.lists(WORDS, max_size=6), min_size=1, max_size=5),
    beam=st.integers(1, 6),
    lenpen=st.sampled_from([0.0, 0.6, 1.0, 1.5]),
    a=st.sampled_from([0.0, 0.5, 1.0]),
    b=st.integers(1, 6),
    often=st.integers(1, 5),
    leave_at=st.sampled_from([0.0, 0.5, 1.0]),
)
def test_equals_fairseqs_rules_for_any_batch(
    seed: int,
    sources: list[list[int]],
    beam: int,
    lenpen: float,
    a: float,
    b: int,
    often: int,
    leave_at: float,
) -> None:
    model = network(seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(decode.CHECK_EVERY, "cpu", often)
        patch.setattr(decode, "LEAVE_AT", leave_at)
        found = translate(model, sources, beam=beam, lenpen=lenpen, max_len_a=a, max_len_b=b)
    for source, ours in zip(sources, found, strict=True):
        longest = max(1, int(a * (len(source) + 1) + b))
        same(ours, by_the_rules(model, source, beam, lenpen, longest))


@settings(max_examples=25)
@given(
    seed=st.integers(0, 20),
    sources=st.lists(st.lists(WORDS, max_size=9), min_size=2, max_size=6),
    beam=st.integers(1, 5),
    sentences=st.integers(1, 5),
    tokens=st.integers(1, 40),
)
def test_batching_changes_nothing(
    seed: int, sources: list[list[int]], beam: int, sentences: int, tokens: int
) -> None:
    model = network(seed)
    whole = translate(model, sources, beam=beam)
    parts = translate(model, sources, beam=beam, batch_sentences=sentences, batch_tokens=tokens)
    alone = [translate(model, [source], beam=beam)[0] for source in sources]
    for one, two, three in zip(whole, parts, alone, strict=True):
        same(one, two)
        same(one, three)


@given(
    lengths=st.lists(st.integers(1, 50), max_size=40), most=st.integers(1, 200), sentences=st.integers(1, 9)
)
def test_batches_hold_every_sentence_once_and_keep_the_limits(
    lengths: list[int], most: int, sentences: int
) -> None:
    made = batches(lengths, most, sentences)
    assert sorted(itertools.chain(*made)) == list(range(len(lengths)))
    for rows in made:
        assert len(rows) <= sentences
        assert len(rows) == 1 or len(rows) * max(lengths[i] for i in rows) <= most
    longest = [max(lengths[i] for i in rows) for rows in made]
    assert longest == sorted(longest, reverse=True)


@pytest.mark.parametrize("seed", range(5))
def test_a_beam_of_one_is_greedy(seed: int) -> None:
    model, source, longest = network(seed), [5, 6, 7], 8
    tokens: list[int] = []
    while len(tokens) < longest:
        following = log_probabilities(model, source, tokens)[-1]
        following[PAD] = -math.inf
        if not tokens:
            following[EOS] = -math.inf
        best = int(following.argmax())
        if best == EOS:
            break
        tokens.append(best)
    (ours,) = translate(model, [source], beam=1, max_len_a=0, max_len_b=longest)
    assert ours.tokens == tokens
    assert ours.score == pytest.approx(score_of(model, source, tokens, 1.0), abs=1e-4)


@pytest.mark.parametrize("share", ["all", "decoder", "none"])
def test_steps_with_a_cache_equal_one_pass_without(share: str) -> None:
    model = network(1, share=share).double()  # no rounding to allow for
    source = torch.tensor([[4, 5, 6, EOS], [7, EOS, PAD, PAD]])
    rows = torch.tensor([[EOS, 4, 8, 5], [EOS, 5, 5, 3], [EOS, 6, 4, 4], [EOS, 8, 7, 6]])
    whole = model(source.repeat_interleave(2, 0), rows)
    cache = model.decoder_cache(model.encode(source), 2)
    swap = torch.tensor([1, 0, 3, 2])
    for step in range(3):
        torch.testing.assert_close(model.step(rows[:, step], cache), whole[:, step], atol=1e-10, rtol=1e-10)
        cache.reorder(swap)  # rows trade places and trade back
        cache.reorder(swap)
    cache.reorder(swap)
    torch.testing.assert_close(model.step(rows[swap, 3], cache), whole[swap, 3], atol=1e-10, rtol=1e-10)


def test_a_step_runs_the_layers_that_replace_linear_layers_and_their_hooks() -> None:
    model, source = network(1), torch.tensor([[4, 5, 6, EOS]])
    calls: list[str] = []

    class Half(torch.nn.Linear):
        """A layer of another class, such as a quantised one."""

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            calls.append("replaced")
            return super().forward(x) / 2

    layer = model.decoder[0].feed_forward
    plain, layer.fc2 = layer.fc2, Half(8, 8)
    layer.fc2.load_state_dict(plain.state_dict())
    model.decoder[1].cross.q.register_forward_hook(lambda *_: calls.append("hook"))
    out = model.step(torch.tensor([EOS]), model.decoder_cache(model.encode(source)))
    assert calls == ["replaced", "hook"]
    torch.testing.assert_close(out, model(source, torch.tensor([[EOS]]))[:, 0], atol=1e-5, rtol=1e-5)


@settings(max_examples=20)
@given(seed=st.integers(0, 50), lenpen=st.floats(0, 2), beam=st.integers(1, 4))
def test_score_is_the_sum_over_length_to_the_penalty(seed: int, lenpen: float, beam: int) -> None:
    model, source = network(seed), [4, 4, 8]
    (ours,) = translate(model, [source], beam=beam, lenpen=lenpen)
    assert ours.score == pytest.approx(score_of(model, source, ours.tokens, lenpen), abs=2e-4)


def with_favourite(token: int, vocab: int = 9) -> Transformer:
    """A network that wants to say ``token`` and nothing else."""
    model = network(0, share="none")
    assert model.output is not None
    model.output.weight.zero_()
    model.decoder[-1].feed_forward_norm.weight.zero_()
    model.decoder[-1].feed_forward_norm.bias.fill_(1.0)
    model.output.weight[token] = 1.0
    return model


def test_padding_is_never_decoded_and_the_unknown_word_may_be() -> None:
    (ours,) = translate(with_favourite(PAD), [[4, 5]], beam=3)
    assert PAD not in ours.tokens
    (ours,) = translate(with_favourite(UNK), [[4, 5]], beam=3, lenpen=0.0)
    assert set(ours.tokens) == {UNK}


def test_translations_keep_the_limits_of_length() -> None:
    (ours,) = translate(with_favourite(4), [[4, 5, 6]], beam=2, max_len_a=1.5, max_len_b=2)
    assert len(ours.tokens) == 1.5 * 4 + 2
    short, long = translate(with_favourite(4), [[4], [4] * 9], beam=2, max_len_a=1.0, max_len_b=0)
    assert (len(short.tokens), len(long.tokens)) == (2, 10)
    (ours,) = translate(with_favourite(EOS), [[4]], beam=2, min_len=3)
    assert len(ours.tokens) >= 3
    (ours,) = translate(with_favourite(EOS), [[4]], beam=2)
    assert len(ours.tokens) == 1  # as fairseq: never nothing
    (ours,) = translate(with_favourite(4), [[4]], beam=2, max_len_b=1000)
    assert len(ours.tokens) == 63  # as many positions as the network knows


def test_no_sources_and_an_empty_source() -> None:
    assert translate(network(0), []) == []
    assert len(translate(network(0), [[]])) == 1


def test_impossible_arguments_of_decoding_are_refused() -> None:
    for wrong in ({"beam": 0}, {"batch_tokens": 0}, {"min_len": -1}):
        with pytest.raises(ValueError, match="must be at least"):
            translate(network(0), [[4]], **wrong)
    with pytest.raises(ValueError, match="at most 64"):
        translate(network(0), [[4] * 64])


def test_training_mode_is_left_for_the_search_and_taken_up_again() -> None:
    model = network(3)
    for layer in model.decoder:
        layer.dropout = 0.5
    quiet = translate(model, [[4, 5]])
    model.train()
    assert translate(model, [[4, 5]]) == quiet
    assert model.training


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("often", [1, 4])
def test_a_model_without_numbers_is_refused(bad: float, often: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(decode.CHECK_EVERY, "cpu", often)
    model = network(0)
    model.decoder[1].feed_forward.fc2.bias[0] = bad
    with pytest.raises(NonFiniteError, match="not finite"):
        translate(model, [[4, 5], [6]])


def test_forced_steps_is_encoder_and_decoder_without_search() -> None:
    model = network(2)
    source = torch.tensor([[4, 5, 6, EOS]])
    out = forced_steps(model, source, 5, 3, token=7)
    assert out.shape == (3, 9)
    whole = model(source, torch.full((1, 5), 7))
    torch.testing.assert_close(out, whole[:, -1].expand(3, -1), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("device", ["cpu", CUDA])
def test_bfloat16_and_other_devices(device: str) -> None:
    sources = [[4, 5, 6], [7], [8, 8, 3, 4, 4]]
    model = network(5)
    here = translate(model, sources, beam=3)
    model.to(device)
    there = translate(model, sources, beam=3)
    for one, two in zip(here, there, strict=True):
        same(one, two)
    assert len(translate(model.bfloat16(), sources, beam=3)) == 3
