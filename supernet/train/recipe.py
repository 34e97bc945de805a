"""Training recipes (rates, batches, precision) and samplings: the architectures that one update trains."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from supernet.elastic import SuperNet
from supernet.space import Architecture, SearchSpace


@dataclass(frozen=True)
class Recipe:
    """Training hyper-parameters; the same for every method of a comparison."""

    learning_rate: float = 1e-3
    """Peak of the schedule."""
    warmup: float = 0.08
    """Share of training over which the rate rises linearly."""
    schedule: str = "inverse-sqrt"
    """``inverse-sqrt`` or ``cosine`` (to zero)."""
    betas: tuple[float, float] = (0.9, 0.98)
    weight_decay: float = 0.0
    label_smoothing: float = 0.1
    batch_tokens: int = 4096
    """Padded tokens of the longer side of one micro-batch."""
    accumulate: int = 1
    """Micro-batches an update."""
    clip_norm: float = 0.0
    """Largest gradient norm; 0 disables clipping."""
    precision: str = "fp32"
    """``fp32``, ``bf16`` or ``fp16`` (with loss scaling)."""
    average_checkpoints: int = 0
    """Average this many snapshots over the last ``average_span`` of training; 0 keeps the last."""
    average_span: float = 0.25

    def __post_init__(self) -> None:
        if self.schedule not in ("inverse-sqrt", "cosine"):
            raise ValueError(f"schedule {self.schedule!r}: choose inverse-sqrt or cosine")
        if not 0 < self.warmup < 1:
            raise ValueError(f"warmup {self.warmup}: a share of training between 0 and 1")

    def rate(self, done: float) -> float:
        """Return the learning rate after a share ``done`` of training."""
        if done < self.warmup:
            return self.learning_rate * done / self.warmup
        if self.schedule == "cosine":
            return (
                self.learning_rate * 0.5 * (1 + math.cos(math.pi * (done - self.warmup) / (1 - self.warmup)))
            )
        return self.learning_rate * math.sqrt(self.warmup / done)


class Sampling(Protocol):
    """Choice of the architectures that one update trains.

    ``passes``: architectures an update; ``distill``: those after the first learn from the first one's
    outputs.
    """

    @property
    def passes(self) -> int: ...
    @property
    def distill(self) -> bool: ...

    def draw(self, space: SearchSpace, rng: np.random.Generator) -> list[Architecture]: ...

    def after(self, net: SuperNet, done: float) -> None:
        """Adapt to the share of training done; called after every update."""

    def state(self) -> Any:
        """Return the state for ``restore`` if later draws depend on more than their generator, else None."""

    def restore(self, state: Any) -> None:
        """Continue from a ``state``."""


class StatelessSampling:
    """Base of samplings that keep no state."""

    def after(self, net: SuperNet, done: float) -> None:
        """Do nothing."""

    def state(self) -> None:
        """Return None."""

    def restore(self, state: None) -> None:
        """Do nothing."""


@dataclass(frozen=True)
class SinglePath(StatelessSampling):
    """One architecture, uniformly at random (HAT, section 3.2)."""

    passes: int = 1
    distill: bool = False

    def draw(self, space: SearchSpace, rng: np.random.Generator) -> list[Architecture]:
        return [space.sample(rng)]


@dataclass(frozen=True)
class Sandwich(StatelessSampling):
    """Sandwich rule: the largest, ``random`` random and the smallest architecture on the same batch.

    Yu and Huang (2019). With ``distill``, the others learn from the largest one's predictions instead of the
    labels (in-place distillation).
    """

    random: int = 1
    distill: bool = False

    @property
    def passes(self) -> int:
        return self.random + 2

    def draw(self, space: SearchSpace, rng: np.random.Generator) -> list[Architecture]:
        return [space.largest(), *(space.sample(rng) for _ in range(self.random)), space.smallest()]
