"""Packed text for masked language modelling: dynamic masks in training, fixed ones in evaluation."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import torch
from torch import Tensor

from supernet.bert import CLS, MASK, SEP
from supernet.data.prepayment import Prepayment

SPECIAL = 5
"""Number of special tokens; ids below it are never masked and never replace another token."""
SHARE, TO_MASK, TO_RANDOM = 0.15, 0.8, 0.1
"""BERT's masking (Devlin et al. 2019, section 3.1): share of predicted tokens of a row; of these, the shares
shown as ``[MASK]`` and as a random token. The rest is shown unchanged."""


@dataclass
class MaskedBatch(Prepayment):
    """``B`` rows of packed text with the predicted places masked.

    ``shown`` ``[B, T]`` is the input; ``places`` ``[N]`` are the predicted indices into ``B * T``, in order,
    and ``labels`` ``[N]`` their original tokens. ``tokens`` is ``B * T``, since all of them pass through the
    network.
    """

    shown: Tensor
    places: Tensor
    labels: Tensor

    @property
    def tokens(self) -> int:
        """Number of input tokens, by which training is charged."""
        return self.shown.numel()

    @property
    def original(self) -> Tensor:
        """Rows before masking ``[B, T]``."""
        return self.shown.flatten().index_copy(0, self.places, self.labels).view_as(self.shown)

    @property
    def inputs(self) -> tuple[Tensor, Tensor]:
        """Arguments of the network."""
        return self.shown, self.places

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """Tensors of the same shapes in every batch."""
        return self.shown, self.places, self.labels

    def with_tensors(self, tensors: Sequence[Tensor]) -> Self:
        """Return this batch with other ``tensors``."""
        return replace(self, shown=tensors[0], places=tensors[1], labels=tensors[2])

    def at(self, home: Self) -> Self:
        """Return this batch, given that ``home`` holds its tensors."""
        return replace(self, shown=home.shown, places=home.places, labels=home.labels)


class PackedText:
    """Documents end to end, each closed by ``[SEP]``, cut into rows that begin with ``[CLS]``.

    Args:
        documents: token ids without special tokens.
        length: tokens of a row, ``[CLS]`` included. The incomplete last row is left out.
        vocab: size of the vocabulary.

    Raises:
        ValueError: there is less text than one row.
    """

    def __init__(self, documents: Sequence[np.ndarray], length: int, vocab: int) -> None:
        text = np.concatenate([np.append(document, SEP) for document in documents] or [np.empty(0)])
        count = len(text) // (length - 1)
        if not count:
            raise ValueError(f"{len(text)} tokens of text do not fill one row of {length}")
        rows = np.full((count, length), CLS, dtype=np.int32)
        rows[:, 1:] = text[: count * (length - 1)].reshape(count, length - 1)
        self.rows, self.vocab = torch.from_numpy(rows), vocab

    def __len__(self) -> int:
        return len(self.rows)

    def first(self, count: int) -> PackedText:
        """Return the first ``count`` rows."""
        some = copy.copy(self)
        some.rows = self.rows[:count]
        return some


def masked(rows: Tensor, vocab: int, generator: torch.Generator) -> MaskedBatch:
    """Mask ``SHARE`` of the tokens of each row ``[B, T]``, special ones excepted.

    Every row has the same number of predicted places, so that shapes repeat. ``generator`` is on the rows'
    device.
    """
    rows = rows.long()
    b, t = rows.shape
    device = rows.device
    order = torch.rand(b, t, generator=generator, device=device)
    order = order.masked_fill_(rows < SPECIAL, 2.0)
    count = max(1, round(SHARE * t))
    columns = order.topk(count, dim=1, largest=False).indices.sort(dim=1).values
    places = (columns + torch.arange(b, device=device)[:, None] * t).flatten()
    labels = rows.flatten()[places]
    chance = torch.rand(places.shape, generator=generator, device=device)
    others = torch.randint(SPECIAL, vocab, places.shape, generator=generator, device=device)
    put = torch.where(chance < TO_MASK, MASK, torch.where(chance < TO_MASK + TO_RANDOM, others, labels))
    shown = rows.flatten().index_copy(0, places, put).view(b, t)
    return MaskedBatch(shown, places, labels)


class MaskedBatches:
    """An endless stream of training batches; batch ``i`` depends on the seed and ``i`` alone.

    Args:
        text: rows, copied to the device once.
        max_tokens: of a batch.
        seed: of order and masks.
        rank, world: of a distributed run; ranks get different batches of the same epoch.
    """

    def __init__(
        self,
        text: PackedText,
        max_tokens: int,
        seed: int,
        *,
        device: torch.device | str = "cpu",
        rank: int = 0,
        world: int = 1,
    ) -> None:
        self.rows = text.rows.to(device)
        self.size = max_tokens // self.rows.shape[1]
        self.vocab, self.seed, self.rank, self.world = text.vocab, seed, rank, world
        self.generator = torch.Generator(self.rows.device)
        self.epoch, self.position = 0, 0
        self.count = len(self.rows) // max(self.size, 1) // world
        if not self.size or not self.count:
            raise ValueError(
                f"{len(self.rows)} rows of {self.rows.shape[1]} tokens make no batch of {max_tokens} tokens"
                f" for each of {world} ranks: change batch_tokens"
            )

    def __iter__(self) -> Iterator[MaskedBatch]:
        while True:
            order = torch.from_numpy(
                np.random.default_rng([self.seed, self.epoch]).permutation(len(self.rows))
            )
            order = order.to(self.rows.device)
            while self.position < self.count:
                at = self.position * self.world + self.rank
                mixed = np.random.SeedSequence([self.seed, self.epoch, at]).generate_state(1, np.uint64)
                self.generator.manual_seed(int(mixed[0]) >> 1)
                picked = order[at * self.size : (at + 1) * self.size]
                self.position += 1
                yield masked(self.rows[picked], self.vocab, self.generator)
            self.epoch, self.position = self.epoch + 1, 0

    def state(self) -> dict[str, int]:
        """Return the position of the stream."""
        return {"epoch": self.epoch, "position": self.position}

    def restore(self, state: dict[str, int]) -> None:
        """Continue from a ``state``."""
        self.epoch, self.position = int(state["epoch"]), int(state["position"])


def evaluation_batches(
    text: PackedText, max_tokens: int, seed: int, *, device: torch.device | str = "cpu"
) -> list[MaskedBatch]:
    """Return all rows once; the masks depend on the seed alone, and are the same on every device."""
    size = max(1, max_tokens // text.rows.shape[1])
    everything = masked(text.rows, text.vocab, torch.Generator().manual_seed(seed))
    each = len(everything.labels) // len(text)
    t = text.rows.shape[1]
    batches = []
    for start in range(0, len(text), size):
        end = min(start + size, len(text))
        part = slice(start * each, end * each)
        batches.append(
            MaskedBatch(
                everything.shown[start:end].to(device),
                (everything.places[part] - start * t).to(device),
                everything.labels[part].to(device),
            )
        )
    return batches
