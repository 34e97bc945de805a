"""Exported networks as ONNX graphs in which every linear layer and convolution keeps its PyTorch name.

A network is traced once with its layers as opaque nodes (``trace``). A precision policy then decides the ONNX
operators of each of them (``Traced.under``), which takes milliseconds.

In the finished graph the node that multiplies has the layer's name (``ops.0.q``), and its float32 weight is
``ops.0.q.weight``. Needs the extra ``onnx``, imported at first use.
"""

from __future__ import annotations

import contextlib
import copy
import importlib
import io
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from supernet.quantization import onnx_lowering
from supernet.quantization.calibration import rectified_layers, shared_inputs
from supernet.quantization.folding import fold_batch_norms
from supernet.quantization.onnx_static import Static, StaticGraph
from supernet.quantization.precisions import LAYERS, STATIC, Policy, check, needs_ranges, units
from supernet.quantization.words import lower_words

OPSET = 17
"""Version of the standard ONNX operators; the newest that torch's tracer writes, supported by runtimes for
years."""
MARK = "supernet"
"""Domain of the opaque nodes; a finished graph has none of them."""


def needed(name: str = "onnx") -> Any:
    """Import the module ``name`` of the extra ``onnx``.

    Raises:
        ValueError: it is not installed; the message names the command that does.
    """
    try:
        return importlib.import_module(name)
    except ImportError:
        raise ValueError(
            f"ONNX graphs need {name.partition('.')[0]}, which is not installed:"
            " python3 -m pip install 'supernet-bench[onnx]'"
        ) from None


class _Linear(torch.autograd.Function):
    """A linear layer that the tracer writes as one node."""

    @staticmethod
    def forward(_ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, _name: str, _axes: int) -> Tensor:
        return F.linear(x, weight, bias)

    @staticmethod
    def symbolic(g: Any, x: Any, weight: Any, bias: Any, name: str, axes: int) -> Any:
        node = g.op(f"{MARK}::Linear", x, weight, *_given(bias), name_s=name, axes_i=axes)
        # What other operators ask of the type: how many axes there are, and how long the last is.
        return node.setType(x.type().with_sizes([*[None] * (axes - 1), weight.type().sizes()[0]]))


class _Convolution(torch.autograd.Function):
    """A convolution that the tracer writes as one node."""

    @staticmethod
    def forward(
        _ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, layer: nn.Module, _: str
    ) -> Tensor:
        return layer._conv_forward(x, weight, bias)  # type: ignore[no-any-return,operator]

    @staticmethod
    def symbolic(g: Any, x: Any, weight: Any, bias: Any, layer: Any, name: str) -> Any:
        sides = list(layer.padding) * 2
        attributes = {"strides_i": layer.stride, "dilations_i": layer.dilation, "pads_i": sides}
        attributes = {key: list(value) for key, value in attributes.items()} | {"group_i": layer.groups}
        node = g.op(f"{MARK}::Conv", x, weight, *_given(bias), **attributes, name_s=name)
        rows, *window = weight.type().sizes()[0], *layer.kernel_size
        return node.setType(x.type().with_sizes([None, rows, *[None] * len(window)]))


def _given(bias: Any) -> list[Any]:
    return [] if bias is None or bias.node().mustBeNone() else [bias]


class _Marked(nn.Module):
    """Replacement of a layer during the trace."""

    def __init__(self, layer: Any, name: str) -> None:
        super().__init__()
        self.layer, self.name = layer, name
        if not isinstance(layer, nn.Linear) and (
            isinstance(layer.padding, str) or layer.padding_mode != "zeros"
        ):
            raise ValueError(
                f"layer {name!r}: padding {layer.padding!r} ({layer.padding_mode}) cannot be written as ONNX;"
                " give numbers, and zeros as padding"
            )

    def forward(self, x: Tensor) -> Tensor:
        if isinstance(self.layer, nn.Linear):
            y: Tensor = _Linear.apply(x, self.layer.weight, self.layer.bias, self.name, x.dim())
            return y
        y = _Convolution.apply(x, self.layer.weight, self.layer.bias, self.layer, self.name)
        return y


class _Served(nn.Module):
    """Traced module: ``call`` of a network whose layers are marked."""

    def __init__(self, net: nn.Module, call: Callable[..., Any]) -> None:
        super().__init__()
        self.net = copy.deepcopy(net).eval().cpu()
        self.call = call
        layers = [(name, layer) for name, layer in self.net.named_modules() if isinstance(layer, LAYERS)]
        for name, layer in layers:
            parent, _, key = f"net.{name}".rstrip(".").rpartition(".")
            self.get_submodule(parent).add_module(key, _Marked(layer, name))

    def forward(self, *inputs: Tensor) -> Any:
        return self.call(self.net, *inputs)


