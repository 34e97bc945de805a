"""Where the weights of one architecture come from.

A supernet keeps all its trainable numbers in one flat float32 vector. A :class:`WeightSource` hands
out, for one architecture, the tensors its sub-network runs on (``bind``) and takes their gradients
back (``collect``). Plain weight sharing (:class:`SharedSlices`) and a mixture of supernets differ in
this object alone; models, training, search and export do not know which one they have.

What ``bind`` returns are leaf tensors that *alias* prefixes of persistent buffers, and whose
``.grad`` aliases the same prefix of a persistent gradient buffer. Autograd accumulates into an
existing ``.grad`` in place, so slicing costs neither a copy in the forward nor a full-size gradient
in the backward pass, and a step over a new architecture launches nothing but the network itself.
"""

from __future__ import annotations

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
    """How a tensor starts: ``constant`` value, ``normal`` deviation, ``uniform`` bound, ``xavier``
    uniform gain, or ``identity``.

    ``blocks`` row blocks have a fan each (fused projections); ``zero_row`` is set to zero (padding).
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
    """Uniform with this deviation, told as a gain over the fans of ``shape``: the form in which a mixture of
    experts can scale it. What mixtures mix must not be ``normal``, which they would take for a gain."""
    return Init("xavier", deviation * math.sqrt((shape[0] + shape[1]) / 2))


@dataclass(frozen=True)
class Slot:
    """One tensor of the supernet: its full shape and how it starts."""

    shape: tuple[int, ...]
    init: Init


class SlicedTensors(Protocol):
    """Tensors of which every architecture uses leading parts; model families are such."""

    def slots(self) -> Mapping[str, Slot]:
        """Return name -> full shape and initialisation."""

    def extents(self, architecture: ArchitectureLike) -> Mapping[str, tuple[int, ...]]:
        """Return name -> leading extents of every tensor that ``architecture`` uses."""


class Buffer:
    """A flat tensor seen as named tensors, with a gradient of the same layout.

    ``leaf`` returns a cached leaf over a leading part of one of them; its ``.grad`` is the same
    part of the gradient, so backward passes add up there.
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
        key = (name, extents)
        found = self._leaves.get(key)
        if found is None:
            part = tuple(slice(0, n) for n in extents)
            data, grad = self.views[name]
            found = data.detach()[part].requires_grad_()
            found.grad = grad[part]
            self._leaves[key] = found
        return found


class WeightSource(nn.Module, ABC):
    """Weights for any architecture of a family.

    Args:
        family: gives ``slots()`` and ``extents(architecture)``.
        slots: what is trained, in the order it lies in ``flat``. The first ``plain`` entries are
            bound directly; a subclass makes the other weights of a sub-network from the rest.
        plain: how many of them.
        generator: CPU generator for the initial values.
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
        for slot, part in zip(slots.values(), values.split(sizes), strict=True):
            slot.init.fill(part.view(slot.shape), generator)
        self.flat = nn.Parameter(values.to(device))
        self.flat.grad = torch.zeros_like(self.flat)
        self.plain_shapes = dict(list(self.shapes.items())[:plain])
        self.plain_size = sum(sizes[:plain])
        self.master = Buffer(self.shapes, self.flat.detach(), self.flat.grad)
        self.version = 0
        self.precision(torch.float32)

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
        """To be called whenever ``flat`` has changed: once per update."""
        self.version += 1
        if self.compute is not self.master:
            self.compute.data.copy_(self.master.data[: self.plain_size])

    def bind(self, architecture: ArchitectureLike) -> dict[str, Tensor]:
        """Leaf tensors in the compute precision, by name, for one architecture.

        Valid until the next ``bind``. After the backward passes over it call ``collect`` once.
        """
        self.prepare(architecture)
        home = self.home
        return {
            name: home(name).leaf(name, extents)
            for name, extents in self.family.extents(architecture).items()
        }

    def prepare(self, architecture: ArchitectureLike) -> None:
        """What must be made for this architecture before ``bind``; nothing for plain sharing."""

    def home(self, name: str) -> Buffer:
        """The buffer that holds weight ``name``."""
        return self.compute

    def collect(self) -> None:
        """Fold the gradients of the last bound weights into ``flat.grad``."""
        if self.compute is not self.master:
            self.flat.grad[: self.plain_size].add_(self.compute.grad)  # type: ignore[index]
            self.compute.grad.zero_()

    @abstractmethod
    def bake(self, architecture: ArchitectureLike) -> dict[str, Tensor]:
        """Float32 copies of one architecture's weights, from the master values, for export."""


class SharedSlices(WeightSource):
    """Plain weight sharing: every sub-network uses the leading part of each tensor (HAT, 3.1)."""

    def __init__(self, family: SlicedTensors, generator: torch.Generator, device: str = "cpu") -> None:
        slots = family.slots()
        super().__init__(family, slots, len(slots), generator, device)

    def bake(self, architecture: ArchitectureLike) -> dict[str, Tensor]:
        return {
            name: self.master.leaf(name, extents).detach().clone()
            for name, extents in self.family.extents(architecture).items()
        }

    def adopt(self, weights: Mapping[str, Tensor]) -> None:
        """Start from the leading parts of tensors that are at least as large; others stay as they are.

        Raises:
            ValueError: a name is not known here, or a tensor is smaller.
        """
        for name, weight in weights.items():
            shape = self.shapes.get(name)
            if shape is None or any(a < b for a, b in zip(weight.shape, shape, strict=True)):
                raise ValueError(f"{name}: {tuple(weight.shape)} does not fill {shape}")
            self.master.views[name][0].copy_(weight[tuple(slice(0, n) for n in shape)])
        self.refresh()

    def load(self, weights: Mapping[str, Tensor]) -> None:
        """Overwrite all values with ``weights`` of the full shapes.

        Raises:
            ValueError: a name is missing or a shape differs.
        """
        for name, shape in self.shapes.items():
            if name not in weights or tuple(weights[name].shape) != shape:
                found = tuple(weights[name].shape) if name in weights else "nothing"
                raise ValueError(f"{name}: needs shape {shape}, found {found}")
            self.master.views[name][0].copy_(weights[name])
        self.refresh()
