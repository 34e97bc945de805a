"""Evaluate every point of a joint space on one batch, computing shared prefixes of networks once.

Points whose first layers agree share those layers' outputs, and a shallow network is a prefix of a deep one.
The space is traversed as a tree with one layer of the network an edge, so a point costs little more than its
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
from supernet.quantization.calibration import calibrate
from supernet.quantization.fake_quantize import FakeQuantized, together
from supernet.quantization.precisions import STATIC, units

PointStatistics = Iterator[tuple[Genomes, Tensor]]
"""Genomes ``[n, genes]``, and summed loss in nats and hits of each over a batch ``[n, 2]``."""


class Batch(Protocol):
    """Inputs and labels of some items."""

    labels: Tensor

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        """Arguments of a network."""


class Enumerator(Protocol):
    """Evaluation of all points of a space on a batch."""

    def __call__(self, batch: Batch) -> PointStatistics:
        """Yield the statistics of each point once; the batch is on the supernet's device."""


def enumerator(net: SuperNet, space: JointSpace) -> Enumerator:
    """Return the enumerator for the sub-networks of ``net``.

    Raises:
        ValueError: see ``check_enumerable``.
    """
    check_enumerable(net.family, space)
    resnet = "stages" in net.space.constants
    return ResNetEnumerator(net, space) if resnet else TransformerEnumerator(net, space)


def check_enumerable(family: Any, space: JointSpace) -> None:
    """Refuse a space whose points no enumerator can evaluate.

    Raises:
        ValueError: the family is another, units differ in their precisions, or there are static layers in
            networks without convolutions, whose ranges differ between architectures that share prefixes here.
    """
    resnet = "stages" in family.space.constants
    if family.kind not in VARIANTS and not resnet:
        raise ValueError(f"no table of {family.kind}: only of {', '.join(VARIANTS)} and resnet")
    if STATIC in space.alphabet and not resnet:
        raise ValueError(
            f"{STATIC} in a table of all points is for residual networks: take int8, or a sampled table"
        )
    if any(precisions != space.alphabet for precisions in space.unit_precisions):
        raise ValueError("units differ in their precisions: take a sampled table")


def statistics(logits: Tensor, labels: Tensor, points: int = 1) -> Tensor:
    """Return summed loss and hits ``[points, 2]`` of networks with logits ``[points * B, classes]``."""
    repeated = labels.repeat(points)
    loss = F.cross_entropy(logits.float(), repeated, reduction="none").double()
    hits = (logits.argmax(-1) == repeated).double()
    return torch.stack([part.unflatten(0, (points, -1)).sum(1) for part in (loss, hits)], 1)


def attention_heads(attention: Any, x: Tensor, bias: Tensor | None) -> Tensor:
    """Return the heads' outputs ``[B, T, inner]`` for normed tokens, before the output layer."""
    q, k, v = (
        projected.unflatten(-1, (attention.heads, -1)).transpose(1, 2)
        for projected in together((attention.q, attention.k, attention.v), x)
    )
    return F.scaled_dot_product_attention(q, k, v, attn_mask=bias).transpose(1, 2).flatten(2)


def first_token_heads(attention: Any, x: Tensor, bias: Tensor | None) -> Tensor:
    """Return ``attention_heads`` of the first token alone ``[B, 1, inner]``, with float32 activations.

    With a single query, no key or value is computed. Scores are products of the tokens with the query times
    the key weights, whose bias adds the same to all scores. The mean of the values is the value of the mean
    token.
    """
    q = attention.q(x, 1).unflatten(-1, (attention.heads, -1)).transpose(0, 2).squeeze(1)  # [heads, B, dim]
    key, value = (
        layer.float_weight().unflatten(0, (attention.heads, -1)) for layer in (attention.k, attention.v)
    )
    weighted_query = torch.bmm(q * q.shape[-1] ** -0.5, key).transpose(0, 1)  # [B, heads, width]
    scores = weighted_query @ x.mT
    shares = (scores if bias is None else scores + bias[:, 0]).softmax(-1)
    mean = (shares @ x).transpose(0, 1)  # [heads, B, width]
    return (torch.bmm(mean, value.mT).transpose(0, 1).flatten(1) + attention.v.layer.bias)[:, None]


