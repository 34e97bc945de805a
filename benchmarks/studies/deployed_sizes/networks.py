"""Networks of the sizes that people deploy, with random weights: no latency depends on their values."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from benchmarks.measurement.tracing import WORDS_FROM
from supernet.bert import Bert
from supernet.families import family_of, image_family
from supernet.model_family import ModelFamily
from supernet.quantization.onnx_trace import Traced, trace
from supernet.space import get_space

IMAGE, CLASSES = 224, 1000
WORDS, LENGTH = 30522, 128
"""Vocabulary of BERT, and tokens of a sentence."""
BLOCKS = (3, 4, 6, 3)
"""Blocks in each stage of ResNet-50 (He et al., CVPR 2016, table 1)."""


class Encoder(nn.Module):
    """Encoder of a BERT without its head: ``[B, T]`` token ids to states ``[B, T, width]``."""

    def __init__(self, net: Bert) -> None:
        super().__init__()
        self.net = net

    def forward(self, tokens: Tensor) -> Tensor:
        return self.net.encode(tokens)


@dataclass(frozen=True)
class SizedNetwork:
    """A network and its inputs.

    Attributes:
        name: as in its paper.
        module: in evaluation mode, float32.
        inputs: rows -> random inputs of that many samples.
    """

    name: str
    module: nn.Module
    inputs: Callable[[int], Tensor]

    def samples(self, count: int) -> list[Tensor]:
        """Return random inputs of ``count`` samples, one by one."""
        rows = self.inputs(count)
        return [rows[i : i + 1] for i in range(count)]

    def traced(self, *, fold: bool = False) -> Traced:
        """Trace the network for ONNX files; ``fold`` folds batch norms."""
        axes = {"input": {0: "batch"}, "output": {0: "batch"}}
        return trace(self.module, (self.inputs(2),), names=(("input",), ("output",)), axes=axes, fold=fold)


def pixels(rows: int) -> Tensor:
    """Return random images ``[rows, 3, 224, 224]``."""
    return torch.randn(rows, 3, IMAGE, IMAGE, generator=torch.Generator().manual_seed(rows))


def words(rows: int) -> Tensor:
    """Return random token ids ``[rows, 128]``."""
    return torch.randint(WORDS_FROM, WORDS, (rows, LENGTH), generator=torch.Generator().manual_seed(rows))


def resnet50() -> SizedNetwork:
    """Build a ResNet-50 with Once-for-All's stem, of 25.6 million parameters."""
    space = get_space("simq-resnet50")
    shape: dict[str, object] = {"stem": 0, "width": [100] * (2 + len(BLOCKS))}
    for stage, blocks in enumerate(BLOCKS):
        shape |= {f"layers_{stage}": blocks, f"expand_{stage}": [25] * blocks}
    family = image_family(space, CLASSES, image=IMAGE)
    return SizedNetwork("ResNet-50", _seeded(lambda: family.build(space.architecture(shape))), pixels)


def vit_base() -> SizedNetwork:
    """Build a ViT-B/16 of 86.6 million parameters (Dosovitskiy et al., ICLR 2021, table 1)."""
    space = get_space("simq-vit")
    family = image_family(space, CLASSES, image=IMAGE)
    return SizedNetwork("ViT-B/16", _seeded(lambda: family.build(space.largest())), pixels)


def bert_base() -> SizedNetwork:
    """Build the encoder of BERT-base (Devlin et al., NAACL 2019), of 109 million parameters."""
    family = family_of(get_space("simq-bert"), (WORDS,))
    return SizedNetwork("BERT-base", _seeded(lambda: _encoder(family)), words)


def _encoder(family: ModelFamily) -> Encoder:
    net = family.build(family.space.largest())
    assert isinstance(net, Bert)
    return Encoder(net)


NETWORKS: tuple[Callable[[], SizedNetwork], ...] = (resnet50, vit_base, bert_base)


def _seeded(build: Callable[[], nn.Module]) -> nn.Module:
    """Return a network whose weights follow from a fixed seed; torch's global generator stays as it is."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return build().requires_grad_(False).eval()
