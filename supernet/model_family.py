"""Model families: the contract between one kind of network and the supernet machinery."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import cached_property
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from supernet.layers import Shapes
from supernet.space import Architecture, ArchitectureLike, SearchSpace
from supernet.weights import Slot

Spec = Mapping[str, Any]
"""JSON description of a family; ``supernet.families.from_spec`` reads it."""


class ModelFamily(ABC):
    """All sub-networks of one search space with one configuration.

    A family lists the tensors of its supernet (``slots``) and the leading part of each that an architecture
    uses (``extents``), and builds modules. It holds no weights.

    Args:
        space: choices, and constants with the dimensions that are not searched.
        config: a dataclass of plain values, common to all sub-networks.

    Attributes:
        largest: the largest architecture of the space.
    """

    kind: ClassVar[str]
    """Name of the family in specs."""
    outside: ClassVar[tuple[str, ...]]
    """Prefixes of the names of parameters outside the body: embeddings and output layers."""
    statistics_batch_count: ClassVar[int] = 0
    """Training batches for batch-norm recalibration of a sub-network; 0 without batch norms."""
    deployed_int8: ClassVar[str] = "int8"
    """INT8 in which the family is deployed, where a runtime has two: ``int8``, or ``int8s`` with calibrated
    ranges (``supernet.quantization.precisions``)."""
    named_draws: ClassVar[bool] = False
    """True if the initial values of a tensor follow from seed and name, whatever else a weight source holds.

    False if all tensors are drawn one after the other.
    """
    config: Any

    def __init__(self, space: SearchSpace, config: Any) -> None:
        self.space, self.config = space, config
        self.largest = space.largest()
        self._slots: dict[str, Slot] = {}

    @cached_property
    def single(self) -> bool:
        """True if the space has one architecture."""
        return self.space.size() == 1

    def slots(self) -> dict[str, Slot]:
        """Return name -> full shape and initialisation of every tensor of the supernet."""
        return self._slots

    @abstractmethod
    def mixable(self) -> list[tuple[str, str]]:
        """Return ``(layer, linear)`` of each linear layer that a mixture-of-supernets mixes (MoS, 3.2)."""

    @abstractmethod
    def extents(self, architecture: ArchitectureLike) -> Shapes:
        """Return name -> leading extents of every tensor that ``architecture`` uses."""

    @abstractmethod
    def macs(self, architecture: ArchitectureLike, source_len: int, target_len: int) -> tuple[int, int]:
        """Return the multiply-accumulates of the body and of the output layer, for one sample."""

    @abstractmethod
    def skeleton(self, device: torch.device | str = "cpu") -> nn.Module:
        """Build the largest network without storage of its own; a supernet binds weights into it."""

    @abstractmethod
    def configure(self, model: Any, architecture: ArchitectureLike) -> None:
        """Set everything about ``model`` that is not a weight: depth, heads, strides, dropout rates."""

    @abstractmethod
    def build(self, architecture: ArchitectureLike) -> nn.Module:
        """Build one sub-network as it is exported, in evaluation mode, with torch's initial values."""

    def merge(self, weights: Mapping[str, Tensor], architecture: ArchitectureLike) -> dict[str, Tensor]:
        """Return the weights of ``extents`` as those of the exported sub-network: by default the same."""
        return dict(weights)

    def restrict_to(self, architecture: Architecture) -> Self:
        """Return the family of this one architecture, to be trained by itself."""
        return self.collapsed(architecture)

    @abstractmethod
    def collapsed(self, architecture: ArchitectureLike) -> Self:
        """Return the family of this one architecture in the form in which it is exported."""

    def spec(self) -> Spec:
        """Return the description that an exported sub-network carries beside its architecture and weights."""
        return {"kind": self.kind, "config": asdict(self.config), "space": self.space.to_dict()}

    def reset_statistics(self, model: Any) -> None:  # noqa: B027
        """Reset the batch-norm statistics of the bound weights; nothing to do without batch norms."""

    def recalibrate(self, model: Any, batches: Sequence[tuple[Tensor, ...]]) -> None:  # noqa: B027
        """Re-estimate the batch-norm statistics of the bound weights over ``batches`` of inputs."""
