"""Lowering of single layers, in each precision, to ONNX operators with kernels on the processor.

int8 uses standard operators (``DynamicQuantizeLinear``, ``MatMulInteger``, ``ConvInteger``), which ONNX
Runtime fuses; w4 uses its ``MatMulNBits``, which rounds activations to int8 internally.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from supernet.quantization import torch_kernels
from supernet.quantization.rounding import GROUP, Array, w4_grid, w8_grid

Node = Any
"""An ``onnx.NodeProto``."""
TensorProto = Any
"""An ``onnx.TensorProto``."""
MICROSOFT = "com.microsoft"
"""Domain of ONNX Runtime's own operators."""
ACCURACY_LEVEL = 4
"""Arithmetic of ``MatMulNBits``. 4 rounds activations to int8 in the weight's groups, in 0.82 to 0.90 of the
time of fp32; 1 keeps them in float32, in 1.02 to 1.05 of it."""


def refusal(precision: str, shape: Sequence[int]) -> str | None:
    """Return the reason against this precision for a layer with a weight of this shape; None if there is
    none."""
    if precision == "bf16":
        return (
            "ONNX Runtime has no bfloat16 MatMul or Conv on the processor (NOT_IMPLEMENTED, 1.32):"
            " take fp32, int8 or w4, or the torch runtime"
        )
    return torch_kernels.refusal(precision, shape)


class Graph:
    """A graph in which opaque layer nodes are replaced by operators, in place."""

    def __init__(self, proto: Any) -> None:
        from onnx import helper, numpy_helper

        self.proto, self.make, self.numpy = proto, helper, numpy_helper
        self.given = {tensor.name: tensor for tensor in proto.initializer}
        self.constants = {
            node.output[0]: node.attribute[0].t for node in proto.node if node.op_type == "Constant"
        }
        # The exporter writes equal tensors once, and the others as their identities.
        self.same = {node.output[0]: node.input[0] for node in proto.node if node.op_type == "Identity"}
        self.nodes: list[Node] = []
        self.initializers: dict[str, TensorProto] = {}
        self.count: dict[str, int] = {}
        self.replaced: dict[str, list[Node]] = {}

    def write(self, node: Node, name: str, precision: str) -> None:
        """Replace an opaque ``node`` by the operators of layer ``name`` in ``precision``."""
        times = self.count[name] = self.count.get(name, 0) + 1
        self.name, self.label = name, name if times == 1 else f"{name}:{times}"
        self.nodes = []
        weight = self.numpy.to_array(self._tensor(node.input[1]))
        bias = self.numpy.to_array(self._tensor(node.input[2])) if len(node.input) > 2 else None
        kind = "linear" if node.op_type == "Linear" else "conv"
        getattr(self, f"_{kind}_{precision}")(node, weight, bias)
        self.replaced[node.output[0]] = self.nodes

    def close(self) -> None:
        """Insert the new nodes and drop unused ones."""
        nodes: list[Node] = []
        for node in self.proto.node:
            nodes += self.replaced.get(node.output[0], [node])
        used = {name for node in nodes for name in node.input} | {out.name for out in self.proto.output}
        kept = [t for t in self.proto.initializer if t.name in used] + list(self.initializers.values())
        nodes = [n for n in nodes if n.op_type not in ("Constant", "Identity") or n.output[0] in used]
        del self.proto.node[:], self.proto.initializer[:], self.proto.value_info[:]
        self.proto.node.extend(nodes)
        self.proto.initializer.extend(kept)

    def _tensor(self, name: str) -> TensorProto:
        while name in self.same:
            name = self.same[name]
        return self.given[name] if name in self.given else self.constants[name]

    def _constant(self, part: str, values: Array) -> str:
        name = f"{self.name}.{part}"
        if name not in self.initializers:
            self.initializers[name] = self.numpy.from_array(np.ascontiguousarray(values), name)
        return name

    def _add(self, kind: str, inputs: list[str], output: str = "", **more: Any) -> str:
        """Append one node; with ``output`` it is the layer's last one."""
        name = more.pop("name", f"{self.label}/{kind}")
        node = self.make.make_node(kind, inputs, [output or f"{name}:0"], name=name, **more)
        self.nodes.append(node)
        return str(node.output[0])

    def _conv_attributes(self, node: Node) -> dict[str, Any]:
        named = {a.name: self.make.get_attribute_value(a) for a in node.attribute}
        return {key: value for key, value in named.items() if key != "name"}

    def _plus(self, y: str, bias: Array | None, output: str) -> None:
        """Add the bias; without one, rename the last node's output to ``output``."""
        if bias is None:
            self.nodes[-1].output[0] = output
        else:
            self._add("Add", [y, self._constant("bias", bias)], output)

    def _linear_fp32(self, node: Node, weight: Array, bias: Array | None) -> None:
        y = self._add("MatMul", [node.input[0], self._constant("weight", weight.T)], name=self.label)
        self._plus(y, bias, node.output[0])

    def _conv_fp32(self, node: Node, weight: Array, bias: Array | None) -> None:
        inputs = [node.input[0], self._constant("weight", weight)]
        inputs += [] if bias is None else [self._constant("bias", bias)]
        self._add("Conv", inputs, node.output[0], name=self.label, **self._conv_attributes(node))

    def _linear_int8(self, node: Node, weight: Array, bias: Array | None) -> None:
        numbers, scale = w8_grid(weight)
        self._int8(node, "MatMulInteger", numbers.T, scale, {})
        self._plus(self.nodes[-1].output[0], bias, node.output[0])

    def _conv_int8(self, node: Node, weight: Array, bias: Array | None) -> None:
        numbers, scale = w8_grid(weight)
        column = (-1, *[1] * (weight.ndim - 2))
        self._int8(node, "ConvInteger", numbers, scale.reshape(column), self._conv_attributes(node))
        self._plus(self.nodes[-1].output[0], None if bias is None else bias.reshape(column), node.output[0])

    def _int8(self, node: Node, kind: str, numbers: Array, scale: Array, attributes: dict[str, Any]) -> None:
        name = f"{self.label}/DynamicQuantizeLinear"
        x, step, zero = (f"{name}:{i}" for i in range(3))
        quantise = self.make.make_node("DynamicQuantizeLinear", [node.input[0]], [x, step, zero], name=name)
        self.nodes.append(quantise)
        inputs = [x, self._constant("weight", numbers), zero]
        total = self._add(kind, inputs, name=self.label, **attributes)
        real = self._add("Cast", [total], to=1)
        scales = self._add("Mul", [step, self._constant("scale", scale)], name=f"{self.label}/scales")
        self._add("Mul", [real, scales], name=f"{self.label}/Mul")

    def _linear_w4(self, node: Node, weight: Array, bias: Array | None) -> None:
        numbers, scale = w4_grid(weight)
        rows, columns = weight.shape
        nibbles = (numbers + 8).astype(np.uint8).reshape(rows, columns // GROUP, GROUP)
        packed = nibbles[..., 0::2] | (nibbles[..., 1::2] << 4)
        y = self._add(
            "MatMulNBits",
            [node.input[0], self._constant("weight", packed), self._constant("scale", scale.reshape(-1))],
            name=self.label,
            domain=MICROSOFT,
            K=columns,
            N=rows,
            bits=4,
            block_size=GROUP,
            accuracy_level=ACCURACY_LEVEL,
        )
        self._plus(y, bias, node.output[0])
