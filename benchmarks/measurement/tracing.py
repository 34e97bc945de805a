"""Tracing of exported networks for ONNX Runtime, and random inputs to trace them on."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from supernet.model_family import ModelFamily
from supernet.quantization.onnx_trace import Traced, trace

LENGTH = 24
"""Tokens of the sentences that text classifiers are timed on."""
WORDS_FROM = 5
"""First token id that is no mark."""


def random_inputs(family: ModelFamily, rows: int, generator: torch.Generator) -> tuple[Tensor, ...]:
    """Return random inputs of ``rows`` samples: an image, an image with a text, or a sentence.

    Args:
        family: model family whose networks take the inputs.
    """
    config = family.config
    vocab = int(getattr(config, "vocab", 0))
    inputs = []
    if hasattr(config, "image"):
        inputs.append(torch.randn(rows, config.channels, config.image, config.image, generator=generator))
    if vocab:
        length = int(config.text) if inputs else min(LENGTH, int(config.max_positions))
        inputs.append(torch.randint(WORDS_FROM, vocab, (rows, length), generator=generator))
    return tuple(inputs)


def trace_network(plain: nn.Module, inputs: Sequence[Tensor], *, fold: bool = False) -> Traced:
    """Trace a network, to be written out under any policy; sentences may be of any length.

    Args:
        inputs: as ``random_inputs`` returns them, of two rows or more.
        fold: fold batch norms, as static int8 needs.
    """
    names = [f"input{i}" for i in range(len(inputs))]
    sentences = len(inputs) == 1 and not inputs[0].is_floating_point()
    axes = {name: {0: "batch"} | ({1: "length"} if sentences else {}) for name in (*names, "output")}
    if sentences:
        axes["output"] = {0: "batch"}
    return trace(plain, inputs, names=(names, ("output",)), axes=axes, fold=fold)
