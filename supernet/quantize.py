"""From a precision policy to real low-precision modules.

A policy maps names of linear layers, as ``named_modules`` has them, to precisions of ``PRECISIONS``; a layer
that it leaves out stays fp32. What is not a linear layer always does: embeddings, norms, attention
products, GELU, residual sums, and an output layer that is the table of words itself (masked language
models, translators that share it).

int8 is post-training quantisation with dynamic ranges: weights symmetric per output channel, activations
asymmetric per tensor from the smallest and largest value of each call, products added up in int32, bias in
float32. The tensor is the whole batch: what a row comes out as depends, a little, on its neighbours.
"""

from __future__ import annotations

import copy
import difflib
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import ClassVar

import torch
from torch import Tensor, nn

Policy = Mapping[str, str]
LARGEST = 127
"""Magnitude of an int8 weight: -128 is not used, so that the scale is symmetric."""


class LowPrecision(nn.Module):
    """A linear layer that is not computed in fp32. It has no parameters: it is for use, not for training."""

    precision: ClassVar[str]

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        bias = 0 if linear.bias is None else linear.bias.numel() * 4
        self.bytes = PRECISIONS[self.precision].bytes(self.out_features, self.in_features) + bias
        """Of its numbers; kernels pad them to their own tiles."""


class Int8Linear(LowPrecision):
    """``[..., in_features]`` to ``[..., out_features]`` by torch's int8 kernel, on the processor.

    Raises:
        ValueError: there is no such kernel, or the weights lie elsewhere.
    """

    precision = "int8"

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__(linear)
        self.reduced = activation_bits() < 8
        weight = linear.weight.detach()
        if weight.device.type != "cpu":
            raise ValueError(f"int8 layers run on the processor, and these weights are on {weight.device}")
        scale = weight.abs().amax(1) / LARGEST
        self.packed = _packed(weight, scale.masked_fill_(scale == 0, 1.0), linear.bias)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = torch.ops.quantized.linear_dynamic(x, self.packed, self.reduced)
        return y


def _packed(weight: Tensor, scale: Tensor, bias: Tensor | None) -> object:
    """Weights in the kernel's layout."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch deprecates quantised tensors, and has no other way in yet
        zero = torch.zeros(len(scale), dtype=torch.long)
        quantized = torch.quantize_per_channel(weight.contiguous(), scale.double(), zero, 0, torch.qint8)
        return torch.ops.quantized.linear_prepack(quantized, None if bias is None else bias.detach())


def activation_bits() -> int:
    """Of an int8 layer's activations here: 8, or 7 where 8 would overflow.

    x86 processors without VNNI add pairs of products in 16 bits, which full-range numbers exceed without
    a word; one bit less fits.

    Raises:
        ValueError: torch has no int8 kernels on this processor.
    """
    return _activation_bits(torch.backends.quantized.engine)


@cache
def _activation_bits(engine: str) -> int:
    if engine == "none":
        raise ValueError("torch has no int8 engine on this processor: only fp32 layers can run here")
    packed = _packed(torch.full((32, 64), float(LARGEST)), torch.ones(32), None)
    product = torch.ops.quantized.linear_dynamic(torch.full((4, 64), 255.0), packed, False)
    return 8 if bool((product == 64 * LARGEST * 255).all()) else 7


@dataclass(frozen=True)
class Precision:
    """What a layer of a policy may be.

    Attributes:
        build: makes the layer from a ``nn.Linear``.
        bytes: of weights with their scales, without bias, for ``(out_features, in_features)``.
        operator: what the dispatcher calls the kernel, so that it can be seen to run; None for fp32.
        recipe: how it computes on this machine, for signatures.
    """

    build: Callable[[nn.Linear], nn.Module]
    bytes: Callable[[int, int], int]
    operator: str | None
    recipe: Callable[[], str]


PRECISIONS = {
    "fp32": Precision(lambda linear: linear, lambda rows, columns: 4 * rows * columns, None, lambda: ""),
    "int8": Precision(
        Int8Linear,
        lambda rows, columns: rows * columns + 4 * rows,
        "quantized.linear_dynamic",
        lambda: f"{torch.backends.quantized.engine}-w8c-a{activation_bits()}t",
    ),
}
"""All that a policy can ask for."""


def uniform_int8(module: nn.Module) -> dict[str, str]:
    """The policy of int8 in every linear layer: projections, feed-forwards, bridges, pooler, dense layers of
    heads, and an output layer with weights of its own."""
    return {name: "int8" for name, layer in module.named_modules() if isinstance(layer, nn.Linear)}


def lowered(policy: Policy | None) -> dict[str, str] | None:
    """The part of a policy that changes a network; None where nothing does."""
    return {name: precision for name, precision in (policy or {}).items() if precision != "fp32"} or None


def quantize(module: nn.Module, policy: Policy | None) -> nn.Module:
    """``module`` as it is deployed under ``policy``: a new module in evaluation mode; the given one stays.

    Raises:
        ValueError: the policy names what is no linear layer or no precision, or this machine cannot run it.
    """
    policy = policy or {}
    known = [name for name, layer in module.named_modules() if isinstance(layer, nn.Linear)]
    check(policy, known)
    root = nn.Module()  # so that a network that is a single linear layer has a place to be exchanged at
    root.add_module("net", copy.deepcopy(module).eval())
    for name, precision in policy.items():
        parent, _, key = f"net.{name}".rstrip(".").rpartition(".")
        made = PRECISIONS[precision].build(root.get_submodule(f"net.{name}".rstrip(".")))  # type: ignore[arg-type]
        root.get_submodule(parent).add_module(key, made.eval())
    return root.get_submodule("net")


def check(policy: Policy, layers: Iterable[str]) -> None:
    """Whether a policy can be one of a network with these linear layers.

    Raises:
        ValueError: it cannot; the message names the layer and what there is.
    """
    known = set(layers)
    for name, precision in policy.items():
        if precision not in PRECISIONS:
            raise ValueError(
                f"layer {name!r}: no precision {precision!r}, choose one of {', '.join(PRECISIONS)}"
            )
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.0)
            hint = f"; the nearest name is {near[0]!r}" if near else "; it has none"
            raise ValueError(f"the policy names {name!r}, which is no linear layer of the network{hint}")


def precisions(module: nn.Module) -> dict[str, str]:
    """Linear layer -> the precision that it runs in."""
    found = {}
    for name, layer in module.named_modules():
        if isinstance(layer, LowPrecision | nn.Linear):
            found[name] = layer.precision if isinstance(layer, LowPrecision) else "fp32"
    return found


def packed_bytes(module: nn.Module) -> int:
    """Bytes of the weights that are no parameters of the module."""
    return sum(layer.bytes for layer in module.modules() if isinstance(layer, LowPrecision))


def recipe(module: nn.Module) -> dict[str, str]:
    """How a module computes, for the signatures of its figures: ``prec``, as ``int8`` or ``fp32+int8``, and
    of each precision but fp32 how it was computed here; empty where all is fp32."""
    used = sorted(set(precisions(module).values()))
    told = {name: PRECISIONS[name].recipe() for name in used if name != "fp32"}
    return {"prec": "+".join(used)} | told if told else {}
