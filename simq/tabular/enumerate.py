"""Every point of a table's space on one batch, with the work of common beginnings done once.

Points whose first layers agree share those layers' outputs, and a shallow network is the beginning of a deep
one. So a space is walked as a tree, a layer of the network an edge, and a point costs little more than its
last layer and the head. Precisions are those of ``supernet.quantization.fake_quantize``, one sample at a
time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import product
from typing import Any, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from simq.genome import Genomes, JointSpace
from supernet.elastic import SuperNet
from supernet.quantization.fake_quantize import FakeQuantized, together
from supernet.quantization.precisions import units

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


def heads(attention: Any, x: Tensor, bias: Tensor | None) -> Tensor:
    """What the heads of an attention say of normed tokens, before its output layer: ``[B, T, inner]``."""
    q, k, v = (
        said.unflatten(-1, (attention.heads, -1)).transpose(1, 2)
        for said in together((attention.q, attention.k, attention.v), x)
    )
    return F.scaled_dot_product_attention(q, k, v, attn_mask=bias).transpose(1, 2).flatten(2)


def first_asks(attention: Any, x: Tensor, bias: Tensor | None) -> Tensor:
    """``heads`` for the first token alone: ``[B, 1, inner]``; float32 activations.

    With one to ask, no key or value of any token is made: scores are products of the tokens and of its
    query times the weight of the keys, whose bias adds the same to all; and the mean of the values is the
    value of the mean token.
    """
    q = attention.q(x, 1).unflatten(-1, (attention.heads, -1)).transpose(0, 2).squeeze(1)  # [heads, B, dim]
    key, value = (
        layer.float_weight().unflatten(0, (attention.heads, -1)) for layer in (attention.k, attention.v)
    )
    asked = torch.bmm(q * q.shape[-1] ** -0.5, key).transpose(0, 1)  # [B, heads, width]
    scores = asked @ x.mT
    shares = (scores if bias is None else scores + bias[:, 0]).softmax(-1)
    mean = (shares @ x).transpose(0, 1)  # [heads, B, width]
    return (torch.bmm(mean, value.mT).transpose(0, 1).flatten(1) + attention.v.layer.bias)[:, None]


class Half:
    """An exported network of full depth in one precision, in pieces of its layers.

    Of the last layer's states the first token's alone is classified, so it is all that is made of them. Where
    activations are not float32, layers are given all tokens: in int8 these decide on ranges.
    """

    def __init__(self, module: nn.Module, precision: str, names: Sequence[str]) -> None:
        self.fake = FakeQuantized(module, exact=False)
        policy = {name: precision for name in units(module) if name in names}
        self.net: Any = self.fake.select([policy])
        self.floats = precision in ("fp32", "w4")
        self.bias: Tensor | None = None

    def asking(self, last: bool) -> int | None:
        """Tokens that a layer must follow up to its last product; None: all."""
        return 1 if last and self.floats else None

    def parts(self, at: int) -> tuple[Any, list[Any]]:
        """Attention and feed-forwards of layer ``at``."""
        raise NotImplementedError

    def begin(self, inputs: Sequence[Tensor]) -> None:
        """What all its layers must know of the inputs."""

    def start(self, inputs: Sequence[Tensor]) -> Any:
        """Embedded tokens."""
        raise NotImplementedError

    def ready(self, at: int, x: Any) -> Tensor:
        """Tokens as the heads of layer ``at`` see them, in any precision."""
        raise NotImplementedError

    def mix(self, at: int, ready: Tensor, last: bool) -> Tensor:
        """What the heads of layer ``at`` say; ``last``: nothing but the head of the network follows."""
        return (first_asks if self.asking(last) else heads)(self.parts(at)[0], ready, self.bias)

    def attend(self, at: int, x: Any, mixed: Tensor, last: bool) -> Any:
        """States behind the attention of layer ``at``."""
        raise NotImplementedError

    def widen(self, at: int, x: Any) -> Any:
        """Inside the feed-forward of layer ``at``, between its two products."""
        raise NotImplementedError

    def feed(self, at: int, x: Any, wide: Any, last: bool) -> Any:
        """States behind the feed-forward of layer ``at``."""
        raise NotImplementedError

    def first(self, x: Any) -> Tensor:
        """State of the token that is classified ``[B, width]``."""
        return x[:, 0]  # type: ignore[no-any-return]

    def finish(self, x: Tensor) -> Tensor:
        """Logits ``[B, classes]`` from such states."""
        return self.net.head(self.net.norm(x))  # type: ignore[no-any-return]


class ImageHalf(Half):
    """Of a Vision Transformer."""

    def parts(self, at: int) -> tuple[Any, list[Any]]:
        layer = self.net.layers[at]
        return layer.attention, [layer.ffn]

    def start(self, inputs: Sequence[Tensor]) -> Tensor:
        from supernet.vit import patches

        embedded: Tensor = self.net.embedding(self.net.patch(patches(inputs[0], self.net.patch_size)))
        return embedded

    def ready(self, at: int, x: Tensor) -> Tensor:
        return self.net.layers[at].attention_norm(x)  # type: ignore[no-any-return]

    def attend(self, at: int, x: Tensor, mixed: Tensor, last: bool) -> Tensor:
        return x[:, : self.asking(last)] + self.net.layers[at].attention.out(mixed)  # type: ignore[no-any-return]

    def widen(self, at: int, x: Tensor) -> Tensor:
        layer = self.net.layers[at]
        return gelu(layer.ffn.fc1(layer.ffn_norm(x)))

    def feed(self, at: int, x: Tensor, wide: Tensor, last: bool) -> Tensor:
        first = 1 if last else None
        return x[:, :first] + self.net.layers[at].ffn.fc2(wide, first)  # type: ignore[no-any-return]


class QuestionHalf(Half):
    """Of an encoder of images and text: states of both modalities, the image's first."""

    def parts(self, at: int) -> tuple[Any, list[Any]]:
        layer = self.net.layers[at]
        experts = layer.experts.values()
        return layer.attention, [expert.ffn for expert in experts if hasattr(expert, "ffn")]

    def begin(self, inputs: Sequence[Tensor]) -> None:
        self.bias = self.net.bias(*inputs)

    def start(self, inputs: Sequence[Tensor]) -> dict[str, Tensor]:
        return self.net.start(*inputs)  # type: ignore[no-any-return]

    def ready(self, at: int, x: dict[str, Tensor]) -> Tensor:
        experts = self.net.layers[at].experts
        return torch.cat([experts[name].attention_norm(state) for name, state in x.items()], 1)

    def attend(self, at: int, x: dict[str, Tensor], mixed: Tensor, last: bool) -> dict[str, Tensor]:
        x = {name: state[:, : self.asking(last)] for name, state in self._left(x, last).items()}
        y, start, found = self.net.layers[at].attention.out(mixed), 0, {}
        for name, state in x.items():
            found[name] = state + y[:, start : start + state.shape[1]]
            start += state.shape[1]
        return found

    def widen(self, at: int, x: dict[str, Tensor]) -> dict[str, Tensor]:
        experts = self.net.layers[at].experts
        return {name: gelu(experts[name].ffn.fc1(experts[name].ffn_norm(state))) for name, state in x.items()}

    def feed(self, at: int, x: dict[str, Tensor], wide: dict[str, Tensor], last: bool) -> dict[str, Tensor]:
        first, experts = 1 if last else None, self.net.layers[at].experts
        return {name: x[name][:, :first] + experts[name].ffn.fc2(wide[name], first) for name in wide}

    def first(self, x: dict[str, Tensor]) -> Tensor:
        return next(iter(x.values()))[:, 0]

    @staticmethod
    def _left(x: dict[str, Tensor], last: bool) -> dict[str, Tensor]:
        """The last layer leaves the text behind once it is attended to."""
        return dict([next(iter(x.items()))]) if last else x


