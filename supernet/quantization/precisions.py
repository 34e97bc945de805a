"""From a precision policy to real low-precision modules.

A policy maps names of linear layers and convolutions, as ``named_modules`` has them, to precisions of
``PRECISIONS``; a layer that it leaves out stays fp32. What is neither always does: embeddings, norms,
attention products, GELU, residual sums, and an output layer that is the table of words itself (masked
language models, translators that share it).

Nothing is trained or calibrated. int8: weights symmetric per output channel, activations asymmetric per
tensor, from their smallest and largest value. w4: weights of four bits in groups
(``supernet.quantization.rounding``);
activations float32 in torch, and int8 in the same groups in ONNX Runtime, which moves outputs by about 1 %.
bf16: both rounded to bfloat16. ``supernet.quantization.torch_kernels`` has the layers of torch;
``supernet.quantization.onnx_runtime`` runs the same policies in ONNX Runtime;
``supernet.quantization.fake_quantize`` predicts either.
"""

from __future__ import annotations

import copy
import difflib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from supernet.quantization.rounding import stored_bytes
from supernet.quantization.torch_kernels import (
    Bf16,
    Int8Convolution,
    Int8Linear,
    LowPrecision,
    W4Linear,
    activation_bits,
    refusal,
)

Policy = Mapping[str, str]
LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d)
"""Kinds of layer that have a precision of their own."""


@dataclass(frozen=True)
class Precision:
    """What a layer of a policy may be.

    Attributes:
        linear: makes the layer from a ``nn.Linear``.
        convolution: from a convolution, where there is such a thing.
        recipe: how it computes on this machine, for signatures.
    """

    linear: Callable[[nn.Linear], nn.Module]
    convolution: Callable[[nn.Conv1d | nn.Conv2d], nn.Module] | None
    recipe: Callable[[], str]


PRECISIONS = {
    "fp32": Precision(lambda layer: layer, lambda layer: layer, lambda: ""),
    "bf16": Precision(Bf16, Bf16, lambda: "torch-w16-a16"),
    "int8": Precision(
        Int8Linear,
        Int8Convolution,
        lambda: f"{torch.backends.quantized.engine}-w8c-a{activation_bits()}t",
    ),
    "w4": Precision(W4Linear, None, lambda: "torch-w4g32-a32"),
}
"""All that a policy can ask for."""


OPERATORS = {kind.precision: kind.operator for kind in (Int8Linear, W4Linear)}
"""Precision -> the kernel that runs for its layers and for nothing else, as the dispatcher calls it."""


def units(module: nn.Module) -> dict[str, tuple[int, ...]]:
    """Every linear and convolution of a network, with the shape of its weight: what a policy may name."""
    return {
        name: tuple(layer.weight.shape) for name, layer in module.named_modules() if isinstance(layer, LAYERS)
    }


def choices(shape: Sequence[int]) -> tuple[str, ...]:
    """The precisions that a layer with a weight of this shape can have."""
    return tuple(name for name in PRECISIONS if refusal(name, shape) is None)


def uniform_int8(module: nn.Module) -> dict[str, str]:
    """The policy of int8 in every linear layer and convolution over images: projections, feed-forwards,
    bridges, pooler, dense layers of heads, and an output layer with weights of its own."""
    kinds = nn.Linear | nn.Conv2d
    return {name: "int8" for name, layer in module.named_modules() if isinstance(layer, kinds)}


def lowered(policy: Policy | None) -> dict[str, str] | None:
    """The part of a policy that changes a network; None where nothing does."""
    return {name: precision for name, precision in (policy or {}).items() if precision != "fp32"} or None


def quantize(module: nn.Module, policy: Policy | None) -> nn.Module:
    """``module`` as it is deployed under ``policy``: a new module in evaluation mode; the given one stays.

    Raises:
        ValueError: the policy names what is no layer or no precision of it, or this machine cannot run it.
    """
    policy = policy or {}
    check(policy, units(module))
    root = nn.Module()  # so that a network that is a single linear layer has a place to be exchanged at
    root.add_module("net", copy.deepcopy(module).eval())
    for name, precision in policy.items():
        parent, _, key = f"net.{name}".rstrip(".").rpartition(".")
        layer = root.get_submodule(f"net.{name}".rstrip("."))
        kind = PRECISIONS[precision]
        build = kind.linear if isinstance(layer, nn.Linear) else kind.convolution
        root.get_submodule(parent).add_module(key, build(layer).eval())  # type: ignore[misc,arg-type]
    return root.get_submodule("net")


def check(policy: Policy, layers: Mapping[str, Sequence[int]] | Iterable[str]) -> None:
    """Whether a policy can be one of a network with these layers.

    Args:
        layers: names, with the shapes of their weights where those are known.

    Raises:
        ValueError: it cannot; the message names the layer and what there is.
    """
    shapes = layers if isinstance(layers, Mapping) else dict.fromkeys(layers, ())
    for name, precision in policy.items():
        if precision not in PRECISIONS:
            raise ValueError(
                f"layer {name!r}: no precision {precision!r}, choose one of {', '.join(PRECISIONS)}"
            )
        if name not in shapes:
            near = difflib.get_close_matches(name, shapes, n=1, cutoff=0.0)
            hint = f"; the nearest name is {near[0]!r}" if near else "; it has none"
            raise ValueError(f"the policy names {name!r}, which is no linear layer of the network{hint}")
        why = refusal(precision, shapes[name]) if shapes[name] else None
        if why:
            raise ValueError(f"layer {name!r}: {why}; choose one of {', '.join(choices(shapes[name]))}")


def precisions(module: nn.Module) -> dict[str, str]:
    """Linear layer -> the precision that it runs in; convolutions only where that is not fp32."""
    found = {}
    for name, layer in module.named_modules():
        if isinstance(layer, LowPrecision | nn.Linear):
            found[name] = layer.precision if isinstance(layer, LowPrecision) else "fp32"
    return found


def low(module: nn.Module) -> bool:
    """Whether some layer is not computed in fp32, by whatever means: casting it again would be wrong."""
    return any(isinstance(layer, LowPrecision | Served | Fake) for layer in module.modules())


class Fake(nn.Module):
    """A layer that imitates one of low precision."""


class Served(nn.Module):
    """A network that another runtime than torch computes."""

    def recipe(self) -> dict[str, str]:
        """How, as ``recipe`` has it, with the runtime as ``rt``."""
        raise NotImplementedError


def packed_bytes(module: nn.Module) -> int:
    """Bytes of the weights that are no parameters of the module."""
    return sum(layer.bytes for layer in module.modules() if isinstance(layer, LowPrecision))


def policy_bytes(module: nn.Module, policy: Policy | None = None) -> dict[str, int]:
    """Bytes of the weight of every linear and convolution under a policy, with its steps, without bias."""
    policy, shapes = policy or {}, units(module)
    check(policy, shapes)
    return {name: stored_bytes(policy.get(name, "fp32"), shape) for name, shape in shapes.items()}


def recipe(module: nn.Module) -> dict[str, str]:
    """How a module computes, for the signatures of its figures: ``prec``, as ``int8`` or ``fp32+int8``, and
    of each precision but fp32 how it was computed here; empty where all is fp32 in torch."""
    if isinstance(module, Served):
        return module.recipe()
    used = sorted(set(precisions(module).values()))
    told = {name: PRECISIONS[name].recipe() for name in used if name != "fp32"}
    return {"prec": "+".join(used)} | told if told else {}
