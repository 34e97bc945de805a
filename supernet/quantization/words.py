"""Tables of words in int8: one symmetric step a word, in torch and in ONNX graphs.

Tables of positions and segments are small and stay float32. So does a table that is the output layer too,
because a matrix product reads it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from supernet.quantization.rounding import w8_grid


def lower_words(model: Any) -> int:
    """Store tables of words of an ONNX graph in int8, in place; return the number of tables.

    A table of words is gathered from by computed or given ids, and read by nothing else.

    Rows of numbers and of steps are gathered and multiplied, so nothing is decoded but what is read.

    Args:
        model: a finished ``onnx.ModelProto``.
    """
    from onnx import helper, numpy_helper

    graph = model.graph
    fixed = {tensor.name for tensor in graph.initializer}
    fixed |= {node.output[0] for node in graph.node if node.op_type == "Constant"}
    matrices = {tensor.name: tensor for tensor in graph.initializer if len(tensor.dims) == 2}
    readers: dict[str, list[Any]] = {name: [] for name in matrices}
    for node in graph.node:
        for name in set(node.input) & set(matrices):
            readers[name].append(node)
    tables = {
        name: nodes
        for name, nodes in readers.items()
        if nodes
        and matrices[name].data_type == 1
        and all(n.op_type == "Gather" and n.input[0] == name and n.input[1] not in fixed for n in nodes)
    }
    replaced: dict[str, list[Any]] = {}
    for name, nodes in tables.items():
        numbers, step = w8_grid(numpy_helper.to_array(matrices[name]))
        graph.initializer.remove(matrices[name])
        graph.initializer.extend(
            [
                numpy_helper.from_array(numbers, f"{name}.int8"),
                numpy_helper.from_array(np.ascontiguousarray(step[:, None]), f"{name}.step"),
            ]
        )
        for i, node in enumerate(nodes):
            label, ids, output = f"{name}/int8:{i}", node.input[1], node.output[0]
            parts = [f"{label}/{part}" for part in ("numbers", "floats", "steps")]
            replaced[output] = [
                helper.make_node("Gather", [f"{name}.int8", ids], parts[:1], name=parts[0], axis=0),
                helper.make_node("Cast", parts[:1], parts[1:2], name=parts[1], to=1),
                helper.make_node("Gather", [f"{name}.step", ids], parts[2:], name=parts[2], axis=0),
                helper.make_node("Mul", parts[1:], [output], name=label),
            ]
    nodes = [new for node in graph.node for new in replaced.get(node.output[0], [node])]
    del graph.node[:]
    graph.node.extend(nodes)
    return len(tables)
