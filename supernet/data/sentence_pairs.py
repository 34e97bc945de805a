"""Token-bucketed batches of sentence pairs in an order fixed by the seed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

PAD, EOS = 1, 2
CHUNK = 256
"""Batches that are padded and copied to the device together."""


@dataclass
class PairBatch:
    """One padded batch of ``B`` pairs.

    ``source`` ``[B, S]``, ``target_in`` and ``target_out`` ``[B, T]`` are int64 token ids padded on the
    right. ``real`` ``[N]`` are the indices into ``B * T`` without padding, ``labels`` ``[N]`` the entries of
    ``target_out`` there. ``tokens`` is N: the target tokens, end of sentence included. ``prepaid`` passes
    were charged when the batch was drawn; ``passes`` counts those made.
    """

    source: Tensor
    target_in: Tensor
    target_out: Tensor
    real: Tensor
    labels: Tensor
    tokens: int
    prepaid: float = 1
    passes: float = 0

    @property
    def inputs(self) -> tuple[Tensor, Tensor, Tensor]:
        """Arguments of the network."""
        return self.source, self.target_in, self.real

    @property
    def tensors(self) -> None:
        """None, since shapes differ from batch to batch."""


class PairData:
    """Sentence pairs as flat arrays of token ids, without special tokens.

    Args:
        sources, targets: one integer array a sentence.

    Raises:
        ValueError: the two sides differ in length, or there is nothing.
    """

    def __init__(self, sources: Sequence[np.ndarray], targets: Sequence[np.ndarray]) -> None:
        if len(sources) != len(targets) or not len(sources):
            raise ValueError(
                f"{len(sources)} source and {len(targets)} target sentences: need as many, at least one"
            )
        self.source, self.source_start, self.source_length = flatten(sources)
        self.target, self.target_start, self.target_length = flatten(targets)

    def __len__(self) -> int:
        return len(self.source_length)

    @property
    def target_tokens(self) -> int:
        """Target tokens of one epoch, end of sentence included."""
        return int(self.target_length.sum()) + len(self)

    def plan(self, max_tokens: int, generator: np.random.Generator | None) -> list[np.ndarray]:
        """Return batches as arrays of sentence numbers, shortest first: ``B * max(S, T) <= max_tokens``.

        With a generator, sentences of equal length are shuffled anew each time. A pair longer than
        ``max_tokens`` is left out.
        """
        longest = np.maximum(self.source_length, self.target_length) + 1
        tie = np.arange(len(self)) if generator is None else generator.permutation(len(self))
        order = np.lexsort((tie, self.source_length, longest))
        order = order[longest[order] <= max_tokens]
        batches, start = [], 0
        # Sorted by length, so the last sentence of a batch is its longest.
        sizes = longest[order]
        while start < len(order):
            room = sizes[start : start + max_tokens // int(sizes[start])]
            fits = np.flatnonzero(room * np.arange(1, len(room) + 1) <= max_tokens)
            end = start + int(fits[-1]) + 1
            batches.append(order[start:end])
            start = end
        return batches

    def collate(
        self, groups: Sequence[np.ndarray], device: torch.device | str, multiple: int
    ) -> list[PairBatch]:
        """Pad groups of sentence numbers and move them to ``device`` in one transfer."""
        blocks: list[np.ndarray] = []
        shapes: list[tuple[int, int, int, int]] = []
        for rows in groups:
            s = round_up(int(self.source_length[rows].max()) + 1, multiple)
            t = round_up(int(self.target_length[rows].max()) + 1, multiple)
            source = fill(self.source, self.source_start[rows], self.source_length[rows], s, 0, EOS)
            out = fill(self.target, self.target_start[rows], self.target_length[rows], t, 0, EOS)
            into = fill(self.target, self.target_start[rows], self.target_length[rows], t, 1, None)
            into[:, 0] = EOS
            real = np.flatnonzero(out != PAD)
            blocks += [source.ravel(), into.ravel(), out.ravel(), real, out.ravel()[real]]
            shapes.append((len(rows), s, t, len(real)))
        flat = torch.from_numpy(np.concatenate(blocks))
        if torch.device(device).type == "cuda":
            flat = flat.pin_memory()
        flat = flat.to(device, non_blocking=True)
        batches, at = [], 0
        for b, s, t, n in shapes:
            sizes = [b * s, b * t, b * t, n, n]
            source, into, out, real, labels = flat[at : at + sum(sizes)].split(sizes)
            batches.append(PairBatch(source.view(b, s), into.view(b, t), out.view(b, t), real, labels, n))
            at += sum(sizes)
        return batches


class TokenBatches:
    """An endless stream of training batches; batch ``i`` depends on the seed and ``i`` alone.

    Args:
        data: the pairs.
        max_tokens: padded tokens of the longer side of a batch.
        seed: of composition and order.
        rank, world: of a distributed run; ranks get different batches of the same epoch.
        multiple: lengths are padded to a multiple of this (8 suits tensor cores).
    """

    def __init__(
        self,
        data: PairData,
        max_tokens: int,
        seed: int,
        *,
        device: torch.device | str = "cpu",
        rank: int = 0,
        world: int = 1,
        multiple: int = 1,
    ) -> None:
        self.data, self.max_tokens, self.seed = data, max_tokens, seed
        self.device, self.rank, self.world, self.multiple = device, rank, world, multiple
        self.epoch, self.position = 0, 0

    def __iter__(self) -> Iterator[PairBatch]:
        while True:
            mine = self.order(self.epoch)
            while self.position < len(mine):
                start = self.position - self.position % CHUNK
                for batch in self.data.collate(mine[start : start + CHUNK], self.device, self.multiple)[
                    self.position - start :
                ]:
                    self.position += 1
                    yield batch
            self.epoch, self.position = self.epoch + 1, 0

    def order(self, epoch: int) -> list[np.ndarray]:
        """Return the batches of one epoch for this rank; every rank gets the same number."""
        generator = np.random.default_rng([self.seed, epoch])
        batches = self.data.plan(self.max_tokens, generator)
        shuffled = [batches[i] for i in generator.permutation(len(batches))]
        count = len(shuffled) // self.world
        if not count:
            raise ValueError(
                f"{len(self.data)} pairs make {len(shuffled)} batches of {self.max_tokens} tokens, "
                f"too few for {self.world} ranks: lower batch_tokens"
            )
        return shuffled[self.rank : count * self.world : self.world]

    def state(self) -> dict[str, int]:
        """Return the position of the stream."""
        return {"epoch": self.epoch, "position": self.position}

    def restore(self, state: dict[str, int]) -> None:
        """Continue from a ``state``."""
        self.epoch, self.position = int(state["epoch"]), int(state["position"])


def validation_batches(
    data: PairData, max_tokens: int, *, device: torch.device | str = "cpu", multiple: int = 1
) -> list[PairBatch]:
    """Return all pairs once, shortest first."""
    return data.collate(data.plan(max_tokens, None), device, multiple)


def flatten(sentences: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Concatenate sentences; return them with the start and length of each."""
    length = np.array([len(s) for s in sentences], dtype=np.int64)
    return np.concatenate(sentences).astype(np.int64), np.cumsum(length) - length, length


def fill(
    flat: np.ndarray, start: np.ndarray, length: np.ndarray, width: int, shift: int, end: int | None
) -> np.ndarray:
    """Return ragged rows of ``flat`` as ``[B, width]``, shifted right, closed by ``end``, padded."""
    out = np.full((len(start), width), PAD, dtype=np.int64)
    columns = np.arange(width)
    inside = (columns >= shift) & (columns < length[:, None] + shift)
    out[inside] = flat[(start[:, None] + columns - shift)[inside]]
    if end is not None:
        out[np.arange(len(start)), length + shift] = end
    return out


def round_up(n: int, multiple: int) -> int:
    """Round ``n`` up to a multiple of ``multiple``."""
    return -(-n // multiple) * multiple
