"""Untrained families of every kind, exported sub-networks, and pairs of sentences to translate."""

from __future__ import annotations

import numpy as np
import torch

from supernet import resnet, seq2seq, vision_language, vit
from supernet.bert import BertConfig, family_of
from supernet.elastic import SuperNet
from supernet.space import get_space
from supernet.weights import SharedSlices

STOCK, OWN = "stock", "own"


def text_family(space: str, **config):
    return family_of(get_space(space))(get_space(space), BertConfig(50, **{"max_positions": 24, **config}))


def image_family(space: str = "vit-smoke", **config):
    return vit.ViTFamily(get_space(space), vit.ViTConfig(**{"classes": 5, "image": 8, **config}))


def question_family(vocab: int = 20):
    config = vision_language.VLConfig(5, image=32, vocab=vocab, text=6)
    return vision_language.VLFamily(get_space("vl-smoke"), config)


def residual_family():
    space = get_space("resnet-smoke")
    return resnet.ResNetFamily(space, resnet.ResNetConfig(classes=5, image=16))


def pair_family(share: str):
    config = seq2seq.Seq2SeqConfig(40, 40, share=share, max_positions=32)
    return seq2seq.Seq2SeqFamily(get_space("mt-smoke"), config)


def exported(family, architecture):
    """A sub-network with weights that no initialisation leaves at zero or one, and what export says of it."""
    net = SuperNet(family, SharedSlices(family, torch.Generator().manual_seed(1)))
    module, generator = net.export(architecture), torch.Generator().manual_seed(2)
    for parameter in module.parameters():
        parameter.data.add_(torch.randn(parameter.shape, generator=generator), alpha=0.05)
    return module, {"spec": family.spec(), "architecture": architecture.to_dict()}


def of(family, seed: int, **edits):
    space = family.space
    values = space.sample(np.random.default_rng(seed)) if seed else space.largest()
    return space.architecture({**values.to_dict(), **edits})


CASES = {
    "homogeneous": (lambda: text_family("autodistil-smoke-small"), 0, {"width": 32, "heads": 2}, STOCK),
    "wide heads": (lambda: text_family("autodistil-smoke-small"), 0, {"heads": 2}, OWN),
    "bottleneck": (lambda: text_family("supershaper-smoke"), 3, {}, OWN),
    "cells": (lambda: text_family("nas-bert-smoke"), 4, {}, OWN),
    "images": (image_family, 0, {}, STOCK),
    "mixed images": (image_family, 5, {}, OWN),
    "residual": (residual_family, 5, {}, OWN),
    "questions": (question_family, 5, {}, OWN),
    **{
        f"pairs, share {share}": (
            lambda share=share: pair_family(share),
            0,
            {"decoder_cross_source": [-1, -1]},
            STOCK,
        )
        for share in ("all", "decoder", "none")
    },
    "two sources": (lambda: pair_family("all"), 0, {"decoder_cross_source": [1, -1]}, OWN),
    "two widths": (lambda: pair_family("none"), 6, {"encoder_embed_dim": 32}, OWN),
}


def pairs(rows: int, generator: torch.Generator):
    source = torch.full((rows, 8), seq2seq.PAD)
    target = source.clone()
    for i, n in enumerate(torch.randint(2, 7, (rows,), generator=generator).tolist()):
        words = torch.randint(4, 40, (n,), generator=generator)
        source[i, : n + 1] = torch.cat([words, torch.tensor([seq2seq.EOS])])
        target[i, : n + 1] = torch.cat([43 - words, torch.tensor([seq2seq.EOS])])
    return source, target
