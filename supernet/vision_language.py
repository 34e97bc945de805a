"""Encoders of images and text with modality experts: all of it in this single file.

After BEiT-3 (Wang et al., CVPR 2023): the patches of an image and the tokens of a text are one sequence.
Attention is shared; each modality has norms and feed-forwards of its own, its *experts*. An image without
text passes through the vision experts alone. The classifier reads the image's class token. The text's last
feed-forward cannot reach that token, so the last layer has none. The sub-layer norms of BEiT-3's code are
left out. SimQ-NAS searches heads and feed-forward width of every layer, equal for both experts of a layer,
and depth.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from supernet.layers import (
    ElasticNorm,
    Shapes,
    dropout,
    feed_forward_shapes,
    linear_shapes,
    norm_shapes,
    padding_bias,
)
from supernet.model_family import Spec
from supernet.space import ArchitectureLike, SearchSpace
from supernet.vit import (
    EPS,
    Attention,
    Embedding,
    FeedForward,
    ViTConfig,
    ViTFamily,
    ViTShape,
    attention_shapes,
    patches,
)

PAD = 0
"""Token id of padding."""
VISION, LANGUAGE = "vision", "language"


@dataclass(frozen=True)
class VLConfig(ViTConfig):
    """Configuration common to all sub-networks of a family; without ``vocab`` there are vision experts
    alone."""

    vocab: int = 0
    text: int = 0
    """Largest number of tokens of a text, padding included."""


class Expert(nn.Module):
    """Norms and feed-forward of one modality in a layer; the last layer's language expert has only the norm
    before attention."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.attention_norm = ElasticNorm(width, EPS)
        if inner:
            self.ffn_norm, self.ffn = ElasticNorm(width, EPS), FeedForward(width, inner)


class Layer(nn.Module):
    """Shared attention and the experts."""

    def __init__(
        self, width: int, heads: int, head_dim: int, inner: Mapping[str, int], dropout: float
    ) -> None:
        super().__init__()
        self.attention = Attention(width, heads, head_dim)
        self.experts = nn.ModuleDict({name: Expert(width, wide) for name, wide in inner.items()})
        self.dropout = dropout

    def attend(self, states: dict[str, Tensor], bias: Tensor | None) -> dict[str, Tensor]:
        """Apply shared attention to the states ``[B, T, width]`` of each modality, image first."""
        normed = [self.experts[name].attention_norm(x) for name, x in states.items()]  # type: ignore[operator, union-attr]
        mixed = self.attention(torch.cat(normed, 1) if len(normed) > 1 else normed[0], bias)
        parts = mixed.split([x.shape[1] for x in normed], 1)
        return {
            name: x + dropout(part, self.dropout, self.training)
            for (name, x), part in zip(states.items(), parts, strict=True)
        }

    def feed(self, states: dict[str, Tensor], last: bool) -> dict[str, Tensor]:
        """Apply the experts' feed-forwards; the last layer drops the text."""
        out = {}
        for name, x in states.items():
            if last and name == LANGUAGE:
                continue
            expert: Any = self.experts[name]
            out[name] = x + dropout(expert.ffn(expert.ffn_norm(x)), self.dropout, self.training)
        return out


class Words(nn.Module):
    """Word and position embeddings of a text: ids ``[B, L]`` to ``[B, L, width]``."""

    def __init__(self, vocab: int, length: int, width: int) -> None:
        super().__init__()
        self.word = nn.Embedding(vocab, width, PAD)
        self.place = nn.Parameter(0.02 * torch.randn(length, width))

    def forward(self, tokens: Tensor) -> Tensor:
        if tokens.shape[1] > len(self.place):
            raise ValueError(f"{tokens.shape[1]} tokens of text: at most {len(self.place)} are embedded")
        return nn.functional.embedding(tokens, self.word.weight, PAD) + self.place[: tokens.shape[1]]


