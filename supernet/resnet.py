"""Residual networks in Once-for-All's space (Cai et al., ICLR 2020): all of it in this single file.

Bottleneck blocks (He et al., CVPR 2016) with a stem of three convolutions and an average pool before every
shortcut that halves the image (ResNet-D, He et al., CVPR 2019). As in the ResNet-50 of Once-for-All's public
code, a sub-network chooses the number of blocks of every stage, the inner width of every block as a share of
its stage's width, the widths of stages and stem, and whether the stem has its residual middle convolution.
Every sub-network uses the leading channels of every kernel.

Batch-norm recalibration: means and variances of batch norms belong to one sub-network and are wrong for
another one. In training every batch has its own. A network of a single architecture keeps running averages,
which cost nothing. A supernet keeps its last ``STATISTICS_BATCH_COUNT`` training batches instead; before a
sub-network is evaluated or exported, these batches run through it and its statistics become the means over
them. That is charged as the forward passes that it takes. A method that spends its whole allowance on
training therefore has no evaluation left: reserve tokens for it, as methods do that train their winners on.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from supernet.layers import Shapes, linear_shapes, norm_shapes
from supernet.model_family import ModelFamily, Spec
from supernet.space import ArchitectureLike, SearchSpace
from supernet.weights import Init, Slot, spread

EPS, MOMENTUM = 1e-5, 0.1
"""Epsilon of the batch norms, and the weight of the newest batch in their running averages."""
STATISTICS_BATCH_COUNT = 4
"""Training batches of a batch-norm recalibration."""
DIVISOR = 8
"""Divisor of every number of channels."""


@dataclass(frozen=True)
class ResNetConfig:
    """Configuration common to all sub-networks of a family, besides the space's constants."""

    classes: int
    image: int = 224
    """Height and width in pixels."""
    channels: int = 3
    dropout: float = 0.0


@dataclass(frozen=True)
class Block:
    """A bottleneck block: channels in, inside and out; the ``first`` of a stage projects its shortcut."""

    name: str
    start: int
    inner: int
    end: int
    stride: int
    first: bool


@dataclass(frozen=True)
class ResNetShape:
    """One sub-network: widths of both halves of the stem, presence of its middle convolution, and the
    blocks."""

    middle: int
    stem: int
    deep: bool
    blocks: tuple[Block, ...]