@dataclass(frozen=True)
class Traced:
    """A traced network, to be written out under any policy.

    Attributes:
        layers: shape of the weight of every linear layer and convolution that ran, by name.
        calls: their names in the order of the graph, one for each call of a layer.
        folded: batch norms are folded, which ``int8s`` needs.
        shared, rectified: as in ``supernet.quantization.calibration``.
    """

    model: Any
    layers: Mapping[str, tuple[int, ...]]
    calls: tuple[str, ...]
    folded: bool = False
    shared: frozenset[str] = frozenset()
    rectified: frozenset[str] = frozenset()

    def under(
        self, policy: Policy | None = None, static: Static | None = None, *, int8_words: bool = False
    ) -> bytes:
        """Return the ONNX file of the network under ``policy``.

        Args:
            static: ranges of the layers in ``int8s``.
            int8_words: store embedding tables in int8 (``supernet.quantization.words``).

        Raises:
            ValueError: the policy names an unknown layer, or a precision that the ONNX back-end lacks for it,
                or a layer in ``int8s`` has no range.
        """
        policy = policy or {}
        check(policy, self.layers)
        self._check_static(policy, static or Static())
        for name, precision in policy.items():
            if why := onnx_lowering.refusal(precision, self.layers[name]):
                raise ValueError(f"layer {name!r}: {why}")
        helper = needed("onnx.helper")
        model = copy.deepcopy(self.model)
        if needs_ranges(policy):
            assert static is not None
            graph: onnx_lowering.Graph = StaticGraph(model.graph, static, self.shared, self.rectified)
        else:
            graph = onnx_lowering.Graph(model.graph)
        for node in list(model.graph.node):
            if node.domain == MARK:
                graph.write(node, _layer(node), policy.get(_layer(node), "fp32"))
        graph.close()
        if int8_words:
            lower_words(model)
        del model.opset_import[:]
        model.opset_import.extend(
            [helper.make_opsetid("", OPSET), helper.make_opsetid(onnx_lowering.MICROSOFT, 1)]
        )
        written: bytes = model.SerializeToString()
        return written

    def _check_static(self, policy: Policy, static: Static) -> None:
        for name, precision in policy.items():
            if precision == STATIC and not self.folded:
                raise ValueError(f"layer {name!r}: {STATIC} needs folded batch norms: trace with fold=True")
            if precision == STATIC and name not in static.ranges:
                raise ValueError(
                    f"layer {name!r}: {STATIC} needs its activation range, of"
                    " supernet.quantization.calibration.calibrate on training batches"
                )


def trace(
    module: nn.Module,
    inputs: Sequence[Tensor],
    *,
    call: Callable[..., Any] | None = None,
    names: tuple[Sequence[str], Sequence[str]] = (("tokens",), ("output",)),
    axes: Mapping[str, Mapping[int, str]] | None = None,
    fold: bool = False,
) -> Traced:
    """Trace an exported network on example inputs.

    Args:
        inputs: of two or more rows and two or more places, so that no axis is mistaken for one of size one.
        call: ``(module, *inputs) -> output(s)``; by default the module's forward.
        names: of the inputs and of the outputs.
        axes: variable axes, by name of input or output; by default the first two of every input that is not
            an image, and the first of the others and of the outputs.

    Raises:
        ValueError: ``onnx`` is not installed, or a layer cannot be written.
    """
    onnx = needed()
    if fold:
        module = fold_batch_norms(module)
    served = _Served(module, call or (lambda net, *given: net(*given)))
    given, outputs = list(names[0]), list(names[1])
    if axes is None:
        axes = {
            name: {0: "batch"} | ({1: "length"} if x.dim() in (2, 3) else {})
            for name, x in zip(given, inputs, strict=True)
        } | {name: {0: "batch"} for name in outputs}
    file = io.BytesIO()
    with _quiet(), torch.no_grad():
        torch.onnx.export(
            served,
            tuple(inputs),
            file,
            dynamo=False,
            opset_version=OPSET,
            input_names=given,
            output_names=outputs,
            dynamic_axes={name: dict(which) for name, which in axes.items()},
            do_constant_folding=False,  # it would write a second, transposed copy of a shared table of words
            custom_opsets={MARK: 1},
        )
    model = onnx.load_from_string(file.getvalue())
    ran = tuple(_layer(node) for node in model.graph.node if node.domain == MARK)
    layers = {name: shape for name, shape in units(module).items() if name in ran}
    return Traced(model, layers, ran, fold, frozenset(shared_inputs(module)), rectified_layers(module))


def _layer(node: Any) -> str:
    """Return the name of an opaque node's layer."""
    name: str = next(a.s.decode() for a in node.attribute if a.name == "name")
    return name


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Suppress torch's notes that shapes are compared in Python; they are, against fixed limits."""
    with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        yield
