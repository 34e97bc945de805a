"""Fused kernels against the operations that they replace.

They run on a GPU, or anywhere in Triton's interpreter: ``TRITON_INTERPRET=1``, with Triton installed.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

if not torch.cuda.is_available() and os.environ.get("TRITON_INTERPRET") != "1":
    pytest.skip("needs a GPU, or Triton with TRITON_INTERPRET=1", allow_module_level=True)
kernels = pytest.importorskip("supernet.gpu.kernels", reason="needs Triton")

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
TOLERANCE = {torch.float32: 2e-5, torch.bfloat16: 2e-2}


def tensors(dtype: torch.dtype, *shapes: tuple[int, ...]) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(shape, generator=generator).to(DEVICE, dtype).requires_grad_() for shape in shapes]


def both_ways(
    function: Callable[..., Tensor], reference: Callable[..., Tensor], inputs: Sequence[Tensor]
) -> None:
    """Compare outputs and all gradients; the reference computes in float64."""
    dtype = inputs[0].dtype
    exact = [x.detach().double().requires_grad_() for x in inputs]
    expected = reference(*exact)
    flow = torch.randn(expected.shape, generator=torch.Generator().manual_seed(2)).to(DEVICE)
    actual = function(*inputs)
    gradients = torch.autograd.grad(actual, inputs, flow.to(actual.dtype))
    right = torch.autograd.grad(expected, exact, flow.to(actual.dtype).double())
    for mine, other in zip((actual, *gradients), (expected, *right), strict=True):
        scale = other.abs().max().clamp(min=1)
        torch.testing.assert_close(mine.double() / scale, other / scale, rtol=0, atol=TOLERANCE[dtype])


def reference_token_loss(logits: Tensor, labels: Tensor, smoothing: float) -> Tensor:
    return F.cross_entropy(logits, labels, reduction="sum", label_smoothing=smoothing)


def reference_soft_loss(logits: Tensor, teacher: Tensor) -> Tensor:
    return F.cross_entropy(logits, teacher.softmax(-1), reduction="sum")


DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])


@DTYPES
@pytest.mark.parametrize("shape", [(7, 40), (3, 5, 64), (9, 100)])
def test_residual_norm_without_dropout(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    inputs = tensors(dtype, shape, shape, shape[-1:], shape[-1:], shape[-1:])

    def reference(x: Tensor, y: Tensor, bias: Tensor, gain: Tensor, shift: Tensor) -> Tensor:
        return F.layer_norm(x + y + bias, shape[-1:], gain, shift, 1e-5)

    both_ways(lambda *x: kernels.ResidualNorm.apply(*x, 0.0, 1e-5), reference, inputs)


@DTYPES
def test_residual_norm_drops_the_same_elements_each_way(dtype: torch.dtype) -> None:
    """The mask is found from the output of a norm with gain 1 over what dropout left of a constant."""
    rows, width, p = 64, 256, 0.3
    x = torch.zeros(rows, width, device=DEVICE, dtype=dtype, requires_grad=True)
    y = torch.ones(rows, width, device=DEVICE, dtype=dtype, requires_grad=True)
    bias, gain, shift = tensors(dtype, (width,), (width,), (width,))
    with torch.no_grad():
        bias.zero_(), gain.fill_(1), shift.zero_()
    torch.manual_seed(5)
    out = kernels.ResidualNorm.apply(x, y, bias, gain, shift, p, 1e-5)
    mask = out > 0
    assert abs(mask.float().mean().item() - (1 - p)) < 0.02
    flow = torch.randn(out.shape, device=DEVICE).to(dtype)
    dx, dy, of_bias, *_ = torch.autograd.grad(out, (x, y, bias, gain, shift), flow)
    torch.testing.assert_close(dy, (dx.float() * mask / (1 - p)).to(dtype), rtol=2e-2, atol=1e-3)
    torch.testing.assert_close(of_bias.float(), dy.float().sum(0), rtol=2e-2, atol=0.2)


def test_dropout_masks_differ_and_are_not_correlated() -> None:
    """Over draws, rows and columns the share kept is right, and neighbours do not go together."""
    rows, width, p = 128, 256, 0.25
    ones = torch.ones(rows, width, device=DEVICE)
    zeros = torch.zeros_like(ones)
    gain, shift = torch.ones(width, device=DEVICE), torch.zeros(width, device=DEVICE)
    torch.manual_seed(1)
    masks = [
        (kernels.ResidualNorm.apply(zeros, ones, None, gain, shift, p, 1e-5) > 0).float() for _ in range(6)
    ]
    torch.manual_seed(1)
    again = kernels.ResidualNorm.apply(zeros, ones, None, gain, shift, p, 1e-5) > 0
    assert torch.equal(again.float(), masks[0])
    spread = (p * (1 - p) / ones.numel()) ** 0.5
    for mask in masks:
        assert abs(mask.mean().item() - (1 - p)) < 5 * spread
        assert abs(mask.mean(0).std().item() / (p * (1 - p) / rows) ** 0.5 - 1) < 0.25
        assert abs(mask.mean(1).std().item() / (p * (1 - p) / width) ** 0.5 - 1) < 0.3
    apart = [m - m.mean() for m in masks]
    pairs = [(apart[i], apart[j]) for i in range(6) for j in range(i)]
    pairs += [(m[:, 1:], m[:, :-1]) for m in apart] + [(m[1:], m[:-1]) for m in apart]
    for a, b in pairs:
        together = (a * b).mean() / (p * (1 - p))
        assert abs(together.item()) < 5 / ones.numel() ** 0.5


@DTYPES
@pytest.mark.parametrize("gelu", [False, True], ids=["relu", "gelu"])
@pytest.mark.parametrize("shape", [(37, 24), (2, 9, 16)])
def test_linear_activation_equals_its_reference(
    shape: tuple[int, ...], gelu: bool, dtype: torch.dtype
) -> None:
    inputs = tensors(dtype, shape, (300, shape[-1]), (300,))

    def reference(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        y = F.linear(x, weight, bias)
        return F.gelu(y) if gelu else F.relu(y)

    both_ways(lambda *x: kernels.LinearActivation.apply(*x, gelu), reference, inputs)


@DTYPES
@pytest.mark.parametrize("width", [11, 5000])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_token_loss_equals_cross_entropy(width: int, smoothing: float, dtype: torch.dtype) -> None:
    (logits,) = tensors(dtype, (6, width))
    labels = torch.tensor([0, width - 1, 3, 3, 7, 1], device=DEVICE)
    both_ways(
        lambda x: kernels.TokenLoss.apply(x, labels, smoothing),
        lambda x: reference_token_loss(x, labels, smoothing),
        [logits],
    )


def test_token_loss_of_a_slice() -> None:
    (logits,) = tensors(torch.float32, (6, 40))
    labels = torch.tensor([0, 1, 2], device=DEVICE)
    both_ways(
        lambda x: kernels.TokenLoss.apply(x[::2, :33], labels, 0.1),
        lambda x: reference_token_loss(x[::2, :33], labels, 0.1),
        [logits],
    )


@DTYPES
@pytest.mark.parametrize("width", [11, 5000])
def test_soft_loss_equals_its_reference(width: int, dtype: torch.dtype) -> None:
    logits, teacher = tensors(dtype, (6, width), (6, width))
    teacher = teacher.detach()
    both_ways(
        lambda x: kernels.SoftLoss.apply(x, teacher),
        lambda x: reference_soft_loss(x, teacher.double()),
        [logits],
    )


@DTYPES
@pytest.mark.parametrize("bias", [True, False])
def test_linear_equals_that_of_torch(bias: bool, dtype: torch.dtype) -> None:
    inputs = tensors(dtype, (5, 7, 24), (300, 24), *([(300,)] if bias else []))
    both_ways(lambda *x: kernels.Linear.apply(*x, *([] if bias else [None])), F.linear, inputs)


@DTYPES
@pytest.mark.parametrize("shape", [(9,), (3, 4)])
def test_embedding_equals_that_of_torch(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    tokens = torch.tensor([1, 3, 3, 0, 4, 1, 3, 2, 4, 0, 1, 3], device=DEVICE)[: math.prod(shape)].view(shape)
    inputs = tensors(dtype, (5, 40))
    both_ways(
        lambda x: kernels.Embedding.apply(tokens, x, 3.0, 1), lambda x: 3 * F.embedding(tokens, x, 1), inputs
    )


@DTYPES
def test_gradients_add_up_where_they_exist(dtype: torch.dtype) -> None:
    """Weights are leading parts of larger tensors, and so are their gradients."""

    def leaves() -> list[Tensor]:
        whole = tensors(dtype, (300, 40), (300,), (40, 300), (40,), (40,), (40,), (9, 40))
        parts = [x.detach()[tuple(slice(0, max(5, 3 * n // 4)) for n in x.shape)] for x in whole]
        return [x.requires_grad_() for x in parts]

    def loss(
        w1: Tensor, b1: Tensor, w2: Tensor, b2: Tensor, gain: Tensor, shift: Tensor, table: Tensor
    ) -> Tensor:
        x = kernels.Embedding.apply(torch.tensor([1, 3, 5, 2], device=DEVICE), table, 2.0, 1)
        hidden = kernels.LinearActivation.apply(x, w1, b1, True)
        y = kernels.Linear.apply(hidden, w2, None)
        return (kernels.ResidualNorm.apply(x, y, b2, gain, shift, 0.0, 1e-5) ** 2).sum()

    plain, sunk = leaves(), leaves()
    loss(*plain).backward()
    offset = 0.5
    for w in sunk:
        w.grad = torch.full((2 * len(w), *(2 * n for n in w.shape[1:])), offset, device=DEVICE, dtype=dtype)[
            tuple(slice(0, n) for n in w.shape)
        ]
    homes = [w.grad.data_ptr() for w in sunk]
    loss(*sunk).backward()
    for mine, other, home in zip(sunk, plain, homes, strict=True):
        assert mine.grad.data_ptr() == home
        scale = other.grad.abs().max().clamp(min=1)
        apart = (mine.grad - offset - other.grad).abs().max() / scale
        assert apart < TOLERANCE[dtype]


@DTYPES
@pytest.mark.parametrize("p", [0.0, 0.2])
@pytest.mark.parametrize("gelu", [False, True], ids=["relu", "gelu"])
def test_shortcuts_add_up_as_autograd_does(gelu: bool, p: float, dtype: torch.dtype) -> None:
    """A feed-forward whose residual gradient takes the shortcut, against one without; dropout draws alike."""
    shapes = (5, 7, 24), (300, 24), (300,), (24, 300), (24,), (24,), (24,)

    def run(shortcut: Any) -> list[Tensor]:
        x, w1, b1, w2, b2, gain, shift = inputs = tensors(dtype, *shapes)
        torch.manual_seed(3)
        hidden = kernels.LinearActivation.apply(x, w1, b1, gelu, shortcut)
        product = kernels.Linear.apply(hidden, w2, None)
        residual = x if shortcut is None else x.detach()
        out = kernels.ResidualNorm.apply(residual, product, b2, gain, shift, p, 1e-5, shortcut)
        flow = torch.randn(out.shape, generator=torch.Generator().manual_seed(2)).to(DEVICE, dtype)
        return [out, *torch.autograd.grad(out, inputs, flow)]

    shortcut = kernels.Shortcut()
    for mine, other in zip(run(shortcut), run(None), strict=True):
        scale = other.abs().max().clamp(min=1)
        torch.testing.assert_close(mine / scale, other / scale, rtol=0, atol=TOLERANCE[dtype])
    assert shortcut.gradient is None
