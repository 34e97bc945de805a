"""Fused Triton kernels of training steps: residual norms, activations, losses, attention over packed rows.

Each replaces a chain of memory-bound operations by one pass over its operands, forward and backward. The
functions that networks call are in ``supernet.layers`` and ``supernet.objective``; what they compute
elsewhere is the reference of the tests.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from supernet.gpu.static_outputs import memory

ROWS = 4
"""Rows of one tile of the residual norm's forward pass."""
PROGRAMS = 1056
"""Programs of a kernel that adds up over rows: eight for each multiprocessor of an H100."""
LEAST = 8
"""Rows at least of each such program, whose sums are written and read once more."""


@triton.jit
def fold_sums(sums, a, b, c, programs, width, ROWS: tl.constexpr, BLOCK: tl.constexpr):
    """Add the sums ``[programs, n, width]`` of all programs to up to three gradients."""
    which, n = tl.program_id(0), tl.num_programs(0)
    column = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)[None, :]
    total = tl.zeros((1, BLOCK), tl.float32)
    for start in range(0, programs, ROWS):
        row = start + tl.arange(0, ROWS)[:, None]
        inside = (row < programs) & (column < width)
        total += tl.sum(tl.load(sums + (row * n + which) * width + column, inside, 0.0), 0)[None, :]
    into = a
    if which == 1:
        into = b
    if which == 2:
        into = c
    before = tl.load(into + column, column < width, 0.0).to(tl.float32)
    tl.store(into + column, (before + total).to(into.dtype.element_ty), column < width)


def folded(sums: Tensor, weights: Sequence[Tensor]) -> list[Tensor | None]:
    """Return the gradients of ``weights`` from the sums ``[programs, len(weights), width]`` of all programs.

    A gradient that exists already is added to in place, and None returned.
    """
    sinks = [sink(w) for w in weights]
    if any(s is None for s in sinks):
        return [part.to(w.dtype) for part, w in zip(sums.sum(0), weights, strict=True)]
    width = sums.shape[2]
    fold_sums[(len(weights), triton.cdiv(width, 16))](
        sums, sinks[0], sinks[-1] if len(sinks) < 3 else sinks[1], sinks[-1], len(sums), width, 64, 16
    )
    return [None] * len(weights)


def sink(weight: Tensor) -> Tensor | None:
    """Return the gradient that ``weight`` has already, to add to; None where there is none."""
    return weight.grad if weight.is_leaf else None


def programs_for(rows: int) -> int:
    """Return the number of programs that add up over ``rows``."""
    return max(1, min(PROGRAMS, triton.cdiv(rows, LEAST)))


def bias_gradient(flow: Tensor, bias: Tensor) -> Tensor | None:
    """Return the gradient of a linear layer's bias from that of its output ``[rows, width]``."""
    into = sink(bias)
    if into is None:
        return flow.sum(0)
    into.add_(flow.sum(0))
    return None


def weight_gradient(flow: Tensor, x: Tensor, weight: Tensor) -> Tensor | None:
    """Return the gradient of a linear layer's weight from its input and its output's gradient.

    A gradient that exists already is added to by the matrix product itself, and None returned.
    """
    into = sink(weight)
    if into is None:
        return flow.t() @ x
    into.addmm_(flow.t(), x)
    return None


class Shortcut:
    """Gradient of a residual connection, on its way past autograd to the operation at its other end.

    That operation adds its own gradient of the same tensor in place, where autograd would add both into new
    memory.
    """

    def __init__(self) -> None:
        self.gradient: Tensor | None = None

    def take(self) -> Tensor | None:
        """Return the gradient and keep it no longer."""
        gradient, self.gradient = self.gradient, None
        return gradient


def input_gradient(ctx: Any, flow: Tensor, x: Tensor) -> Tensor:
    """Return the gradient of a linear layer's input ``x`` from that of its output ``[rows, width]``.

    A gradient that has come by the layer's shortcut is added to by the matrix product itself.
    """
    into: Tensor | None = None if ctx.shortcut is None else ctx.shortcut.take()
    if into is None:
        into = memory(x.shape, x)
        torch.mm(flow, ctx.weight, out=into.flatten(0, -2))
    else:
        into.flatten(0, -2).addmm_(flow, ctx.weight)
    return into


