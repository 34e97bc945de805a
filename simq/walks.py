"""Every point of a table's space on one batch, with the work of common beginnings done once.

Points whose first layers agree share those layers' outputs, and a shallow network is the beginning of a deep
one. So a space is walked as a tree, a layer of the network an edge, and a point costs little more than its
last layer and the head. Precisions are those of ``supernet.fakequant``, one sample at a time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from simq.genome import Genomes, JointSpace
from supernet.elastic import SuperNet
from supernet.fakequant import FakeQuantized
from supernet.quantize import units

Figures = Iterator[tuple[Genomes, Tensor]]
"""Genomes ``[n, genes]`` and of each the loss in nats and the hits, summed over a batch: ``[n, 2]``."""


class Walk(Protocol):
    """Goes over all points of a space."""

    def __call__(self, batch: Any) -> Figures:
        """Each point once; ``batch`` has ``inputs`` and ``labels``, on the supernet's device."""


def walk(net: SuperNet, space: JointSpace) -> Walk:
    """The walk for the sub-networks of ``net``."""
    return Blocks(net, space) if "stages" in net.space.constants else Layers(net, space)


def figures(logits: Tensor, labels: Tensor, points: int = 1) -> Tensor:
    """Loss and hits of ``points`` networks, whose logits lie one after the other: ``[points, 2]``."""
    again = labels.repeat(points)
    loss = F.cross_entropy(logits.float(), again, reduction="none").double()
    hits = (logits.argmax(-1) == again).double()
    return torch.stack([part.unflatten(0, (points, -1)).sum(1) for part in (loss, hits)], 1)


class Half:
    """An exported network of full depth in one precision, an attention or a feed-forward at a time."""

    def __init__(self, module: nn.Module, precision: str, names: Sequence[str]) -> None:
        self.fake = FakeQuantized(module)
        policy = {name: precision for name in units(module) if name in names}
        self.net: Any = self.fake.select([policy])
        self.ranged = precision == "int8"

    def looked_at(self, x: Tensor, last: bool) -> Tensor:
        """Of the last layer's states the first token's, which alone is classified; int8 layers are given all,
        for these decide on ranges."""
        return x[:, :1] if last and not self.ranged else x

    def begin(self, inputs: Sequence[Tensor]) -> None:
        """What all its layers must know of the inputs."""

    def start(self, inputs: Sequence[Tensor]) -> Any:
        """Embedded tokens."""
        raise NotImplementedError

    def attend(self, at: int, x: Any) -> Any:
        """Through the attention of layer ``at``."""
        raise NotImplementedError

    def feed(self, at: int, x: Any, last: bool) -> Any:
        """Through the feed-forward of layer ``at``; ``last``: nothing but the head follows."""
        raise NotImplementedError

    def finish(self, x: Any) -> Tensor:
        """Logits ``[B, classes]``."""
        raise NotImplementedError


class ImageHalf(Half):
    """Of a Vision Transformer."""

    def start(self, inputs: Sequence[Tensor]) -> Tensor:
        from supernet.vit import patches

        embedded: Tensor = self.net.embedding(self.net.patch(patches(inputs[0], self.net.patch_size)))
        return embedded

    def attend(self, at: int, x: Tensor) -> Tensor:
        layer = self.net.layers[at]
        return x + layer.attention(layer.attention_norm(x))  # type: ignore[no-any-return]

    def feed(self, at: int, x: Tensor, last: bool) -> Tensor:
        layer, x = self.net.layers[at], self.looked_at(x, last)
        return x + layer.ffn(layer.ffn_norm(x))  # type: ignore[no-any-return]

    def finish(self, x: Tensor) -> Tensor:
        return self.net.head(self.net.norm(x[:, 0]))  # type: ignore[no-any-return]


