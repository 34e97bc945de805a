"""Layers that torch computes in low precision, by kernels of its own, on the processor.

Activations are asymmetric per tensor from the smallest and largest value of each call (int8), stay float32
(w4) or become bfloat16 (bf16). Sums are int32 or float32, the bias is float32. The tensor is the whole batch:
the int8 output of a row depends, a little, on the other rows.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from functools import cache
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from supernet.quantization.rounding import GROUP, LARGEST, stored_bytes, w4_grid, w8_grid

ROWS = 16
"""Multiple to which torch's w4 kernel pads output channels."""


class LowPrecision(nn.Module):
    """Base of layers that are not computed in fp32; without parameters, for inference only."""

    precision: ClassVar[str]
    operator: ClassVar[str | None] = None
    """Kernel as named by the dispatcher, so that its runs can be observed; None if fp32 uses it, too."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        weight, bias = layer.weight, layer.bias
        self.shape = tuple(weight.shape)  # type: ignore[arg-type]
        if weight.device.type != "cpu":
            raise ValueError(
                f"{self.precision} layers run on the processor, and these weights are on {weight.device}"
            )
        self.bytes = stored_bytes(self.precision, self.shape) + (0 if bias is None else bias.numel() * 4)  # type: ignore[operator]
        """Bytes of its numbers; kernels pad them to their own tiles."""


class Int8Linear(LowPrecision):
    """Int8 linear layer: ``[..., in_features]`` to ``[..., out_features]``.

    Raises:
        ValueError: torch has no such kernel on this machine, or the weights are not on the processor.
    """

    precision, operator = "int8", "quantized.linear_dynamic"

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__(linear)
        self.reduced = activation_bits() < 8
        self.packed = _packed(linear.weight, linear.bias)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = torch.ops.quantized.linear_dynamic(x, self.packed, self.reduced)
        return y


class Int8Convolution(LowPrecision):
    """Int8 ``nn.Conv1d`` or ``nn.Conv2d``, not grouped, as one product of its unfolded input.

    torch's own dynamic int8 convolutions also round their outputs to 256 values, so that their error would be
    as large against other int8 runtimes as against fp32. They are not used.

    Raises:
        ValueError: torch has no such kernel on this machine, the layer is grouped, or the weights are not
            on the processor.
    """

    precision, operator = "int8", Int8Linear.operator

    def __init__(self, layer: nn.Conv1d | nn.Conv2d) -> None:
        super().__init__(layer)
        if layer.groups != 1:
            raise ValueError(
                f"torch has no int8 kernel for convolutions in {layer.groups} groups: take fp32, bf16, or the"
                " runtime ort"
            )
        if isinstance(layer.padding, str) or layer.padding_mode != "zeros":
            raise ValueError(f"int8 convolutions pad with zeros, so many: {layer.padding!r} is no number")
        # A convolution over time is one over pictures of height one.
        over_time = len(layer.kernel_size) == 1
        lead = (lambda value: (1, *value)) if over_time else tuple
        self.kernel, self.stride, self.dilation = map(lead, (layer.kernel_size, layer.stride, layer.dilation))
        self.padding = (0, *layer.padding) if over_time else tuple(layer.padding)
        self.reduced = activation_bits() < 8
        self.packed = _packed(layer.weight.flatten(1), layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        pictures = x if x.dim() == 4 else x[:, :, None]
        seen = zip(pictures.shape[2:], self.padding, self.dilation, self.kernel, self.stride, strict=True)
        size = [(side + 2 * pad - wide * (k - 1) - 1) // step + 1 for side, pad, wide, k, step in seen]
        patches = F.unfold(pictures, self.kernel, self.dilation, self.padding, self.stride).transpose(1, 2)
        y = torch.ops.quantized.linear_dynamic(patches, self.packed, self.reduced)
        y = y.transpose(1, 2).unflatten(2, size)
        return y if x.dim() == 4 else y[:, :, 0]


class W4Linear(LowPrecision):
    """Linear layer of 4-bit weights and float32 activations: ``[..., in_features]`` to ``[...,
    out_features]``.

    Raises:
        ValueError: the inputs do not divide into groups, or the weights are not on the processor.
    """

    precision, operator = "w4", "aten._weight_int4pack_mm_for_cpu"

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__(linear)
        numbers, step = (torch.from_numpy(part) for part in w4_grid(linear.weight.detach().numpy()))
        more = -len(numbers) % ROWS
        numbers, step = F.pad(numbers.int() + 8, (0, 0, 0, more)), F.pad(step, (0, 0, 0, more))
        self.packed = torch.ops.aten._convert_weight_to_int4pack_for_cpu(numbers, 2)
        self.steps = torch.stack([step, torch.zeros_like(step)], 2).transpose(0, 1).contiguous()
        self.bias = _bias(linear.bias)

    def forward(self, x: Tensor) -> Tensor:
        flat = x.reshape(-1, x.shape[-1]).contiguous()
        y: Tensor = torch.ops.aten._weight_int4pack_mm_for_cpu(flat, self.packed, GROUP, self.steps)
        y = y[:, : self.shape[0]].unflatten(0, x.shape[:-1])
        return y if self.bias is None else y + self.bias


class Bf16(LowPrecision):
    """A linear layer or convolution in bfloat16, with float32 input and output."""

    precision = "bf16"

    def __init__(self, layer: Any) -> None:
        super().__init__(layer)
        self.weight, self.bias = layer.weight.detach().bfloat16(), _bias(layer.bias)
        self.layer = None if isinstance(layer, nn.Linear) else layer

    def forward(self, x: Tensor) -> Tensor:
        x = x.bfloat16()
        if self.layer is None:
            y = F.linear(x, self.weight).float()
            return y if self.bias is None else y + self.bias
        y = self.layer._conv_forward(x, self.weight, None).float()
        return y if self.bias is None else y + self.bias.view(-1, *[1] * (self.weight.dim() - 2))


def _bias(bias: Tensor | None) -> Tensor | None:
    return None if bias is None else bias.detach()


def _quantized(weight: Tensor) -> Tensor:
    """Return a weight as torch's int8 tensor, one scale an output channel."""
    numbers, step = (torch.from_numpy(part) for part in w8_grid(weight.detach().numpy()))
    zero = torch.zeros(len(step), dtype=torch.long)
    tensor: Tensor = torch._make_per_channel_quantized_tensor(numbers, step.double(), zero, 0)
    return tensor


