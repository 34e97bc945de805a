"""Mixing of expert weights in one pass each way: memory traffic is all that mixing costs a training step."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

BLOCK = 1024


@triton.jit
def mix_forward(
    weight, bias, share, extents, mixed_weight, mixed_bias, rows, columns, shared_rows, EXPERTS: tl.constexpr,
    BLOCK: tl.constexpr,
):  # fmt: skip
    """Store one row of one linear layer's mixed weight and bias."""
    row, linear = tl.program_id(0), tl.program_id(1)
    if row < tl.load(extents + 2 * linear):
        width = tl.load(extents + 2 * linear + 1)
        shares = share + (linear * shared_rows + row % shared_rows) * EXPERTS
        total = 0.0
        for k in tl.static_range(EXPERTS):
            total += tl.load(shares + k) * tl.load(bias + (linear * EXPERTS + k) * rows + row)
        tl.store(mixed_bias + linear * rows + row, total.to(mixed_bias.dtype.element_ty))
        for start in range(0, width, BLOCK):
            column = start + tl.arange(0, BLOCK)
            mixed = tl.zeros((BLOCK,), tl.float32)
            for k in tl.static_range(EXPERTS):
                at = ((linear * EXPERTS + k) * rows + row).to(tl.int64) * columns + column
                mixed += tl.load(shares + k) * tl.load(weight + at, column < width, 0.0)
            into = mixed_weight + (linear * rows + row).to(tl.int64) * columns + column
            tl.store(into, mixed.to(mixed_weight.dtype.element_ty), column < width)


@triton.jit
def mix_backward(
    weight, bias, share, extents, weight_flow, bias_flow, weight_grad, bias_grad, share_grad, rows, columns,
    shared_rows, EXPERTS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Add one row's gradients to those of the experts, store those of its shares, and clear it."""
    row, linear = tl.program_id(0), tl.program_id(1)
    inside = row < tl.load(extents + 2 * linear)
    width = tl.where(inside, tl.load(extents + 2 * linear + 1), 0)
    shares = share + (linear * shared_rows + row % shared_rows) * EXPERTS
    flow_at = (linear * rows + row).to(tl.int64)
    of_bias = tl.load(bias_flow + flow_at).to(tl.float32)
    tl.store(bias_flow + flow_at, tl.zeros((), bias_flow.dtype.element_ty))
    for k in tl.static_range(EXPERTS):
        expert = ((linear * EXPERTS + k) * rows + row).to(tl.int64)
        part, total = tl.load(shares + k), of_bias * tl.load(bias + expert)
        tl.store(bias_grad + expert, tl.load(bias_grad + expert) + part * of_bias)
        sums = tl.zeros((BLOCK,), tl.float32)
        for start in range(0, width, BLOCK):
            column = start + tl.arange(0, BLOCK)
            into = weight_grad + expert * columns + column
            g = tl.load(weight_flow + flow_at * columns + column, column < width, 0.0).to(tl.float32)
            sums += g * tl.load(weight + expert * columns + column, column < width, 0.0)
            tl.store(into, tl.load(into, column < width, 0.0) + part * g, column < width)
        tl.store(share_grad + flow_at * EXPERTS + k, total + tl.sum(sums, 0))
    for start in range(0, width, BLOCK):
        column = start + tl.arange(0, BLOCK)
        clear = tl.zeros((BLOCK,), weight_flow.dtype.element_ty)
        tl.store(weight_flow + flow_at * columns + column, clear, column < width)


def mix(experts: tuple[Tensor, Tensor], share: Tensor, extents: Tensor, mixed: tuple[Tensor, Tensor]) -> None:
    """Mix the experts of some linear layers of one shape into ``mixed``, up to the extents of each.

    Args:
        experts: weights ``[n, m, rows, columns]`` and biases ``[n, m, rows]``, float32.
        share: ``[n, rows or 1, m]``, float32.
        extents: int32 ``[n, 2]``: rows and columns in use.
        mixed: weights ``[n, rows, columns]`` and biases ``[n, rows]``.
    """
    weight, bias = experts
    n, m, rows, columns = weight.shape
    mix_forward[(rows, n)](
        weight, bias, share.contiguous(), extents, *mixed, rows, columns, share.shape[1], m, BLOCK
    )


def mix_gradients(
    experts: tuple[Tensor, Tensor], share: Tensor, extents: Tensor, flows: tuple[Tensor, Tensor]
) -> Tensor:
    """Add the gradients of ``mix`` to those of the experts, clear ``flows``, and return that of ``share``.

    Args:
        flows: gradients of the mixed weights and biases; zero outside the extents.
    """
    weight, bias = experts
    n, m, rows, columns = weight.shape
    share_grad = torch.empty((n, rows, m), dtype=torch.float32, device=weight.device)
    mix_backward[(rows, n)](
        weight, bias, share.contiguous(), extents, *flows, weight.grad, bias.grad, share_grad, rows, columns,
        share.shape[1], m, BLOCK,
    )  # fmt: skip
    return share_grad if share.shape[1] == rows else share_grad.sum(1, keepdim=True)
