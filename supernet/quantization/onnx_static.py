"""Lowering of ``int8s`` layers to ONNX: quantize-dequantize pairs around standard operators (QDQ).

ONNX Runtime fuses a convolution between such pairs to ``QLinearConv``, a matrix product behind them to
``MatMulIntegerToFloat``, and a residual sum between them to ``QLinearAdd``; OpenVINO reads the same file. All
pairs of one tensor are one pair. A ReLU behind a rounded convolution is left out, because rounding to a range
that begins at zero includes it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from supernet.quantization.calibration import Ranges
from supernet.quantization.onnx_lowering import Graph, Node
from supernet.quantization.rounding import LARGEST, Array, activation_grid, round_bias, w8_grid

QUANTIZE, DEQUANTIZE = "QuantizeLinear", "DequantizeLinear"


@dataclass(frozen=True)
class Static:
    """Facts of a network that static int8 needs besides the policy.

    Attributes:
        ranges: activation range of each ``int8s`` layer.
        largest: largest magnitude of a weight: ``LARGEST``, or ``REDUCED`` on processors without VNNI.
    """

    ranges: Ranges = field(default_factory=dict)
    largest: int = LARGEST


class StaticGraph(Graph):
    """A graph whose opaque nodes may also be ``int8s``.

    Args:
        proto: the graph.
        static: ranges and weights of ``int8s`` layers.
        shared: layers whose rounded input all readers of the same tensor get.
        rectified: convolutions whose outputs go through a ReLU only.
    """

    def __init__(self, proto: Any, static: Static, shared: frozenset[str], rectified: frozenset[str]) -> None:
        super().__init__(proto)
        self.static, self.shared, self.rectified = static, shared, rectified
        self.pairs: dict[tuple[str, float, int], str] = {}
        self.renamed: dict[str, str] = {}
        self.dropped: set[str] = set()

    def close(self) -> None:
        """Insert the new nodes, let readers of shared tensors read the rounded ones, and sort the nodes."""
        super().close()
        for node in self.proto.node:
            if node.op_type == QUANTIZE:
                continue
            for i, name in enumerate(node.input):
                node.input[i] = self.renamed.get(name, name)
        kept = [n for n in self.proto.node if n.op_type != "Relu" or n.output[0] not in self.dropped]
        ordered = _sorted(kept, {t.name for t in self.proto.initializer} | {x.name for x in self.proto.input})
        del self.proto.node[:]
        self.proto.node.extend(ordered)

    def _linear_int8s(self, node: Node, weight: Array, bias: Array | None) -> None:
        x, step = self._rounded_input(node)
        numbers, scale = w8_grid(weight, self.static.largest)
        inputs = [x, self._weight(numbers.T, scale, 1)]
        axes = next(a.i for a in node.attribute if a.name == "axes")
        if axes == 2 and bias is not None:
            # A product and a sum over rows would become a product in float32.
            inputs.append(self._rounded_bias(bias, step, scale))
            self._add("Gemm", inputs, node.output[0], name=self.label)
            return
        self._add("MatMul", inputs, name=self.label)
        self._plus(self.nodes[-1].output[0], bias, node.output[0])

    def _conv_int8s(self, node: Node, weight: Array, bias: Array | None) -> None:
        x, step = self._rounded_input(node)
        numbers, scale = w8_grid(weight, self.static.largest)
        inputs = [x, self._weight(numbers, scale, 0)]
        if bias is not None:
            inputs.append(self._rounded_bias(bias, step, scale))
        output, relu = node.output[0], self._relu_behind(node.output[0])
        y = self._add("Conv", inputs, name=self.label, **self._conv_attributes(node))
        if self.name in self.rectified and relu is not None:
            # Rounding to a range that begins at zero is the ReLU too: its readers read the rounded tensor.
            self.dropped.add(relu.output[0])
            output = relu.output[0]
        own = self.static.ranges[self.name]
        step, zero = activation_grid(own.output_low, own.output_high)
        # A reader's pair on this very tensor would repeat the rounding: it gets this one.
        self.pairs[output, step, zero] = output
        self._pair(y, step, zero, f"{self.label}/output", output)

    def _rounded_bias(self, bias: Array, step: float, scale: Array) -> str:
        """Return a bias in int32, in units of the input's step times those of the weights."""
        unit = np.float32(step) * scale
        zero = np.zeros(len(unit), np.int32)
        return self._dequantized("bias", round_bias(bias, unit), unit, zero, 0, self.name)

    def _rounded_input(self, node: Node) -> tuple[str, float]:
        """Return the rounded input of a layer, and its step."""
        own, x = self.static.ranges[self.name], node.input[0]
        step, zero = activation_grid(own.low, own.high)
        key = x, step, zero
        if key not in self.pairs:
            self.pairs[key] = self._pair(x, step, zero, f"{self.label}/input")
        if self.name in self.shared and self.pairs[key] != x:
            self.renamed[x] = self.pairs[key]
        return self.pairs[key], step

    def _pair(self, x: str, step: float, zero: int, name: str, output: str = "") -> str:
        """Append a quantize-dequantize pair; return its output."""
        constants = [
            self._named(f"{name}.{part}", value)
            for part, value in (("step", np.float32(step)), ("zero", np.uint8(zero)))
        ]
        numbers = self._add(QUANTIZE, [x, *constants], name=f"{name}/{QUANTIZE}")
        return self._add(DEQUANTIZE, [numbers, *constants], output, name=f"{name}/{DEQUANTIZE}")

    def _weight(self, numbers: Array, scale: Array, axis: int) -> str:
        return self._dequantized("weight", numbers, scale, np.zeros(len(scale), np.int8), axis, self.label)

    def _dequantized(
        self, part: str, numbers: Array, scale: Array, zero: Array, axis: int, label: str
    ) -> str:
        parts = ((part, numbers), (f"{part}.scale", scale.astype(np.float32)), (f"{part}.zero", zero))
        inputs = [self._constant(name, values) for name, values in parts]
        return self._add(DEQUANTIZE, inputs, name=f"{label}/{part}", axis=axis)

    def _named(self, name: str, value: Array) -> str:
        if name not in self.initializers:
            self.initializers[name] = self.numpy.from_array(np.asarray(value), name)
        return name

    def _relu_behind(self, output: str) -> Node | None:
        """Return the ReLU that alone reads a tensor; None if other nodes read it."""
        readers = [node for node in self.proto.node if output in node.input]
        return readers[0] if len(readers) == 1 and readers[0].op_type == "Relu" else None


