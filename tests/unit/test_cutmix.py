"""CutMix: a box from the next image, labels by area."""

import numpy as np
import pytest
import torch
from torch import nn

from supernet.cutmix import MixedLabels, cut
from supernet.images import ImageBatch
from supernet.train import Labels


def batch() -> ImageBatch:
    images = torch.arange(5.0)[:, None, None, None].expand(5, 1, 8, 6).contiguous()
    return ImageBatch(images, torch.tensor([3, 1, 4, 1, 2]), 5)


def test_a_box_of_the_next_image_counts_by_its_area() -> None:
    seen = set()
    for seed in range(40):
        plain = batch()
        mixed = cut(plain, np.random.default_rng(seed), chance=1.0)
        other = mixed.images != plain.images
        assert (other == other[:1]).all(), "one box for all"
        assert mixed.share == pytest.approx(1 - other[0].float().mean().item())
        assert torch.equal(mixed.images[other], plain.images.roll(1, 0)[other])
        assert mixed.others is not None and mixed.others.tolist() == [2, 3, 1, 4, 1]
        rows, columns = other[0, 0].any(1).nonzero(), other[0, 0].any(0).nonzero()
        if len(rows):
            assert other[0, 0, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all()
        seen.add(round(mixed.share, 3))
    assert len(seen) > 10 and min(seen) < 0.4 < 0.8 < max(seen)


def test_chance_leaves_batches_as_they_are() -> None:
    kept = [cut(batch(), np.random.default_rng(seed)).share == 1 for seed in range(200)]
    assert 70 < sum(kept) < 130
    assert torch.equal(cut(batch(), np.random.default_rng(0), 0.0).images, batch().images)


def test_the_loss_is_that_of_both_labels_by_share() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(48, 5))
    mixed = cut(batch(), np.random.default_rng(1), 1.0)
    assert mixed.others is not None
    loss, lesson = MixedLabels(0.1, distill=True)(model, mixed, None)
    parts = [
        Labels(0.1)(model, ImageBatch(mixed.images, labels, 5), None)[0]
        for labels in (mixed.labels, mixed.others)
    ]
    assert torch.allclose(loss, mixed.share * parts[0] + (1 - mixed.share) * parts[1])
    again, same = MixedLabels(0.1, distill=True)(model, mixed, lesson)
    assert same is lesson and again.item() == pytest.approx(
        Labels(0.1, distill=True)(model, mixed, lesson)[0].item()
    )
    assert MixedLabels().weight(mixed) == 5
