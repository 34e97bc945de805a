"""Vision Transformers with elastic depth, heads and feed-forward widths: all of it in this single file.

The network of Dosovitskiy et al. (ICLR 2021): patches of an image through one linear layer, a class token in
front, learnt positions, pre-norm layers, a last norm and a linear head over the class token. SimQ-NAS
(arXiv 2312.13301) searches, for every layer, the number of heads, each of a fixed width, and the feed-forward
width, and how many of the layers there are: the first ones. The width between the layers is fixed, or one
choice for all of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from supernet.space import Architecture, SearchSpace
from supernet.weights import Init, Slot

EPS = 1e-6
"""Of the layer norms, as in the paper's code."""


@dataclass(frozen=True)
class ViTConfig:
    """What a family of sub-networks has in common besides its space's constants."""

    classes: int
    image: int = 224
    """Height and width in pixels."""
    channels: int = 3
    dropout: float = 0.0


@dataclass(frozen=True)
class Shape:
    """One sub-network: width between the layers, then ``(heads, feed-forward width)`` of each layer."""

    width: int
    layers: tuple[tuple[int, int], ...]


class Norm(nn.LayerNorm):
    """LayerNorm over as many features as its weight has, so that a prefix may be bound."""

    def __init__(self, width: int) -> None:
        super().__init__(width, eps=EPS)

    def forward(self, x: Tensor) -> Tensor:
        return F.layer_norm(x, self.weight.shape, self.weight, self.bias, self.eps)


def drop(x: Tensor, p: float, training: bool) -> Tensor:
    """Dropout that costs nothing when there is none."""
    return F.dropout(x, p, True) if training and p > 0 else x


class Attention(nn.Module):
    """Multi-head self-attention of ``heads * head_dim`` channels over normed tokens ``[B, T, width]``."""

    def __init__(self, width: int, heads: int, head_dim: int) -> None:
        super().__init__()
        self.q, self.k, self.v = (nn.Linear(width, heads * head_dim) for _ in range(3))
        self.out = nn.Linear(heads * head_dim, width)
        self.heads = heads

    def projections(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values ``[B, T, heads * head_dim]``."""
        if not self.training:
            return self.q(x), self.k(x), self.v(x)
        # As in supernet.bert: one wide product has one gradient of x to make.
        parts = self.q, self.k, self.v
        weight, bias = (torch.cat([getattr(part, name) for part in parts]) for name in ("weight", "bias"))
        q, k, v = F.linear(x, weight, bias).chunk(3, -1)
        return q, k, v

    def forward(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        """``bias`` ``[B, 1, 1, T]`` is minus infinity at tokens that are not there."""
        q, k, v = (y.unflatten(-1, (self.heads, -1)).transpose(1, 2) for y in self.projections(x))
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
        return self.out(y.transpose(1, 2).flatten(2))  # type: ignore[no-any-return]


class FeedForward(nn.Module):
    """Linear, GELU, linear."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, inner)
        self.fc2 = nn.Linear(inner, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x)))  # type: ignore[no-any-return]


class Layer(nn.Module):
    """Attention and feed-forward, each behind a norm and added to what came in."""

    def __init__(self, width: int, heads: int, inner: int, head_dim: int, dropout: float) -> None:
        super().__init__()
        self.attention_norm, self.ffn_norm = Norm(width), Norm(width)
        self.attention = Attention(width, heads, head_dim)
        self.ffn = FeedForward(width, inner)
        self.dropout = dropout

    def forward(self, x: Tensor) -> Tensor:
        x = x + drop(self.attention(self.attention_norm(x)), self.dropout, self.training)
        return x + drop(self.ffn(self.ffn_norm(x)), self.dropout, self.training)


class Embedding(nn.Module):
    """The class token and the positions of it and of every patch."""

    def __init__(self, patches: int, width: int) -> None:
        super().__init__()
        self.token = nn.Parameter(0.02 * torch.randn(1, width))
        self.position = nn.Parameter(0.02 * torch.randn(patches + 1, width))

    def forward(self, x: Tensor) -> Tensor:
        """Patches ``[B, N, width]`` to tokens ``[B, N + 1, width]``."""
        return torch.cat([self.token.expand(x.shape[0], 1, -1), x], 1) + self.position


