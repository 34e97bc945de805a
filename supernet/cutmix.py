"""CutMix (Yun et al., ICCV 2019): a box of another image is pasted in, and both labels count by their areas.

One box for all images of a batch, whose partners are the next ones. What distils in place does so from the
largest network's answer to the mixed images.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from torch import Tensor, nn

from supernet.images import ImageBatch
from supernet.train import soft_loss, token_loss


@dataclass
class MixedBatch(ImageBatch):
    """Images whose label is ``labels`` by ``share`` and ``others`` by the rest."""

    others: Tensor | None = None
    share: float = 1.0


def cut(batch: ImageBatch, rng: np.random.Generator, chance: float = 0.5) -> MixedBatch:
    """With some chance, a batch with boxes of its own images pasted in; their area is uniform."""
    images, labels, share = batch.images, batch.labels, 1.0
    if rng.random() < chance:
        height, width = images.shape[2:]
        side = np.sqrt(rng.random())
        middle = rng.random(2)
        ends = [
            [int(np.clip(round(m * n + sign * side * n / 2), 0, n)) for sign in (-1, 1)]
            for m, n in zip(middle, (height, width), strict=True)
        ]
        (top, bottom), (left, right) = ends
        partner = images.roll(1, 0)
        images = images.clone()
        images[:, :, top:bottom, left:right] = partner[:, :, top:bottom, left:right]
        share = 1 - (bottom - top) * (right - left) / (height * width)
    return MixedBatch(images, labels, batch.tokens, batch.texts, others=labels.roll(1), share=share)


@dataclass(frozen=True)
class MixedLabels:
    """``supernet.train.Labels`` for mixed batches."""

    smoothing: float = 0.0
    distill: bool = False
    teaching: ClassVar[float] = 0.0

    def __call__(
        self, model: nn.Module, batch: MixedBatch, lesson: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        logits = model(*batch.inputs)
        if lesson is not None:
            return soft_loss(logits, lesson), lesson
        loss = batch.share * token_loss(logits, batch.labels, self.smoothing)
        if batch.share < 1 and batch.others is not None:
            loss = loss + (1 - batch.share) * token_loss(logits, batch.others, self.smoothing)
        return loss, logits.detach() if self.distill else None

    def weight(self, batch: MixedBatch) -> int:
        """How many things the loss of ``batch`` is a sum over."""
        return len(batch.labels)
