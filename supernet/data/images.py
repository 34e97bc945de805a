"""Labelled images for training and evaluation: normalised, in training cropped and flipped, on the device.

The currency of a network of images is the token, too: one pass over one image costs as many as the image is
said to have, whichever network looks at it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass
class ImageBatch:
    """``B`` images ``[B, C, H, W]`` (float32, normalised) with ``labels`` ``[B]``, and where they are about
    texts with ``texts`` ``[B, L]`` (token ids, 0 is padding).

    ``tokens`` is what one pass over them is charged. ``prepaid`` and ``passes`` as in
    ``supernet.data.sentence_pairs.Batch``.
    """

    images: Tensor
    labels: Tensor
    tokens: int
    texts: Tensor | None = None
    prepaid: float = 1
    passes: float = 0

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        """What the network is called with."""
        return (self.images,) if self.texts is None else (self.images, self.texts)

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """All of them: every training batch of a stream has the same shapes."""
        return *self.inputs, self.labels


@dataclass(frozen=True, eq=False)
class Images:
    """Examples: images of bytes with labels ``[N]``, and how they are shown to a network.

    Attributes:
        pixels: uint8 ``[M, C, H, W]``; M is N, unless ``which`` says otherwise.
        labels: int64 classes.
        mean, deviation: of each channel of the training images, in bytes.
        tokens: of one example.
        crop: in training, a window of the image's size is cut out of the image with so many black pixels
            on every side; 0: it is shown as it is.
        flip: in training, every other image, by chance, is shown as in a mirror.
        texts: int64 token ids ``[N, L]`` of what is asked of each image; 0 is padding.
        which: int64 number of the image of each example ``[N]``, where several share one; ``[N, G * G]``: an
            example is a mosaic of so many images, row by row, which are cut and mirrored one by one.

    Raises:
        ValueError: there are not as many labels as images, or none.
    """

    pixels: Tensor
    labels: Tensor
    mean: tuple[float, ...]
    deviation: tuple[float, ...]
    tokens: int
    crop: int = 0
    flip: bool = False
    texts: Tensor | None = None
    which: Tensor | None = None

    def __post_init__(self) -> None:
        count = len(self.pixels if self.which is None else self.which)
        if count != len(self.labels) or not count:
            raise ValueError(f"{count} images with {len(self.labels)} labels: need as many, at least one")

    def __len__(self) -> int:
        return len(self.labels)

    def first(self, count: int) -> Images:
        """The first ``count`` examples."""
        pixels = self.pixels[:count] if self.which is None else self.pixels
        return self._with(lambda x: x[:count], pixels)

    def spread(self, count: int) -> Images:
        """``count`` examples at equal distances, for data that lie in some order."""
        index = torch.arange(count) * len(self) // count
        return self._with(lambda x: x[index], self.pixels[index] if self.which is None else self.pixels)

    def to(self, device: torch.device | str) -> Images:
        """The same on another device."""
        return self._with(lambda x: x.to(device), self.pixels.to(device))

    def _with(self, change: Callable[[Tensor], Tensor], pixels: Tensor) -> Images:
        texts, which = (None if x is None else change(x) for x in (self.texts, self.which))
        return replace(self, pixels=pixels, labels=change(self.labels), texts=texts, which=which)

    def batch(self, index: Tensor | slice, generator: torch.Generator | None = None) -> ImageBatch:
        """Those at ``index``; with a generator, which is of the device, as training shows them."""
        labels = self.labels[index]
        pixels = self.pixels[index if self.which is None else self.which[index]]
        tiles = pixels.shape[1] if pixels.dim() == 5 else 0
        if tiles:
            pixels = pixels.flatten(0, 1)
        if generator is not None:
            pixels = moved(pixels, self.crop, self.flip, generator)
        if tiles:
            pixels = mosaic(pixels.unflatten(0, (-1, tiles)))
        mean, deviation = (
            torch.tensor(values, device=pixels.device)[:, None, None]
            for values in (self.mean, self.deviation)
        )
        texts = None if self.texts is None else self.texts[index]
        return ImageBatch((pixels.float() - mean) / deviation, labels, len(labels) * self.tokens, texts)


def mosaic(tiles: Tensor) -> Tensor:
    """Images ``[B, G * G, C, H, W]`` side by side, row by row: ``[B, C, G * H, G * W]``."""
    grid = math.isqrt(tiles.shape[1])
    return tiles.unflatten(1, (grid, grid)).permute(0, 3, 1, 4, 2, 5).flatten(4, 5).flatten(2, 3)


def moved(images: Tensor, crop: int, flip: bool, generator: torch.Generator) -> Tensor:
    """Images ``[B, C, H, W]`` shifted by up to ``crop`` pixels each way, and mirrored by chance."""
    b, _, height, width = images.shape
    device = images.device
    if crop:
        shift = torch.randint(0, 2 * crop + 1, (2, b), generator=generator, device=device)
        rows = shift[0, :, None] + torch.arange(height, device=device)
        columns = shift[1, :, None] + torch.arange(width, device=device)
        padded = F.pad(images, (crop,) * 4)
        which = torch.arange(b, device=device)[:, None, None]
        images = padded[which, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
    if flip:
        mirrored = torch.rand(b, generator=generator, device=device) < 0.5
        images = torch.where(mirrored[:, None, None, None], images.flip(3), images)
    return images


class ImageBatches:
    """An endless stream of training batches; batch ``i`` depends on the seed and ``i`` alone.

    Args:
        images: they move to the device once.
        max_tokens: of a batch.
        seed: of order, crops and mirrors.
        rank, world: of a distributed run; ranks get different batches of the same epoch.

    Raises:
        ValueError: there are not enough images for one batch, or too few tokens for one image.
    """

    def __init__(
        self,
        images: Images,
        max_tokens: int,
        seed: int,
        *,
        device: torch.device | str = "cpu",
        rank: int = 0,
        world: int = 1,
    ) -> None:
        self.images = images.to(device)
        self.size = max_tokens // images.tokens
        self.seed, self.rank, self.world = seed, rank, world
        self.generator = torch.Generator(self.images.pixels.device)
        self.epoch, self.position = 0, 0
        self.count = len(images) // max(self.size, 1) // world
        if not self.size or not self.count:
            raise ValueError(
                f"{len(images)} images of {images.tokens} tokens make no batch of {max_tokens} tokens"
                f" for each of {world} ranks: change batch_tokens"
            )

    def __iter__(self) -> Iterator[ImageBatch]:
        while True:
            order = np.random.default_rng([self.seed, self.epoch]).permutation(len(self.images))
            there = torch.from_numpy(order).to(self.images.pixels.device)
            while self.position < self.count:
                at = self.position * self.world + self.rank
                mixed = np.random.SeedSequence([self.seed, self.epoch, at]).generate_state(1, np.uint64)
                self.generator.manual_seed(int(mixed[0]) >> 1)
                self.position += 1
                yield self.images.batch(there[at * self.size : (at + 1) * self.size], self.generator)
            self.epoch, self.position = self.epoch + 1, 0

    def state(self) -> dict[str, int]:
        """Where the stream stands."""
        return {"epoch": self.epoch, "position": self.position}

    def restore(self, state: dict[str, int]) -> None:
        """Go on where ``state`` stood."""
        self.epoch, self.position = int(state["epoch"]), int(state["position"])


def evaluation_batches(
    images: Images, max_tokens: int, *, device: torch.device | str = "cpu"
) -> list[ImageBatch]:
    """All images once, as they are, in order."""
    there, size = images.to(device), max(1, max_tokens // images.tokens)
    return [there.batch(slice(start, start + size)) for start in range(0, len(images), size)]
