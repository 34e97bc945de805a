"""Precision policies, and the conversion of networks to real low-precision modules.

A policy maps names of linear layers and convolutions, as in ``named_modules``, to precisions of
``PRECISIONS``; other layers stay fp32. Everything else always stays fp32: embeddings, norms, attention
products, GELU, residual sums, and an output layer that is the embedding table itself (masked language models,
translators with shared tables).

Nothing is trained. int8: weights symmetric per output channel, activations asymmetric per tensor, from the
smallest and largest value of each call. int8s (static): the same with fixed ranges, which calibration on
training batches finds (``supernet.quantization.calibration``); batch norms are folded, and outputs of
convolutions are rounded too. It is what deployment tools do to convolutions, and torch has no kernel for it.
w4: weights of four bits in groups (``supernet.quantization.rounding``); activations float32 in torch, and
int8 in the same groups in ONNX Runtime, which moves outputs by about 1 %. bf16: both rounded to bfloat16. The
layers of torch are in ``supernet.quantization.torch_kernels``; ``supernet.quantization.onnx_runtime`` runs
the same policies in ONNX Runtime; ``supernet.quantization.fake_quantize`` predicts either.
"""

from __future__ import annotations

import copy
import difflib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import torch
from torch import Tensor, nn

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

if TYPE_CHECKING:
    from supernet.quantization.onnx_trace import Traced

Policy = Mapping[str, str]
"""Name of a layer -> precision."""
LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d)
"""Kinds of layer with a precision of their own."""


@dataclass(frozen=True)
class Precision:
    """One precision of a layer.

    Attributes:
        linear: builds the layer from a ``nn.Linear``; None if torch has no kernel.
        convolution: builds it from a convolution; None if torch has no kernel.
        recipe: arithmetic of the layer on this machine, for signatures.
    """

    linear: Callable[[nn.Linear], nn.Module] | None
    convolution: Callable[[nn.Conv1d | nn.Conv2d], nn.Module] | None
    recipe: Callable[[], str]


STATIC = "int8s"
"""Precision with fixed activation ranges."""
PRECISIONS = {
    "fp32": Precision(lambda layer: layer, lambda layer: layer, lambda: ""),
    "bf16": Precision(Bf16, Bf16, lambda: "torch-w16-a16"),
    "int8": Precision(
        Int8Linear,
        Int8Convolution,
        lambda: f"{torch.backends.quantized.engine}-w8c-a{activation_bits()}t",
    ),
    "w4": Precision(W4Linear, None, lambda: "torch-w4g32-a32"),
    STATIC: Precision(None, None, lambda: "w8c-a8t-static"),
}
"""Name -> precision, for every precision of a policy."""
INT8 = ("int8", STATIC)
"""INT8 with dynamic and with static activation ranges."""


OPERATORS = {kind.precision: kind.operator for kind in (Int8Linear, W4Linear)}
"""Precision -> kernel that runs only for its layers, as named by the dispatcher."""


def units(module: nn.Module) -> dict[str, tuple[int, ...]]:
    """Return the linear layers and convolutions of a network, with the shape of each weight."""
    return {
        name: tuple(layer.weight.shape) for name, layer in module.named_modules() if isinstance(layer, LAYERS)
    }


def choices(shape: Sequence[int]) -> tuple[str, ...]:
    """Return the precisions available to a layer with a weight of this shape."""
    return tuple(name for name in PRECISIONS if refusal(name, shape) is None)


def uniform_int8(module: nn.Module) -> dict[str, str]:
    """Return the policy of int8 in every linear layer and image convolution.

    That includes projections, feed-forwards, bridges, pooler, dense layers of heads, and an output layer with
    weights of its own.
    """
    kinds = nn.Linear | nn.Conv2d
    return {name: "int8" for name, layer in module.named_modules() if isinstance(layer, kinds)}


def deployed_precisions(deployed_int8: str, available: Sequence[str]) -> tuple[str, ...]:
    """Return a runtime's precisions without the INT8 in which a family is not deployed.

    Args:
        deployed_int8: of the family (``ModelFamily.deployed_int8``).
        available: precisions of the runtime.
    """
    deployed = int8_of(deployed_int8, available)
    return tuple(name for name in available if name not in INT8 or name == deployed)


def int8_of(deployed_int8: str, available: Sequence[str]) -> str:
    """Return the INT8 in which a runtime deploys a family: its own, or the one that the runtime has.

    Args:
        deployed_int8: of the family (``ModelFamily.deployed_int8``).
        available: precisions of the runtime.
    """
    return next((name for name in (deployed_int8, *INT8) if name in available), deployed_int8)


