"""Predicted latency of every point of a table, from an operator latency model fitted on one machine.

``NAME.latency.json`` beside a table holds coefficients of ``supernet.quantization.latency_model``, fitted to
policies measured in ONNX Runtime (``supernet-bench study simq-tables latencies``), the spec of the family,
and the errors on held-out policies. The column ``latency`` is in units of the largest network's latency in
float32. It is a prior for searches; the latencies reported of their fronts are measured.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from simq.genome import Array, Genomes, JointSpace
from simq.tabular.table import Table, read_table
from supernet.cost import policy_units
from supernet.families import from_spec
from supernet.quantization.latency_model import OperatorTable
from supernet.quantization.rounding import stored_bytes

COLUMN = "latency"


def latency_file(table: Path) -> Path:
    """Return the path of the latency model of a table's file."""
    return table.with_name(f"{table.stem}.latency.json")


@lru_cache(maxsize=8)
def load_table(path: Path) -> Table:
    """Read a table, with its column of latencies if its latency model exists."""
    table = read_table(path)
    attach(table, path)
    return table


def layer_shapes(family: Any, architecture: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """Return layer -> shape for ``OperatorTable``; convolutions get their number of positions in front."""
    shapes = policy_units(family, architecture)
    if hasattr(family, "convolutions"):
        for name, *_, side in family.convolutions(architecture):
            shapes[f"{name}.conv"] = (side * side, *shapes[f"{name}.conv"])
    return shapes


def predict(operators: OperatorTable, family: Any, space: JointSpace, genomes: Genomes) -> Array:
    """Return the predicted latency ``[n]`` of genomes; the cost is that of their distinct architectures."""
    first = space.architecture_genes
    architectures, back = np.unique(space.canonical(genomes)[:, :first], axis=0, return_inverse=True)
    base = np.zeros(len(architectures))
    more = np.zeros((len(architectures), len(space.units), len(space.alphabet)))
    for i, genes in enumerate(architectures):
        architecture, policy = space.decode([*genes.tolist(), *[0] * len(space.units)])
        shapes = layer_shapes(family, architecture)
        plain = {name: operators.layer(shape, "fp32") for name, shape in shapes.items()}
        base[i] = operators.constant + sum(plain.values())
        for u, unit in enumerate(space.units):
            present = [name for name in unit.layers if name in policy]
            for letter, precision in enumerate(space.unit_precisions[u]):
                more[i, u, letter] = sum(operators.layer(shapes[n], precision) - plain[n] for n in present)
    letters = space.canonical(genomes)[:, first:]
    latency: Array = base[back] + more[back[:, None], np.arange(len(space.units)), letters].sum(axis=1)
    return latency


def attach(table: Table, path: Path) -> None:
    """Add the column of latencies and the facts of its model to a table, if the model's file exists.

    Raises:
        ValueError: the file belongs to another table.
    """
    file = latency_file(path)
    if not file.is_file():
        return
    content = json.loads(file.read_text("utf-8"))
    if content["table"] != table.name:
        raise ValueError(f"{file} has the latencies of table {content['table']}, not of {table.name}")
    operators, family = OperatorTable.from_state(content.pop("operators")), from_spec(content.pop("spec"))
    table.columns[COLUMN] = predict(operators, family, table.space, table.points)
    table.latency_model = dict(content)


def write_latencies(path: Path, operators: OperatorTable, family: Any, about: Mapping[str, Any]) -> None:
    """Write the latency model of the table ``path``."""
    from supernet.export import write_atomically

    content = {**about, "operators": operators.state(), "spec": family.spec()}
    text = json.dumps(content, indent=1) + "\n"
    write_atomically(latency_file(path), lambda name: Path(name).write_text(text, "utf-8"))


def embedding_bytes(path: Path) -> dict[str, int]:
    """Return the bytes of the word embeddings, fp32 in every network, in ``fp32`` and in ``int8``.

    Empty if the inputs are images alone or the table has no latency model.
    """
    file = latency_file(path)
    spec = json.loads(file.read_text("utf-8"))["spec"] if file.is_file() else {"config": {}}
    if "vocab" not in spec["config"]:
        return {}
    shape = spec["config"]["vocab"], spec["space"]["constants"]["hidden"]
    return {name: stored_bytes(name, shape) for name in ("fp32", "int8")}
