"""What is timed: one sentence or image, as a tier's table gives it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from supernet.decode import forced_steps
from supernet.quantization import precisions

IMAGE_SEED = 0
REFERENCE_SEED = 0
RUNTIMES: dict[str, tuple[str, ...]] = {"torch": tuple(precisions.PRECISIONS), "ort": ("fp32", "int8", "w4")}
"""Runtime -> the precisions that it has kernels for on the processor."""


@dataclass(frozen=True)
class Workload:
    """One sentence of ``source_len`` tokens, then ``steps`` decoder steps of ``beam`` rows.

    No tokens are chosen and no beams reordered (``search:no`` in the signature): see
    ``supernet.decode.forced_steps``. Without steps it is an encoder that is timed, up to the state of the
    sentence's first token, which is what classifiers read. With ``image`` it is a classifier of images of so
    many pixels on each side and so many ``channels``: one of them, from pixels to classes, with a ``text`` of
    so many tokens where that is more than none. ``runtime`` says what serves it: see
    ``benchmarks.measurement.serving``.
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
    def of(cls, value: Workload | Mapping[str, Any]) -> Workload:
        """A workload from a tier's table, whose other entries do not concern it."""
        if isinstance(value, Workload):
            return value
        names = "image", "channels", "text"
        optional: dict[str, Any] = {name: int(value[name]) for name in names if name in value}
        optional |= {"runtime": str(value["runtime"])} if "runtime" in value else {}
        return cls(int(value["source_len"]), int(value["steps"]), int(value["beam"]), **optional)

    @property
    def target_len(self) -> int:
        """Positions that are predicted."""
        return max(1, self.steps)

    def run(self, module: nn.Module, source: Tensor) -> Tensor:
        """Serve ``source`` once: ``[beam, ...]``."""
        if self.steps:
            return forced_steps(module, source, self.steps, self.beam)
        if self.image:
            logits: Tensor = module(*self.inputs(source))
            return logits
        encoder: Any = module
        state: Tensor = encoder.encode(source)[:, 0]
        return state

    def inputs(self, source: Tensor) -> tuple[Tensor, ...]:
        """What a network is called with for ``source``: with it, and the text where there is one."""
        return (source, source.new_ones((1, self.text), dtype=torch.long)) if self.text else (source,)

    def source(self, device: str) -> Tensor:
        """The sentence: ``[1, source_len]``, one ordinary token over and over (as in HAT), then the end; or
        the image, noise of a fixed seed: ``[1, channels, image, image]``."""
        if self.image:
            generator = torch.Generator().manual_seed(IMAGE_SEED)
            shape = 1, self.channels, self.image, self.image
            return torch.randn(shape, generator=generator).to(device)
        tokens = torch.full((1, self.source_len), 4, dtype=torch.long)
        tokens[0, -1] = 2
        return tokens.to(device)


def reference_network(family: Any) -> nn.Module:
    """Return the frozen network that latencies are ratios to: the largest of a space, with fixed weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(REFERENCE_SEED)
        module: nn.Module = family.build(family.space.largest())
    return module.requires_grad_(False).eval()
