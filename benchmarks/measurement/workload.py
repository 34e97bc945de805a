"""Workload: the one sentence or image that is timed, as a tier's table gives it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.records.canonical import JsonObject, JsonView
from supernet.decode import forced_steps
from supernet.quantization import openvino_runtime, precisions

IMAGE_SEED = 0
"""Seed of the image's noise."""
REFERENCE_SEED = 0
"""Seed of the reference network's weights."""
RUNTIMES: dict[str, tuple[str, ...]] = {
    "torch": tuple(name for name, kind in precisions.PRECISIONS.items() if kind.linear),
    "ort": ("fp32", "int8", precisions.STATIC, "w4"),
    openvino_runtime.NAME: openvino_runtime.MIXED,
}
"""Runtime -> precisions for which it has kernels on the processor, layer by layer."""


@dataclass(frozen=True)
class Workload:
    """One sentence of ``source_len`` tokens, then ``steps`` decoder steps of ``beam`` rows.

    No tokens are chosen and no beams reordered (``search:no`` in the signature): see
    ``supernet.decode.forced_steps``.

    Attributes:
        source_len: tokens of the sentence.
        steps: decoder steps. With 0 an encoder is timed, up to the state of the sentence's first token, which
            classifiers read.
        beam: rows of the decoder.
        image: pixels on each side of an image; above 0 a classifier is timed on one image, up to the logits.
        channels: channels of the image.
        text: tokens of the text beside the image; 0 for none.
        runtime: runtime that serves the networks, a key of ``RUNTIMES``.

    Raises:
        ValueError: there is no such runtime.
    """

    source_len: int
    steps: int
    beam: int
    image: int = 0
    channels: int = 0
    text: int = 0
    runtime: str = "torch"

    def __post_init__(self) -> None:
        if self.runtime not in RUNTIMES:
            raise ValueError(f"runtime {self.runtime!r}: choose one of {', '.join(RUNTIMES)}")

    @classmethod
    def of(cls, value: Workload | JsonView) -> Workload:
        """Return the workload of a tier's table, whose other entries are ignored."""
        if isinstance(value, Workload):
            return value
        names = "image", "channels", "text"
        optional: JsonObject = {name: int(value[name]) for name in names if name in value}
        optional |= {"runtime": str(value["runtime"])} if "runtime" in value else {}
        return cls(int(value["source_len"]), int(value["steps"]), int(value["beam"]), **optional)

    @property
    def target_len(self) -> int:
        """Number of predicted positions."""
        return max(1, self.steps)

    def run(self, module: nn.Module, source: Tensor) -> Tensor:
        """Run the network on ``source`` once and return its output ``[beam, ...]``."""
        if self.steps:
            return forced_steps(module, source, self.steps, self.beam)
        if self.image:
            logits: Tensor = module(*self.inputs(source))
            return logits
        encoder: Any = module
        state: Tensor = encoder.encode(source)[:, 0]
        return state

    def inputs(self, source: Tensor) -> tuple[Tensor, ...]:
        """Return the inputs of a network for ``source``: itself, and the text if there is one."""
        return (source, source.new_ones((1, self.text), dtype=torch.long)) if self.text else (source,)

    def source(self, device: str) -> Tensor:
        """Return the sentence or the image.

        The sentence ``[1, source_len]`` repeats one ordinary token (as in HAT) and ends with the end token.
        The image ``[1, channels, image, image]`` is noise of a fixed seed.
        """
        if self.image:
            generator = torch.Generator().manual_seed(IMAGE_SEED)
            shape = 1, self.channels, self.image, self.image
            return torch.randn(shape, generator=generator).to(device)
        tokens = torch.full((1, self.source_len), 4, dtype=torch.long)
        tokens[0, -1] = 2
        return tokens.to(device)


def reference_network(family: Any) -> nn.Module:
    """Return the frozen reference network of latency ratios: the largest of a space, with fixed weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(REFERENCE_SEED)
        module: nn.Module = family.build(family.space.largest())
    return module.requires_grad_(False).eval()
