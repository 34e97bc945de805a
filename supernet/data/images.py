"""Labelled images for training and evaluation: normalised, in training cropped and flipped, on the device.

Networks over images are charged in tokens, too: one pass over one image costs a fixed number of tokens,
whichever network processes it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from supernet.data.prepayment import Prepayment


@dataclass
class ImageBatch(Prepayment):
    """``B`` images ``[B, C, H, W]`` (float32, normalised) with ``labels`` ``[B]``.

    Questions about images come with ``texts`` ``[B, L]`` (token ids, 0 is padding). ``tokens`` is the cost of
    one pass.
    """

    images: Tensor
    labels: Tensor
    tokens: int
    texts: Tensor | None = None

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        """Arguments of the network."""
        return (self.images,) if self.texts is None else (self.images, self.texts)

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """All tensors; every training batch of a stream has the same shapes."""
        return *self.inputs, self.labels

    def with_tensors(self, tensors: Sequence[Tensor]) -> Self:
        """Return this batch with other ``tensors``."""
        texts = None if self.texts is None else tensors[1]
        return replace(self, images=tensors[0], texts=texts, labels=tensors[-1])

    def at(self, home: Self) -> Self:
        """Return this batch, given that ``home`` holds its tensors."""
        return replace(self, images=home.images, texts=home.texts, labels=home.labels)


@dataclass(frozen=True, eq=False)
class Images:
    """Examples: images of bytes with labels ``[N]``, and their augmentation.

    Attributes:
        pixels: uint8 ``[M, C, H, W]``; M is N unless ``which`` is given.
        labels: int64 classes.
        mean, deviation: of each channel of the training images, in bytes.
        tokens: cost of one example.
        crop: in training, pad the image with so many black pixels on every side and cut out a random window
            of its size; 0 disables it.
        flip: in training, mirror the image with probability one half.
        texts: int64 token ids ``[N, L]`` of the question about each image; 0 is padding.
        which: int64 number of the image of each example ``[N]`` if several share one; ``[N, G * G]`` makes
            each example a mosaic of so many images, row by row, each cropped and flipped by itself.

    Raises:
        ValueError: labels and images differ in number, or there are none.
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
        """Return the first ``count`` examples."""
        pixels = self.pixels[:count] if self.which is None else self.pixels
        return self._with(lambda x: x[:count], pixels)

    def spread(self, count: int) -> Images:
        """Return ``count`` evenly spaced examples, for data in some order."""
        index = torch.arange(count) * len(self) // count
        return self._with(lambda x: x[index], self.pixels[index] if self.which is None else self.pixels)

    def to(self, device: torch.device | str) -> Images:
        """Copy the examples to another device."""
        return self._with(lambda x: x.to(device), self.pixels.to(device))

    def _with(self, change: Callable[[Tensor], Tensor], pixels: Tensor) -> Images:
        texts, which = (None if x is None else change(x) for x in (self.texts, self.which))
        return replace(self, pixels=pixels, labels=change(self.labels), texts=texts, which=which)

    def batch(self, index: Tensor | slice, generator: torch.Generator | None = None) -> ImageBatch:
        """Return a batch of the examples at ``index``; with a ``generator`` of the device, augmented as in
        training."""
        labels = self.labels[index]
        pixels = self.pixels[index if self.which is None else self.which[index]]
        tiles = pixels.shape[1] if pixels.dim() == 5 else 0
        if tiles:
            pixels = pixels.flatten(0, 1)
        if generator is not None:
            pixels = augment(pixels, self.crop, self.flip, generator)
        if tiles:
            pixels = mosaic(pixels.unflatten(0, (-1, tiles)))
        mean, deviation = (
            torch.tensor(values, device=pixels.device)[:, None, None]
            for values in (self.mean, self.deviation)
        )
        texts = None if self.texts is None else self.texts[index]
        return ImageBatch((pixels.float() - mean) / deviation, labels, len(labels) * self.tokens, texts)


def mosaic(tiles: Tensor) -> Tensor:
    """Arrange images ``[B, G * G, C, H, W]`` row by row: ``[B, C, G * H, G * W]``."""
    grid = math.isqrt(tiles.shape[1])
    return tiles.unflatten(1, (grid, grid)).permute(0, 3, 1, 4, 2, 5).flatten(4, 5).flatten(2, 3)


def augment(images: Tensor, crop: int, flip: bool, generator: torch.Generator) -> Tensor:
    """Shift images ``[B, C, H, W]`` by up to ``crop`` pixels each way, and mirror them at random."""
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
        images: copied to the device once.
        max_tokens: of a batch.
        seed: of order, crops and mirrors.
        rank, world: of a distributed run; ranks get different batches of the same epoch.

    Raises:
        ValueError: too few images for one batch, or too few tokens for one image.
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
            on_device = torch.from_numpy(order).to(self.images.pixels.device)
            while self.position < self.count:
                at = self.position * self.world + self.rank
                mixed = np.random.SeedSequence([self.seed, self.epoch, at]).generate_state(1, np.uint64)
                self.generator.manual_seed(int(mixed[0]) >> 1)
                self.position += 1
                yield self.images.batch(on_device[at * self.size : (at + 1) * self.size], self.generator)
            self.epoch, self.position = self.epoch + 1, 0

    def state(self) -> dict[str, int]:
        """Return the position of the stream."""
        return {"epoch": self.epoch, "position": self.position}

    def restore(self, state: dict[str, int]) -> None:
        """Continue from a ``state``."""
        self.epoch, self.position = int(state["epoch"]), int(state["position"])


def evaluation_batches(
    images: Images, max_tokens: int, *, device: torch.device | str = "cpu"
) -> list[ImageBatch]:
    """Return all images once, without augmentation, in order."""
    on_device, size = images.to(device), max(1, max_tokens // images.tokens)
    return [on_device.batch(slice(start, start + size)) for start in range(0, len(images), size)]