class QuestionHalf(Half):
    """Of an encoder of images and text: states of both modalities."""

    def begin(self, inputs: Sequence[Tensor]) -> None:
        self.bias = self.net.bias(*inputs)

    def start(self, inputs: Sequence[Tensor]) -> dict[str, Tensor]:
        return self.net.start(*inputs)  # type: ignore[no-any-return]

    def attend(self, at: int, x: dict[str, Tensor]) -> dict[str, Tensor]:
        return self.net.layers[at].attend(x, self.bias)  # type: ignore[no-any-return]

    def feed(self, at: int, x: dict[str, Tensor], last: bool) -> dict[str, Tensor]:
        if last:
            image, seen = next(iter(x.items()))
            x = {image: self.looked_at(seen, last)}
        return self.net.layers[at].feed(x, last)  # type: ignore[no-any-return]

    def finish(self, x: dict[str, Tensor]) -> Tensor:
        return self.net.head(self.net.norm(next(iter(x.values()))[:, 0]))  # type: ignore[no-any-return]


class SentenceHalf(Half):
    """Of a classifier of sentences, which may be padded: no range of an int8 layer sees padding."""

    def begin(self, inputs: Sequence[Tensor]) -> None:
        from supernet.bert import PAD, mask

        self.bias = mask(inputs[0], torch.float32)
        self.fake.pad((inputs[0] != PAD)[..., None])

    def start(self, inputs: Sequence[Tensor]) -> Tensor:
        return self.net.embedding(inputs[0], None)  # type: ignore[no-any-return]

    def attend(self, at: int, x: Tensor) -> Tensor:
        return self.net.run(x, self.bias, self.net.plan.stages[2 * at : 2 * at + 1])  # type: ignore[no-any-return]

    def feed(self, at: int, x: Tensor, last: bool) -> Tensor:
        x = self.looked_at(x, last)
        return self.net.run(x, self.bias, self.net.plan.stages[2 * at + 1 : 2 * at + 2])  # type: ignore[no-any-return]

    def finish(self, x: Tensor) -> Tensor:
        return self.net.head(x[:, 0])  # type: ignore[no-any-return]


HALVES: dict[str, type[Half]] = {
    "vit": ImageHalf,
    "vision-language": QuestionHalf,
    "bert-sentences": SentenceHalf,
}


class Layers:
    """The walk over Transformers with ``layers``, ``heads`` and ``ffn`` and one precision a layer.

    Raises:
        ValueError: networks of another family.
    """

    def __init__(self, net: SuperNet, space: JointSpace) -> None:
        if net.family.kind not in HALVES:
            raise ValueError(f"no table of {net.family.kind}: only of {', '.join(HALVES)} and resnet")
        half, self.space = HALVES[net.family.kind], space
        self.depths = space.space.allowed[space.names.index("layers")]
        self.deepest = max(self.depths)
        first, letters = space.architecture_genes, list(enumerate(space.alphabet))
        self.genes = [
            [space.names.index(f"heads[{i}]"), space.names.index(f"ffn[{i}]"), first + i]
            for i in range(self.deepest)
        ]
        heads, ffn = (space.space.allowed[genes] for genes in self.genes[0][:2])
        names = [layer for unit in space.units for layer in unit.layers]

        def made(heads: int, ffn: int, precision: str) -> Half:
            genes = {"layers": self.deepest, "heads": [heads] * self.deepest, "ffn": [ffn] * self.deepest}
            return half(net.export(space.space.architecture(genes)).to(net.device), precision, names)

        # What an attention says does not depend on the width of the feed-forward behind it.
        self.attentions = {(h, p): made(n, ffn[0], word) for h, n in enumerate(heads) for p, word in letters}
        self.feeds = {(f, p): made(heads[0], n, word) for f, n in enumerate(ffn) for p, word in letters}
        self.whole = next(iter(self.feeds.values()))

    def __call__(self, batch: Any) -> Figures:
        for half in (*self.attentions.values(), *self.feeds.values()):
            half.begin(batch.inputs)
        genome = np.zeros(len(self.space.levels), dtype=np.int64)
        depth_gene = self.space.names.index("layers")

        def below(x: Any, at: int) -> Figures:
            last = at + 1 == self.deepest
            for (h, letter), attention in self.attentions.items():
                y = attention.attend(at, x)
                for (f, same), feed in self.feeds.items():
                    if same != letter:
                        continue
                    z = feed.feed(at, y, last)
                    genome[self.genes[at]] = h, f, letter
                    if at + 1 in self.depths:
                        genome[depth_gene] = self.depths.index(at + 1)
                        yield genome[None].copy(), figures(self.whole.finish(z), batch.labels)
                    if not last:
                        yield from below(z, at + 1)
            genome[self.genes[at]] = 0

        yield from below(self.whole.start(batch.inputs), 0)


