"""Linear layers in int8 and FP8 on a GPU, with activations rounded a row at a time; the rest is bfloat16.

The recipe is the usual one for serving (dynamic activations a token, weights an output channel): int8 by
``torch._int_mm``, FP8 (e4m3) by ``torch._scaled_mm``. torch has no such kernel for convolutions.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.measurement.interleaved import MeasurementRejectedError
from benchmarks.measurement.operator_counter import OperatorCounter

MULTIPLE = 16
"""Widths that the kernels of both precisions take are multiples of this."""
FEWEST_ROWS = 32
"""Rows that a kernel is given at least; int8's refuses 16 and fewer."""
INT8_LARGEST, FP8_LARGEST = 127.0, 448.0
SMALLEST = 1e-12
"""Least scale of a row, so that rows of zeros divide by something."""


class RowwiseLinear(nn.Module):
    """A linear layer whose input and weight are rounded with a scale a row.

    Attributes:
        operator: kernel that runs only for such layers, as named by the dispatcher.
    """

    operator: str
    largest: float
    weight: Tensor
    scale: Tensor

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        scale = self.scales(layer.weight.detach().float())
        self.register_buffer("scale", scale.T.contiguous())  # [1, out]
        # Stored [out, in]; the kernels take its transpose, column by column.
        self.register_buffer("weight", self.rounded(layer.weight.detach().float() / scale))
        self.bias = None if layer.bias is None else nn.Parameter(layer.bias.detach().bfloat16(), False)

    def scales(self, x: Tensor) -> Tensor:
        """Return the scale of each row of ``[rows, width]`` as ``[rows, 1]``, float32."""
        return x.abs().amax(dim=-1, keepdim=True).float().clamp(min=SMALLEST) / self.largest

    def rounded(self, x: Tensor) -> Tensor:
        """Return float32 numbers within ``largest``, rounded to the layer's type."""
        raise NotImplementedError

    def product(self, x: Tensor, scale: Tensor) -> Tensor:
        """Return the product of rounded rows and the weight in bfloat16, scales applied."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        rows = x.reshape(-1, x.shape[-1])
        count = len(rows)
        if count < FEWEST_ROWS:
            rows = F.pad(rows, (0, 0, 0, FEWEST_ROWS - count))
        scale = self.scales(rows)
        y = self.product(self.rounded(rows.float() / scale), scale)[:count]
        if self.bias is not None:
            y = y + self.bias
        return y.reshape(*x.shape[:-1], y.shape[-1])


class Int8Rows(RowwiseLinear):
    """A linear layer in int8, whose product is summed in whole numbers."""

    operator, largest = "aten._int_mm", INT8_LARGEST

    def rounded(self, x: Tensor) -> Tensor:
        return x.round().to(torch.int8)

    def product(self, x: Tensor, scale: Tensor) -> Tensor:
        sums = torch._int_mm(x, self.weight.T)
        return (sums.float() * scale * self.scale).bfloat16()


class Fp8Rows(RowwiseLinear):
    """A linear layer in FP8 (e4m3), whose product is summed in the tensor cores' fast way."""

    operator, largest = "aten._scaled_mm", FP8_LARGEST

    def rounded(self, x: Tensor) -> Tensor:
        return x.to(torch.float8_e4m3fn)

    def product(self, x: Tensor, scale: Tensor) -> Tensor:
        y: Tensor = torch._scaled_mm(
            x, self.weight.T, scale, self.scale, out_dtype=torch.bfloat16, use_fast_accum=True
        )
        return y


ROWWISE: dict[str, type[RowwiseLinear]] = {"int8": Int8Rows, "fp8": Fp8Rows}


def convert(module: nn.Module, precision: str) -> nn.Module:
    """Return a copy of a network in a precision; float32 is the network itself.

    int8 and FP8 take the linear layers whose widths are multiples of ``MULTIPLE``; all else is bfloat16.

    Raises:
        ValueError: the network is made of convolutions, and the precision has no kernel for them.
    """
    if precision == "fp32":
        return module
    network = copy.deepcopy(module).bfloat16()
    if precision == "bf16":
        return network
    layers = _linears(module)
    if sum(isinstance(part, nn.Conv2d) for part in module.modules()) > len(layers):
        raise ValueError(f"torch has no convolution in {precision} on a GPU")
    for name, layer in layers.items():
        network.set_submodule(name, ROWWISE[precision](layer))
    return network


def check_kernels(network: nn.Module, sample: Tensor) -> int:
    """Run a converted network once; return how many kernels of its rounded layers ran.

    Raises:
        MeasurementRejectedError: fewer or more kernels ran than rounded layers were called.
    """
    called: dict[str, int] = {}

    def count(layer: RowwiseLinear, *_: object) -> None:
        called[layer.operator] = called.get(layer.operator, 0) + 1

    rounded = [part for part in network.modules() if isinstance(part, RowwiseLinear)]
    hooks = [part.register_forward_hook(count) for part in rounded]
    try:
        with OperatorCounter() as ran:
            network(sample)
    finally:
        for hook in hooks:
            hook.remove()
    for operator, due in called.items():
        actual = sum(calls for name, calls in ran.calls.items() if name.startswith(operator))
        if actual != due:
            raise MeasurementRejectedError(f"{operator} ran {actual} times for {due} layers")
    if rounded and not called:
        raise MeasurementRejectedError("none of its rounded layers ran")
    return sum(called.values())


def _linears(module: nn.Module) -> dict[str, nn.Linear]:
    return {
        name: layer
        for name, layer in module.named_modules()
        if isinstance(layer, nn.Linear) and not any(n % MULTIPLE for n in layer.weight.shape)
    }
