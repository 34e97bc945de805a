"""Batched fake quantization: evaluate one network under many precision policies without converting it.

Operators follow the deployed arithmetic of one sample at a time. Activation ranges are those of each sample,
so that batches change nothing; those of ``int8s`` layers are fixed by calibration, and outputs of their
convolutions are rounded too, as in their ONNX graphs. int8 products are sums of whole numbers, as in the
kernels: in int32 where the processor multiplies such numbers exactly, in float32 elsewhere. Each weight is
rounded once per precision, at first use; a policy picks one of them.

Many policies of one architecture run at once, folded into the batch: layer by layer, all policies with the
same precision share one product. It runs wherever torch does, also on a GPU, which lacks the real kernels.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from supernet.quantization.calibration import LayerRange, Ranges, shared_inputs
from supernet.quantization.folding import fold_batch_norms
from supernet.quantization.precisions import STATIC, Fake, Policy, check, units
from supernet.quantization.rounding import GROUP, LARGEST, activation_grid, round_bias, w4_grid, w8_grid

ROWS = {"cpu": 32}
"""Samples that run at once: on the processor few enough for its caches, which halves the time of products."""
ROWS_ELSEWHERE = 4096
"""Samples that run at once on other devices."""


class _Layer(Fake):
    """A linear layer or convolution in the precisions ``chosen``, one for each part of the batch."""

    def __init__(
        self,
        layer: Any,
        exact: bool = True,
        grouped: bool = False,
        static: LayerRange | None = None,
        largest: int = LARGEST,
    ) -> None:
        super().__init__()
        self.layer, self.exact, self.grouped = layer, exact, grouped
        self.static, self.largest = static, largest
        self.grids: dict[str, tuple[Tensor, Tensor | None]] = {}
        self.sums: Tensor | None = None
        self.static_sums: Tensor | None = None
        self.static_bias: Tensor | None = None
        self.real: Tensor | None = None
        self.choose(("fp32",))

    def choose(self, precisions: Sequence[str]) -> None:
        """Set the precisions, one for each part of the batch."""
        self.chosen = tuple(precisions)
        self.rows: dict[str, Tensor] = {}

    def forward(self, x: Tensor, first: int | None = None) -> Tensor:
        """Apply the layer; with ``first``, to each sample's first places alone, with ranges over all
        places."""
        if len(set(self.chosen)) == 1:
            return self._in(self.chosen[0], x, first)
        parts = x.unflatten(0, (len(self.chosen), -1))
        y: Tensor | None = None
        for precision in dict.fromkeys(self.chosen):
            if precision not in self.rows:  # kept: making them waits for a GPU
                places = [i for i, chosen in enumerate(self.chosen) if chosen == precision]
                self.rows[precision] = torch.tensor(places, device=x.device)
            rows = self.rows[precision]
            part = self._in(precision, parts.index_select(0, rows).flatten(0, 1), first)
            if y is None:
                y = part.new_empty(len(x), *part.shape[1:])
            y.unflatten(0, parts.shape[:2]).index_copy_(0, rows, part.unflatten(0, (len(rows), -1)))
        assert y is not None
        return y

    def float_weight(self) -> Tensor:
        """Return the weight in the one chosen precision, fp32 or w4."""
        (precision,) = set(self.chosen)
        weight: Tensor = self.layer.weight if precision == "fp32" else self._grid(precision)[0]
        return weight

    def _in(self, precision: str, x: Tensor, first: int | None) -> Tensor:
        if precision == "int8":
            return self._int8(x, first)
        if precision == STATIC:
            return self._int8s(x if first is None else x[:, :first])
        x = x if first is None else x[:, :first]
        if precision == "fp32":
            y: Tensor = self.layer(x) if self.exact else self._product(x, self.layer.weight, self.layer.bias)
            return y
        weight, _ = self._grid(precision)
        if precision == "bf16":
            return self._plus(self._product(x.bfloat16(), weight).float())
        return self._product(_grouped(x) if self.grouped else x, weight, self.layer.bias)

    def _int8(self, x: Tensor, first: int | None) -> Tensor:
        return self._counted(*self._numbers(x, first))

    def _int8s(self, x: Tensor) -> Tensor:
        """Return the product of inputs in the fixed range; a convolution's output is rounded too."""
        step, zero = self.static_grid()
        weight, unit = self._grid(STATIC)
        assert unit is not None and self.static is not None
        numbers = _levels(x, step, zero)
        if weight.dtype == torch.int8:
            y = torch._int_mm((numbers + (zero - 128)).to(torch.int8).flatten(0, -2), weight)
            y = (y.unflatten(0, numbers.shape[:-1]) + (128 - zero) * self.static_sums).float()
        else:
            y = self._product(numbers, weight)
        y = y.mul_(self._column(unit * step))
        bias = self.layer.bias
        if bias is not None:
            if x.dim() == 2 or not isinstance(self.layer, nn.Linear):  # else the graph has a plain sum
                bias = self._rounded_bias(unit * step)
            y.add_(self._column(bias))
        if isinstance(self.layer, nn.Linear):
            return y
        return round_activations(y, *activation_grid(self.static.output_low, self.static.output_high))

    def _rounded_bias(self, unit: Tensor) -> Tensor:
        """Return the bias in whole units."""
        if self.static_bias is None:
            numbers = round_bias(self.layer.bias.detach().cpu().numpy(), unit.cpu().numpy())
            self.static_bias = torch.from_numpy(numbers).to(unit.device).float() * unit
        return self.static_bias

    def static_grid(self) -> tuple[float, int]:
        """Return step and zero point of the fixed range of the input.

        Raises:
            ValueError: the layer has no range.
        """
        if self.static is None:
            raise ValueError(f"{STATIC} layers need ranges: FakeQuantized(..., ranges=calibrate(...))")
        return activation_grid(self.static.low, self.static.high)

    def round_input(self, x: Tensor) -> Tensor:
        """Return the input of a container whose whole input this layer rounds, for its parts in ``int8s``."""
        if STATIC not in self.chosen:
            return x
        if len(set(self.chosen)) == 1:
            return round_activations(x, *self.static_grid())
        parts = x.unflatten(0, (len(self.chosen), -1))
        rounded = round_activations(x, *self.static_grid()).unflatten(0, (len(self.chosen), -1))
        mask = torch.tensor([precision == STATIC for precision in self.chosen], device=x.device)
        return torch.where(mask.view(-1, *[1] * (parts.dim() - 1)), rounded, parts).flatten(0, 1)

    def _numbers(self, x: Tensor, first: int | None) -> tuple[Tensor, Tensor, Tensor]:
        """Return the input of int8 products, with the step and the zero of each sample."""
        if self.real is not None and self.real.dim() == x.dim():
            x = x.masked_fill(~self.real, 0.0)  # every range has zero in it
        step, zero = _ranges(x)
        x = x if first is None else x[:, :first]
        if not self._exact_integers(x):
            return _levels(x, step, zero), step, zero
        # The kernels' own numbers, 128 less so that they are signed; what that takes away is added again.
        numbers = (x / step).round_().add_(zero - 128).clamp_(-128, 127).to(torch.int8)
        return numbers, step, zero

    def _counted(self, numbers: Tensor, step: Tensor, zero: Tensor) -> Tensor:
        """Return the int8 product."""
        weight, unit = self._grid("int8")
        assert unit is not None
        if numbers.dtype == torch.int8:
            sums = torch._int_mm(numbers.flatten(0, -2), weight).unflatten(0, numbers.shape[:-1])
            y = sums.add_((128 - zero).int() * self.sums).float()
        else:
            y = self._product(numbers, weight)
        return self._plus(y.mul_(step * self._column(unit)))

    def _exact_integers(self, x: Tensor) -> bool:
        """Return whether int8 products use whole numbers on this device."""
        return isinstance(self.layer, nn.Linear) and x.device.type == "cpu" and exact_products()

    def _product(self, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        if isinstance(self.layer, nn.Linear):
            return linear(x, weight, bias)
        y: Tensor = self.layer._conv_forward(x, weight, bias)
        return y

    def _column(self, values: Tensor) -> Tensor:
        """Reshape one value an output channel so that it broadcasts over outputs."""
        return values if isinstance(self.layer, nn.Linear) else values.view(-1, *[1] * (self._axes - 2))

    def _plus(self, y: Tensor) -> Tensor:
        return y if self.layer.bias is None else y.add_(self._column(self.layer.bias))

    @property
    def _axes(self) -> int:
        return int(self.layer.weight.dim())

    def _grid(self, precision: str) -> tuple[Tensor, Tensor | None]:
        """Return the weight in a precision and, for int8, the steps of its whole numbers.

        Whole numbers are ``[in, out]`` if they are multiplied as such.
        """
        if precision not in self.grids:
            weight = self.layer.weight.detach()
            if precision == "bf16":
                self.grids[precision] = weight.bfloat16(), None
            else:
                values = weight.cpu().numpy()
                if precision == "w4":
                    grid = w4_grid(values)
                else:
                    grid = w8_grid(values, self.largest if precision == STATIC else LARGEST)
                numbers, step = (torch.from_numpy(part).to(weight.device) for part in grid)
                if precision == "w4":
                    floats = numbers.float().unflatten(1, (-1, GROUP)) * step[..., None]
                    self.grids[precision] = floats.flatten(1), None
                elif self._exact_integers(weight):
                    self.grids[precision] = numbers.t().contiguous(), step
                    sums = numbers.sum(1, dtype=torch.int32)
                    if precision == STATIC:
                        self.static_sums = sums
                    else:
                        self.sums = sums
                else:
                    self.grids[precision] = numbers.float(), step
        return self.grids[precision]


def linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Compute ``F.linear`` without gradients.

    On a processor float32 products use oneDNN; MKL, torch's default, takes twice as long on AMD's.
    """
    if x.device.type == "cpu" and x.dtype == torch.float32 and torch.backends.mkldnn.is_available():
        y: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
        return y
    return F.linear(x, weight, bias)


def together(layers: Sequence[_Layer], x: Tensor) -> list[Tensor]:
    """Apply several layers of one precision to the same input; its range and its whole numbers are computed
    once."""
    if {precision for layer in layers for precision in layer.chosen} != {"int8"}:
        return [layer(x) for layer in layers]
    numbers = layers[0]._numbers(x, None)
    return [layer._counted(*numbers) for layer in layers]


def _rounding(layer: _Layer) -> Callable[..., tuple[Tensor, ...]]:
    """Return a hook that rounds the input of a container whose whole input a layer reads."""

    def hook(_: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return layer.round_input(inputs[0]), *inputs[1:]

    return hook


def round_activations(x: Tensor, step: float, zero: int) -> Tensor:
    """Round activations to unsigned 8-bit numbers of a fixed range and back, as QDQ pairs do."""
    return _levels(x, step, zero).mul_(step)


def levels(x: Tensor) -> tuple[Tensor, Tensor]:
    """Quantize activations ``[B, ...]`` as int8 layers do, like ONNX's DynamicQuantizeLinear.

    Returns:
        whole numbers from 0 to 255 minus the zero point, and the step of each sample, ``[B, 1, ...]``.
    """
    step, zero = _ranges(x)
    return _levels(x, step, zero), step


def _ranges(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return the step and the zero point of each sample, ``[B, 1, ...]``."""
    over = tuple(range(1, x.dim()))
    low, high = x.amin(over, keepdim=True).clamp_(max=0), x.amax(over, keepdim=True).clamp_(min=0)
    step = (high - low).div_(255)
    step.masked_fill_(step == 0, 1.0)
    return step, low.neg_().div_(step).round_().clamp_(0, 255)


def _grouped(x: Tensor) -> Tensor:
    """Return activations in symmetric int8 steps, one a row's group of ``GROUP``, as in ``MatMulNBits``."""
    groups = x.unflatten(-1, (-1, GROUP))
    step = groups.abs().amax(-1, keepdim=True).div_(127)
    step.masked_fill_(step == 0, 1.0)
    return (groups / step).round_().mul_(step).flatten(-2)


def _levels(x: Tensor, step: Tensor | float, zero: Tensor | int) -> Tensor:
    return (x / step).round_().add_(zero).clamp_(0, 255).sub_(zero)


@cache
def exact_products() -> bool:
    """Return whether torch's int8 matrix products are exact on this processor; without VNNI they may overflow
    in 16 bits."""
    if not torch.backends.mkldnn.is_available():
        return False
    x = torch.full((32, 64), -128, dtype=torch.int8)
    x[::2] = 127
    product = torch._int_mm(x, torch.full((64, 32), LARGEST, dtype=torch.int8))
    return bool((product == x.int().sum(1, keepdim=True) * LARGEST).all())


class FakeQuantized:
    """One exported network under any policy.

    The first axis of every layer's input must be samples. Rows of several samples that were flattened
    together would get ranges of their own, which no deployed network has.

    Args:
        module: plain, on the device where it is to run; it is copied.
        exact: fp32 layers return the module's own bits; else they use the fastest library of this machine.
        ranges: of ``supernet.quantization.calibration``, for ``int8s``; batch norms are folded then.
        largest: largest magnitude of an ``int8s`` weight, as ``supernet.quantization.onnx_runtime`` has it.
        runtime: runtime of the deployed network. In ONNX Runtime (``ort``) w4 layers round their
            activations to int8 in groups; in others they do not.

    Attributes:
        net: the network under the last policies of ``select``; in evaluation mode.
        units: layers that a policy may name, with the shapes of the weights.
    """

    def __init__(
        self,
        module: nn.Module,
        exact: bool = True,
        runtime: str = "torch",
        *,
        ranges: Ranges | None = None,
        largest: int = LARGEST,
    ) -> None:
        self.units = units(module)
        root = nn.Module()
        copied = copy.deepcopy(module) if ranges is None else fold_batch_norms(module)
        root.add_module("net", copied.requires_grad_(False).eval())
        self._layers: dict[str, _Layer] = {}
        for name in self.units:
            path = f"net.{name}".rstrip(".")
            parent, _, key = path.rpartition(".")
            static = (ranges or {}).get(name)
            self._layers[name] = _Layer(root.get_submodule(path), exact, runtime == "ort", static, largest)
            root.get_submodule(parent).add_module(key, self._layers[name].eval())
        self.net = root.get_submodule("net")
        for name, container in shared_inputs(copied).items():
            self.net.get_submodule(container).register_forward_pre_hook(_rounding(self._layers[name]))

    def select(self, policies: Sequence[Policy | None]) -> nn.Module:
        """Return the network under ``policies``; it takes inputs repeated once a policy, one policy after the
        other.

        Raises:
            ValueError: there are no policies, or one does not fit this network.
        """
        if not policies:
            raise ValueError("no policies to evaluate")
        for policy in policies:
            check(policy or {}, self.units)
        for name, layer in self._layers.items():
            layer.choose([(policy or {}).get(name, "fp32") for policy in policies])
        return self.net

    def pad(self, real: Tensor | None) -> None:
        """Exclude padding from the ranges of activations, as in deployed networks, which have none.

        Args:
            real: places of the next inputs without padding ``[B, T, 1]``, once a policy; None: all.
        """
        for layer in self._layers.values():
            layer.real = real

    def __call__(
        self,
        policies: Sequence[Policy | None],
        *inputs: Tensor,
        call: Callable[..., Tensor] | None = None,
        rows: int | None = None,
    ) -> Tensor:
        """Return the network's outputs under each policy for each sample: ``[policies, batch, ...]``.

        Args:
            inputs: ``[batch, ...]``, all of one length: deployed networks have no padding.
            call: ``(module, *inputs) -> output``; by default the module's forward.
            rows: samples that run at once, over all policies, which bounds the memory; the default suits the
                device.

        Raises:
            ValueError: there are no policies, or one does not fit this network.
        """
        if not policies:
            raise ValueError("no policies to evaluate")
        call = call or (lambda net, *given: net(*given))
        rows = rows or ROWS.get(inputs[0].device.type, ROWS_ELSEWHERE)
        many = max(1, rows // len(inputs[0]))
        outputs = []
        with torch.inference_mode():
            for i in range(0, len(policies), many):
                some = policies[i : i + many]
                net = self.select(some)
                parts = zip(*(x.split(rows) for x in inputs), strict=True)
                folded = ([x.repeat(len(some), *[1] * (x.dim() - 1)) for x in part] for part in parts)
                outputs_of_rows = [call(net, *part).unflatten(0, (len(some), -1)) for part in folded]
                outputs.append(torch.cat(outputs_of_rows, 1))
        return torch.cat(outputs)