def _packed(weight: Tensor, bias: Tensor | None) -> object:
    """Return weights in the kernel's layout."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch deprecates quantised tensors, and has no other way in yet
        return torch.ops.quantized.linear_prepack(_quantized(weight), _bias(bias))


def activation_bits() -> int:
    """Return the bits of an int8 layer's activations on this machine: 8, or 7 if 8 would overflow.

    x86 processors without VNNI add pairs of products in 16 bits, which full-range numbers silently exceed;
    one bit less fits.

    Raises:
        ValueError: torch has no int8 kernels on this processor.
    """
    return _activation_bits(torch.backends.quantized.engine)


@cache
def _activation_bits(engine: str) -> int:
    if engine == "none":
        raise ValueError("torch has no int8 engine on this processor: only fp32 layers can run here")
    packed = _packed(torch.full((32, 64), float(LARGEST)), None)
    product = torch.ops.quantized.linear_dynamic(torch.full((4, 64), 255.0), packed, False)
    return 8 if bool((product == 64 * LARGEST * 255).all()) else 7


def refusal(precision: str, shape: Sequence[int]) -> str | None:
    """Return the reason against this precision for a layer with a weight of this shape; None if there is
    none."""
    if precision == "w4" and len(shape) != 2:
        return "w4 is for linear layers: neither runtime has a convolution with weights of four bits"
    if precision == "w4" and shape[1] % GROUP:
        return f"w4 shares steps among {GROUP} inputs, and {shape[1]} are no multiple of {GROUP}"
    return None