def _sorted(nodes: list[Node], known: set[str]) -> list[Node]:
    """Return nodes in an order in which every input is known before it is read."""
    maker = {name: node for node in nodes for name in node.output}
    ordered: list[Node] = []
    placed: set[int] = set()
    for last in nodes:
        stack = [last]
        while stack:
            node = stack[-1]
            waiting = [maker[x] for x in node.input if x and x not in known and id(maker[x]) not in placed]
            if waiting:
                stack += waiting
                continue
            stack.pop()
            if id(node) not in placed:
                placed.add(id(node))
                ordered.append(node)
    return ordered


def fused_sums(model: Any) -> int:
    """Return the number of sums that a runtime can compute in int8: both inputs and the output are rounded.

    Args:
        model: a finished ``onnx.ModelProto``.
    """
    maker: Mapping[str, Node] = {name: node for node in model.graph.node for name in node.output}
    constants = {tensor.name for tensor in model.graph.initializer}

    def rounded(name: str) -> bool:
        node = maker.get(name)
        return node is not None and node.op_type == DEQUANTIZE and node.input[0] not in constants

    def read_rounded(name: str) -> bool:
        readers = [node for node in model.graph.node if name in node.input]
        if len(readers) == 1 and readers[0].op_type == "Relu":
            return read_rounded(readers[0].output[0])
        return bool(readers) and all(node.op_type == QUANTIZE for node in readers)

    sums = [node for node in model.graph.node if node.op_type == "Add"]
    return sum(all(map(rounded, node.input)) and read_rounded(node.output[0]) for node in sums)