def patches(images: Tensor, size: int) -> Tensor:
    """Images ``[B, C, H, W]`` as patches ``[B, N, C * size * size]``, row by row; within a patch channel by
    channel, as the weights of a convolution lie."""
    x = images.unflatten(3, (-1, size)).unflatten(2, (-1, size))
    return x.permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)


class ViT(nn.Module):
    """One sub-network, or the skeleton of all of them.

    Args:
        config: what the family has in common.
        shape: of the sub-network; ``configure`` sets another one over the same modules.
        patch: height and width of a patch.
        head_dim: width of one head.
    """

    def __init__(self, config: ViTConfig, shape: Shape, patch: int, head_dim: int) -> None:
        super().__init__()
        self.config, self.patch_size = config, patch
        self.patch = nn.Linear(config.channels * patch * patch, shape.width)
        self.embedding = Embedding((config.image // patch) ** 2, shape.width)
        self.layers = nn.ModuleList(
            Layer(shape.width, heads, inner, head_dim, config.dropout) for heads, inner in shape.layers
        )
        self.norm = Norm(shape.width)
        self.head = nn.Linear(shape.width, config.classes)
        self.depth = len(shape.layers)

    def configure(self, shape: Shape) -> None:
        """Run ``shape`` from now on."""
        self.depth = len(shape.layers)
        for layer, (heads, _) in zip(self.layers, shape.layers, strict=False):
            layer.attention.heads = heads  # type: ignore[union-attr, assignment]

    def states(self, images: Tensor) -> Tensor:
        """Tokens after the last layer, not yet normed ``[B, T, width]``."""
        x = self.embedding(self.patch(patches(images, self.patch_size).to(self.embedding.position.dtype)))
        x = drop(x, self.config.dropout, self.training)
        for layer in self.layers[: self.depth]:
            x = layer(x)
        return x  # type: ignore[no-any-return]

    def encode(self, images: Tensor) -> Tensor:
        """Images ``[B, C, H, W]`` to states ``[B, T, width]``, the class token's first."""
        return self.norm(self.states(images))  # type: ignore[no-any-return]

    def forward(self, images: Tensor) -> Tensor:
        """Images ``[B, C, H, W]``, normalised, to logits ``[B, classes]``."""
        return self.head(self.norm(self.states(images)[:, 0]))  # type: ignore[no-any-return]


class ViTFamily:
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
    """Beginnings of the parameter names that do not count as the body."""

    def __init__(self, space: SearchSpace, config: ViTConfig) -> None:
        self.space, self.config = space, config
        self.patch, self.head_dim = space.constants["patch"], space.constants["head_dim"]
        if config.image % self.patch:
            raise ValueError(f"patches of {self.patch} pixels do not tile an image of {config.image}")
        self.largest = space.largest()
        self._slots = {name: Slot(shape, initial(name)) for name, shape in self.extents(self.largest).items()}

    @property
    def tokens(self) -> int:
        """Of one image: its patches and the class token."""
        return (self.config.image // self.patch) ** 2 + 1

    def shape(self, architecture: Mapping[str, Any]) -> Shape:
        """What ``architecture`` means."""
        width = architecture["hidden"] if "hidden" in architecture else self.space.constants["hidden"]
        return Shape(width, tuple(zip(architecture["heads"], architecture["ffn"], strict=True)))

    def slots(self) -> dict[str, Slot]:
        """Name -> full shape and initialisation of every tensor of the supernet."""
        return self._slots

    def mixable(self) -> list[tuple[str, str]]:
        """``(layer, linear)`` of every linear that a mixture-of-supernets mixes: the two of each
        feed-forward (MoS, section 3.2)."""
        names = [f"layers.{i}.ffn" for i in range(len(self.largest["heads"]))]
        return [(name, f"{name}.{fc}") for name in names for fc in ("fc1", "fc2")]

    def extents(self, architecture: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
        """Name -> leading extents of every tensor that ``architecture`` uses."""
        shape, channels = self.shape(architecture), self.config.channels
        found: dict[str, tuple[int, ...]] = linear("patch", channels * self.patch**2, shape.width)
        found |= {"embedding.token": (1, shape.width), "embedding.position": (self.tokens, shape.width)}
        for i, (heads, inner) in enumerate(shape.layers):
            name = f"layers.{i}"
            found |= norm(f"{name}.attention_norm", shape.width) | norm(f"{name}.ffn_norm", shape.width)
            found |= attention(f"{name}.attention", shape.width, heads * self.head_dim)
            found |= feed_forward(f"{name}.ffn", shape.width, inner)
        return found | norm("norm", shape.width) | linear("head", shape.width, self.config.classes)

    def macs(
        self, architecture: Mapping[str, Any], source_len: int = 0, target_len: int = 1
    ) -> tuple[int, int]:
        """MACs over one image up to the head, and of the head. How many tokens an image has is the
        configuration's word, not ``source_len``'s."""
        shape, t = self.shape(architecture), self.tokens
        body = (t - 1) * self.config.channels * self.patch**2 * shape.width
        for heads, inner in shape.layers:
            body += layer_macs(t, shape.width, heads * self.head_dim, inner)
        return body, target_len * shape.width * self.config.classes

    def skeleton(self, device: torch.device | str = "cpu") -> ViT:
        """All layers without storage of their own; a supernet binds weights into them."""
        with torch.device("meta"):
            return self._module(self.largest)

    def configure(self, model: ViT, architecture: Mapping[str, Any]) -> None:
        """Set what is not a weight."""
        model.configure(self.shape(architecture))

    def build(self, architecture: Mapping[str, Any]) -> ViT:
        """One sub-network with parameters of its own (torch's initial values), as it would be exported."""
        return self._module(architecture).eval()

    def _module(self, architecture: Mapping[str, Any]) -> ViT:
        return ViT(self.config, self.shape(architecture), self.patch, self.head_dim)

    def merge(self, weights: Mapping[str, Tensor], architecture: Mapping[str, Any]) -> dict[str, Tensor]:
        """Weights of ``extents`` as those of the exported sub-network: the same."""
        return dict(weights)

    def restrict_to(self, architecture: Architecture) -> Self:
        """The family of just this architecture, to be trained by itself."""
        return self.collapsed(architecture)

    def collapsed(self, architecture: Mapping[str, Any]) -> Self:
        """The family of just this architecture in the form in which it is exported."""
        return type(self)(self.space.restrict_to(architecture), self.config)

    def spec(self) -> dict[str, Any]:
        """What an exported sub-network carries besides its architecture and weights."""
        return {"kind": self.kind, "config": asdict(self.config), "space": self.space.to_dict()}


def linear(name: str, start: int, end: int) -> dict[str, tuple[int, ...]]:
    """Shapes of a linear layer's tensors."""
    return {f"{name}.weight": (end, start), f"{name}.bias": (end,)}


def norm(name: str, width: int) -> dict[str, tuple[int, ...]]:
    """Shapes of a norm's tensors."""
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def attention(name: str, width: int, inner: int) -> dict[str, tuple[int, ...]]:
    """Shapes of an ``Attention``'s tensors."""
    found = linear(f"{name}.out", inner, width)
    for part in ("q", "k", "v"):
        found |= linear(f"{name}.{part}", width, inner)
    return found


def feed_forward(name: str, width: int, inner: int) -> dict[str, tuple[int, ...]]:
    """Shapes of a ``FeedForward``'s tensors."""
    return linear(f"{name}.fc1", width, inner) | linear(f"{name}.fc2", inner, width)


def layer_macs(tokens: int, width: int, heads_width: int, inner: int) -> int:
    """MACs of one layer: projections, both products of attention, feed-forward."""
    return 4 * tokens * width * heads_width + 2 * tokens**2 * heads_width + 2 * tokens * width * inner


def initial(name: str) -> Init:
    """Xavier's for linear layers, as in the paper's code; N(0, 0.02) for tables and head; zero biases."""
    if name.startswith("embedding."):
        return Init("normal", 0.02)
    if name.endswith("bias"):
        return Init("constant", 0.0)
    if "norm" in name:
        return Init("constant", 1.0)
    return Init("normal", 0.02) if name == "head.weight" else Init("xavier", 1.0)


def from_spec(spec: Mapping[str, Any]) -> ViTFamily:
    """The family that ``ViTFamily.spec`` describes."""
    return ViTFamily(SearchSpace.from_dict(spec["space"]), ViTConfig(**spec["config"]))
