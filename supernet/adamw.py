"""One AdamW update of a flat vector in one pass: gradients of two precisions in, low-precision weights out.

At 4,000 tokens a batch, separate passes that add, update, cast and clear take a sixth of the whole step.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

BLOCK = 4096


@triton.jit
def adamw_step(
    p, m, v, grad, low, low_grad, size, low_size, start, rate, decay, beta1, beta2, bias1, bias2, eps,
    HAS_LOW: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Update one block of weights and moments, and clear its gradients."""
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = at < size
    g = tl.zeros((BLOCK,), tl.float32)
    if (tl.program_id(0) + 1) * BLOCK > start:
        g = tl.load(grad + at, inside, 0.0)
        tl.store(grad + at, tl.zeros((BLOCK,), tl.float32), inside)
    if HAS_LOW:
        covered = at < low_size
        g += tl.load(low_grad + at, covered, 0.0).to(tl.float32)
        tl.store(low_grad + at, tl.zeros((BLOCK,), low_grad.dtype.element_ty), covered)
    w = tl.load(p + at, inside, 0.0) * decay
    a = tl.load(m + at, inside, 0.0)
    a += (g - a) * (1 - beta1)
    b = tl.load(v + at, inside, 0.0) * beta2 + (1 - beta2) * g * g
    w -= rate / bias1 * a / (tl.sqrt(b) / tl.sqrt(bias2) + eps)
    tl.store(m + at, a, inside)
    tl.store(v + at, b, inside)
    tl.store(p + at, w, inside)
    if HAS_LOW:
        tl.store(low + at, w.to(low.dtype.element_ty), covered)


def update(
    optimizer: torch.optim.AdamW, flat: Tensor, low: Tensor | None, low_grad: Tensor | None, start: int = 0
) -> None:
    """Step the optimizer on ``flat``, and more: add ``low_grad``, copy to ``low``, clear both.

    Args:
        optimizer: its only parameter is ``flat`` (float32, with a gradient); its state keeps torch's form.
        low: leading part of ``flat`` in a lower precision, or None.
        low_grad: gradient of ``low`` to add to that of ``flat``, or None.
        start: first element of which ``flat`` has a gradient; it is 0 before.
    """
    group, state = optimizer.param_groups[0], optimizer.state[flat]
    if not state:
        state["step"] = torch.zeros((), dtype=torch.float32)
        state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(flat), torch.zeros_like(flat)
    if state["step"].is_cuda:
        state["step"] = state["step"].cpu()
    state["step"] += 1
    count, rate, (beta1, beta2) = state["step"].item(), group["lr"], group["betas"]
    has_low = low is not None and low_grad is not None
    adamw_step[(triton.cdiv(flat.numel(), BLOCK),)](
        flat, state["exp_avg"], state["exp_avg_sq"], flat.grad, low, low_grad, flat.numel(),
        low.numel() if low is not None else 0, start, rate, 1 - rate * group["weight_decay"], beta1, beta2,
        1 - beta1**count, 1 - beta2**count, group["eps"], has_low, BLOCK,
    )  # fmt: skip
