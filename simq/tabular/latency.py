"""Latency as an objective on tables: predictions of a fitted operator table for every point.

A table of losses may have a file beside it, ``NAME.latency.json``, that was fitted to policies measured in
ONNX Runtime on one machine (``python -m tests.bench.latencies``): coefficients of
``supernet.quantization.latency_model``, the family's spec, and how wrong the predictions are for policies
that were
measured and not fitted. The column ``latency`` is in units of the largest network's in float32. It is a
prior for searches; what is reported of their fronts is measured.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from simq.genome import Array, Genomes, JointSpace
from simq.tabular.table import Table
from supernet.cost import policy_units
from supernet.families import from_spec
from supernet.quantization.latency_model import OperatorTable

COLUMN = "latency"


def beside(table: Path) -> Path:
    """Where the latencies of a table's file are."""
    return table.with_name(f"{table.stem}.latency.json")


def layers(family: Any, architecture: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """What ``OperatorTable`` takes: of convolutions also over how many places they go."""
    found = policy_units(family, architecture)
    if hasattr(family, "convolutions"):
        for name, *_, side in family.convolutions(architecture):
            found[f"{name}.conv"] = (side * side, *found[f"{name}.conv"])
    return found


def predicted(operators: OperatorTable, family: Any, space: JointSpace, genomes: Genomes) -> Array:
    """Latency ``[n]`` of genomes; the work is that of their distinct architectures."""
    first = space.architecture_genes
    architectures, back = np.unique(space.canonical(genomes)[:, :first], axis=0, return_inverse=True)
    base = np.zeros(len(architectures))
    more = np.zeros((len(architectures), len(space.units), len(space.alphabet)))
    for i, genes in enumerate(architectures):
        architecture, there = space.decode([*genes.tolist(), *[0] * len(space.units)])
        shapes = layers(family, architecture)
        plain = {name: operators.layer(shape, "fp32") for name, shape in shapes.items()}
        base[i] = operators.constant + sum(plain.values())
        for u, unit in enumerate(space.units):
            mine = [name for name in unit.layers if name in there]
            for letter, precision in enumerate(space.alphabet):
                more[i, u, letter] = sum(operators.layer(shapes[n], precision) - plain[n] for n in mine)
    letters = space.canonical(genomes)[:, first:]
    found: Array = base[back] + more[back[:, None], np.arange(len(space.units)), letters].sum(axis=1)
    return found


def attach(table: Table, path: Path) -> dict[str, Any]:
    """Give a table its column of latencies, where the file of its latencies is there.

    Returns:
        what that file says but for coefficients; empty without one.

    Raises:
        ValueError: the file is of another table.
    """
    file = beside(path)
    if not file.is_file():
        return {}
    found = json.loads(file.read_text("utf-8"))
    if found["table"] != table.name:
        raise ValueError(f"{file} has the latencies of table {found['table']}, not of {table.name}")
    operators, family = OperatorTable.from_state(found.pop("operators")), from_spec(found.pop("spec"))
    table.columns[COLUMN] = predicted(operators, family, table.space, table.points)
    return dict(found)


def write(path: Path, operators: OperatorTable, family: Any, about: Mapping[str, Any]) -> None:
    """Write the file of latencies of the table ``path``."""
    from supernet.export import write_atomically

    told = {**about, "operators": operators.state(), "spec": family.spec()}
    text = json.dumps(told, indent=1) + "\n"
    write_atomically(beside(path), lambda name: Path(name).write_text(text, "utf-8"))