class Linear(torch.autograd.Function):
    """Linear layer whose gradients of weight and bias add up in place where they exist already.

    The gradient of ``x`` adds to what has come by the shortcut.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, shortcut: Shortcut | None = None
    ) -> Tensor:
        ctx.save_for_backward(x)
        ctx.weight, ctx.bias, ctx.shortcut = weight, bias, shortcut
        out = memory((*x.shape[:-1], len(weight)), x)
        rows, columns = out.flatten(0, -2), weight.t()
        if bias is None:
            torch.mm(x.flatten(0, -2), columns, out=rows)
        else:
            torch.addmm(bias, x.flatten(0, -2), columns, out=rows)
        return out

    @staticmethod
    def backward(ctx: Any, *flows: Tensor) -> tuple[Tensor | None, ...]:
        (x,) = ctx.saved_tensors
        flow = flows[0].flatten(0, -2)
        into = input_gradient(ctx, flow, x) if ctx.needs_input_grad[0] else None
        of_weight = weight_gradient(flow, x.flatten(0, -2), ctx.weight)
        return into, of_weight, None if ctx.bias is None else bias_gradient(flow, ctx.bias), None


@triton.jit
def embedding_backward(tokens, flow, into, width, scale, padding, BLOCK: tl.constexpr):
    """Add one row of gradients to its token's."""
    row = tl.program_id(0).to(tl.int64)
    token = tl.load(tokens + row)
    column = tl.arange(0, BLOCK)
    if token != padding:
        g = tl.load(flow + row * width + column, column < width, 0.0).to(tl.float32) * scale
        tl.atomic_add(into + token * width + column, g, column < width, sem="relaxed")


class Embedding(torch.autograd.Function):
    """Rows ``tokens`` of a table, times ``scale``; the row ``padding`` gets no gradient."""

    @staticmethod
    def forward(ctx: Any, tokens: Tensor, table: Tensor, scale: float, padding: int) -> Tensor:
        ctx.save_for_backward(tokens)
        ctx.table, ctx.scale, ctx.padding = table, scale, padding
        return torch.nn.functional.embedding(tokens, table) * scale

    @staticmethod
    def backward(ctx: Any, *flows: Tensor) -> tuple[Tensor | None, ...]:
        (tokens,) = ctx.saved_tensors
        table, width = ctx.table, ctx.table.shape[1]
        # In float32, since frequent tokens add up thousands of rows.
        into = torch.zeros(table.shape, dtype=torch.float32, device=table.device)
        embedding_backward[(tokens.numel(),)](
            tokens, flows[0].contiguous(), into, width, ctx.scale, ctx.padding, triton.next_power_of_2(width)
        )
        grad = sink(table)
        if grad is None:
            return None, into.to(table.dtype), None, None
        grad.add_(into)
        return None, None, None, None


@triton.jit
def kept(seed, index, threshold):
    """Return whether dropout keeps the elements ``index``: two rounds of a 32-bit mixing function."""
    h = index.to(tl.uint32) ^ (seed & 0x7FFFFFFF).to(tl.uint32)
    h = (h ^ (h >> 16)) * 0x85EBCA6B
    h = (h ^ (h >> 13)) * 0xC2B2AE35
    h = (h ^ (h >> 16)) + (seed >> 31).to(tl.uint32)
    h = (h ^ (h >> 16)) * 0x7FEB352D
    h = (h ^ (h >> 15)) * 0x846CA68B
    return ((h ^ (h >> 16)) >> 1).to(tl.int32) >= threshold


