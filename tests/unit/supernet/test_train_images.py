"""Networks of images learn as outsiders' do: the same losses, update for update, and small sets by heart."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from benchmarks.studies.simq_tables.training import LimitedBatches
from supernet.data.images import ImageBatches, Images
from supernet.elastic import SuperNet
from supernet.families import image_family
from supernet.space import SearchSpace, layered_space, resnet_space
from supernet.train import Recipe, Sandwich, SinglePath, Trainer
from supernet.weights import SharedSlices
from tests.unit.supernet.test_resnet import layers
from tests.unit.supernet.test_vit import copy_into

CLASSES, SIDE, WORDS = 10, 8, 8
RECIPE = Recipe(2e-3, 0.1, "cosine", weight_decay=0.05, label_smoothing=0.1, batch_tokens=32, clip_norm=1.0)
SHAPE: dict[str, Any] = {"hidden": 64, "head_dim": 32}
SPACES = {
    "vit": layered_space("v", layers=(1, 2), heads=(1, 2), ffn=(64, 128), patch=4, **SHAPE),
    "resnet": resnet_space(
        "r", stages=(1, 1), deeper=1, widths=(32, 64), stem_width=16, stem_stride=1, alike=True, stem=(1,)
    ),
    "vision-language": layered_space(
        "vl", layers=(1, 2), heads=(1, 2), ffn=(64, 128), patch=4, experts=2, **SHAPE
    ),
}


def noise(count: int, words: bool = False) -> Images:
    """Images of noise with labels by chance, each counted as one token; with words, ``WORDS`` questions about
    each image, so that neither an image nor a question says anything without the other."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, CLASSES, (count,), generator=generator)
    asked: dict[str, Any] = {}
    if words:
        every = torch.arange(count)
        asked = {"which": every // WORDS, "texts": torch.stack([1 + every % WORDS, 0 * every], 1)}
        count //= WORDS
    pixels = torch.randint(0, 256, (count, 3, SIDE, SIDE), generator=generator, dtype=torch.uint8)
    return Images(pixels, labels, (127.5,) * 3, (74.0,) * 3, 1, **asked)


def supernet(space: SearchSpace, **config: int) -> SuperNet:
    family = image_family(space, CLASSES, image=SIDE, **config)
    return SuperNet(family, SharedSlices(family, torch.Generator().manual_seed(0)))


def losses(net: SuperNet, batches: ImageBatches, updates: int) -> list[float]:
    """Return the loss of each update of a network by itself."""
    trainer, found = Trainer(net, RECIPE, SinglePath(), 1), []
    for number, batch in zip(range(updates), batches, strict=False):
        net.model.train()
        found.append(float(trainer.update([batch], (1 + number) / updates)))
    return found


def outsiders(network: nn.Module, batches: ImageBatches, updates: int) -> list[float]:
    """The same by nothing of ours but the rates and the batches."""
    optimizer = torch.optim.AdamW(network.parameters(), betas=RECIPE.betas, weight_decay=RECIPE.weight_decay)
    network.train()
    found = []
    for number, batch in zip(range(updates), batches, strict=False):
        optimizer.param_groups[0]["lr"] = RECIPE.rate((1 + number) / updates)
        loss = F.cross_entropy(network(batch.images), batch.labels, label_smoothing=RECIPE.label_smoothing)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), RECIPE.clip_norm)
        optimizer.step()
        found.append(float(loss.detach()))
    return found