def needs_ranges(policy: Policy | None) -> bool:
    """Return whether a policy has layers in ``int8s``, whose ranges calibration finds."""
    return STATIC in (policy or {}).values()


def lowered(policy: Policy | None) -> dict[str, str] | None:
    """Return the part of a policy that changes a network; None if it is empty."""
    return {name: precision for name, precision in (policy or {}).items() if precision != "fp32"} or None


def quantize(module: nn.Module, policy: Policy | None) -> nn.Module:
    """Return a copy of ``module`` as deployed under ``policy``, in evaluation mode.

    Raises:
        ValueError: the policy names what is no layer or no precision of it, or this machine cannot run it.
    """
    policy = policy or {}
    check(policy, units(module))
    if static := [name for name, precision in policy.items() if precision == STATIC]:
        raise ValueError(
            f"layer {static[0]!r}: torch has no kernel for {STATIC}: take int8, or the runtime ort or"
            " openvino (supernet-bench export RUN --to onnx)"
        )
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
    """Check a policy against the layers of a network.

    Args:
        layers: names, with the shapes of their weights if known.

    Raises:
        ValueError: an unknown layer or precision; the message names the layer and the choices.
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
    """Return linear layer -> its precision; convolutions only if it is not fp32."""
    by_layer = {}
    for name, layer in module.named_modules():
        if isinstance(layer, LowPrecision | nn.Linear):
            by_layer[name] = layer.precision if isinstance(layer, LowPrecision) else "fp32"
    return by_layer


def is_low_precision(module: nn.Module) -> bool:
    """Return whether some layer is not computed in fp32, by whatever means; such a module must not be cast
    again."""
    return any(isinstance(layer, LowPrecision | Served | Fake) for layer in module.modules())


class Fake(nn.Module):
    """Base of layers that imitate low precision."""


class Served(nn.Module):
    """Base of networks that another runtime than torch computes.

    Attributes:
        policy: precision of each layer that is not in fp32.
        traced: the network as it was written to a file.
        alone: whether every sample of a batch is run alone.
    """

    policy: dict[str, str]
    traced: Traced
    alone = False

    def infer(self, *inputs: Tensor) -> Tensor:
        """Run the network once on a batch."""
        raise NotImplementedError

    def forward(self, *inputs: Tensor) -> Tensor:
        if self.alone and len(inputs[0]) > 1:
            return torch.cat([self(*(x[i : i + 1] for x in inputs)) for i in range(len(inputs[0]))])
        return self.infer(*inputs)

    def one_by_one(self) -> Self:
        """Make ``forward`` run every sample of a batch alone, as it is deployed; return the network."""
        self.alone = True
        return self

    def encode(self, tokens: Tensor) -> Tensor:
        """Return the states ``[B, T, width]`` of a network that was traced as an encoder."""
        y: Tensor = self(tokens)
        return y

    def executed(self, *inputs: Tensor) -> dict[str, int]:
        """Return kind of kernel -> number of its runs for these inputs, by the runtime's own account."""
        raise NotImplementedError

    def due(self) -> dict[str, int]:
        """Return precision -> number of the graph's layers that must run in its kernels."""
        raise NotImplementedError

    def recipe(self) -> dict[str, str]:
        """Return the arithmetic in the form of ``recipe``, with the runtime as ``rt``."""
        raise NotImplementedError


def packed_bytes(module: nn.Module) -> int:
    """Return the bytes of packed weights, which are no parameters of the module."""
    return sum(layer.bytes for layer in module.modules() if isinstance(layer, LowPrecision))


def policy_bytes(module: nn.Module, policy: Policy | None = None) -> dict[str, int]:
    """Return the bytes of every layer's weight under a policy, with its steps, without bias."""
    policy, shapes = policy or {}, units(module)
    check(policy, shapes)
    return {name: stored_bytes(policy.get(name, "fp32"), shape) for name, shape in shapes.items()}


def recipe(module: nn.Module) -> dict[str, str]:
    """Return the arithmetic of a module, for the signatures of its figures.

    ``prec`` is for example ``int8`` or ``fp32+int8``; each precision except fp32 has an entry with its
    arithmetic on this machine. Empty if everything is fp32 in torch.
    """
    if isinstance(module, Served):
        return module.recipe()
    used = sorted(set(precisions(module).values()))
    arithmetic = {name: PRECISIONS[name].recipe() for name in used if name != "fp32"}
    return {"prec": "+".join(used)} | arithmetic if arithmetic else {}
