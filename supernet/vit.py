"""Vision Transformers with elastic depth, heads and feed-forward widths: all of it in this single file.

The network of Dosovitskiy et al. (ICLR 2021): patches of an image through one linear layer, a class token in
front, learnt positions, pre-norm layers, a last norm and a linear head over the class token. SimQ-NAS
(arXiv 2312.13301) searches, for every layer, the number of heads, each of a fixed width, and the feed-forward
width, and how many of the layers there are: the first ones. The width between the layers is fixed, or one
choice for all of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from supernet.layers import (
    ElasticNorm,
    Shapes,
    dropout,
    feed_forward_shapes,
    linear_gelu,
    linear_shapes,
    norm_shapes,
    project,
    split_heads,
)
from supernet.model_family import ModelFamily, Spec
from supernet.space import ArchitectureLike, SearchSpace
from supernet.sublayers import SublayerModule, sublayer
from supernet.weights import Init, Slot

EPS = 1e-6
"""Epsilon of the layer norms, as in the paper's code."""


@dataclass(frozen=True)
class ViTConfig:
    """Configuration common to all sub-networks of a family, besides the space's constants."""

    classes: int
    image: int = 224
    """Height and width in pixels."""
    channels: int = 3
    dropout: float = 0.0


@dataclass(frozen=True)
class ViTShape:
    """One sub-network: width between the layers, then ``(heads, feed-forward width)`` of each layer."""

    width: int
    layers: tuple[tuple[int, int], ...]


