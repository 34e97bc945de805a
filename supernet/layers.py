"""Layers, masks and parameter shapes that several model families share.

The norm and the linear layers here run on whatever tensors are bound to them, so that a supernet may bind the
leading part of each of its tensors.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

if TYPE_CHECKING:
    from supernet.gpu.kernels import Shortcut

Shapes = dict[str, tuple[int, ...]]
"""Parameter name -> shape, in the order of the parameters."""


class ElasticNorm(nn.LayerNorm):
    """LayerNorm over as many features as its weight has, so that a leading part may be bound."""

    def forward(self, x: Tensor) -> Tensor:
        return F.layer_norm(x, self.weight.shape, self.weight, self.bias, self.eps)


def dropout(x: Tensor, p: float, training: bool) -> Tensor:
    """Apply dropout; return ``x`` itself, at no cost, in evaluation or where ``p`` is 0."""
    return F.dropout(x, p, True) if training and p > 0 else x


def shortcut_between(x: Tensor, first: Sequence[nn.Linear], last: nn.Linear) -> Shortcut | None:
    """Return a shortcut for the gradient of a residual connection around two linear layers, of ``x``.

    Args:
        x: what the first layer reads and the residual connection adds to the output of the last one.
        first: the layer that reads ``x``, or several that do so as one.
        last: the layer before the sum.

    Returns:
        None where ``x`` has no gradient, or no fused kernels compute both ends.
    """
    if not x.requires_grad or not all(fused(x, linear) for linear in (*first, last)):
        return None
    from supernet.gpu.kernels import Shortcut

    return Shortcut()


def add_linear_norm(
    x: Tensor,
    y: Tensor,
    linear: nn.Linear,
    norm: ElasticNorm,
    p: float,
    training: bool,
    shortcut: Shortcut | None = None,
) -> Tensor:
    """Return ``norm(x + dropout(linear(y)))``: the end of every post-LN sub-layer."""
    if fused(x, linear):
        from supernet.gpu.kernels import Linear, ResidualNorm

        # The bias is added, and its gradient taken, by the kernel that passes over these rows anyway.
        product = Linear.apply(y, linear.weight, None)  # type: ignore[no-untyped-call]
        rate = p if training else 0.0
        return ResidualNorm.apply(  # type: ignore[no-any-return, no-untyped-call]
            x if shortcut is None else x.detach(),
            product,
            linear.bias,
            norm.weight,
            norm.bias,
            rate,
            norm.eps,
            shortcut,
        )
    normed: Tensor = norm(x + dropout(linear(y), p, training))
    return normed


def apply_linear(x: Tensor, linear: nn.Linear, shortcut: Shortcut | None = None) -> Tensor:
    """Return ``linear(x)``."""
    if fused(x, linear):
        return apply_weights(x, linear.weight, linear.bias, shortcut)
    y: Tensor = linear(x)
    return y


def apply_weights(x: Tensor, weight: Tensor, bias: Tensor, shortcut: Shortcut | None = None) -> Tensor:
    """Return ``x @ weight.T + bias`` for weights that may have been computed from others."""
    if fusing(x):
        from supernet.gpu.kernels import Linear

        return Linear.apply(x, weight, bias, shortcut)  # type: ignore[no-any-return, no-untyped-call]
    return F.linear(x, weight, bias)


def embed_tokens(tokens: Tensor, table: Tensor, scale: float, padding: int) -> Tensor:
    """Return ``scale`` times the rows ``tokens`` of a table; the row ``padding`` gets no gradient."""
    if fusing(table):
        from supernet.gpu.kernels import Embedding

        return Embedding.apply(tokens, table, scale, padding)  # type: ignore[no-any-return, no-untyped-call]
    rows = F.embedding(tokens, table, padding)
    return rows if scale == 1 else rows * scale


def linear_relu(x: Tensor, linear: nn.Linear, shortcut: Shortcut | None = None) -> Tensor:
    """Return ``relu(linear(x))``."""
    if fused(x, linear):
        from supernet.gpu.kernels import LinearActivation

        return LinearActivation.apply(  # type: ignore[no-any-return, no-untyped-call]
            x, linear.weight, linear.bias, False, shortcut
        )
    return F.relu(linear(x))


def linear_gelu(x: Tensor, linear: nn.Linear, shortcut: Shortcut | None = None) -> Tensor:
    """Return ``gelu(linear(x))``."""
    if fused(x, linear):
        from supernet.gpu.kernels import LinearActivation

        return LinearActivation.apply(  # type: ignore[no-any-return, no-untyped-call]
            x, linear.weight, linear.bias, True, shortcut
        )
    return F.gelu(linear(x))


def fused(x: Tensor, linear: nn.Linear) -> bool:
    """Return whether a fused kernel takes the place of ``linear`` and what follows it.

    Not if the layer has hooks, or a class that computes something of its own.
    """
    plain = type(linear) is nn.Linear and not linear._forward_hooks and not linear._forward_pre_hooks
    return plain and fusing(x)


def fusing(x: Tensor) -> bool:
    """Return whether fused kernels compute: on a GPU, where gradients are needed, and not under ``vmap``."""
    return x.is_cuda and torch.is_grad_enabled() and not torch._C._are_functorch_transforms_active()


def attend(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, p: float, causal: bool = False) -> Tensor:
    """Apply scaled dot-product attention, ``[B, H, T, h]`` in and ``[B, T, H * h]`` out."""
    y = F.scaled_dot_product_attention(q, k, v, attn_mask=bias, dropout_p=p, is_causal=causal)
    return y.transpose(1, 2).flatten(2)


def project(
    x: Tensor, linears: Sequence[nn.Linear], training: bool, shortcut: Shortcut | None = None
) -> Sequence[Tensor]:
    """Apply linear layers of one input width to ``x`` ``[B, T, width]``: one ``[B, T, inner]`` each."""
    if not training:
        return [linear(x) for linear in linears]
    # One wide product repays the copy of its weights in the backward pass, which then computes one gradient
    # of x and adds up none.
    weight, bias = (torch.cat([getattr(linear, name) for linear in linears]) for name in ("weight", "bias"))
    return apply_weights(x, weight, bias, shortcut).chunk(len(linears), -1)


def split_heads(x: Tensor, heads: int) -> Tensor:
    """Reshape ``[B, T, H * h]`` to ``[B, H, T, h]``."""
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


def padding_bias(padding: Tensor, dtype: torch.dtype) -> Tensor:
    """Return an additive mask ``[B, 1, 1, T]``: minus infinity where ``padding`` ``[B, T]`` is true."""
    bias = torch.zeros(padding.shape, dtype=dtype, device=padding.device)
    # Not in place: under vmap the tokens may be those of several copies.
    return bias.masked_fill(padding, float("-inf"))[:, None, None, :]


def linear_shapes(name: str, width_in: int, width_out: int) -> Shapes:
    """Return the shapes of a linear layer's parameters."""
    return {f"{name}.weight": (width_out, width_in), f"{name}.bias": (width_out,)}


def norm_shapes(name: str, width: int) -> Shapes:
    """Return the shapes of a norm's parameters."""
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def feed_forward_shapes(name: str, width: int, inner: int) -> Shapes:
    """Return the shapes of the linear layers ``fc1`` and ``fc2``."""
    return linear_shapes(f"{name}.fc1", width, inner) | linear_shapes(f"{name}.fc2", inner, width)