class PrecisionVariant:
    """An exported network of full depth in one precision, split into parts of its layers.

    Only the first token of the last layer is classified, so only its state is computed there. If activations
    are not float32, layers still get all tokens, because int8 ranges depend on all of them.
    """

    def __init__(self, module: nn.Module, precision: str, names: Sequence[str]) -> None:
        self.fake = FakeQuantized(module, exact=False)
        policy = {name: precision for name in units(module) if name in names}
        self.net: Any = self.fake.select([policy])
        self.floats = precision in ("fp32", "w4")
        self.bias: Tensor | None = None

    def tokens_needed(self, last: bool) -> int | None:
        """Return the number of leading tokens that a layer must compute; None for all."""
        return 1 if last and self.floats else None

    def parts(self, at: int) -> tuple[Any, list[Any]]:
        """Return the attention and the feed-forwards of layer ``at``."""
        raise NotImplementedError

    def begin(self, inputs: Sequence[Tensor]) -> None:
        """Set the attention bias and the padding of a batch."""

    def start(self, inputs: Sequence[Tensor]) -> Any:
        """Return the embedded tokens."""
        raise NotImplementedError

    def ready(self, at: int, x: Any) -> Tensor:
        """Return the normed tokens that enter the heads of layer ``at``, the same in any precision."""
        raise NotImplementedError

    def mix(self, at: int, ready: Tensor, last: bool) -> Tensor:
        """Return the heads' outputs of layer ``at``; ``last``: only the network's head follows the layer."""
        heads = first_token_heads if self.tokens_needed(last) else attention_heads
        return heads(self.parts(at)[0], ready, self.bias)

    def attend(self, at: int, x: Any, mixed: Tensor, last: bool) -> Any:
        """Return the states after the attention of layer ``at``."""
        raise NotImplementedError

    def widen(self, at: int, x: Any) -> Any:
        """Return the hidden activations of the feed-forward of layer ``at``."""
        raise NotImplementedError

    def feed(self, at: int, x: Any, wide: Any, last: bool) -> Any:
        """Return the states after the feed-forward of layer ``at``."""
        raise NotImplementedError

    def first(self, x: Any) -> Tensor:
        """Return the state of the classified token ``[B, width]``."""
        return x[:, 0]  # type: ignore[no-any-return]

    def finish(self, x: Tensor) -> Tensor:
        """Return logits ``[B, classes]`` from states of classified tokens."""
        return self.net.head(self.net.norm(x))  # type: ignore[no-any-return]


class ImageVariant(PrecisionVariant):
    """Vision Transformer."""

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
        return x[:, : self.tokens_needed(last)] + self.net.layers[at].attention.out(mixed)  # type: ignore[no-any-return]

    def widen(self, at: int, x: Tensor) -> Tensor:
        layer = self.net.layers[at]
        return gelu(layer.ffn.fc1(layer.ffn_norm(x)))

    def feed(self, at: int, x: Tensor, wide: Tensor, last: bool) -> Tensor:
        first = 1 if last else None
        return x[:, :first] + self.net.layers[at].ffn.fc2(wide, first)  # type: ignore[no-any-return]


class VisionLanguageVariant(PrecisionVariant):
    """Encoder of images and text: modality -> states, the image's first."""

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
        x = {name: state[:, : self.tokens_needed(last)] for name, state in self._continuing(x, last).items()}
        y, start, attended = self.net.layers[at].attention.out(mixed), 0, {}
        for name, state in x.items():
            attended[name] = state + y[:, start : start + state.shape[1]]
            start += state.shape[1]
        return attended

    def widen(self, at: int, x: dict[str, Tensor]) -> dict[str, Tensor]:
        experts = self.net.layers[at].experts
        return {name: gelu(experts[name].ffn.fc1(experts[name].ffn_norm(state))) for name, state in x.items()}

    def feed(self, at: int, x: dict[str, Tensor], wide: dict[str, Tensor], last: bool) -> dict[str, Tensor]:
        first, experts = 1 if last else None, self.net.layers[at].experts
        return {name: x[name][:, :first] + experts[name].ffn.fc2(wide[name], first) for name in wide}

    def first(self, x: dict[str, Tensor]) -> Tensor:
        return next(iter(x.values()))[:, 0]

    @staticmethod
    def _continuing(x: dict[str, Tensor], last: bool) -> dict[str, Tensor]:
        """Return the modalities that are computed after the attention: in the last layer the image alone."""
        return dict([next(iter(x.items()))]) if last else x


