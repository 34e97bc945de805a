"""Sources of the weights of sub-networks: one flat vector, of which every architecture uses parts.

A supernet keeps all its trainable numbers in one flat float32 vector. A :class:`WeightSource` returns, for
one architecture, the tensors that its sub-network runs on (``bind``) and folds their gradients back
(``collect``). Plain weight sharing (:class:`SharedSlices`) and a mixture of supernets differ in this object
alone; models, training, search and export are the same for both.

The tensors of ``bind`` are leaf tensors that *alias* leading parts of persistent buffers; their ``.grad``
aliases the same part of a persistent gradient buffer. Autograd accumulates into an existing ``.grad`` in
place. So slicing costs neither a copy in the forward nor a full-size gradient in the backward pass, and a
step over a new architecture launches only the network's own kernels.
"""

from __future__ import annotations

import hashlib
import math
import warnings
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from supernet.space import ArchitectureLike

# Gradients of leading parts are strided like the parts themselves, which autograd calls unusual.
warnings.filterwarnings("ignore", message="grad and param do not obey the gradient layout contract")


@dataclass(frozen=True)
class Init:
    """Initialisation of a tensor.

    ``kind`` decides the meaning of ``value``: ``constant`` value, ``normal`` deviation, ``uniform`` bound,
    ``xavier`` uniform gain; ``identity`` ignores it. ``blocks`` row blocks have a fan each (fused
    projections); ``zero_row`` is set to zero (padding).
    """

    kind: str
    value: float
    blocks: int = 1
    zero_row: int | None = None

    def fill(self, out: Tensor, generator: torch.Generator) -> None:
        """Initialise ``out`` (float32 on the CPU; leading expert dimensions allowed) in place."""
        if self.kind == "constant":
            out.fill_(self.value)
        elif self.kind == "normal":
            out.normal_(0.0, self.value, generator=generator)
        elif self.kind == "identity":
            torch.nn.init.eye_(out)
        elif self.kind == "uniform":
            out.uniform_(-self.value, self.value, generator=generator)
        else:
            rows, columns = out.shape[-2] // self.blocks, out.shape[-1]
            bound = self.value * math.sqrt(6.0 / (rows + columns))
            out.uniform_(-bound, bound, generator=generator)
        if self.zero_row is not None:
            out[self.zero_row].zero_()


def spread(deviation: float, shape: Sequence[int]) -> Init:
    """Return the uniform initialisation with this standard deviation, for a tensor of this shape.

    It is expressed as a gain over the fans, so that a mixture of experts can scale it. Tensors that are mixed
    must not be ``normal``, whose deviation a mixture would take for a gain.
    """
    return Init("xavier", deviation * math.sqrt((shape[0] + shape[1]) / 2))