class Logits(nn.Module):
    """transformers' classifier, called as ours."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.network(images).logits


def transformers_vit(ours: nn.Module) -> nn.Module:
    transformers = pytest.importorskip("transformers")
    config = transformers.ViTConfig(
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=128,
        image_size=SIDE,
        patch_size=4,
        num_labels=CLASSES,
        layer_norm_eps=1e-6,
        hidden_dropout_prob=0.0,
    )
    theirs = transformers.ViTForImageClassification(config)
    with torch.no_grad():
        copy_into(theirs, ours)
    return Logits(theirs)


class Stem(nn.Module):
    """Three convolutions, the middle one added to what comes in."""

    def __init__(self, ours: Any) -> None:
        super().__init__()
        self.parts = nn.ModuleList()
        for name in ("first", "middle", "last"):
            conv = ours[name].conv
            plain = nn.Conv2d(conv.in_channels, conv.out_channels, 3, padding=1, bias=False)
            plain.load_state_dict(conv.state_dict())
            self.parts.append(nn.Sequential(plain, nn.BatchNorm2d(conv.out_channels), nn.ReLU()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.parts[0](x)
        return self.parts[2](x + self.parts[1](x))


class States(nn.Module):
    """The states of transformers' encoder, averaged over the image."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.encoder(x).last_hidden_state.mean((2, 3))


def transformers_resnet(ours: Any) -> nn.Module:
    """ResNet-D's blocks are transformers', stem and head plain torch."""
    transformers = pytest.importorskip("transformers")
    config = transformers.RTDetrResNetConfig(
        embedding_size=16, hidden_sizes=[32, 64], depths=[2, 2], out_features=["stage2"]
    )
    encoder = transformers.RTDetrResNetBackbone(config).encoder
    mine = [m for name in ours.active for m in layers(ours.blocks[name])]
    yours = [m for m in encoder.modules() if isinstance(m, nn.Conv2d | nn.BatchNorm2d)]
    for a, b in zip(mine, yours, strict=True):
        b.load_state_dict(a.state_dict(), strict=False)
    head = nn.Linear(64, CLASSES)
    head.load_state_dict(ours.head.state_dict())
    return nn.Sequential(Stem(ours.stem), States(encoder), head)


ALONE = {
    "vit": layered_space("v", layers=(2,), heads=(2,), ffn=(128,), patch=4, **SHAPE),
    "resnet": resnet_space(
        "d",
        stages=(2, 2),
        deeper=0,
        widths=(32, 64),
        stem_width=16,
        stem_stride=1,
        expand=(25,),
        width=(100,),
        stem=(1,),
    ),
}


@pytest.mark.parametrize("kind", ALONE)
def test_losses_are_those_of_an_outsider_trained_by_a_plain_loop(kind: str) -> None:
    net, some, updates = supernet(ALONE[kind]), noise(96), 15
    theirs = {"vit": transformers_vit, "resnet": transformers_resnet}[kind](
        net.export(net.space.largest()).requires_grad_(True)
    )
    expected = outsiders(theirs, ImageBatches(some, 32, 1), updates)
    found = losses(net, ImageBatches(some, 32, 1), updates)
    assert expected[-1] < expected[0] - 0.05
    assert np.allclose(found, expected, rtol=1e-3)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("kind", ["vit", pytest.param("resnet", marks=pytest.mark.slow), "vision-language"])
def test_a_supernet_learns_a_few_examples_by_heart(kind: str, precision: str) -> None:
    words = kind == "vision-language"
    net = supernet(SPACES[kind], **({"vocab": WORDS + 1, "text": 2} if words else {}))
    some, sampling = noise(64 if words else 32, words), Sandwich(distill=True)
    recipe = replace(RECIPE, learning_rate=4e-3, precision=precision, label_smoothing=0.0)
    stream = LimitedBatches(ImageBatches(some, 32, 1), sampling.passes, 60 * sampling.passes * len(some))
    Trainer(net, recipe, sampling, 1).fit(stream)
    batch = some.batch(slice(None))
    # The smallest residual network has not learnt all by then; batch norms had other statistics in training.
    resnet = kind == "resnet"
    for architecture in (net.space.largest(), *([] if resnet else [net.space.smallest()])):
        with torch.inference_mode():
            hits = net.export(architecture)(*batch.inputs).argmax(-1) == batch.labels
        assert hits.float().mean() >= (0.9 if resnet else 1.0)