class SentenceVariant(PrecisionVariant):
    """Classifier of padded sentences; padding is excluded from the ranges of int8 layers."""

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
        return attention.norm(x[:, : self.tokens_needed(last)] + attention.out(mixed))  # type: ignore[no-any-return]

    def widen(self, at: int, x: Tensor) -> Tensor:
        return gelu(self.parts(at)[1][0].fc1(x))

    def feed(self, at: int, x: Tensor, wide: Tensor, last: bool) -> Tensor:
        (feed,), first = self.parts(at)[1], 1 if last else None
        return feed.norm(x[:, :first] + feed.fc2(wide, first))  # type: ignore[no-any-return]

    def finish(self, x: Tensor) -> Tensor:
        return self.net.head(x)  # type: ignore[no-any-return]


VARIANTS: dict[str, type[PrecisionVariant]] = {
    "vit": ImageVariant,
    "vision-language": VisionLanguageVariant,
    "bert-sentences": SentenceVariant,
}


class TransformerEnumerator:
    """Enumerator of Transformers with ``layers``, ``heads`` and ``ffn`` and one precision a layer.

    An attention's output does not depend on the width of the next feed-forward. With shared weights, few
    heads are a prefix of many, and a narrow feed-forward is a prefix of a wide one, so each channel is
    computed once. Only the products after them, and their ranges, differ.
    """

    def __init__(self, net: SuperNet, space: JointSpace) -> None:
        variant_class, self.space = VARIANTS[net.family.kind], space
        self.depths = space.space.allowed[space.names.index("layers")]
        self.deepest = max(self.depths)
        first = space.architecture_genes
        self.genes = [
            [space.names.index(f"heads[{i}]"), space.names.index(f"ffn[{i}]"), first + i]
            for i in range(self.deepest)
        ]
        heads, ffn = (space.space.allowed[genes] for genes in self.genes[0][:2])
        names = [layer for unit in space.units for layer in unit.layers]

        def variant_of(heads: int, ffn: int, precision: str) -> PrecisionVariant:
            genes = {"layers": self.deepest, "heads": [heads] * self.deepest, "ffn": [ffn] * self.deepest}
            return variant_class(net.export(space.space.architecture(genes)).to(net.device), precision, names)

        self.attentions = [[variant_of(n, max(ffn), word) for n in heads] for word in space.alphabet]
        self.feeds = [[variant_of(max(heads), n, word) for n in ffn] for word in space.alphabet]
        # Channels of the heads and of the feed-forwards, which all layers of a variant have alike.
        self.mixed = [variant.parts(0)[0].out.layer.in_features for variant in self.attentions[0]]
        self.widened = [variant.parts(0)[1][0].fc2.layer.in_features for variant in self.feeds[0]]
        self.mixers = [
            sharing_variants(variants, self.deepest, query_key_value_layers) for variants in self.attentions
        ]
        self.wideners = [
            sharing_variants(variants, self.deepest, first_feed_forward_layers) for variants in self.feeds
        ]

    def __call__(self, batch: Batch) -> PointStatistics:
        for variants in (*self.attentions, *self.feeds):
            for variant in variants:
                variant.begin(batch.inputs)
        base = self.feeds[0][0]
        genome = np.zeros(len(self.space.levels), dtype=np.int64)
        depth_gene = self.space.names.index("layers")

        def below(x: Any, at: int) -> PointStatistics:
            last = at + 1 == self.deepest
            genomes: list[Any] = []
            states: list[Tensor] = []
            for h, letter, y in self._attended(x, at, last):
                wide: dict[PrecisionVariant, Any] = {}
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
                        states.append(base.first(z))
                    if not last:
                        yield from below(z, at + 1)
            if genomes:
                logits = base.finish(torch.cat(states))
                yield np.stack(genomes), statistics(logits, batch.labels, len(genomes))
            genome[self.genes[at]] = 0

        yield from below(base.start(batch.inputs), 0)

    def _attended(self, x: Any, at: int, last: bool) -> Iterator[tuple[int, int, Any]]:
        """Yield each option of the heads, each letter, and the states after the attention of layer ``at``."""
        ready = self.feeds[0][0].ready(at, x)
        for letter, (variants, mixers) in enumerate(zip(self.attentions, self.mixers, strict=True)):
            mixed: dict[PrecisionVariant, Tensor] = {}
            for h, (attention, mixer) in enumerate(zip(variants, mixers, strict=True)):
                if mixer not in mixed:
                    mixed[mixer] = mixer.mix(at, ready, last)
                yield h, letter, attention.attend(at, x, leading(mixed[mixer], self.mixed[h]), last)