class SentenceHalf(Half):
    """Of a classifier of sentences, which may be padded: no range of an int8 layer sees padding."""

    def parts(self, at: int) -> tuple[Any, list[Any]]:
        attention, feed = (self.net.ops[stage.name] for stage in self.net.plan.stages[2 * at : 2 * at + 2])
        return attention, [feed]

    def begin(self, inputs: Sequence[Tensor]) -> None:
        from supernet.bert import PAD, mask

        self.bias = mask(inputs[0], torch.float32)
        self.fake.pad((inputs[0] != PAD)[..., None])

    def start(self, inputs: Sequence[Tensor]) -> Tensor:
        return self.net.embedding(inputs[0], None)  # type: ignore[no-any-return]

    def ready(self, at: int, x: Tensor) -> Tensor:
        return x

    def attend(self, at: int, x: Tensor, mixed: Tensor, last: bool) -> Tensor:
        attention = self.parts(at)[0]
        return attention.norm(x[:, : self.asking(last)] + attention.out(mixed))  # type: ignore[no-any-return]

    def widen(self, at: int, x: Tensor) -> Tensor:
        return gelu(self.parts(at)[1][0].fc1(x))

    def feed(self, at: int, x: Tensor, wide: Tensor, last: bool) -> Tensor:
        (feed,), first = self.parts(at)[1], 1 if last else None
        return feed.norm(x[:, :first] + feed.fc2(wide, first))  # type: ignore[no-any-return]

    def finish(self, x: Tensor) -> Tensor:
        return self.net.head(x)  # type: ignore[no-any-return]


HALVES: dict[str, type[Half]] = {
    "vit": ImageHalf,
    "vision-language": QuestionHalf,
    "bert-sentences": SentenceHalf,
}


