"""Batches of sentence pairs in an order fixed by the seed: padded ones by length, or packed ones."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import torch
from torch import Tensor

from supernet.allocator import to_device
from supernet.data.prepayment import Prepayment
from supernet.packing import Packed

PAD, EOS = 1, 2
CHUNK = 256
"""Batches that are padded and copied to the device together."""
PACKED_CHUNK = 2**20
"""Tokens a side that are packed and copied to the device together."""
MARGIN = 1.05
"""Room of packed batches over their mean: for sentences, and for tokens of the side with fewer."""


@dataclass
class PairBatch(Prepayment):
    """One padded batch of ``B`` pairs.

    ``source`` ``[B, S]``, ``target_in`` and ``target_out`` ``[B, T]`` are int64 token ids padded on the
    right. ``real`` ``[N]`` are the indices into ``B * T`` without padding, ``labels`` ``[N]`` the entries of
    ``target_out`` there. ``tokens`` is N: the target tokens, end of sentence included.
    """

    source: Tensor
    target_in: Tensor
    target_out: Tensor
    real: Tensor
    labels: Tensor
    tokens: int

    @property
    def inputs(self) -> tuple[Tensor, Tensor, Tensor]:
        """Arguments of the network."""
        return self.source, self.target_in, self.real

    @property
    def tensors(self) -> None:
        """None, since shapes differ from batch to batch."""

    def padded(self) -> PairBatch:
        """Return this batch."""
        return self

    def sentences(self) -> tuple[list[list[int]], list[list[int]]]:
        """Return sources and targets, without special tokens."""
        sides = []
        for rows in (self.source, self.target_out):
            lengths = (rows != PAD).sum(1).tolist()
            sides.append([row[: n - 1] for row, n in zip(rows.tolist(), lengths, strict=True)])
        return sides[0], sides[1]


@dataclass
class PackedPairs(Prepayment):
    """One batch of pairs laid end to end, of the same shapes as all batches of its stream.

    ``source`` ``[S]`` and ``target_in`` ``[T]`` are int64 token ids; after the last pair, padding fills up.
    ``labels`` ``[N]`` are the targets of the first N positions. ``tokens`` is N.
    """

    source: Tensor
    target_in: Tensor
    layout: Packed
    labels: Tensor
    tokens: int

    @property
    def inputs(self) -> tuple[Tensor, Tensor, int, Packed]:
        """Arguments of the network."""
        return self.source, self.target_in, self.tokens, self.layout

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """Tensors of the same shapes in every batch."""
        return self.source, self.target_in, *self.layout.tensors

    def padded(self) -> PairBatch:
        """Return the same pairs as padded rows, for those who look at one sentence at a time."""
        sides = ([np.asarray(ids, np.int64) for ids in side] for side in self.sentences())
        data = PairData(*sides)
        return data.collate([np.arange(len(data))], self.source.device)[0]

    def sentences(self) -> tuple[list[list[int]], list[list[int]]]:
        """Return sources and targets, without special tokens."""
        rows = int((self.labels == EOS).sum())
        sides = []
        for tokens, ends in ((self.source, self.layout.source_ends), (self.labels, self.layout.target_ends)):
            flat, bounds = tokens.tolist(), ends[: rows + 1].tolist()
            sides.append([flat[a : b - 1] for a, b in zip(bounds, bounds[1:], strict=False)])
        return sides[0], sides[1]

    def with_tensors(self, tensors: Sequence[Tensor]) -> Self:
        """Return this batch with other ``tensors``."""
        layout = Packed(*tensors[2:], longest=self.layout.longest)
        return replace(self, source=tensors[0], target_in=tensors[1], layout=layout)

    def at(self, home: Self) -> Self:
        """Return this batch, given that ``home`` holds its tensors."""
        return replace(self, source=home.source, target_in=home.target_in, layout=home.layout)


AnyPairs = PairBatch | PackedPairs


@dataclass(frozen=True)
class Capacity:
    """Shape of packed batches.

    ``room``: source and target tokens of pairs; ``size``: the same with at least one token for each of
    ``fillers`` sentences of padding, which fill up what is left. ``sentences``: room for pairs. ``longest``:
    bounds of the lengths of source and target sentences.
    """

    room: tuple[int, int]
    size: tuple[int, int]
    sentences: int
    fillers: int
    longest: tuple[int, int]


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

    def capacity(self, max_tokens: int) -> Capacity:
        """Return the shape of batches of ``max_tokens`` tokens of the side that is longer on average."""
        sides = [lengths + 1 for lengths in (self.source_length, self.target_length)]
        fit = np.maximum(*sides) <= max_tokens
        if not fit.any():
            raise ValueError(f"no pair fits into {max_tokens} tokens: raise batch_tokens")
        means = [float(side[fit].mean()) for side in sides]
        longest = [round_up(int(side[fit].max()), 8) for side in sides]
        room = [
            min(max_tokens, max(int(MARGIN * max_tokens * mean / max(means)), top))
            for mean, top in zip(means, longest, strict=True)
        ]
        sentences = int(MARGIN * max_tokens / max(means)) + 1
        fillers = max(-(-n // (top - 1)) for n, top in zip(room, longest, strict=True))
        size = [round_up(n + fillers, 32) for n in room]
        return Capacity((room[0], room[1]), (size[0], size[1]), sentences, fillers, (longest[0], longest[1]))

    def plan_packed(self, capacity: Capacity, generator: np.random.Generator | None) -> list[np.ndarray]:
        """Return batches as arrays of sentence numbers that fill ``capacity`` in random order.

        Without a generator, sentences stay in order. A pair that no batch has room for is left out.
        """
        order = np.arange(len(self)) if generator is None else generator.permutation(len(self))
        s, t = self.source_length + 1, self.target_length + 1
        order = order[(s[order] <= capacity.room[0]) & (t[order] <= capacity.room[1])]
        ends = [np.concatenate([[0], np.cumsum(side[order])]) for side in (s, t)]
        batches, start = [], 0
        while start < len(order):
            end = min(
                start + capacity.sentences,
                int(np.searchsorted(ends[0], ends[0][start] + capacity.room[0], "right")) - 1,
                int(np.searchsorted(ends[1], ends[1][start] + capacity.room[1], "right")) - 1,
            )
            batches.append(order[start:end])
            start = end
        return batches

    def pack(
        self, groups: Sequence[np.ndarray], capacity: Capacity, device: torch.device | str
    ) -> list[PackedPairs]:
        """Lay groups of sentence numbers end to end and move them to ``device`` in one transfer."""
        source = pack_side(self.source, self.source_start, self.source_length, groups, capacity, 0)
        target = pack_side(self.target, self.target_start, self.target_length, groups, capacity, 1)
        counts = [int(self.target_length[rows].sum()) + len(rows) for rows in groups]
        arrays = [source.tokens, target.shifted, target.tokens, source.at, source.span, target.at]
        on_device = [to_device(torch.from_numpy(x), device) for x in (*arrays, source.ends, target.ends)]
        ids, into, out, at, span, target_at, source_ends, target_ends = on_device
        places = torch.arange(capacity.size[0], device=ids.device) - at
        memory = [torch.stack([m * places + j * span + at for j in range(m)], dim=1) for m in (2, 3)]
        return [
            PackedPairs(
                ids[i],
                into[i],
                Packed(
                    source_ends[i], target_ends[i], at[i], target_at[i], memory[0][i], memory[1][i],
                    capacity.longest,
                ),
                out[i, :n],
                n,
            )
            for i, n in enumerate(counts)
        ]  # fmt: skip

    def collate(self, groups: Sequence[np.ndarray], device: torch.device | str) -> list[PairBatch]:
        """Pad groups of sentence numbers and move them to ``device`` in one transfer."""
        blocks: list[np.ndarray] = []
        shapes: list[tuple[int, int, int, int]] = []
        for rows in groups:
            s = int(self.source_length[rows].max()) + 1
            t = int(self.target_length[rows].max()) + 1
            source = fill(self.source, self.source_start[rows], self.source_length[rows], s, 0, EOS)
            out = fill(self.target, self.target_start[rows], self.target_length[rows], t, 0, EOS)
            into = fill(self.target, self.target_start[rows], self.target_length[rows], t, 1, None)
            into[:, 0] = EOS
            real = np.flatnonzero(out != PAD)
            blocks += [source.ravel(), into.ravel(), out.ravel(), real, out.ravel()[real]]
            shapes.append((len(rows), s, t, len(real)))
        flat = to_device(torch.from_numpy(np.concatenate(blocks)), device)
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
        max_tokens: tokens of the longer side of a batch, padding included.
        seed: of composition and order.
        rank, world: of a distributed run; ranks get different batches of the same epoch.
        packed: batches of random sentences end to end, all of the same shapes, in place of padded rows of
            sentences of like length.
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
        packed: bool = False,
    ) -> None:
        self.data, self.max_tokens, self.seed = data, max_tokens, seed
        self.device, self.rank, self.world = device, rank, world
        self.capacity = data.capacity(max_tokens) if packed else None
        self.chunk = max(1, PACKED_CHUNK // max_tokens) if packed else CHUNK
        self.epoch, self.position = 0, 0

    def __iter__(self) -> Iterator[AnyPairs]:
        while True:
            mine = self.order(self.epoch)
            while self.position < len(mine):
                start = self.position - self.position % self.chunk
                for batch in self.make(mine[start : start + self.chunk])[self.position - start :]:
                    self.position += 1
                    yield batch
            self.epoch, self.position = self.epoch + 1, 0

    def make(self, groups: Sequence[np.ndarray]) -> Sequence[AnyPairs]:
        """Return the batches of these sentence numbers."""
        if self.capacity is None:
            return self.data.collate(groups, self.device)
        return self.data.pack(groups, self.capacity, self.device)

    def order(self, epoch: int) -> list[np.ndarray]:
        """Return the batches of one epoch for this rank; every rank gets the same number."""
        generator = np.random.default_rng([self.seed, epoch])
        if self.capacity is None:
            batches = self.data.plan(self.max_tokens, generator)
            batches = [batches[i] for i in generator.permutation(len(batches))]
        else:
            batches = self.data.plan_packed(self.capacity, generator)
        count = len(batches) // self.world
        if not count:
            raise ValueError(
                f"{len(self.data)} pairs make {len(batches)} batches of {self.max_tokens} tokens, "
                f"too few for {self.world} ranks: lower batch_tokens"
            )
        return batches[self.rank : count * self.world : self.world]

    def state(self) -> dict[str, int]:
        """Return the position of the stream."""
        return {"epoch": self.epoch, "position": self.position}

    def restore(self, state: dict[str, int]) -> None:
        """Continue from a ``state``."""
        self.epoch, self.position = int(state["epoch"]), int(state["position"])


def validation_batches(
    data: PairData, max_tokens: int, *, device: torch.device | str = "cpu"
) -> list[PairBatch]:
    """Return all pairs once, padded, shortest first."""
    return data.collate(data.plan(max_tokens, None), device)


def packed_batches(
    data: PairData, max_tokens: int, *, device: torch.device | str = "cpu"
) -> list[PackedPairs]:
    """Return all pairs once, in order, in packed batches.

    Raises:
        ValueError: a pair has more than ``max_tokens`` tokens.
    """
    capacity = data.capacity(max_tokens)
    groups = data.plan_packed(capacity, None)
    if sum(map(len, groups)) < len(data):
        raise ValueError(f"a pair has more than {max_tokens} tokens")
    return data.pack(groups, capacity, device)


@dataclass
class PackedSide:
    """One side of packed batches: int64 ``[batches, N]`` and, of ``ends``, int32 ``[batches, R + 1]``.

    ``tokens`` have the end of sentence after each, ``shifted`` before each. ``at``: positions within a
    sentence. ``span``: tokens of the sentence.
    """

    tokens: np.ndarray
    shifted: np.ndarray
    at: np.ndarray
    span: np.ndarray
    ends: np.ndarray


def pack_side(
    flat: np.ndarray,
    start: np.ndarray,
    length: np.ndarray,
    groups: Sequence[np.ndarray],
    capacity: Capacity,
    side: int,
) -> PackedSide:
    """Lay the sentences of each group end to end, then sentences of padding."""
    size = capacity.size[side]
    shape = len(groups), size
    tokens, shifted = np.full(shape, PAD), np.full(shape, PAD)
    at, span = np.empty(shape, np.int64), np.empty(shape, np.int64)
    ends = np.empty((len(groups), capacity.sentences + capacity.fillers + 1), np.int32)
    for i, rows in enumerate(groups):
        lengths = length[rows] + 1
        used = int(lengths.sum())
        # Padding too is cut into sentences, for which attention needs no more time than for real ones.
        fillers = np.diff(np.linspace(0, size - used, capacity.fillers + 1).astype(np.int64))
        lengths = np.concatenate([lengths, fillers])
        after = np.cumsum(lengths)
        ends[i, 0], ends[i, len(after) + 1 :] = 0, size
        ends[i, 1 : len(after) + 1] = after
        before = np.repeat(after - lengths, lengths)
        at[i] = np.arange(size) - before
        span[i] = np.repeat(lengths, lengths)
        real = at[i, :used] < span[i, :used] - 1
        ids = flat[np.repeat(start[rows], length[rows]) + at[i, :used][real]]
        tokens[i, :used] = EOS
        tokens[i, :used][real] = ids
        shifted[i, :used] = EOS
        shifted[i, :used][np.flatnonzero(real) + 1] = ids
    return PackedSide(tokens, shifted, at, span, ends)


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
