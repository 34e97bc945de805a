"""A small residual network, trained for seconds on scikit-learn's digits, and a ViT: subjects of tests."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from supernet.families import image_family
from supernet.space import layered_space, resnet_space


@cache
def digits() -> tuple[Tensor, Tensor]:
    """Images ``[1797, 1, 8, 8]`` and their labels, shuffled."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    order = torch.randperm(len(bunch.target), generator=torch.Generator().manual_seed(0))
    pixels = torch.from_numpy(bunch.images).float()[:, None] / 8 - 1
    return pixels[order], torch.from_numpy(bunch.target)[order]


def residual_family() -> Any:
    """Three stages of one or two blocks, with a stem of three convolutions."""
    space = resnet_space(
        "digits", deeper=0, stem_stride=1, stages=(2, 1), widths=(32, 64), expand=(35, 50), width=(100,),
        stem_width=16, stem=(1,), alike=True,
    )  # fmt: skip
    return image_family(space, 10, image=8, channels=1)


@cache
def residual_network() -> nn.Module:
    """The largest network, trained on the first 1,200 digits."""
    torch.manual_seed(0)
    family = residual_family()
    net: nn.Module = family.build(family.space.largest()).train()
    pixels, labels = digits()
    optimizer = torch.optim.AdamW(net.parameters(), 3e-3)
    for step in range(40):
        rows = torch.randint(0, 1200, (64,), generator=torch.Generator().manual_seed(step))
        optimizer.zero_grad()
        F.cross_entropy(net(pixels[rows]), labels[rows]).backward()
        optimizer.step()
    return net.eval().requires_grad_(False)


@cache
def vision_transformer() -> nn.Module:
    """A ViT of two layers, as initialised."""
    torch.manual_seed(1)
    space = layered_space("vit", layers=(2,), heads=(2,), ffn=(64,), hidden=32, head_dim=16, patch=2)
    family: Any = image_family(space, 10, image=8, channels=1)
    net: nn.Module = family.build(space.largest())
    return net.eval().requires_grad_(False)
