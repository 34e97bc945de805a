"""Classification of images, and of images with questions: digits, CIFAR-10, easy-VQA, mosaics.

One class for all; what differs is the images and the numbers in ``vision.toml``.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from benchmarks.api import Measurement
from benchmarks.stats import task_units
from benchmarks.tasks import Prepared, images, is_ours, mosaics
from benchmarks.tasks.datasets import Say, datasets
from benchmarks.tasks.precision import autocast
from benchmarks.tasks.tiers import Tier, read_tier, tier_names

if TYPE_CHECKING:
    import numpy as np
    import torch

    from supernet.data.images import ImageBatch, ImageBatches, Images
    from supernet.space import SearchSpace

TABLES = Path(__file__).with_name("vision.toml")
EVALUATION_TOKENS = {"cpu": 8192, "cuda": 131072}
"""Tokens of a batch in evaluation."""
VERSION = 1
"""Of the score; raised whenever equal networks would get another figure."""


class VisionTask:
    """One task of telling what an image shows, or of answering what is asked about it.

    A pass over one image is charged as many tokens as the tier's ``workload.source_len`` says, its patches
    the class token of a Vision Transformer and the places of its text, whichever network looks at it.

    Args:
        name: of the task, and of its tables in ``vision.toml``.
        read: gives the raw images for the tier's ``data`` settings.
        dataset: the published dataset that it reads, if any.
    """

    suite = "simq"
    units = task_units.IMAGES
    metric = units.metric
    own_methods = True
    """Who names no methods means those of this suite alone: others train a supernet each."""

    def __init__(
        self,
        name: str,
        read: Callable[[Mapping[str, Any], Path | None, Say], images.Splits],
        dataset: str | None = None,
    ) -> None:
        self.name, self.read, self.dataset = name, read, dataset
        self._batches: WeakKeyDictionary[Images, dict[str, list[ImageBatch]]] = WeakKeyDictionary()

    def tiers(self) -> tuple[str, ...]:
        """The tiers it has, smallest first."""
        return tier_names(TABLES, self.name)

    def tier(self, tier: str, device: str) -> Tier:
        """The settings of a tier on a kind of device (``cpu``, ``cuda``).

        Raises:
            UsageError: the task has no such tier.
        """
        return read_tier(TABLES, self.name, tier, device)

    def declared(self, tier: Tier) -> dict[str, str]:
        """Return the checksums that fix the data of a tier, as far as its code and settings do not."""
        return dict(datasets()[self.dataset].digests()) if self.dataset else {}

    def prepare(self, tier: Tier, cache: Path, data_dir: Path | None, progress: Say) -> Prepared:
        """The images of a tier, made once and then found.

        Raises:
            UsageError: the data is missing or not what it should be.
        """
        return images.prepare(
            f"{self.name}-{tier.name}",
            lambda: self.read(tier.data, data_dir, progress),
            declared=datasets()[self.dataset].digests() if self.dataset else {},
            settings=tier.data,
            tokens=tier.workload["source_len"],
            maker=Path(inspect.getfile(self.read)),
            ours=is_ours(self.read),
            cache=cache,
            say=progress,
        )

    def family(self, tier: Tier, prepared: Prepared, space: SearchSpace | None = None) -> Any:
        """All sub-networks of a space, by default the tier's, over the prepared classes and words."""
        from supernet.families import image_family
        from supernet.space import get_space

        words = {"vocab": prepared.source_vocab} if prepared.source_vocab else {}
        return image_family(space or get_space(tier.space), prepared.target_vocab, **words, **tier.model)

    def training(self, prepared: Prepared) -> Images:
        """The training images."""
        return images.read_images(prepared.folder, prepared.folder / "train.npz")

    def validation(self, prepared: Prepared) -> Images:
        """The validation images."""
        return images.read_images(prepared.folder, prepared.folder / "valid.npz")

    def batches(self, some: Images, max_tokens: int, seed: int, device: str) -> ImageBatches:
        """Training batches without end, cropped and mirrored anew each time, as the seed decides."""
        from supernet.data.images import ImageBatches

        return ImageBatches(some, max_tokens, seed, device=device)

    def evaluate(
        self, module: torch.nn.Module, some: Images, device: str, precision: str = "fp32"
    ) -> Measurement:
        """Loss in nats an image over all images, and the percentage classified right.

        The same batches each time; sums are in double precision.
        """
        losses, hits = self.predictions(module, some, device, precision)
        return Measurement(float(losses.mean()), {"accuracy": 100 * float(hits.mean())})

    def validation_batches(self, some: Images, device: str, share: float = 1.0) -> list[ImageBatch]:
        """The first ``share`` of the images in batches, the same each time."""
        import torch

        from supernet.data.images import evaluation_batches

        kept = self._batches.setdefault(some, {})
        key = f"{device} {share:g}"
        if key not in kept:
            size = EVALUATION_TOKENS[torch.device(device).type]
            part = some.first(max(1, round(share * len(some)))) if share < 1 else some
            kept[key] = evaluation_batches(part, size, device=device)
        return kept[key]

    def predictions(
        self, module: torch.nn.Module, some: Images, device: str, precision: str
    ) -> tuple[np.ndarray, np.ndarray]:
        """Of every image, the loss, and whether the likeliest class is the right one: both ``[images]``."""
        import torch
        import torch.nn.functional as F

        training = module.training
        module.eval()
        losses, hits = [], []
        try:
            with torch.no_grad(), autocast(device, precision):
                for batch in self.validation_batches(some, device):
                    logits = module(*batch.inputs).float()
                    losses.append(F.cross_entropy(logits, batch.labels, reduction="none").double().cpu())
                    hits.append((logits.argmax(-1) == batch.labels).cpu())
        finally:
            module.train(training)
        return torch.cat(losses).numpy(), torch.cat(hits).numpy()

    def score(
        self, module: torch.nn.Module, prepared: Prepared, tier: Tier, device: str, precision: str = "fp32"
    ) -> dict[str, Any]:
        """Classify the sealed test images, for the scoring process.

        Returns:
            ``test``: set -> metric -> value, low, high (Wilson's interval), signature; ``test_loss``.
        """
        if prepared.sealed is None:
            raise ValueError(f"{self.name}: the test split is sealed off from this process")
        from benchmarks.stats import bleu

        some = images.read_images(prepared.folder, prepared.sealed / "test.npz")
        losses, hits = self.predictions(module, some, device, precision)
        recipe = f"acc|top:1|n:{len(hits)}|classes:{prepared.target_vocab}|version:{VERSION}"
        accuracy = bleu.proportion(int(hits.sum()), len(hits), recipe)
        return {"test": {"test": {"accuracy": accuracy.to_dict()}}, "test_loss": float(losses.mean())}


digits = VisionTask("vision-digits", images.digits)
digits_resnet = VisionTask("vision-digits-resnet", images.digits)
cifar10 = VisionTask("vision-cifar10", images.cifar10, "cifar10")
cifar10_resnet = VisionTask("vision-cifar10-resnet", images.cifar10, "cifar10")
easy_vqa = VisionTask("vl-easy-vqa", images.easy_vqa, "easy_vqa")
fashion_mosaics = VisionTask("vl-fashion-mosaics", mosaics.mosaics, "fashion_mnist")
