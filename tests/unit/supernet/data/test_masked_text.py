"""Masks: how many, which, what is shown; fixed in evaluation, exactly repeatable in training."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from supernet.bert import CLS, MASK, SEP
from supernet.data.masked_text import (
    SPECIAL,
    MaskedBatch,
    MaskedBatches,
    PackedText,
    evaluation_batches,
    masked,
)

VOCAB = 200


def text(documents: int = 30, length: int = 20, seed: int = 0) -> PackedText:
    rng = np.random.default_rng(seed)
    return PackedText(
        [rng.integers(SPECIAL, VOCAB, rng.integers(5, 60)) for _ in range(documents)], length, VOCAB
    )


def same(a: MaskedBatch, b: MaskedBatch) -> bool:
    pairs = ((a.shown, b.shown), (a.places, b.places), (a.labels, b.labels))
    return all(torch.equal(x, y) for x, y in pairs)


def test_packing_keeps_every_token_in_order_and_marks_the_documents() -> None:
    documents = [np.arange(10, 17), np.arange(30, 33), np.arange(50, 54)]
    rows = PackedText(documents, 6, VOCAB).rows
    flat = [*range(10, 17), SEP, *range(30, 33), SEP, *range(50, 54), SEP]
    assert rows[:, 0].tolist() == [CLS] * 3
    assert rows[:, 1:].flatten().tolist() == flat[:15]


def test_less_text_than_a_row_is_refused() -> None:
    with pytest.raises(ValueError, match="do not fill one row of 6"):
        PackedText([np.arange(10, 13)], 6, VOCAB)


@settings(max_examples=30)
@given(st.integers(0, 2**32 - 1), st.integers(8, 64))
def test_masks_are_at_their_positions_and_spare_special_tokens(seed: int, length: int) -> None:
    rows = text(length=length).rows
    batch = masked(rows, VOCAB, torch.Generator().manual_seed(seed))
    assert batch.tokens == rows.numel()
    assert torch.equal(rows.flatten()[batch.places].long(), batch.labels)
    assert (batch.labels >= SPECIAL).all()
    assert len(batch.labels) == len(rows) * max(1, round(0.15 * length))
    assert (batch.places.diff() > 0).all()
    elsewhere = torch.ones(rows.numel(), dtype=torch.bool)
    elsewhere[batch.places] = False
    assert torch.equal(batch.shown.flatten()[elsewhere], rows.flatten()[elsewhere].long())


def test_eight_tenths_are_masked_one_replaced_one_kept() -> None:
    batch = masked(text(3000, 40).rows, VOCAB, torch.Generator().manual_seed(1))
    put = batch.shown.flatten()[batch.places]
    hidden = (put == MASK).double().mean().item()
    kept = (put == batch.labels).double().mean().item()
    assert len(put) > 10_000
    assert hidden == pytest.approx(0.8, abs=0.02)
    assert kept == pytest.approx(0.1 + 0.1 / (VOCAB - SPECIAL), abs=0.015)


def test_every_place_is_as_likely() -> None:
    rows = torch.full((20_000, 20), 7, dtype=torch.int32)
    counts = torch.bincount(
        masked(rows, VOCAB, torch.Generator().manual_seed(2)).places % 20, minlength=20
    ).double()
    expected = 20_000 * 3 / 20
    assert ((counts - expected).abs() < 5 * expected**0.5).all()


def test_a_resumed_stream_goes_on_as_an_uninterrupted_one() -> None:
    def stream() -> MaskedBatches:
        return MaskedBatches(text(), 100, 5)

    whole = [batch for batch, _ in zip(stream(), range(25), strict=False)]
    first = stream()
    for _ in zip(first, range(11), strict=False):
        pass
    again = stream()
    again.restore(first.state())
    # `zip` drew one more than it gave.
    rest = [batch for batch, _ in zip(again, range(25 - first_drawn(first)), strict=False)]
    assert len(whole) > first.count, "it must pass the end of an epoch"
    assert all(same(a, b) for a, b in zip(whole[first_drawn(first) :], rest, strict=True))


def first_drawn(stream: MaskedBatches) -> int:
    return stream.epoch * stream.count + stream.position


def test_masks_change_from_epoch_to_epoch_and_with_the_seed() -> None:
    stream = MaskedBatches(text(), 100, 5)
    batches = [batch for batch, _ in zip(stream, range(2 * stream.count), strict=False)]
    assert not any(same(a, b) for a, b in zip(batches, batches[stream.count :], strict=False))
    other = next(iter(MaskedBatches(text(), 100, 6)))
    assert not same(batches[0], other)


def test_ranks_share_an_epoch_without_overlap() -> None:
    rows = PackedText([np.arange(SPECIAL, VOCAB)], 6, VOCAB)
    seen = []
    for rank in range(2):
        stream = MaskedBatches(rows, 12, 3, rank=rank, world=2)
        for batch, _ in zip(stream, range(stream.count), strict=False):
            original = batch.shown.flatten().clone()
            original[batch.places] = batch.labels
            seen += original.view(-1, 6)[:, 1].tolist()
    assert len(seen) == len(set(seen)) > 10


def test_evaluation_masks_do_not_depend_on_the_batches() -> None:
    whole = evaluation_batches(text(), 10**6, 9)
    parts = evaluation_batches(text(), 60, 9)
    assert len(whole) == 1 < len(parts)
    assert torch.equal(torch.cat([b.shown for b in parts]), whole[0].shown)
    assert torch.equal(torch.cat([b.labels for b in parts]), whole[0].labels)
    for batch in parts:
        assert int(batch.places.max()) < batch.tokens


def test_a_batch_that_no_row_fits_in_is_refused() -> None:
    with pytest.raises(ValueError, match="change batch_tokens"):
        MaskedBatches(text(), 10, 0)