def channels(width: float) -> int:
    """Round a width to the nearest multiple of ``DIVISOR``, halves upwards, but never to less than 90 % of
    it."""
    near = max(DIVISOR, int(width + DIVISOR / 2) // DIVISOR * DIVISOR)
    return near + DIVISOR if near < 0.9 * width else near


class BatchNorm(nn.Module):
    """Batch norm over as many channels as its weight has, with running statistics of its own or none."""

    running_mean: Tensor | None
    running_var: Tensor | None

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.bias = nn.Parameter(torch.zeros(width))
        self.register_buffer("running_mean", torch.zeros(width))
        self.register_buffer("running_var", torch.ones(width))
        self.momentum = MOMENTUM

    def reset_statistics(self) -> None:
        """Reset the running statistics to mean 0 and variance 1."""
        self.running_mean = torch.zeros_like(self.weight, requires_grad=False, dtype=torch.float32).detach()
        self.running_var = torch.ones_like(self.running_mean)

    def discard_statistics(self) -> None:
        """Drop the running statistics: in training every batch has its own."""
        self.running_mean = self.running_var = None

    def forward(self, x: Tensor) -> Tensor:
        if self.running_mean is None and not self.training:
            self.reset_statistics()  # bound in training, evaluated before it was bound again
        statistics = self.running_mean, self.running_var
        # Statistics are float32 whatever the weights are, and what is bound beside them must be as they are.
        weight, bias = self.weight.float(), self.bias.float()
        return F.batch_norm(x, *statistics, weight, bias, self.training, self.momentum, EPS)


class Convolution(nn.Sequential):
    """A convolution without bias, then a batch norm."""

    def __init__(self, start: int, end: int, kernel: int, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(start, end, kernel, stride, padding=kernel // 2, bias=False)
        self.norm = BatchNorm(end)


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions, added to the input or to its projection."""

    input_layer = ("reduce.conv",)
    """Layer whose static rounding applies to all of the block's input, the shortcut included."""
    rectified = ("reduce.conv", "spatial.conv")
    """Layers whose outputs go through a ReLU only."""

    def __init__(self, block: Block) -> None:
        super().__init__()
        self.reduce = Convolution(block.start, block.inner, 1)
        self.spatial = Convolution(block.inner, block.inner, 3, block.stride)
        self.expand = Convolution(block.inner, block.end, 1)
        self.stride = block.stride
        self.shortcut = Convolution(block.start, block.end, 1) if block.first else None

    def forward(self, x: Tensor) -> Tensor:
        y = self.expand(F.relu(self.spatial(F.relu(self.reduce(x)))))
        if self.shortcut is not None:
            if self.stride > 1:
                x = F.avg_pool2d(x, self.stride, self.stride, ceil_mode=True)
            x = self.shortcut(x)
        return F.relu(x + y)


class ResNet(nn.Module):
    """One sub-network, or the skeleton of all of them.

    Args:
        config: common to the family.
        shape: of the sub-network; ``configure`` sets another one over the same modules.
        stem_stride: 2 halves the image in the stem and pools it; 1 keeps its size.
    """

    rectified = ("stem.first.conv", "stem.middle.conv", "stem.last.conv")
    """Layers whose outputs go through a ReLU only."""

    def __init__(self, config: ResNetConfig, shape: ResNetShape, stem_stride: int) -> None:
        super().__init__()
        self.config, self.stem_stride = config, stem_stride
        self.stem = nn.ModuleDict({"first": Convolution(config.channels, shape.middle, 3, stem_stride)})
        if shape.deep:
            self.stem["middle"] = Convolution(shape.middle, shape.middle, 3)
        self.stem["last"] = Convolution(shape.middle, shape.stem, 3)
        self.blocks = nn.ModuleDict({block.name: Bottleneck(block) for block in shape.blocks})
        self.head = nn.Linear(shape.blocks[-1].end, config.classes)
        self.configure(shape)

    def configure(self, shape: ResNetShape) -> None:
        """Set the shape to run."""
        self.deep, self.active = shape.deep, [block.name for block in shape.blocks]

    def start(self, images: Tensor) -> Tensor:
        """Apply the stem."""
        x = F.relu(self.stem["first"](images.to(self.stem["first"].norm.weight.dtype)))
        if self.deep:
            x = x + F.relu(self.stem["middle"](x))
        x = F.relu(self.stem["last"](x))
        return F.max_pool2d(x, 3, 2, 1) if self.stem_stride > 1 else x

    def forward(self, images: Tensor) -> Tensor:
        """Classify normalised images ``[B, C, H, W]``: logits ``[B, classes]``."""
        x = self.start(images)
        for name in self.active:
            x = self.blocks[name](x)
        x = x.mean((2, 3))
        if self.training and self.config.dropout:
            x = F.dropout(x, self.config.dropout, True)
        return self.head(x)  # type: ignore[no-any-return]


class ResNetFamily(ModelFamily):
    """All sub-networks of one search space over images of one size.

    Args:
        space: see ``supernet.space.resnet_space``.
        config: classes and images.
    """

    kind: ClassVar[str] = "resnet"
    form: ClassVar[str] = "plain"
    statistics_batch_count: ClassVar[int] = STATISTICS_BATCH_COUNT
    """Training batches that ``recalibrate`` needs."""
    deployed_int8: ClassVar[str] = "int8s"
    """In ONNX Runtime dynamic convolutions take 3.2 to 3.7 times float32's time, static ones 0.28 to 0.38."""
    outside = ("head.",)
    """Prefixes of the parameter names that do not count as the body."""

    def __init__(self, space: SearchSpace, config: ResNetConfig) -> None:
        super().__init__(space, config)
        self.stem_stride = space.constants["stem_stride"]
        self._slots = {n: Slot(shape, initial(n, shape)) for n, shape in self.extents(self.largest).items()}

    def shape(self, architecture: ArchitectureLike) -> ResNetShape:
        """Return the shape of ``architecture``."""
        constants, width = self.space.constants, architecture["width"]
        if isinstance(width, int):
            width = (width,) * (2 + constants["stages"])
        before = stem = channels(constants["stem_width"] * width[1] / 100)
        # Half of the stem's width is rounded down after its own rounding.
        middle = channels(channels(constants["stem_width"] * width[0] / 100) // 2)
        blocks = []
        for stage in range(constants["stages"]):
            end = channels(constants[f"width_{stage}"] * width[2 + stage] / 100)
            for i, percent in enumerate(architecture[f"expand_{stage}"]):
                inner = channels(round(end * percent / 100))
                stride = 2 if stage and not i else 1
                blocks.append(Block(f"{stage}_{i}", before, inner, end, stride, not i))
                before = end
        return ResNetShape(middle, stem, bool(architecture["stem"]), tuple(blocks))

    def mixable(self) -> list[tuple[str, str]]:
        """Return ``(layer, linear)`` of the only linear layer, the head."""
        return [("head", "head")]

    def convolutions(self, architecture: ArchitectureLike) -> list[tuple[str, int, int, int, int]]:
        """Return name, channels in and out, kernel size and output side in pixels of every convolution."""
        shape, side = self.shape(architecture), -(-self.config.image // self.stem_stride)
        convolutions = [("stem.first", self.config.channels, shape.middle, 3, side)]
        if shape.deep:
            convolutions.append(("stem.middle", shape.middle, shape.middle, 3, side))
        convolutions.append(("stem.last", shape.middle, shape.stem, 3, side))
        side = -(-side // self.stem_stride)
        for block in shape.blocks:
            name, after = f"blocks.{block.name}", -(-side // block.stride)
            convolutions.append((f"{name}.reduce", block.start, block.inner, 1, side))
            convolutions.append((f"{name}.spatial", block.inner, block.inner, 3, after))
            convolutions.append((f"{name}.expand", block.inner, block.end, 1, after))
            if block.first:
                convolutions.append((f"{name}.shortcut", block.start, block.end, 1, after))
            side = after
        return convolutions

    def extents(self, architecture: ArchitectureLike) -> Shapes:
        shapes: Shapes = {}
        for name, start, end, kernel, _ in self.convolutions(architecture):
            shapes[f"{name}.conv.weight"] = (end, start, kernel, kernel)
            shapes |= norm_shapes(f"{name}.norm", end)
        return shapes | linear_shapes("head", self.shape(architecture).blocks[-1].end, self.config.classes)

    def macs(
        self, architecture: ArchitectureLike, source_len: int = 0, target_len: int = 1
    ) -> tuple[int, int]:
        """Return MACs of one image up to the head, and of the head; ``source_len`` is ignored."""
        body = sum(side**2 * a * b * k**2 for _, a, b, k, side in self.convolutions(architecture))
        return body, target_len * self.shape(architecture).blocks[-1].end * self.config.classes

    def skeleton(self, device: torch.device | str = "cpu") -> ResNet:
        """Build all blocks without weights; a supernet binds weights into them."""
        with torch.device("meta"):
            model = self._module(self.largest)
        for norm in norms(model):
            width = len(norm.weight)
            norm.running_mean, norm.running_var = (
                torch.zeros(width, device=device),
                torch.ones(width, device=device),
            )
        return model

    def configure(self, model: ResNet, architecture: ArchitectureLike) -> None:
        model.configure(self.shape(architecture))

    def reset_statistics(self, model: ResNet) -> None:
        """Reset the batch-norm statistics for the bound weights; in training drop them.

        A network of a single architecture keeps its own.
        """
        for norm in [] if self.single else norms(model):
            if model.training or norm.weight.is_meta:
                norm.discard_statistics()
            else:
                norm.reset_statistics()

    def recalibrate(self, model: ResNet, batches: Sequence[tuple[Tensor, ...]]) -> None:
        """Set the batch-norm statistics of the bound weights to the means over ``batches``.

        Args:
            model: in evaluation mode.
            batches: inputs of its calls, one after the other.
        """
        batch_norms = norms(model)
        for norm in batch_norms:
            norm.train()
        try:
            with torch.no_grad():
                for i, inputs in enumerate(batches):
                    for norm in batch_norms:
                        norm.momentum = 1 / (i + 1)
                    model(*inputs)
        finally:
            for norm in batch_norms:
                norm.momentum = MOMENTUM
                norm.eval()

    def build(self, architecture: ArchitectureLike) -> ResNet:
        return self._module(architecture).eval()

    def _module(self, architecture: ArchitectureLike) -> ResNet:
        return ResNet(self.config, self.shape(architecture), self.stem_stride)

    def collapsed(self, architecture: ArchitectureLike) -> Self:
        return type(self)(self.space.restrict_to(architecture), self.config)


def norms(model: nn.Module) -> list[BatchNorm]:
    """Return every batch norm of a network."""
    return [module for module in model.modules() if isinstance(module, BatchNorm)]


def initial(name: str, shape: tuple[int, ...]) -> Init:
    """Return He's initialisation by fan-out for convolutions; a deviation of 0.01 for the head."""
    if len(shape) == 4:
        return Init("normal", math.sqrt(2 / (shape[0] * shape[2] * shape[3])))
    if name.endswith("bias"):
        return Init("constant", 0.0)
    return spread(0.01, shape) if name == "head.weight" else Init("constant", 1.0)


def from_spec(spec: Spec) -> ResNetFamily:
    """Build the family that ``ResNetFamily.spec`` describes."""
    return ResNetFamily(SearchSpace.from_dict(spec["space"]), ResNetConfig(**spec["config"]))