def gelu(x: Tensor) -> Tensor:
    """Apply GELU in place: allocating another tensor of this size would cost as much as the arithmetic."""
    y: Tensor = torch.ops.aten.gelu_(x)
    return y


def leading(x: Any, channels: int) -> Any:
    """Return the first channels of states."""
    if isinstance(x, dict):
        return {name: state[..., :channels] for name, state in x.items()}
    return x[..., :channels]


def query_key_value_layers(attention: Any, _: Sequence[Any]) -> list[Any]:
    """Return the input layers of an attention."""
    return [attention.q, attention.k, attention.v]


def first_feed_forward_layers(_: Any, feeds: Sequence[Any]) -> list[Any]:
    """Return the input layers of feed-forwards."""
    return [feed.fc1 for feed in feeds]


def sharing_variants(
    variants: Sequence[PrecisionVariant], depth: int, layers: Callable[..., list[Any]]
) -> list[PrecisionVariant]:
    """Return for each variant the widest one if its ``layers`` are a prefix of that one's, else itself."""
    tensors = [
        [x for at in range(depth) for layer in layers(*variant.parts(at)) for x in layer.layer.parameters()]
        for variant in variants
    ]
    most = max(range(len(variants)), key=lambda i: len(tensors[i][0]))
    return [
        variants[most]
        if all(torch.equal(x, y[: len(x)]) for x, y in zip(narrow, tensors[most], strict=True))
        else variant
        for variant, narrow in zip(variants, tensors, strict=True)
    ]


class ResNetEnumerator:
    """Enumerator of residual networks with one precision a block.

    Architectures form the tree; all policies of one architecture are evaluated at once, folded into the
    batch. Statistics of a block's batch norms depend only on the blocks before it, so architectures share the
    outputs of their common prefix.
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
        self.networks: dict[bytes, FakeQuantized] = {}

    def __call__(self, batch: Batch) -> PointStatistics:
        for options in product(*(range(self.space.levels[gene]) for gene in self.free)):
            genome = np.zeros(len(self.space.levels), dtype=np.int64)
            genome[self.free] = options
            net: Any = self._network(genome).select([None])
            yield from self._below(net.start(*batch.inputs), 0, 0, genome, genome[None], batch)

    def _below(
        self, x: Tensor, stage: int, at: int, genome: Any, policies: Genomes, batch: Batch
    ) -> PointStatistics:
        """Yield the statistics of all points from block ``at`` of a stage on.

        Args:
            x: input of the block under each of the policies, concatenated.
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
            y, genomes = torch.cat(outputs), np.concatenate(many)
            if at + 1 in depths:
                genomes[:, depth_gene] = depths.index(at + 1)
                if stage + 1 == self.stages:
                    yield genomes.copy(), statistics(net.head(y.mean((2, 3))), batch.labels, len(genomes))
                else:
                    yield from self._below(y, stage + 1, 0, here, genomes, batch)
            if at + 1 < max(depths):
                yield from self._below(y, stage, at + 1, here, genomes, batch)

    def _network(self, genome: Any) -> FakeQuantized:
        """Return the exported network of an architecture."""
        key = genome[: self.space.architecture_genes].astype(np.uint8).tobytes()
        if key not in self.networks:
            architecture, _ = self.space.decode(genome)
            module = self.net.export(architecture).to(self.net.device)
            ranges = None
            if STATIC in self.space.alphabet:
                ranges = calibrate(module, [inputs for inputs, _ in self.net.statistics_batches])
            self.networks[key] = FakeQuantized(module, ranges=ranges)
        return self.networks[key]
