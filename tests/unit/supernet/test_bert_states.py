"""Rank of states against its two extremes, and the loss of word frequencies against a sum by hand."""

from __future__ import annotations

import math

import pytest
import torch

from supernet.bert_states import effective_rank, unigram_loss


def test_the_rank_is_one_along_a_line_and_the_width_where_all_directions_are_alike() -> None:
    line = torch.arange(1.0, 13).view(3, 4, 1) * torch.tensor([1.0, -2.0, 0.5])
    assert effective_rank(line) == pytest.approx(1, abs=1e-3)
    assert effective_rank(torch.eye(8).repeat(5, 1)) == pytest.approx(8)
    assert effective_rank(3 * torch.eye(8)[:4].repeat(2, 1)) == pytest.approx(4)


def test_rank_is_the_exponential_of_the_entropy_of_singular_values() -> None:
    states = torch.randn(7, 9, 5, generator=torch.Generator().manual_seed(0))
    values = torch.linalg.svdvals(states.view(63, 5).double())
    shares = values / values.sum()
    assert effective_rank(states) == pytest.approx(float((-(shares * shares.log()).sum()).exp()))


def test_the_loss_of_word_frequencies_counts_every_piece_once_more() -> None:
    train, held_out = torch.tensor([[0, 0, 1]]), torch.tensor([0, 2])
    expected = -(math.log(3 / 7) + math.log(1 / 7)) / 2  # counts 3, 2, 1, 1 of 7
    assert unigram_loss(train, held_out, 4) == pytest.approx(expected)