def named_generator(seed: int, name: str) -> torch.Generator:
    """Return the CPU generator of the initial values of tensor ``name``."""
    digest = hashlib.sha256(f"{seed}/{name}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)


@dataclass(frozen=True)
class Slot:
    """One tensor of the supernet: its full shape and its initialisation."""

    shape: tuple[int, ...]
    init: Init


class SlicedTensors(Protocol):
    """Tensors of which every architecture uses leading parts, such as those of a model family."""

    def slots(self) -> Mapping[str, Slot]:
        """Return name -> full shape and initialisation."""

    def extents(self, architecture: ArchitectureLike) -> Mapping[str, tuple[int, ...]]:
        """Return name -> leading extents of every tensor that ``architecture`` uses."""


class Buffer:
    """A flat tensor with views of it by name, and a gradient of the same layout.

    ``leaf`` returns a cached leaf over the leading part of one view; its ``.grad`` is the same part of the
    gradient, so that backward passes accumulate there.
    """

    def __init__(self, shapes: Mapping[str, tuple[int, ...]], data: Tensor, grad: Tensor) -> None:
        self.data, self.grad = data, grad
        self.views: dict[str, tuple[Tensor, Tensor]] = {}
        start = 0
        for name, shape in shapes.items():
            size = math.prod(shape)
            self.views[name] = (
                data[start : start + size].view(shape),
                grad[start : start + size].view(shape),
            )
            start += size
        self._leaves: dict[tuple[str, tuple[int, ...]], Tensor] = {}

    def leaf(self, name: str, extents: tuple[int, ...]) -> Tensor:
        """Return the leaf over the leading ``extents`` of tensor ``name``."""
        key = (name, extents)
        leaf = self._leaves.get(key)
        if leaf is None:
            part = tuple(slice(0, n) for n in extents)
            data, grad = self.views[name]
            leaf = data.detach()[part].requires_grad_()
            leaf.grad = grad[part]
            self._leaves[key] = leaf
        return leaf


class WeightSource(nn.Module, ABC):
    """Weights for any architecture of a family.

    Args:
        family: ``slots()`` and ``extents(architecture)``.
        slots: trained tensors, in the order in which they lie in ``flat``. The first ``plain`` entries are
            bound directly; a subclass computes the other weights of a sub-network from the rest.
        plain: number of directly bound entries.
        generator: CPU generator for the initial values. Of a family with ``named_draws`` its seed alone
            counts, and each tensor has a generator of its own (``named_generator``).

    Attributes:
        flat: all trained numbers, float32.
        version: number of changes of ``flat`` so far.
    """

    flat: nn.Parameter

    def __init__(
        self,
        family: SlicedTensors,
        slots: Mapping[str, Slot],
        plain: int,
        generator: torch.Generator,
        device: str = "cpu",
    ) -> None:
        super().__init__()
        self.family = family
        self.shapes = {name: slot.shape for name, slot in slots.items()}
        sizes = [math.prod(shape) for shape in self.shapes.values()]
        values = torch.empty(sum(sizes))
        self.initial_seed = generator.initial_seed()
        named = getattr(family, "named_draws", False)
        for (name, slot), part in zip(slots.items(), values.split(sizes), strict=True):
            if named:
                self.initialise(name, slot, part.view(slot.shape))
            else:
                slot.init.fill(part.view(slot.shape), generator)
        self.flat = nn.Parameter(values.to(device))
        self.flat.grad = torch.zeros_like(self.flat)
        self.plain_shapes = dict(list(self.shapes.items())[:plain])
        self.plain_size = sum(sizes[:plain])
        self.master = Buffer(self.shapes, self.flat.detach(), self.flat.grad)
        self.version = 0
        self.collected = False
        """True if ``flat.grad`` holds gradients of directly bound weights since the last update."""
        self.precision(torch.float32)

    def initialise(self, name: str, slot: Slot, out: Tensor) -> None:
        """Draw the initial values of tensor ``name`` from the seed and its name."""
        slot.init.fill(out, named_generator(self.initial_seed, name))

    def adopt(self, weights: Mapping[str, Tensor]) -> None:
        """Start from the leading parts of tensors at least as large as the family's; the others stay.

        Raises:
            ValueError: the family has no tensor of a name, or a larger one.
        """
        slots = self.family.slots()
        for name, weight in weights.items():
            shape = slots[name].shape if name in slots else None
            if shape is None or any(a < b for a, b in zip(weight.shape, shape, strict=True)):
                raise ValueError(f"{name}: {tuple(weight.shape)} does not fill {shape}")
            self.assign(name, weight[tuple(slice(0, n) for n in shape)])
        self.refresh()

    def assign(self, name: str, value: Tensor) -> None:
        """Overwrite one tensor of the family at its full shape; the caller refreshes.

        Raises:
            ValueError: it is computed from others, and this source cannot invert that.
        """
        if name not in self.plain_shapes:
            raise ValueError(f"{name} is computed here from other weights: it cannot be set")
        self.master.views[name][0].copy_(value)

    def precision(self, dtype: torch.dtype) -> None:
        """Compute in ``dtype``; the flat vector and its gradient stay float32."""
        self.dtype = dtype
        if dtype is torch.float32:
            self.compute = self.master
        else:
            low = self.flat.detach()[: self.plain_size].to(dtype)
            self.compute = Buffer(self.plain_shapes, low, torch.zeros_like(low))
        self.refresh()

    def refresh(self) -> None:
        """Take over a change of ``flat``; call it once per update."""
        self.changed()
        if self.compute is not self.master:
            self.compute.data.copy_(self.master.data[: self.plain_size])

    def changed(self) -> None:
        """Register that ``flat`` and the compute copy of it have changed."""
        self.version += 1

    def bind(self, architecture: ArchitectureLike) -> dict[str, Tensor]:
        """Return leaf tensors in the compute precision, by name, for one architecture.

        They are valid until the next ``bind``. Call ``collect`` once after the backward passes over them.
        """
        used = self.family.extents(architecture)
        self.prepare(architecture, used)
        home = self.home
        return {name: home(name).leaf(name, extents) for name, extents in used.items()}

    def prepare(self, architecture: ArchitectureLike, used: Mapping[str, tuple[int, ...]]) -> None:
        """Compute the weights that ``bind`` needs for this architecture; nothing to do for plain sharing.

        Args:
            used: its extents.
        """

    def home(self, name: str) -> Buffer:
        """Return the buffer that holds weight ``name``."""
        return self.compute

    def homes(self) -> list[Buffer]:
        """Return the buffers that ``bind`` returns parts of; ``precision`` makes others."""
        return [self.compute]

    def collect(self) -> None:
        """Fold the gradients of the last bound weights into ``flat.grad``."""
        self.collect_computed()
        if self.compute is not self.master:
            self.flat.grad[: self.plain_size].add_(self.compute.grad)  # type: ignore[index]
            self.compute.grad.zero_()
            self.collected = True

    def collect_computed(self) -> None:
        """Fold the gradients of weights that ``prepare`` computed into ``flat.grad``; there may be none."""

    def collect_and_update(self, optimizer: torch.optim.AdamW) -> None:
        """Do ``collect``, the optimiser's step, the clearing of gradients and ``refresh``, in one pass of a
        GPU."""
        from supernet.adamw import update

        self.collect_computed()
        if self.compute is self.master:
            update(optimizer, self.flat, None, None)
        else:
            start = 0 if self.collected else self.plain_size
            update(optimizer, self.flat, self.compute.data, self.compute.grad, start)
        self.collected = False
        self.changed()

    @abstractmethod
    def bake(self, architecture: ArchitectureLike) -> dict[str, Tensor]:
        """Return float32 copies of one architecture's weights, from the master values, for export."""


class SharedSlices(WeightSource):
    """Plain weight sharing: every sub-network uses the leading part of each tensor (HAT, section 3.1)."""

    def __init__(self, family: SlicedTensors, generator: torch.Generator, device: str = "cpu") -> None:
        slots = family.slots()
        super().__init__(family, slots, len(slots), generator, device)

    def bake(self, architecture: ArchitectureLike) -> dict[str, Tensor]:
        return {
            name: self.master.leaf(name, extents).detach().clone()
            for name, extents in self.family.extents(architecture).items()
        }

    def load(self, weights: Mapping[str, Tensor]) -> None:
        """Overwrite all values with ``weights`` of the full shapes.

        Raises:
            ValueError: a name is missing or a shape differs.
        """
        for name, shape in self.shapes.items():
            if name not in weights or tuple(weights[name].shape) != shape:
                actual = tuple(weights[name].shape) if name in weights else "nothing"
                raise ValueError(f"{name}: needs shape {shape}, found {actual}")
            self.master.views[name][0].copy_(weights[name])
        self.refresh()
