"""Training of a supernet of images by a trained network: mixed images, and the teacher's classes for them.

A patient and consistent teacher (Beyer et al., CVPR 2022): both see the same crop and mixture of images, and
every sub-network learns the teacher's probabilities. Labels are not used, so mixtures need none.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor, nn

from benchmarks.api import UsageError
from benchmarks.studies.simq_fronts.measure import read_supernet
from supernet.data.images import ImageBatch
from supernet.objective import TEACHER_COST, soft_loss

LEAST = 0.5
"""Accuracy on the student's images below which a file is refused as a teacher."""


@dataclass(frozen=True)
class MatchTeacher:
    """Cross-entropy against the teacher's probabilities, in every pass."""

    teacher: nn.Module
    teacher_cost: ClassVar[float] = TEACHER_COST

    def __call__(
        self, model: nn.Module, batch: ImageBatch, teacher_output: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        if teacher_output is None:
            with torch.no_grad():
                teacher_output = self.teacher(*batch.inputs).detach()
        return soft_loss(model(*batch.inputs), teacher_output), teacher_output

    def weight(self, batch: ImageBatch) -> int:
        """Return the number of images of a batch."""
        return len(batch.labels)


class MixedImages:
    """Batches in which each image is mixed with another one, in a proportion drawn for the batch.

    Args:
        batches: augmented training batches.
        seed: of proportions and partners.
    """

    def __init__(self, batches: Iterable[ImageBatch], seed: int) -> None:
        self.batches, self.generator = batches, torch.Generator().manual_seed(seed)

    def __iter__(self) -> Iterator[ImageBatch]:
        for batch in self.batches:
            share = float(torch.rand((), generator=self.generator))
            partners = torch.randperm(len(batch.labels), generator=self.generator)
            others = batch.images[partners.to(batch.images.device)]
            yield replace(batch, images=share * batch.images + (1 - share) * others)


def load_teacher(path: Path, device: str, batches: Iterable[ImageBatch]) -> tuple[nn.Module, float]:
    """Return the largest network of a supernet's file, and its accuracy on some images.

    Raises:
        UsageError: the file is missing or damaged, or its network does not know these images.
    """
    if not path.is_file():
        raise UsageError(
            f"'{path}' is not there: the teacher is the supernet of another table; build that one first, or"
            " name its file with --teacher FILE"
        )
    net, _ = read_supernet(path, device)
    module = net.export(net.space.largest()).to(device).eval()
    hits = total = 0
    with torch.inference_mode():
        for batch in batches:
            try:
                hits += int((module(*batch.inputs).argmax(-1) == batch.labels).sum())
            except RuntimeError as error:
                raise UsageError(f"'{path}' takes other images than the student: {error}") from None
            total += len(batch.labels)
    accuracy = hits / max(total, 1)
    if accuracy < LEAST:
        raise UsageError(
            f"'{path}' is right on {accuracy:.0%} of the student's images: a teacher of the same task"
            f" reaches {LEAST:.0%} or more"
        )
    return module, accuracy
