"""Image classification and visual question answering: digits, CIFAR-10, easy-VQA, mosaics.

One class for all; they differ in the images and in the numbers of ``vision.toml``.
"""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

from benchmarks.records.canonical import JsonObject
from benchmarks.stats import task_units
from benchmarks.tasks import Prepared, cifar, images, mosaics
from benchmarks.tasks.base import PredictionTask
from benchmarks.tasks.prepared_data import RawData
from benchmarks.tasks.tiers import Tier

if TYPE_CHECKING:
    import torch

    from supernet.data.images import ImageBatch, ImageBatches, Images
    from supernet.space import SearchSpace

EVALUATION_TOKENS = {"cpu": 8192, "cuda": 131072}
"""Tokens of a batch in evaluation."""
VERSION = 1
"""Version of the score; raised whenever equal networks would get another figure."""


class ImageScore(TypedDict):
    """Score of one classifier, as a record keeps it."""

    test: dict[str, JsonObject]
    """Test set -> metric -> value, low, high (Wilson's interval), signature."""
    test_loss: float
    """Nats per image."""


class VisionTask(PredictionTask[images.Splits, "Images", "ImageBatch"]):
    """A task of classifying an image, or of answering a question about it.

    A pass over one image is charged ``workload.source_len`` tokens, whatever the network: the patches and the
    class token of the task's Vision Transformer and the words of its question.
    """

    suite = "simq"
    units = task_units.IMAGES
    tables = Path(__file__).with_name("vision.toml")
    own_methods = True
    """Methods of other suites run only if the user names them, because each trains a supernet of its own."""

    def prepare_data(self, raw: RawData[images.Splits], tier: Tier) -> Prepared:
        """Return the prepared images."""
        return images.prepare(raw, tier.workload["source_len"], Path(inspect.getfile(self.read)))

    def family(self, tier: Tier, prepared: Prepared, space: SearchSpace | None = None) -> Any:
        """Return the networks of a space, by default the tier's, over the prepared classes and words."""
        from supernet.families import image_family
        from supernet.space import get_space

        words = {"vocab": prepared.source_vocab} if prepared.source_vocab else {}
        return image_family(space or get_space(tier.space), prepared.target_vocab, **words, **tier.model)

    def training(self, prepared: Prepared) -> Images:
        """Return the training images."""
        return images.read_images(prepared.folder, prepared.folder / "train.npz")

    def validation(self, prepared: Prepared) -> Images:
        """Return the validation images."""
        return images.read_images(prepared.folder, prepared.folder / "valid.npz")

    def batches(self, split: Images, max_tokens: int, seed: int, device: str) -> ImageBatches:
        """Return an endless stream of training batches, cropped and mirrored as the seed determines."""
        from supernet.data.images import ImageBatches

        return ImageBatches(split, max_tokens, seed, device=device)

    def evaluation_batches(self, split: Images, share: float, device: str) -> list[ImageBatch]:
        """Return the first ``share`` of the images in batches, the same each time."""
        import torch

        from supernet.data.images import evaluation_batches

        part = split.first(max(1, round(share * len(split)))) if share < 1 else split
        return evaluation_batches(part, EVALUATION_TOKENS[torch.device(device).type], device=device)

    def judge(self, logits: torch.Tensor, batch: ImageBatch) -> tuple[torch.Tensor, torch.Tensor]:
        """Return loss (nats per image) and correctness of the likeliest class of every image."""
        import torch.nn.functional as F

        loss = F.cross_entropy(logits, batch.labels, reduction="none").double()
        return loss, logits.argmax(-1) == batch.labels

    def score(
        self, module: torch.nn.Module, prepared: Prepared, tier: Tier, device: str, precision: str = "fp32"
    ) -> ImageScore:
        """Classify the sealed test images, for the scoring process.

        Raises:
            ValueError: this process has no access to the test split.
        """
        from benchmarks.stats import bleu

        split = images.read_images(prepared.folder, self.sealed(prepared) / "test.npz")
        losses, hits = self.predictions(module, split, device, precision)
        recipe = f"acc|top:1|n:{len(hits)}|classes:{prepared.target_vocab}|version:{VERSION}"
        accuracy = bleu.proportion(int(hits.sum()), len(hits), recipe)
        return {"test": {"test": {"accuracy": accuracy.to_dict()}}, "test_loss": float(losses.mean())}


digits = VisionTask("vision-digits", images.digits)
digits_resnet = VisionTask("vision-digits-resnet", images.digits)
cifar10 = VisionTask("vision-cifar10", cifar.cifar10, "cifar10")
cifar10_resnet = VisionTask("vision-cifar10-resnet", cifar.cifar10, "cifar10")
easy_vqa = VisionTask("vl-easy-vqa", images.easy_vqa, "easy_vqa")
fashion_mosaics = VisionTask("vl-fashion-mosaics", mosaics.mosaics, "fashion_mnist")
