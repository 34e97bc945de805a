"""Layouts of sentence pairs: padded rows ``[B, T, d]``, or packed ones, end to end, ``[N, d]``.

A network computes row by row except where it attends and where it adds positions. Those operations are here,
once for each layout; packing saves the padding and gives every batch the same shapes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from supernet.layers import attend, split_heads


@dataclass(frozen=True, eq=False)
class Padded:
    """Layout of pairs padded on the right.

    ``bias``: additive mask ``[B, 1, 1, S]`` of the source, 0 or minus infinity.
    """

    bias: Tensor

    def within_source(self, q: Tensor, k: Tensor, v: Tensor, heads: int, p: float) -> Tensor:
        """Attend from source to source: ``[B, S, H * h]`` in and out."""
        return attend(split_heads(q, heads), split_heads(k, heads), split_heads(v, heads), self.bias, p)

    def within_target(self, q: Tensor, k: Tensor, v: Tensor, heads: int, p: float) -> Tensor:
        """Attend from each target position to itself and those before it: ``[B, T, H * h]``."""
        # Targets are padded on the right, so the causal mask alone keeps real tokens off padding.
        return attend(split_heads(q, heads), split_heads(k, heads), split_heads(v, heads), None, p, True)

    def across(self, q: Tensor, k: Tensor, v: Tensor, heads: int, p: float, layers: int) -> Tensor:
        """Attend from target to the states of ``layers`` encoder layers that ``join`` returned."""
        k, v = split_heads(k, heads), split_heads(v, heads)
        return attend(split_heads(q, heads), k, v, self.bias_over(layers), p)

    def bias_over(self, layers: int) -> Tensor:
        """Return the mask over ``layers`` encoder layers, concatenated over time."""
        return self.bias if layers == 1 else self.bias.repeat(1, 1, 1, layers)

    def join(self, states: Sequence[Tensor]) -> Tensor:
        """Return the states of some encoder layers, concatenated over time: ``[B, layers * S, d]``."""
        return states[0] if len(states) == 1 else torch.cat(list(states), dim=1)


@dataclass(frozen=True, eq=False)
class Packed:
    """Layout of pairs laid end to end, without padding.

    ``source_ends``, ``target_ends`` ``[R + 1]`` int32: 0, then the end of every sentence; unused sentences
    are empty. ``source_at`` ``[S]``, ``target_at`` ``[T]``: positions within a sentence. ``memory2``
    ``[2, S]``, ``memory3`` ``[3, S]``: places of the states of two and three encoder layers, sentence by
    sentence. ``longest``: bounds of the sentences' lengths.
    """

    source_ends: Tensor
    target_ends: Tensor
    source_at: Tensor
    target_at: Tensor
    memory2: Tensor
    memory3: Tensor
    longest: tuple[int, int]

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """All tensors, in the order of the fields."""
        return (
            self.source_ends,
            self.target_ends,
            self.source_at,
            self.target_at,
            self.memory2,
            self.memory3,
        )

    def within_source(self, q: Tensor, k: Tensor, v: Tensor, heads: int, p: float) -> Tensor:
        """Attend from source to source: ``[S, H * h]`` in and out."""
        ends, longest = self.source_ends, self.longest[0]
        return attend_packed(q, k, v, heads, ends, ends, longest, longest, p, False)

    def within_target(self, q: Tensor, k: Tensor, v: Tensor, heads: int, p: float) -> Tensor:
        """Attend from each target position to itself and those before it in its sentence: ``[T, H * h]``."""
        ends, longest = self.target_ends, self.longest[1]
        return attend_packed(q, k, v, heads, ends, ends, longest, longest, p, True)

    def across(self, q: Tensor, k: Tensor, v: Tensor, heads: int, p: float, layers: int) -> Tensor:
        """Attend from target to the states of ``layers`` encoder layers that ``join`` returned."""
        ends = self.source_ends * layers if layers > 1 else self.source_ends
        longest = self.longest[0] * layers
        return attend_packed(q, k, v, heads, self.target_ends, ends, self.longest[1], longest, p, False)

    def join(self, states: Sequence[Tensor]) -> Tensor:
        """Return the states of some encoder layers, those of a sentence together: ``[layers * S, d]``."""
        if len(states) == 1:
            return states[0]
        places = {2: self.memory2, 3: self.memory3}[len(states)]
        return Join.apply(places, *states)  # type: ignore[no-any-return, no-untyped-call]


class Join(torch.autograd.Function):
    """Rows of several tensors ``[N, d]``, each put at its place among all: ``[m * N, d]``."""

    @staticmethod
    def forward(ctx: Any, places: Tensor, *states: Tensor) -> Tensor:
        ctx.save_for_backward(places)
        out = states[0].new_empty((len(states) * len(states[0]), states[0].shape[1]))
        for place, state in zip(places, states, strict=True):
            out.index_copy_(0, place, state)
        return out

    @staticmethod
    def backward(ctx: Any, *flows: Tensor) -> tuple[Tensor | None, ...]:
        (places,) = ctx.saved_tensors
        return None, *(flows[0].index_select(0, place) for place in places)


def attend_packed(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    heads: int,
    q_ends: Tensor,
    k_ends: Tensor,
    q_longest: int,
    k_longest: int,
    p: float,
    causal: bool,
) -> Tensor:
    """Attend within each sentence of packed rows: ``[N, H * h]`` to ``[N, H * h]``.

    Args:
        q_ends, k_ends: ``[R + 1]`` int32, 0 and the ends of the sentences.
        q_longest, k_longest: bounds of the sentences' lengths.
    """
    q, k, v = (x.unflatten(-1, (heads, -1)) for x in (q, k, v))
    if q.is_cuda and q.dtype is not torch.float32:
        out = torch.ops.aten._flash_attention_forward(
            q, k, v, q_ends, k_ends, q_longest, k_longest, p, causal, False
        )[0]
    elif q.is_cuda:
        out = torch.ops.aten._efficient_attention_forward(
            q[None], k[None], v[None], None, q_ends, k_ends, q_longest, k_longest, p, int(causal), True
        )[0][0]
    else:
        out = attend_padded(q, k, v, q_ends.diff().tolist(), k_ends.diff().tolist(), p, causal)
    return out.flatten(1)


def attend_padded(
    q: Tensor, k: Tensor, v: Tensor, q_lengths: list[int], k_lengths: list[int], p: float, causal: bool
) -> Tensor:
    """Attend within each sentence by way of padded rows: ``[N, H, h]`` to ``[N, H, h]``."""
    pairs = list(zip(q_lengths, k_lengths, strict=True))
    both = [i for i, (a, b) in enumerate(pairs) if a and b]
    padded = []
    for x, sizes in ((q, q_lengths), (k, k_lengths), (v, k_lengths)):
        parts = x[: sum(sizes)].split(sizes)
        padded.append(torch.nn.utils.rnn.pad_sequence([parts[i] for i in both], True).transpose(1, 2))
    real = torch.tensor([k_lengths[i] for i in both])[:, None, None, None]
    mask = torch.arange(padded[1].shape[2]) < real
    if causal:
        mask = mask & torch.ones(mask.shape[-1], mask.shape[-1], dtype=torch.bool).tril()
    rows = iter(F.scaled_dot_product_attention(*padded, attn_mask=mask, dropout_p=p).transpose(1, 2))
    # A sentence without keys attends to nothing.
    out = [next(rows)[:a] if a and b else q.new_zeros((a, *q.shape[1:])) for a, b in pairs]
    return torch.cat(out)
