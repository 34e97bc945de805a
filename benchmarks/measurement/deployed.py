"""Exported networks of closed spaces as they are deployed in ONNX Runtime, and inputs to try them on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from supernet.quantization.onnx_trace import Traced, trace

LENGTH = 24
"""Tokens of the sentences that classifiers of text are timed on."""
WORDS_FROM = 5
"""Token ids below it are marks."""


def example(family: Any, rows: int, generator: torch.Generator) -> tuple[Tensor, ...]:
    """Inputs of ``rows`` samples, at random: an image, an image with a text, or a sentence."""
    config = family.config
    vocab = int(getattr(config, "vocab", 0))
    found = []
    if hasattr(config, "image"):
        found.append(torch.randn(rows, config.channels, config.image, config.image, generator=generator))
    if vocab:
        length = int(config.text) if found else min(LENGTH, int(config.max_positions))
        found.append(torch.randint(WORDS_FROM, vocab, (rows, length), generator=generator))
    return tuple(found)


def traced(plain: nn.Module, inputs: Sequence[Tensor]) -> Traced:
    """The network to be written out under any policy; sentences may be of any length.

    Args:
        inputs: as ``example`` gives them, of two rows or more.
    """
    names = [f"input{i}" for i in range(len(inputs))]
    sentences = len(inputs) == 1 and not inputs[0].is_floating_point()
    axes = {name: {0: "batch"} | ({1: "length"} if sentences else {}) for name in (*names, "output")}
    if sentences:
        axes["output"] = {0: "batch"}
    return trace(plain, inputs, names=(names, ("output",)), axes=axes)