class Attention(SublayerModule):
    """Multi-head self-attention of ``heads * head_dim`` channels over normed tokens ``[B, T, width]``."""

    settings = ("heads",)

    def __init__(self, width: int, heads: int, head_dim: int) -> None:
        super().__init__()
        self.q, self.k, self.v = (nn.Linear(width, heads * head_dim) for _ in range(3))
        self.out = nn.Linear(heads * head_dim, width)
        self.heads = heads

    def projections(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return queries, keys and values ``[B, T, heads * head_dim]``."""
        q, k, v = project(x, (self.q, self.k, self.v), self.training)
        return q, k, v

    def forward(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        """Attend over ``x`` ``[B, T, width]``; ``bias`` ``[B, 1, 1, T]`` is minus infinity at padding."""
        q, k, v = (split_heads(y, self.heads) for y in self.projections(x))
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
        return self.out(y.transpose(1, 2).flatten(2))  # type: ignore[no-any-return]


class FeedForward(nn.Module):
    """Linear, GELU, linear: ``[B, T, width]`` to ``[B, T, width]``."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, inner)
        self.fc2 = nn.Linear(inner, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(linear_gelu(x, self.fc1))  # type: ignore[no-any-return]


class Layer(SublayerModule):
    """Pre-norm layer: attention and feed-forward, each behind a norm and with a residual."""

    def __init__(self, width: int, heads: int, inner: int, head_dim: int, dropout: float) -> None:
        super().__init__()
        self.attention_norm, self.ffn_norm = ElasticNorm(width, EPS), ElasticNorm(width, EPS)
        self.attention = Attention(width, heads, head_dim)
        self.ffn = FeedForward(width, inner)
        self.dropout = dropout

    @sublayer()
    def forward(self, x: Tensor) -> Tensor:
        x = x + dropout(self.attention(self.attention_norm(x)), self.dropout, self.training)
        return x + dropout(self.ffn(self.ffn_norm(x)), self.dropout, self.training)


class Embedding(nn.Module):
    """Class token, and position embeddings of it and of every patch."""

    def __init__(self, patches: int, width: int) -> None:
        super().__init__()
        self.token = nn.Parameter(0.02 * torch.randn(1, width))
        self.position = nn.Parameter(0.02 * torch.randn(patches + 1, width))

    def forward(self, x: Tensor) -> Tensor:
        """Embed patches ``[B, N, width]`` as tokens ``[B, N + 1, width]``."""
        return torch.cat([self.token.expand(x.shape[0], 1, -1), x], 1) + self.position


def patches(images: Tensor, size: int) -> Tensor:
    """Cut images ``[B, C, H, W]`` into patches ``[B, N, C * size * size]``, row by row.

    Within a patch values lie channel by channel, like the weights of a convolution.
    """
    x = images.unflatten(3, (-1, size)).unflatten(2, (-1, size))
    return x.permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)


class ViT(nn.Module):
    """One sub-network, or the skeleton of all of them.

    Args:
        config: common to the family.
        shape: of the sub-network; ``configure`` sets another one over the same modules.
        patch: height and width of a patch in pixels.
        head_dim: width of one head.
    """

    def __init__(self, config: ViTConfig, shape: ViTShape, patch: int, head_dim: int) -> None:
        super().__init__()
        self.config, self.patch_size = config, patch
        self.patch = nn.Linear(config.channels * patch * patch, shape.width)
        self.embedding = Embedding((config.image // patch) ** 2, shape.width)
        self.layers = nn.ModuleList(
            Layer(shape.width, heads, inner, head_dim, config.dropout) for heads, inner in shape.layers
        )
        self.norm = ElasticNorm(shape.width, EPS)
        self.head = nn.Linear(shape.width, config.classes)
        self.depth = len(shape.layers)

    def configure(self, shape: ViTShape) -> None:
        """Set the shape to run."""
        self.depth = len(shape.layers)
        for layer, (heads, _) in zip(self.layers, shape.layers, strict=False):
            layer.attention.heads = heads  # type: ignore[union-attr, assignment]

    def states(self, images: Tensor) -> Tensor:
        """Return the tokens after the last layer ``[B, T, width]``, before the last norm."""
        x = self.embedding(self.patch(patches(images, self.patch_size).to(self.embedding.position.dtype)))
        x = dropout(x, self.config.dropout, self.training)
        for layer in self.layers[: self.depth]:
            x = layer(x)
        return x  # type: ignore[no-any-return]

    def encode(self, images: Tensor) -> Tensor:
        """Encode images ``[B, C, H, W]`` as states ``[B, T, width]``, the class token's first."""
        return self.norm(self.states(images))  # type: ignore[no-any-return]

    def forward(self, images: Tensor) -> Tensor:
        """Classify normalised images ``[B, C, H, W]``: logits ``[B, classes]``."""
        return self.head(self.norm(self.states(images)[:, 0]))  # type: ignore[no-any-return]


class ViTFamily(ModelFamily):
    """All sub-networks of one search space over images of one size.

    Args:
        space: ``layers``, ``heads`` and ``ffn`` (one a layer), and ``hidden`` where the width between the
            layers is searched. Constants ``patch``, ``head_dim``, else ``hidden``.
        config: classes and images.

    Raises:
        ValueError: patches do not tile the images.
    """

    kind: ClassVar[str] = "vit"
    form: ClassVar[str] = "plain"
    outside = ("embedding.", "head.")
    """Prefixes of the parameter names that do not count as the body."""

    def __init__(self, space: SearchSpace, config: ViTConfig) -> None:
        super().__init__(space, config)
        self.patch, self.head_dim = space.constants["patch"], space.constants["head_dim"]
        if config.image % self.patch:
            raise ValueError(f"patches of {self.patch} pixels do not tile an image of {config.image}")
        self._slots = {name: Slot(shape, initial(name)) for name, shape in self.extents(self.largest).items()}

    @property
    def tokens(self) -> int:
        """Tokens of one image: its patches and the class token."""
        return (self.config.image // self.patch) ** 2 + 1

    def shape(self, architecture: ArchitectureLike) -> ViTShape:
        """Return the shape of ``architecture``."""
        width = architecture["hidden"] if "hidden" in architecture else self.space.constants["hidden"]
        return ViTShape(width, tuple(zip(architecture["heads"], architecture["ffn"], strict=True)))

    def mixable(self) -> list[tuple[str, str]]:
        """Return ``(layer, linear)`` of the two linear layers of each feed-forward (MoS, section 3.2)."""
        names = [f"layers.{i}.ffn" for i in range(len(self.largest["heads"]))]
        return [(name, f"{name}.{fc}") for name in names for fc in ("fc1", "fc2")]

    def extents(self, architecture: ArchitectureLike) -> Shapes:
        shape, channels = self.shape(architecture), self.config.channels
        width = shape.width
        shapes = linear_shapes("patch", channels * self.patch**2, width)
        shapes |= {"embedding.token": (1, width), "embedding.position": (self.tokens, width)}
        for i, (heads, inner) in enumerate(shape.layers):
            name = f"layers.{i}"
            shapes |= norm_shapes(f"{name}.attention_norm", width) | norm_shapes(f"{name}.ffn_norm", width)
            shapes |= attention_shapes(f"{name}.attention", width, heads * self.head_dim)
            shapes |= feed_forward_shapes(f"{name}.ffn", width, inner)
        return shapes | norm_shapes("norm", width) | linear_shapes("head", width, self.config.classes)

    def macs(
        self, architecture: ArchitectureLike, source_len: int = 0, target_len: int = 1
    ) -> tuple[int, int]:
        """Return MACs of one image up to the head, and of the head; the configuration decides the number of
        tokens, not ``source_len``."""
        shape, t = self.shape(architecture), self.tokens
        body = (t - 1) * self.config.channels * self.patch**2 * shape.width
        for heads, inner in shape.layers:
            body += layer_macs(t, shape.width, heads * self.head_dim, inner)
        return body, target_len * shape.width * self.config.classes

    def skeleton(self, device: torch.device | str = "cpu") -> ViT:
        with torch.device("meta"):
            return self._module(self.largest)

    def configure(self, model: ViT, architecture: ArchitectureLike) -> None:
        model.configure(self.shape(architecture))

    def build(self, architecture: ArchitectureLike) -> ViT:
        return self._module(architecture).eval()

    def _module(self, architecture: ArchitectureLike) -> ViT:
        return ViT(self.config, self.shape(architecture), self.patch, self.head_dim)

    def collapsed(self, architecture: ArchitectureLike) -> Self:
        return type(self)(self.space.restrict_to(architecture), self.config)


def attention_shapes(name: str, width: int, inner: int) -> Shapes:
    """Return the shapes of an ``Attention``'s parameters."""
    shapes = linear_shapes(f"{name}.out", inner, width)
    for part in ("q", "k", "v"):
        shapes |= linear_shapes(f"{name}.{part}", width, inner)
    return shapes


def layer_macs(tokens: int, width: int, heads_width: int, inner: int) -> int:
    """Return MACs of one layer: projections, both products of attention, feed-forward."""
    return 4 * tokens * width * heads_width + 2 * tokens**2 * heads_width + 2 * tokens * width * inner


def initial(name: str) -> Init:
    """Return the paper's initialisation: Xavier for linear layers, N(0, 0.02) for tables and head, zero
    biases."""
    if name.startswith("embedding."):
        return Init("normal", 0.02)
    if name.endswith("bias"):
        return Init("constant", 0.0)
    if "norm" in name:
        return Init("constant", 1.0)
    return Init("normal", 0.02) if name == "head.weight" else Init("xavier", 1.0)


def from_spec(spec: Spec) -> ViTFamily:
    """Build the family that ``ViTFamily.spec`` describes."""
    return ViTFamily(SearchSpace.from_dict(spec["space"]), ViTConfig(**spec["config"]))
