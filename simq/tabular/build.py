"""Build a table: evaluate every point of a closed space on search data and on held-out data.

On a GPU products are TF32, in which those of int8 layers are exact. Activations of w4 layers are float32, as
in torch's kernels; ONNX Runtime's round them to int8, which moves outputs by about 1 %.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from simq.genome import Genomes, JointSpace, PrecisionUnit, precision_units
from simq.tabular.enumerate import Batch, enumerator
from simq.tabular.table import Table, describe_space, enumerate_points
from supernet.cost import policy_units, weight_bytes
from supernet.elastic import SuperNet
from supernet.quantization.precisions import check

ALPHABET = ("fp32", "int8", "w4")
CONVOLUTIONS = ("fp32", "int8")
"""Precisions of convolutions in both runtimes: neither has weights of four bits, and ONNX Runtime has no
bfloat16."""
WITHIN = ("layers.", "ops.", "blocks.")


def linear_space(family: Any, alphabet: Sequence[str] | None = None) -> JointSpace:
    """Return the joint space of a family with a precision for each linear layer and convolution.

    Modules before and after the layers have one, too, as in the paper.
    """
    convolutions = "stages" in family.space.constants
    alphabet = alphabet or (CONVOLUTIONS if convolutions else ALPHABET)
    each = precision_units(family, "linear")
    units = [unit for unit in each if unit.precisions is None or set(unit.precisions) & set(alphabet)]
    return JointSpace(family.space, units, alphabet)


def layer_space(family: Any, alphabet: Sequence[str] | None = None) -> JointSpace:
    """Return the joint space of a family with one precision a layer, or a block of residual networks.

    Modules before and after the layers stay fp32.
    """
    convolutions = "stages" in family.space.constants
    grouped = precision_units(family, "block" if convolutions else "layer")
    within = [unit for unit in grouped if unit.name.startswith(WITHIN)]
    bare = [PrecisionUnit(unit.name, unit.layers, unit.depth, unit.at, deeper=unit.deeper) for unit in within]
    return JointSpace(family.space, bare, alphabet or (CONVOLUTIONS if convolutions else ALPHABET))


def check_precisions(family: Any, space: JointSpace, genomes: Genomes) -> None:
    """Refuse a space with a precision that a layer of some architectures does not support.

    Args:
        genomes: points of the architectures that are checked, whatever their precisions.

    Raises:
        ValueError: the message names the layer and its precisions.
    """
    first = space.architecture_genes
    for genes in np.unique(space.canonical(genomes)[:, :first], axis=0):
        architecture, policy = space.decode([*genes.tolist(), *[0] * len(space.units)])
        shapes = policy_units(family, architecture)
        for unit, precisions in zip(space.units, space.unit_precisions, strict=True):
            for precision in precisions:
                check({layer: precision for layer in unit.layers if layer in policy}, shapes)


def extreme_points(space: JointSpace) -> Genomes:
    """Return the smallest and the largest architecture in first precisions ``[2, genes]``."""
    rows = [
        [options.index(gene) for options, gene in zip(space.space.allowed, architecture.genes, strict=True)]
        for architecture in (space.space.smallest(), space.space.largest())
    ]
    return space.canonical(np.array([row + [0] * len(space.units) for row in rows], dtype=np.int64))


def build_table(
    net: SuperNet,
    space: JointSpace,
    search: Sequence[Batch],
    held_out: Sequence[Batch],
    head: Mapping[str, Any],
    *,
    lengths: tuple[int, int] = (1, 1),
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Table:
    """Evaluate all sub-networks of a supernet under all policies and return the table.

    Columns: ``loss`` and ``hits`` over ``search``, ``held_loss`` and ``held_hits`` over ``held_out``;
    ``bytes`` of the deployed weights; ``macs``.

    Args:
        net: trained; of a family in ``simq.tabular.enumerate``.
        space: of ``layer_space``.
        search: batches that searches see, on the net's device.
        held_out: batches that no search sees.
        head: further fields of the table's head: name, recipe, commit.
        lengths: input and predicted tokens of the pass whose MACs are counted, if the family does not fix
            them.
        progress: called with the number of points done, over all batches, and their total.
    """
    points = enumerate_points(space)
    indices = {key: i for i, key in enumerate(space.keys(points))}
    sums = torch.zeros(len(points), 4, dtype=torch.float64, device=net.device)
    counts = [sum(len(batch.labels) for batch in batches) for batches in (search, held_out)]
    total, done = len(points) * (len(search) + len(held_out)), 0
    tf32, torch.backends.cuda.matmul.allow_tf32 = torch.backends.cuda.matmul.allow_tf32, True
    try:
        with torch.inference_mode():
            evaluate = enumerator(net, space)
            for column, batches in ((0, search), (2, held_out)):
                for batch in batches:
                    rows: list[int] = []
                    statistics = []
                    for genomes, of_points in evaluate(batch):
                        rows += [indices[key] for key in space.keys(genomes)]
                        statistics.append(of_points)
                        progress(done + len(rows), total)
                    done += len(rows)
                    # Once a batch: nothing before waits for the device.
                    index = torch.tensor(rows, device=net.device)
                    sums[:, column : column + 2].index_add_(0, index, torch.cat(statistics))
    finally:
        torch.backends.cuda.matmul.allow_tf32 = tf32
    figures = sums.cpu().numpy()
    more = {"labels": counts[0], "held_out_labels": counts[1], "device": str(net.device.type)}
    return Table(
        describe_space(space) | more | dict(head),
        {
            "loss": figures[:, 0] / counts[0],
            "hits": figures[:, 1].astype(np.int64),
            "held_loss": figures[:, 2] / counts[1],
            "held_hits": figures[:, 3].astype(np.int64),
            **costs(net.family, space, points, lengths),
        },
    )


def costs(
    family: Any, space: JointSpace, genomes: np.ndarray, lengths: tuple[int, int] = (1, 1)
) -> dict[str, np.ndarray]:
    """Return ``bytes`` of the deployed weights and ``macs`` of one pass, ``[n]`` each, of every genome."""
    from supernet.quantization.precisions import stored_bytes

    first = space.architecture_genes
    architectures, back = np.unique(space.canonical(genomes)[:, :first], axis=0, return_inverse=True)
    rest = [0] * len(space.units)
    full = np.zeros(len(architectures), dtype=np.int64)
    macs = np.zeros(len(architectures), dtype=np.int64)
    saved = np.zeros((len(architectures), len(space.units), len(space.alphabet)), dtype=np.int64)
    for i, genes in enumerate(architectures):
        architecture, policy = space.decode([*genes.tolist(), *rest])
        shapes = policy_units(family, architecture)
        full[i] = weight_bytes(family, architecture)
        macs[i] = sum(family.macs(architecture, *lengths))
        for u, unit in enumerate(space.units):
            present = [shapes[name] for name in unit.layers if name in policy]
            for letter, precision in enumerate(space.unit_precisions[u]):
                saved[i, u, letter] = sum(
                    stored_bytes("fp32", shape) - stored_bytes(precision, shape) for shape in present
                )
    letters = genomes[:, first:]
    less = saved[back[:, None], np.arange(len(space.units)), letters].sum(axis=1)
    return {"bytes": full[back] - less, "macs": macs[back]}
