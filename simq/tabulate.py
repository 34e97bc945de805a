"""Fill a table: the loss of every point of a layered space, with the work of common beginnings done once.

Points whose first layers agree share those layers' outputs, and a shallow network is the beginning of a deep
one. So the space is walked as a tree, a layer of the network an edge, and a point costs little more than one
layer and the head, on validation data that stay on the device. Precisions are those of
``supernet.fakequant``, one sample at a time; on a GPU products are TF32, in which those of int8 layers are
exact.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from simq.genome import JointSpace, Unit, units_of
from simq.table import Table, describe, points
from supernet.cost import policy_units, weight_bytes
from supernet.elastic import SuperNet
from supernet.fakequant import FakeQuantized
from supernet.quantize import units

ALPHABET = ("fp32", "int8", "w4")


def layer_space(family: Any, alphabet: Sequence[str] = ALPHABET) -> JointSpace:
    """The space of a layered family with one precision a layer; what is before and behind the layers stays
    fp32."""
    within = [unit for unit in units_of(family, "layer") if unit.name.startswith(("layers.", "ops."))]
    bare = [Unit(unit.name, unit.layers, unit.depth, unit.at) for unit in within]
    return JointSpace(family.space, bare, alphabet)


class _Layers:
    """One exported network of full depth in one precision, a layer at a time."""

    def __init__(self, module: nn.Module, precision: str, names: Sequence[str]) -> None:
        fake = FakeQuantized(module)
        policy = {name: precision for name in units(module) if name in names}
        self.net: Any = fake.select([policy])
        self.vision = hasattr(self.net, "patch")

    def start(self, inputs: Sequence[Tensor]) -> Tensor:
        """Embedded tokens ``[B, T, width]``."""
        if self.vision:
            from supernet.vit import patches

            embedded: Tensor = self.net.embedding(self.net.patch(patches(inputs[0], self.net.patch_size)))
            return embedded
        return self.net.embedding(inputs[0], None)  # type: ignore[no-any-return]

    def layer(self, at: int, x: Tensor) -> Tensor:
        """Through layer ``at``."""
        if self.vision:
            return self.net.layers[at](x)  # type: ignore[no-any-return]
        return self.net.run(x, None, self.net.plan.stages[2 * at : 2 * at + 2])  # type: ignore[no-any-return]

    def finish(self, x: Tensor, inputs: Sequence[Tensor]) -> Tensor:
        """Logits ``[N, classes]``."""
        if self.vision:
            return self.net.head(self.net.norm(x[:, 0]))  # type: ignore[no-any-return]
        chosen = x.flatten(0, 1).index_select(0, inputs[1])
        return self.net.head(chosen, self.net.embedding.word.weight)  # type: ignore[no-any-return]


def fill(
    net: SuperNet,
    space: JointSpace,
    batches: Sequence[Any],
    head: Mapping[str, Any],
    *,
    held_out: float = 0.4,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Table:
    """The table of a supernet's sub-networks.

    Columns: ``loss`` and ``hits`` over the first labels of every batch, ``held_loss`` and ``held_hits`` over
    the others, which no search sees; ``bytes`` of the deployed weights; ``macs``.

    Args:
        net: trained; of a family whose choices are ``layers``, ``heads`` and ``ffn``.
        space: of ``layer_space``.
        batches: validation data with ``inputs`` and ``labels``, on the net's device.
        head: what else the table's head says: name, recipe, commit.
        held_out: share of the labels of each batch that is held out.
    """
    every = points(space)
    places = {key: i for i, key in enumerate(space.keys(every))}
    sums = torch.zeros(len(every), 4, dtype=torch.float64, device=net.device)
    counts = [0, 0]
    tf32, torch.backends.cuda.matmul.allow_tf32 = torch.backends.cuda.matmul.allow_tf32, True
    try:
        with torch.inference_mode():
            nets = _exports(net, space)
            for batch in batches:
                cut = round(len(batch.labels) * (1 - held_out))
                counts = [counts[0] + cut, counts[1] + len(batch.labels) - cut]
                for done, (genome, figures) in enumerate(_walk(nets, space, batch, cut)):
                    sums[places[space.keys(genome[None])[0]]] += figures
                    if not done % 500:
                        progress(done, len(every))
    finally:
        torch.backends.cuda.matmul.allow_tf32 = tf32
    figures = sums.cpu().numpy()
    more = {"labels": counts[0], "held_out_labels": counts[1], "device": str(net.device.type)}
    return Table(
        describe(space) | more | dict(head),
        {
            "loss": figures[:, 0] / counts[0],
            "hits": figures[:, 1].astype(np.int64),
            "held_loss": figures[:, 2] / max(counts[1], 1),
            "held_hits": figures[:, 3].astype(np.int64),
            **costs(net.family, space, every),
        },
    )


def _exports(net: SuperNet, space: JointSpace) -> dict[tuple[int, int, int], _Layers]:
    """Option numbers of heads, width and precision -> the network that is all of them, at full depth."""
    deepest = max(space.space.choice("layers").options)
    names = [layer for unit in space.units for layer in unit.layers]
    allowed = {name: space.space.allowed[space.names.index(f"{name}[0]")] for name in ("heads", "ffn")}
    found = {}
    for (h, heads), (f, ffn) in product(enumerate(allowed["heads"]), enumerate(allowed["ffn"])):
        genes = {"layers": deepest, "heads": [heads] * deepest, "ffn": [ffn] * deepest}
        module = net.export(space.space.architecture(genes)).to(net.device)
        for letter, precision in enumerate(space.alphabet):
            found[h, f, letter] = _Layers(module, precision, names)
    return found


def _walk(
    nets: Mapping[tuple[int, int, int], _Layers], space: JointSpace, batch: Any, cut: int
) -> Iterator[tuple[np.ndarray, Tensor]]:
    """Genome and ``[loss, hits, held-out loss, held-out hits]``, summed, of every point."""
    depths = space.space.allowed[space.names.index("layers")]
    deepest, first = max(depths), space.architecture_genes
    genes = [
        np.array([space.names.index(f"heads[{i}]"), space.names.index(f"ffn[{i}]"), first + i])
        for i in range(deepest)
    ]
    whole = next(iter(nets.values()))
    genome = np.zeros(len(space.levels), dtype=np.int64)

    def below(x: Tensor, at: int) -> Iterator[tuple[np.ndarray, Tensor]]:
        for option, net in nets.items():
            y = net.layer(at, x)
            genome[genes[at]] = option
            if at + 1 in depths:
                genome[space.names.index("layers")] = depths.index(at + 1)
                yield genome.copy(), _figures(whole.finish(y, batch.inputs), batch.labels, cut)
            if at + 1 < deepest:
                yield from below(y, at + 1)
        genome[genes[at]] = 0

    yield from below(whole.start(batch.inputs), 0)


def _figures(logits: Tensor, labels: Tensor, cut: int) -> Tensor:
    """Loss and hits, summed over the first ``cut`` labels and over the others: ``[4]``."""
    loss = F.cross_entropy(logits.float(), labels, reduction="none").double()
    hits = (logits.argmax(-1) == labels).double()
    return torch.stack([part.sum() for part in (loss[:cut], hits[:cut], loss[cut:], hits[cut:])])


def costs(family: Any, space: JointSpace, genomes: np.ndarray) -> dict[str, np.ndarray]:
    """``bytes`` of the weights as deployed and ``macs`` of one pass, of every genome."""
    from supernet.quantize import stored_bytes

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
        macs[i] = sum(family.macs(architecture, *_lengths(family)))
        for u, unit in enumerate(space.units):
            there = [shapes[name] for name in unit.layers if name in policy]
            for letter, precision in enumerate(space.alphabet):
                saved[i, u, letter] = sum(
                    stored_bytes("fp32", shape) - stored_bytes(precision, shape) for shape in there
                )
    letters = genomes[:, first:]
    less = saved[back[:, None], np.arange(len(space.units)), letters].sum(axis=1)
    return {"bytes": full[back] - less, "macs": macs[back]}


def _lengths(family: Any) -> tuple[int, int]:
    """Of one pass: of a sentence as long as the family takes, one position predicted."""
    return int(getattr(family.config, "max_positions", 1)), 1