class Layers:
    """The walk over Transformers with ``layers``, ``heads`` and ``ffn`` and one precision a layer.

    What an attention says does not depend on the width of the feed-forward behind it; and where weights are
    shared, fewer heads are the first of more, and a narrow feed-forward is the beginning of a wide one: what
    each channel of theirs says is made once. Only the products behind them differ, and ranges with them.

    Raises:
        ValueError: networks of another family.
    """

    def __init__(self, net: SuperNet, space: JointSpace) -> None:
        if net.family.kind not in HALVES:
            raise ValueError(f"no table of {net.family.kind}: only of {', '.join(HALVES)} and resnet")
        half, self.space = HALVES[net.family.kind], space
        self.depths = space.space.allowed[space.names.index("layers")]
        self.deepest = max(self.depths)
        first = space.architecture_genes
        self.genes = [
            [space.names.index(f"heads[{i}]"), space.names.index(f"ffn[{i}]"), first + i]
            for i in range(self.deepest)
        ]
        heads, ffn = (space.space.allowed[genes] for genes in self.genes[0][:2])
        names = [layer for unit in space.units for layer in unit.layers]

        def made(heads: int, ffn: int, precision: str) -> Half:
            genes = {"layers": self.deepest, "heads": [heads] * self.deepest, "ffn": [ffn] * self.deepest}
            return half(net.export(space.space.architecture(genes)).to(net.device), precision, names)

        self.attentions = [[made(n, max(ffn), word) for n in heads] for word in space.alphabet]
        self.feeds = [[made(max(heads), n, word) for n in ffn] for word in space.alphabet]
        # Channels of the heads and of the feed-forwards, which all layers of a half have alike.
        self.mixed = [half.parts(0)[0].out.layer.in_features for half in self.attentions[0]]
        self.widened = [half.parts(0)[1][0].fc2.layer.in_features for half in self.feeds[0]]
        self.mixers = [beginnings(halves, self.deepest, projections) for halves in self.attentions]
        self.wideners = [beginnings(halves, self.deepest, widenings) for halves in self.feeds]

    def __call__(self, batch: Any) -> Figures:
        for letter in (*self.attentions, *self.feeds):
            for half in letter:
                half.begin(batch.inputs)
        whole = self.feeds[0][0]
        genome = np.zeros(len(self.space.levels), dtype=np.int64)
        depth_gene = self.space.names.index("layers")

        def below(x: Any, at: int) -> Figures:
            last = at + 1 == self.deepest
            genomes: list[Any] = []
            said: list[Tensor] = []
            for h, letter, y in self._attended(x, at, last):
                wide: dict[Half, Any] = {}
                for f, (feed, widener) in enumerate(
                    zip(self.feeds[letter], self.wideners[letter], strict=True)
                ):
                    if widener not in wide:
                        wide[widener] = widener.widen(at, y)
                    z = feed.feed(at, y, leading(wide[widener], self.widened[f]), last)
                    genome[self.genes[at]] = h, f, letter
                    if at + 1 in self.depths:
                        genome[depth_gene] = self.depths.index(at + 1)
                        genomes.append(genome.copy())
                        said.append(whole.first(z))
                    if not last:
                        yield from below(z, at + 1)
            if genomes:
                logits = whole.finish(torch.cat(said))
                yield np.stack(genomes), figures(logits, batch.labels, len(genomes))
            genome[self.genes[at]] = 0

        yield from below(whole.start(batch.inputs), 0)

    def _attended(self, x: Any, at: int, last: bool) -> Iterator[tuple[int, int, Any]]:
        """Option of the heads, letter and states behind the attention of layer ``at``, of all such."""
        ready = self.feeds[0][0].ready(at, x)
        for letter, (halves, mixers) in enumerate(zip(self.attentions, self.mixers, strict=True)):
            mixed: dict[Half, Tensor] = {}
            for h, (attention, mixer) in enumerate(zip(halves, mixers, strict=True)):
                if mixer not in mixed:
                    mixed[mixer] = mixer.mix(at, ready, last)
                yield h, letter, attention.attend(at, x, leading(mixed[mixer], self.mixed[h]), last)


def gelu(x: Tensor) -> Tensor:
    """In place: the pages of one more tensor of this size would cost as much as the arithmetic."""
    y: Tensor = torch.ops.aten.gelu_(x)
    return y


def leading(x: Any, channels: int) -> Any:
    """The first channels of states."""
    if isinstance(x, dict):
        return {name: state[..., :channels] for name, state in x.items()}
    return x[..., :channels]


def projections(attention: Any, _: Sequence[Any]) -> list[Any]:
    """The layers that an attention begins with."""
    return [attention.q, attention.k, attention.v]


def widenings(_: Any, feeds: Sequence[Any]) -> list[Any]:
    """The layers that feed-forwards begin with."""
    return [feed.fc1 for feed in feeds]


def beginnings(halves: Sequence[Half], depth: int, layers: Callable[..., list[Any]]) -> list[Half]:
    """For each of ``halves`` the widest one, if the own ``layers`` are the beginning of that one's, else
    itself."""
    tensors = [
        [x for at in range(depth) for layer in layers(*half.parts(at)) for x in layer.layer.parameters()]
        for half in halves
    ]
    most = max(range(len(halves)), key=lambda i: len(tensors[i][0]))
    return [
        halves[most]
        if all(torch.equal(x, y[: len(x)]) for x, y in zip(narrow, tensors[most], strict=True))
        else half
        for half, narrow in zip(halves, tensors, strict=True)
    ]


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
