"""Packed batches: the same sentences, losses and gradients as padded ones."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from supernet.data.sentence_pairs import EOS, PAD, PairData, TokenBatches, packed_batches, validation_batches
from supernet.elastic import SuperNet
from supernet.objective import token_loss
from supernet.seq2seq import Seq2SeqConfig, Seq2SeqFamily
from supernet.space import get_space
from supernet.weights import SharedSlices

VOCAB = 60


def pairs(count: int, seed: int = 0, longest: int = 14) -> PairData:
    rng = np.random.default_rng(seed)
    sides = [[rng.integers(4, VOCAB, rng.integers(1, longest)) for _ in range(count)] for _ in range(2)]
    return PairData(*sides)


def sentences(data: PairData, side: str) -> list[tuple[int, ...]]:
    flat, start, length = (getattr(data, side + end) for end in ("", "_start", "_length"))
    return [tuple(flat[a : a + n]) for a, n in zip(start, length, strict=True)]


@pytest.mark.parametrize("tokens", [20, 64, 300])
def test_every_pair_is_in_one_batch_and_all_batches_have_one_shape(tokens: int) -> None:
    data = pairs(101)
    batches = packed_batches(data, tokens)
    assert len({tuple(x.shape for x in batch.tensors) for batch in batches}) == 1
    seen: list[tuple[tuple[int, ...], tuple[int, ...]]] = []
    for batch in batches:
        layout = batch.layout
        assert layout.source_ends[-1] == len(batch.source)
        assert layout.target_ends[-1] == len(batch.target_in)
        both = torch.stack([layout.source_ends.diff(), layout.target_ends.diff()])
        assert ((both > 0).all(0) | (both == 0).all(0)).all(), "attention without keys, or keys without it"
        assert layout.source_ends.diff().max() <= layout.longest[0]
        assert layout.target_ends.diff().max() <= layout.longest[1]
        assert len(batch.labels) == batch.tokens
        source_ends, target_ends = layout.source_ends.tolist(), layout.target_ends.tolist()
        for a, b, c, d in zip(source_ends, source_ends[1:], target_ends, target_ends[1:], strict=False):
            if c >= batch.tokens:
                assert (batch.source[a:b] == PAD).all() and (batch.target_in[c:d] == PAD).all()
                continue
            assert batch.source[b - 1] == batch.labels[d - 1] == batch.target_in[c] == EOS
            assert batch.target_in[c + 1 : d].equal(batch.labels[c : d - 1])
            assert layout.source_at[a:b].tolist() == list(range(b - a))
            assert layout.target_at[c:d].tolist() == list(range(d - c))
            seen.append((tuple(batch.source[a : b - 1].tolist()), tuple(batch.labels[c : d - 1].tolist())))
    assert seen == list(zip(sentences(data, "source"), sentences(data, "target"), strict=True))


def test_places_of_several_layers_bring_the_states_of_a_sentence_together() -> None:
    batch = packed_batches(pairs(12), 64)[0]
    n, ends = len(batch.source), batch.layout.source_ends.tolist()
    owner = torch.repeat_interleave(torch.arange(len(ends) - 1), batch.layout.source_ends.diff().long())
    for layers in (1, 2, 3):
        states = [
            torch.stack([owner, torch.full((n,), j), torch.arange(n)], 1).double() for j in range(layers)
        ]
        joined = batch.layout.join([s.requires_grad_() for s in states])
        assert joined[:, 0].tolist() == sorted(joined[:, 0].tolist())
        assert {tuple(row) for row in joined.tolist()} == {tuple(r) for s in states for r in s.tolist()}
        weights = torch.randn(len(joined), 3, dtype=torch.double)
        (joined * weights).sum().backward()
        for state in states:
            for row, slope in zip(state.tolist(), state.grad.tolist(), strict=True):
                assert slope == weights[joined.tolist().index(row)].tolist()


def test_a_stream_of_packed_batches_resumes_and_shares_out() -> None:
    data = pairs(200)
    stream = TokenBatches(data, 100, 3, packed=True)
    first = [batch for batch, _ in zip(stream, range(40), strict=False)]
    again = TokenBatches(data, 100, 3, packed=True)
    again.restore({"epoch": 0, "position": 7})
    assert next(iter(again)).source.equal(first[7].source)
    halves = [TokenBatches(data, 100, 3, rank=i, world=2, packed=True).order(0) for i in range(2)]
    assert len(halves[0]) == len(halves[1])
    assert not set(np.concatenate(halves[0])) & set(np.concatenate(halves[1]))
    epoch = np.concatenate(TokenBatches(data, 100, 3, packed=True).order(0))
    assert sorted(epoch) == list(range(200)) and list(epoch) != sorted(epoch)


@pytest.mark.parametrize("share", ["all", "none"])
def test_packed_equals_padded(share: str) -> None:
    """Loss and gradients of 20 random architectures, to 1e-5 of the largest gradient."""
    family = Seq2SeqFamily(get_space("multi30k-xs"), Seq2SeqConfig(VOCAB, VOCAB, share, 0.0, 0.0))
    net = SuperNet(family, SharedSlices(family, torch.Generator().manual_seed(0)))
    net.model.train()
    data, rng = pairs(25), np.random.default_rng(1)
    for _ in range(20):
        architecture = family.space.sample(rng)
        results = []
        for batches in (packed_batches(data, 200), validation_batches(data, 400)):
            net.source.flat.grad.zero_()
            model = net.activate(architecture)
            losses = [token_loss(model(*b.inputs), b.labels, 0.1) for b in batches]
            torch.stack(losses).sum().backward()
            results.append((sum(x.item() for x in losses), net.source.flat.grad.clone()))
        assert results[0][0] == pytest.approx(results[1][0], rel=1e-5)
        apart = (results[0][1] - results[1][1]).abs().max()
        assert apart < 1e-5 * results[1][1].abs().max()


def test_a_pair_that_fits_into_no_batch_is_named() -> None:
    with pytest.raises(ValueError, match="a pair has more than 10 tokens"):
        packed_batches(pairs(50), 10)
    with pytest.raises(ValueError, match="no pair fits into 1 tokens"):
        packed_batches(pairs(50), 1)


@pytest.mark.parametrize("tokens", [20, 300])
def test_batches_give_their_sentences_back(tokens: int) -> None:
    """Packed or padded, and packed ones as padded rows."""
    data = pairs(60)
    every = sorted(zip(sentences(data, "source"), sentences(data, "target"), strict=True))
    packed = packed_batches(data, tokens)
    for batches in (packed, [b.padded() for b in packed], validation_batches(data, tokens)):
        sides = [side for batch in batches for side in zip(*batch.sentences(), strict=True)]
        assert sorted((tuple(s), tuple(t)) for s, t in sides) == every
    assert all(batch.padded().tokens == batch.tokens for batch in packed)