@triton.jit
def residual_norm_forward(
    x, y, bias, gain, shift, seed, z, out, statistics, rows, width, upscale, threshold, eps,
    HAS_BIAS: tl.constexpr, DROPS: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Store ``z = x + dropout(y + bias)``, its layer norm, and each row's mean and inverse deviation."""
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)[:, None]
    column = tl.arange(0, BLOCK)[None, :]
    inside = (row < rows) & (column < width)
    at = row * width + column
    v = tl.load(y + at, inside, 0.0).to(tl.float32)
    if HAS_BIAS:
        v += tl.load(bias + column, column < width, 0.0).to(tl.float32)
    if DROPS:
        v = tl.where(kept(tl.load(seed), at, threshold), v * upscale, 0.0)
    v += tl.load(x + at, inside, 0.0).to(tl.float32)
    # The backward pass starts from the stored sum, so the norm does too.
    stored = v.to(z.dtype.element_ty)
    tl.store(z + at, stored, inside)
    v = stored.to(tl.float32)
    mean = tl.sum(v, 1)[:, None] / width
    apart = tl.where(inside, v - mean, 0.0)
    scale = tl.rsqrt(tl.sum(apart * apart, 1)[:, None] / width + eps)
    tl.store(statistics + 2 * row, mean, row < rows)
    tl.store(statistics + 2 * row + 1, scale, row < rows)
    normed = apart * scale * tl.load(gain + column, column < width, 0.0).to(tl.float32)
    normed += tl.load(shift + column, column < width, 0.0).to(tl.float32)
    tl.store(out + at, normed.to(out.dtype.element_ty), inside)