class VisionLanguage(nn.Module):
    """One sub-network, or the skeleton of all of them.

    Args:
        config: common to the family.
        shape: of the sub-network; ``configure`` sets another one over the same modules.
        patch: height and width of a patch in pixels.
        head_dim: width of one head.
    """

    def __init__(self, config: VLConfig, shape: ViTShape, patch: int, head_dim: int) -> None:
        super().__init__()
        self.config, self.patch_size = config, patch
        self.patch = nn.Linear(config.channels * patch * patch, shape.width)
        self.embedding = nn.ModuleDict({"image": Embedding((config.image // patch) ** 2, shape.width)})
        if config.vocab:
            self.embedding["text"] = Words(config.vocab, config.text, shape.width)
        self.layers = nn.ModuleList(
            Layer(shape.width, heads, head_dim, experts(config, shape, i), config.dropout)
            for i, (heads, _) in enumerate(shape.layers)
        )
        self.norm = ElasticNorm(shape.width, EPS)
        self.head = nn.Linear(shape.width, config.classes)
        self.depth = len(shape.layers)

    def configure(self, shape: ViTShape) -> None:
        """Set the shape to run."""
        self.depth = len(shape.layers)
        for layer, (heads, _) in zip(self.layers, shape.layers, strict=False):
            layer.attention.heads = heads  # type: ignore[union-attr, assignment]

    def start(self, images: Tensor, tokens: Tensor | None = None) -> dict[str, Tensor]:
        """Embed patches and words: states of each modality, image first."""
        seen = patches(images, self.patch_size).to(self.embedding["image"].position.dtype)
        x: dict[str, Tensor] = {VISION: self.embedding["image"](self.patch(seen))}
        if tokens is not None:
            x[LANGUAGE] = self.embedding["text"](tokens)
        return {name: dropout(state, self.config.dropout, self.training) for name, state in x.items()}

    def bias(self, images: Tensor, tokens: Tensor | None = None) -> Tensor | None:
        """Return the additive mask ``[B, 1, 1, T]``, minus infinity at padding of the texts; None without
        texts."""
        if tokens is None:
            return None
        place: Any = self.embedding["image"].position
        padding = torch.cat([tokens.new_ones(tokens.shape[0], len(place)), tokens], 1) == PAD
        return padding_bias(padding, place.dtype)

    def states(self, images: Tensor, tokens: Tensor | None = None) -> Tensor:
        """Return the image's states ``[B, T, width]`` after the last layer, before the last norm."""
        x, bias = self.start(images, tokens), self.bias(images, tokens)
        for i, layer in enumerate(self.layers[: self.depth]):
            x = layer.feed(layer.attend(x, bias), i == self.depth - 1)  # type: ignore[operator, union-attr]
        return x[VISION]

    def encode(self, images: Tensor, tokens: Tensor | None = None) -> Tensor:
        """Return the image's normed states ``[B, T, width]``, the class token's first."""
        return self.norm(self.states(images, tokens))  # type: ignore[no-any-return]

    def forward(self, images: Tensor, tokens: Tensor | None = None) -> Tensor:
        """Classify normalised images ``[B, C, H, W]``, alone or with texts ``[B, L]``: logits ``[B,
        classes]``."""
        return self.head(self.norm(self.states(images, tokens)[:, 0]))  # type: ignore[no-any-return]


def experts(config: VLConfig, shape: ViTShape, layer: int) -> dict[str, int]:
    """Return modality -> feed-forward width of its expert in a layer; 0 without a feed-forward."""
    inner = shape.layers[layer][1]
    last = layer == len(shape.layers) - 1
    return {VISION: inner} | ({LANGUAGE: 0 if last else inner} if config.vocab else {})


class VLFamily(ViTFamily):
    """All sub-networks of one search space over images of one size and texts over one vocabulary.

    Args:
        space: as for ``ViTFamily``.
        config: classes, images and texts.
    """

    kind: ClassVar[str] = "vision-language"
    config: VLConfig

    def mixable(self) -> list[tuple[str, str]]:
        """Return ``(layer, linear)`` of the two linear layers of every expert's feed-forward (MoS, section
        3.2)."""
        shape = self.shape(self.largest)
        names = [
            f"layers.{i}.experts.{name}.ffn"
            for i in range(len(shape.layers))
            for name, inner in experts(self.config, shape, i).items()
            if inner
        ]
        return [(name, f"{name}.{fc}") for name in names for fc in ("fc1", "fc2")]

    def extents(self, architecture: ArchitectureLike) -> Shapes:
        shape, config = self.shape(architecture), self.config
        width = shape.width
        shapes = linear_shapes("patch", config.channels * self.patch**2, width)
        shapes |= {"embedding.image.token": (1, width), "embedding.image.position": (self.tokens, width)}
        if config.vocab:
            shapes |= {"embedding.text.word.weight": (config.vocab, width)}
            shapes |= {"embedding.text.place": (config.text, width)}
        for i, (heads, _) in enumerate(shape.layers):
            shapes |= attention_shapes(f"layers.{i}.attention", width, heads * self.head_dim)
            for modality, inner in experts(config, shape, i).items():
                name = f"layers.{i}.experts.{modality}"
                shapes |= norm_shapes(f"{name}.attention_norm", width)
                if inner:
                    shapes |= norm_shapes(f"{name}.ffn_norm", width) | feed_forward_shapes(
                        f"{name}.ffn", width, inner
                    )
        return shapes | norm_shapes("norm", width) | linear_shapes("head", width, config.classes)

    def macs(
        self, architecture: ArchitectureLike, source_len: int = 0, target_len: int = 1
    ) -> tuple[int, int]:
        """Return MACs up to the head of one image with one text of full length (if there are texts), and of
        the head."""
        shape, config = self.shape(architecture), self.config
        image, text = self.tokens, config.text if config.vocab else 0
        body = (image - 1) * config.channels * self.patch**2 * shape.width
        for i, (heads, _) in enumerate(shape.layers):
            inner, t = heads * self.head_dim, image + text
            body += 4 * t * shape.width * inner + 2 * t * t * inner
            for modality, wide in experts(config, shape, i).items():
                body += 2 * (image if modality == VISION else text) * shape.width * wide
        return body, target_len * shape.width * config.classes

    def _module(self, architecture: ArchitectureLike) -> VisionLanguage:  # type: ignore[override]
        return VisionLanguage(self.config, self.shape(architecture), self.patch, self.head_dim)


def from_spec(spec: Spec) -> VLFamily:
    """Build the family that ``VLFamily.spec`` describes."""
    return VLFamily(SearchSpace.from_dict(spec["space"]), VLConfig(**spec["config"]))
