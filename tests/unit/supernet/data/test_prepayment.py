"""A batch is paid for by itself alone: its copies begin without prepaid passes."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch

from supernet.data.images import ImageBatch
from supernet.data.masked_text import MaskedBatch
from supernet.data.plain_batches import TensorBatch
from supernet.data.prepayment import Prepayment
from supernet.data.sentence_pairs import PackedPairs, PairBatch
from supernet.packing import Packed

X = torch.arange(4)
LAYOUT = Packed(*[X] * (len(dataclasses.fields(Packed)) - 1), longest=(4, 4))
BATCHES = {
    ImageBatch: lambda: ImageBatch(X[:, None, None, None].float(), X, 4),
    MaskedBatch: lambda: MaskedBatch(X[None], X, X),
    TensorBatch: lambda: TensorBatch((X,), X),
    PairBatch: lambda: PairBatch(X[None], X[None], X[None], X, X, 4),
    PackedPairs: lambda: PackedPairs(X, X, LAYOUT, X, 4),
}
COPIES: dict[str, Callable[[Any], Any]] = {
    "replace": dataclasses.replace,
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "pickle": lambda batch: pickle.loads(pickle.dumps(batch)),
    "with_tensors": lambda batch: batch.with_tensors(batch.tensors) if batch.tensors else copy.copy(batch),
    "at": lambda batch: batch.at(batch) if batch.tensors else copy.copy(batch),
}


def test_all_batches_of_the_library_are_listed():
    assert set(BATCHES) == set(Prepayment.__subclasses__())


@pytest.mark.parametrize("kind", BATCHES, ids=lambda kind: kind.__name__)
def test_a_batch_begins_unpaid(kind: type):
    batch = BATCHES[kind]()
    assert (batch.prepaid, batch.passes) == (0, 0)


@pytest.mark.parametrize("way", COPIES)
@pytest.mark.parametrize("kind", BATCHES, ids=lambda kind: kind.__name__)
def test_a_copy_of_a_paid_batch_is_unpaid(kind: type, way: str):
    batch = BATCHES[kind]()
    batch.prepaid, batch.passes = 3, 1
    other = COPIES[way](batch)
    assert (other.prepaid, other.passes) == (0, 0) and torch.equal(other.labels, batch.labels)
    assert other.tokens == batch.tokens
    assert (batch.prepaid, batch.passes) == (3, 1)