@triton.jit
def residual_norm_backward(
    z, flow, gain, statistics, seed, dx, dy, sums, rows, width, upscale, threshold, HAS_BIAS: tl.constexpr,
    DROPS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Store the gradients of both summands, and this program's sums for gain, shift and bias."""
    column = tl.arange(0, BLOCK)
    inside = column < width
    of_gain = tl.zeros((BLOCK,), tl.float32)
    of_shift = tl.zeros((BLOCK,), tl.float32)
    of_bias = tl.zeros((BLOCK,), tl.float32)
    weight = tl.load(gain + column, inside, 0.0).to(tl.float32)
    for row in range(tl.program_id(0), rows, tl.num_programs(0)):
        at = row * width + column
        v = tl.load(z + at, inside, 0.0).to(tl.float32)
        g = tl.load(flow + at, inside, 0.0).to(tl.float32)
        scale = tl.load(statistics + 2 * row + 1)
        normed = (v - tl.load(statistics + 2 * row)) * scale
        of_gain += g * normed
        of_shift += g
        g *= weight
        along, mean = tl.sum(g * normed, 0) / width, tl.sum(g, 0) / width
        g = scale * (g - mean - normed * along)
        tl.store(dx + at, g.to(dx.dtype.element_ty), inside)
        if DROPS:
            g = tl.where(kept(tl.load(seed), at, threshold), g * upscale, 0.0)
            tl.store(dy + at, g.to(dy.dtype.element_ty), inside)
        if HAS_BIAS:
            of_bias += g
    into = sums + tl.program_id(0) * (3 if HAS_BIAS else 2) * width + column
    tl.store(into, of_gain, inside)
    tl.store(into + width, of_shift, inside)
    if HAS_BIAS:
        tl.store(into + 2 * width, of_bias, inside)


def drop_seed(device: torch.device) -> Tensor:
    """Draw the seed of one dropout from the device's generator: a new one at each replay of a graph."""
    return torch.randint(2**62, (1,), device=device)


def threshold(p: float) -> int:
    """Return the smallest 31-bit number that dropout with rate ``p`` keeps."""
    return round(p * 2**31)


class ResidualNorm(torch.autograd.Function):
    """``layer_norm(x + dropout(y + bias))`` over rows ``[..., width]``, in one kernel each way.

    With a shortcut, ``x`` has to come without gradient: it takes the shortcut.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        y: Tensor,
        bias: Tensor | None,
        gain: Tensor,
        shift: Tensor,
        p: float,
        eps: float,
        shortcut: Shortcut | None = None,
    ) -> Tensor:
        x, y = x.contiguous(), y.contiguous()
        width = x.shape[-1]
        rows = x.numel() // width
        seed = drop_seed(x.device) if p else None
        z, out = torch.empty_like(x), memory(x.shape, x)
        statistics = torch.empty((rows, 2), dtype=torch.float32, device=x.device)
        settings = rows, width, 1 / (1 - p), threshold(p)
        residual_norm_forward[(triton.cdiv(rows, ROWS),)](
            x, y, bias, gain, shift, seed, z, out, statistics, *settings, eps, bias is not None, p > 0, ROWS,
            triton.next_power_of_2(width), num_warps=ROWS,
        )  # fmt: skip
        ctx.save_for_backward(z, statistics, seed)
        ctx.weights, ctx.settings, ctx.drops = (gain, shift, bias), settings, p > 0
        ctx.shortcut = shortcut
        return out

    @staticmethod
    def backward(ctx: Any, *flows: Tensor) -> tuple[Tensor | None, ...]:
        z, statistics, seed = ctx.saved_tensors
        gain, shift, bias = ctx.weights
        rows, width, *_ = ctx.settings
        dx = memory(z.shape, z)
        dy = torch.empty_like(z) if ctx.drops else dx
        programs, n = programs_for(rows), 2 if bias is None else 3
        sums = torch.empty((programs, n, width), dtype=torch.float32, device=z.device)
        residual_norm_backward[(programs,)](
            z, flows[0].contiguous(), gain, statistics, seed, dx, dy, sums, *ctx.settings, n == 3, ctx.drops,
            triton.next_power_of_2(width), num_warps=1,
        )  # fmt: skip
        of_gain, of_shift, *of_bias = folded(sums, [gain, shift, *([] if bias is None else [bias])])
        into: Tensor | None = dx
        if ctx.shortcut is not None:
            ctx.shortcut.gradient, into = dx, None
        return into, dy, of_bias[0] if of_bias else None, of_gain, of_shift, None, None, None


@triton.jit
def normal_area(v, slope):
    """Return the normal distribution's share below ``v``, to 1e-7, from ``slope = exp(-v**2 / 2)``.

    Formula 7.1.26 of Abramowitz and Stegun (1964): one reciprocal where an error function takes registers.
    """
    t = 1 / (1 + 0.3275911 * 0.7071067811865476 * tl.abs(v))
    series = ((((1.061405429 * t - 1.453152027) * t + 1.421413741) * t - 0.284496736) * t + 0.254829592) * t
    beyond = 0.5 * series * slope
    return tl.where(v < 0, beyond, 1 - beyond)


@triton.jit
def activation_backward(
    before, flow, bias, into, sums, rows, width, GELU: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr
):
    """Store the gradient of the activation's input, and this program's sums over rows for the bias.

    ``before`` is the output of a ReLU, or the input of a GELU without its bias.
    """
    column = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)[None, :]
    total = tl.zeros((1, BLOCK), tl.float32)
    for tile in range(tl.program_id(0), tl.cdiv(rows, ROWS), tl.num_programs(0)):
        row = tile * ROWS + tl.arange(0, ROWS)[:, None]
        inside = (row < rows) & (column < width)
        at = row * width + column
        g = tl.load(flow + at, inside, 0.0).to(tl.float32)
        v = tl.load(before + at, inside, 0.0).to(tl.float32)
        if GELU:
            v += tl.load(bias + column, column < width, 0.0).to(tl.float32)
            slope = tl.exp(-0.5 * v * v)
            g *= normal_area(v, slope) + v * slope * 0.3989422804014327
        else:
            g = tl.where(v > 0, g, 0.0)
        tl.store(into + at, g.to(into.dtype.element_ty), inside)
        total += tl.sum(g, 0)[None, :]
    tl.store(sums + tl.program_id(0) * width + column, total, column < width)


@triton.jit
def gelu_forward(x, bias, out, size, width, BLOCK: tl.constexpr):
    """Store ``gelu(x + bias)``."""
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    v = tl.load(x + at, at < size, 0.0).to(tl.float32)
    v += tl.load(bias + at % width, at < size, 0.0).to(tl.float32)
    v *= normal_area(v, tl.exp(-0.5 * v * v))
    tl.store(out + at, v.to(out.dtype.element_ty), at < size)


class LinearActivation(torch.autograd.Function):
    """``relu`` or ``gelu`` of a linear layer: the bias and its gradient cost no pass of their own.

    The gradient of ``x`` adds to what has come by the shortcut.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, gelu: bool, shortcut: Shortcut | None = None
    ) -> Tensor:
        rows = x.flatten(0, -2)
        if gelu:
            before = rows @ weight.t()
            out = torch.empty_like(before)
            grid = (triton.cdiv(before.numel(), 2048),)
            gelu_forward[grid](before, bias, out, before.numel(), len(weight), 2048)
        else:
            before = out = torch._addmm_activation(bias, rows, weight.t(), use_gelu=False)
        ctx.save_for_backward(rows, before)
        ctx.weight, ctx.bias = weight, bias
        ctx.gelu, ctx.shape, ctx.shortcut = gelu, x.shape, shortcut
        return out.view(*x.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, *flows: Tensor) -> tuple[Tensor | None, ...]:
        x, before = ctx.saved_tensors
        weight, bias = ctx.weight, ctx.bias
        flow = flows[0].contiguous().view_as(before)
        rows, width = before.shape
        through = torch.empty_like(before)
        # Tiles by a sweep at 262,144 rows of 1,024; those that suit a ReLU spill registers under GELU.
        block, warps, most = (64, 4, 16 * PROGRAMS) if ctx.gelu else (512, 4, PROGRAMS // 2)
        tall, columns = 32, triton.cdiv(width, block)
        programs = max(1, min(triton.cdiv(rows, tall), most // columns))
        sums = torch.empty((programs, 1, width), dtype=torch.float32, device=x.device)
        activation_backward[(programs, columns)](
            before, flow, bias, through, sums, rows, width, ctx.gelu, tall, block, num_warps=warps
        )
        into = input_gradient(ctx, through, x).view(ctx.shape) if ctx.needs_input_grad[0] else None
        return into, weight_gradient(through, x, weight), folded(sums, [bias])[0], None, None


@triton.jit
def loss_forward(logits, labels, losses, normalisers, width, stride, smoothing, BLOCK: tl.constexpr):
    """Store the label-smoothed cross-entropy of one row and the logarithm of its normaliser."""
    row = tl.program_id(0).to(tl.int64)
    logits += row * stride
    top, total, logit_sum = -float("inf"), 0.0, 0.0
    for start in range(0, width, BLOCK):
        column = start + tl.arange(0, BLOCK)
        v = tl.load(logits + column, column < width, -float("inf")).to(tl.float32)
        higher = tl.maximum(top, tl.max(v, 0))
        total = total * tl.exp(top - higher) + tl.sum(tl.exp(v - higher), 0)
        logit_sum += tl.sum(tl.where(column < width, v, 0.0), 0)
        top = higher
    normaliser = top + tl.log(total)
    hit = tl.load(logits + tl.load(labels + row)).to(tl.float32)
    tl.store(normalisers + row, normaliser)
    tl.store(losses + row, normaliser - (1 - smoothing) * hit - smoothing * logit_sum / width)


@triton.jit
def loss_backward(logits, labels, normalisers, flow, into, width, stride, smoothing, BLOCK: tl.constexpr):
    """Store the gradient of one row's logits."""
    row = tl.program_id(0).to(tl.int64)
    normaliser, label, slope = tl.load(normalisers + row), tl.load(labels + row), tl.load(flow)
    for start in range(0, width, BLOCK):
        column = start + tl.arange(0, BLOCK)
        v = tl.load(logits + row * stride + column, column < width, 0.0).to(tl.float32)
        g = tl.exp(v - normaliser) - smoothing / width - tl.where(column == label, 1 - smoothing, 0.0)
        tl.store(into + row * width + column, (g * slope).to(into.dtype.element_ty), column < width)


class TokenLoss(torch.autograd.Function):
    """Summed label-smoothed cross-entropy that reads logits ``[N, V]`` once each way."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, labels: Tensor, smoothing: float) -> Tensor:
        rows, width = logits.shape
        losses, normalisers = torch.empty((2, rows), dtype=torch.float32, device=logits.device).unbind()
        block = min(4096, triton.next_power_of_2(width))
        loss_forward[(rows,)](
            logits, labels, losses, normalisers, width, logits.stride(0), smoothing, block, num_warps=8
        )
        ctx.save_for_backward(logits, labels, normalisers)
        ctx.settings = width, logits.stride(0), smoothing, block
        return losses.sum()

    @staticmethod
    def backward(ctx: Any, *flows: Tensor) -> tuple[Tensor, None, None]:
        logits, labels, normalisers = ctx.saved_tensors
        into = torch.empty(logits.shape, dtype=logits.dtype, device=logits.device)
        loss_backward[(len(logits),)](logits, labels, normalisers, flows[0], into, *ctx.settings, num_warps=8)
        return into, None, None


@triton.jit
def soft_loss_forward(logits, teacher, losses, own, theirs, width, BLOCK: tl.constexpr):
    """Store one row's cross-entropy against the teacher and the logarithms of both normalisers."""
    row = tl.program_id(0).to(tl.int64)
    top, total, high, mass, mixed = -float("inf"), 0.0, -float("inf"), 0.0, 0.0
    for start in range(0, width, BLOCK):
        column = start + tl.arange(0, BLOCK)
        v = tl.load(logits + row * width + column, column < width, -float("inf")).to(tl.float32)
        higher = tl.maximum(top, tl.max(v, 0))
        total = total * tl.exp(top - higher) + tl.sum(tl.exp(v - higher), 0)
        top = higher
        v = tl.where(column < width, v, 0.0)
        w = tl.load(teacher + row * width + column, column < width, -float("inf")).to(tl.float32)
        higher = tl.maximum(high, tl.max(w, 0))
        share = tl.exp(w - higher)
        mass = mass * tl.exp(high - higher) + tl.sum(share, 0)
        mixed = mixed * tl.exp(high - higher) + tl.sum(share * v, 0)
        high = higher
    tl.store(own + row, top + tl.log(total))
    tl.store(theirs + row, high + tl.log(mass))
    tl.store(losses + row, top + tl.log(total) - mixed / mass)


@triton.jit
def soft_loss_backward(logits, teacher, own, theirs, flow, into, width, BLOCK: tl.constexpr):
    """Store the gradient of one row's logits: the difference of both distributions."""
    row = tl.program_id(0).to(tl.int64)
    a, b, slope = tl.load(own + row), tl.load(theirs + row), tl.load(flow)
    for start in range(0, width, BLOCK):
        column = start + tl.arange(0, BLOCK)
        v = tl.load(logits + row * width + column, column < width, 0.0).to(tl.float32)
        w = tl.load(teacher + row * width + column, column < width, 0.0).to(tl.float32)
        g = (tl.exp(v - a) - tl.exp(w - b)) * slope
        tl.store(into + row * width + column, g.to(into.dtype.element_ty), column < width)


class SoftLoss(torch.autograd.Function):
    """Summed cross-entropy of logits ``[N, V]`` against a teacher's, which get no gradient."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, teacher: Tensor) -> Tensor:
        logits, teacher = logits.contiguous(), teacher.contiguous()
        rows, width = logits.shape
        losses, own, theirs = torch.empty((3, rows), dtype=torch.float32, device=logits.device).unbind()
        block = min(4096, triton.next_power_of_2(width))
        soft_loss_forward[(rows,)](logits, teacher, losses, own, theirs, width, block, num_warps=8)
        ctx.save_for_backward(logits, teacher, own, theirs)
        return losses.sum()

    @staticmethod
    def backward(ctx: Any, *flows: Tensor) -> tuple[Tensor, None]:
        logits, teacher, own, theirs = ctx.saved_tensors
        rows, width = logits.shape
        into = torch.empty_like(logits)
        block = min(4096, triton.next_power_of_2(width))
        soft_loss_backward[(rows,)](logits, teacher, own, theirs, flows[0], into, width, block, num_warps=8)
        return into, None