class Blocks:
    """The walk over residual networks with one precision a block: architectures as the tree, all policies of
    one architecture at once, folded into the batch.

    What a block's batch norms have seen depends on the blocks before it alone, so two architectures that
    begin alike share the outputs of what is alike.
    """

    def __init__(self, net: SuperNet, space: JointSpace) -> None:
        self.net, self.space = net, space
        self.stages = int(net.space.constants["stages"])
        self.place = {name: i for i, name in enumerate(space.names)}
        self.letter_gene = {unit.name: space.architecture_genes + i for i, unit in enumerate(space.units)}
        self.free = [
            self.place[c.name]
            for c in space.space.choices
            if not c.layered and not c.name.startswith("layers_")
        ]
        self.kept: dict[bytes, FakeQuantized] = {}

    def __call__(self, batch: Any) -> Figures:
        for options in product(*(range(self.space.levels[gene]) for gene in self.free)):
            genome = np.zeros(len(self.space.levels), dtype=np.int64)
            genome[self.free] = options
            net: Any = self._network(genome).select([None])
            yield from self._below(net.start(*batch.inputs), 0, 0, genome, genome[None], batch)

    def _below(self, x: Tensor, stage: int, at: int, genome: Any, policies: Genomes, batch: Any) -> Figures:
        """Through block ``at`` of a stage and all that may follow.

        Args:
            x: what comes in under each of the policies, one after the other.
            genome: the architecture so far, elsewhere option 0.
            policies: the same with the precisions of the blocks so far ``[n, genes]``.
        """
        depths = self.space.space.allowed[self.place[f"layers_{stage}"]]
        expand, depth_gene = self.place[f"expand_{stage}[{at}]"], self.place[f"layers_{stage}"]
        name = f"{stage}_{at}"
        gene, letters = self.letter_gene[f"blocks.{name}"], self.space.alphabet
        for option in range(self.space.levels[expand]):
            here = genome.copy()
            here[expand] = option
            here[depth_gene] = next(i for i, depth in enumerate(depths) if depth > at)
            fake = self._network(here)
            outputs, many = [], []
            for letter, precision in enumerate(letters):
                names = [unit for unit in fake.units if unit.startswith(f"blocks.{name}.")]
                net: Any = fake.select([dict.fromkeys(names, precision)])
                outputs.append(net.blocks[name](x))
                many.append(policies.copy())
                many[-1][:, expand], many[-1][:, gene] = option, letter
            y, found = torch.cat(outputs), np.concatenate(many)
            if at + 1 in depths:
                found[:, depth_gene] = depths.index(at + 1)
                if stage + 1 == self.stages:
                    yield found.copy(), figures(net.head(y.mean((2, 3))), batch.labels, len(found))
                else:
                    yield from self._below(y, stage + 1, 0, here, found, batch)
            if at + 1 < max(depths):
                yield from self._below(y, stage, at + 1, here, found, batch)

    def _network(self, genome: Any) -> FakeQuantized:
        """The exported network of an architecture."""
        key = genome[: self.space.architecture_genes].astype(np.uint8).tobytes()
        if key not in self.kept:
            architecture, _ = self.space.decode(genome)
            self.kept[key] = FakeQuantized(self.net.export(architecture).to(self.net.device))
        return self.kept[key]
