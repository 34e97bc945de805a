"""Mixture of supernets as a weight source (Jawahar et al., ACL Findings 2024, section 3).

Each feed-forward linear has ``m`` expert copies. A router per layer reads the architecture's
encoding and gives softmax weights: one per expert (layer-wise) or one per expert and output neuron
(neuron-wise). The weights of a sub-network are the mixture of the experts, then sliced; slicing and
mixing commute, so the whole stack is mixed at full width in a handful of kernels, once for an
architecture and update, and never inside a forward pass.

Differences from the public code, all deliberate:

* Independent Xavier experts under near-uniform routing start at ``1/sqrt(m)`` of an unmixed layer's
  scale (0.71 for m = 2). Here experts start ``sqrt(m)`` larger, so that the mixture starts at scale.
  Of a family that draws tensors by name (encoders) they start as in the public code for BERT, as copies of
  an unmixed layer. Small offsets that cancel over the experts break the tie, which Adam would keep long.
* The encoding is normalised by the space itself, not by constants of one space.
* All architectures share one routing pass; an exported sub-network has no router.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from itertools import accumulate
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from supernet.allocator import to_device
from supernet.weights import Buffer, Init, Slot, WeightSource, named_generator

APART = 0.1
"""Deviation of the offsets of experts that start as copies, in deviations of the copied tensor."""


class Mixture(WeightSource):
    """Weights mixed from experts.

    Args:
        family: ``mixable()`` lists the linears to mix.
        generator: CPU generator for initial values.
        experts: m, copies of every mixable linear.
        neuron_wise: a coefficient per output neuron, from a router per linear; else a coefficient
            per layer, from one router that both linears of the layer share.
        encoding: ``aggr`` (means over layers) or ``fine`` (layer by layer).
        hidden: width of the routers' hidden layer.
        constant: route every architecture as the largest one: the ablation in which the router
            cannot tell architectures apart.
    """

    def __init__(
        self,
        family: Any,
        generator: torch.Generator,
        device: str = "cpu",
        *,
        experts: int = 2,
        neuron_wise: bool = True,
        encoding: str = "aggr",
        hidden: int = 128,
        constant: bool = False,
    ) -> None:
        if experts < 1:
            raise ValueError(f"experts {experts}: at least 1")
        self.experts, self.neuron_wise, self.encoding, self.constant = (
            experts,
            neuron_wise,
            encoding,
            constant,
        )
        slots = family.slots()
        linears = family.mixable()
        self.routers = (
            [name for _, name in linears] if neuron_wise else list(dict.fromkeys(x for x, _ in linears))
        )
        self.features = features = len(family.space.encode(family.space.largest(), encoding))
        # Linears of one shape lie together, so that each group is mixed by one stack of tensors.
        self.groups: dict[str, list[str]] = {}
        router_of: dict[str, int] = {}
        for layer, name in linears:
            self.groups.setdefault("x".join(map(str, slots[f"{name}.weight"].shape)), []).append(name)
            router_of[name] = self.routers.index(name if neuron_wise else layer)
        mixed = {f"{name}.{part}" for _, name in linears for part in ("weight", "bias")}
        trained = {name: slot for name, slot in slots.items() if name not in mixed}
        plain = len(trained)
        r, bound = len(self.routers), 1 / math.sqrt(features)
        trained["router.in.weight"] = Slot((r, hidden, features), Init("uniform", bound))
        trained["router.in.bias"] = Slot((r, hidden), Init("uniform", bound))
        if not neuron_wise:
            trained["router.out.weight"] = Slot((r, experts, hidden), Init("xavier", 1.0))
            trained["router.out.bias"] = Slot((r, experts), Init("constant", 0.0))
        # Shapes of the mixed tensors in their order in ``mixed``: group by group, weights, then biases.
        mixed_shapes: dict[str, tuple[int, ...]] = {}
        for group, names in self.groups.items():
            weight, bias = slots[f"{names[0]}.weight"], slots[f"{names[0]}.bias"]
            n, rows = len(names), weight.shape[0]
            start = Init("xavier", weight.init.value * math.sqrt(experts), weight.init.blocks)
            trained[f"experts.{group}.weight"] = Slot((n, experts, *weight.shape), start)
            trained[f"experts.{group}.bias"] = Slot((n, experts, rows), bias.init)
            if neuron_wise:
                trained[f"router.{group}.weight"] = Slot((n, rows * experts, hidden), Init("xavier", 1.0))
                trained[f"router.{group}.bias"] = Slot((n, rows * experts), Init("constant", 0.0))
            mixed_shapes |= {f"{name}.weight": weight.shape for name in names}
            mixed_shapes |= {f"{name}.bias": bias.shape for name in names}
        self.mixed_shapes = mixed_shapes
        ends = list(accumulate(math.prod(shape) for shape in mixed_shapes.values()))
        self.start = dict(zip(mixed_shapes, [0, *ends], strict=False))
        self.router_rows = {g: [router_of[name] for name in names] for g, names in self.groups.items()}
        super().__init__(family, trained, plain, generator, device)

    def initialise(self, name: str, slot: Slot, out: Tensor) -> None:
        if not name.startswith("experts."):
            super().initialise(name, slot, out)
            return
        _, group, part = name.split(".")
        for experts, linear in zip(out, self.groups[group], strict=True):
            own = f"{linear}.{part}"
            super().initialise(own, self.family.slots()[own], experts[0])
            experts.copy_(self.copies(own, experts[0].clone()))

    def copies(self, name: str, value: Tensor) -> Tensor:
        """Return experts ``[m, ...]`` that start as copies of tensor ``name``; their mean is ``value``."""
        shape = (self.experts, *value.shape)
        offsets = torch.randn(shape, generator=named_generator(self.initial_seed, f"{name}/experts"))
        offsets = (offsets - offsets.mean(0)).to(value.device)
        return value + APART * float(value.std(correction=0)) * offsets

    def assign(self, name: str, value: Tensor) -> None:
        if name not in self.mixed_shapes:
            super().assign(name, value)
            return
        linear, _, part = name.rpartition(".")
        group, at = next((g, names.index(linear)) for g, names in self.groups.items() if linear in names)
        self.parameter(f"experts.{group}.{part}").detach()[at].copy_(self.copies(name, value))

    def precision(self, dtype: torch.dtype) -> None:
        size = sum(math.prod(shape) for shape in self.mixed_shapes.values())
        data = torch.zeros(size, dtype=dtype, device=self.flat.device)
        self.mixed = Buffer(self.mixed_shapes, data, torch.zeros_like(data))
        self.rows = {g: torch.tensor(rows, device=self.flat.device) for g, rows in self.router_rows.items()}
        self.recorded: dict[str, Callable[[], None]] = {}
        """Steps of a GPU as graphs, which hold for these buffers."""
        if self.flat.is_cuda:
            self.phi = torch.zeros(self.features, device=self.flat.device)
            count = sum(len(names) for names in self.groups.values())
            self.used = torch.zeros(count, 2, dtype=torch.int32, device=self.flat.device)
        super().precision(dtype)

    def changed(self) -> None:
        super().changed()
        self._ready: tuple[Any, int] | None = None

    def home(self, name: str) -> Buffer:
        return self.mixed if name in self.mixed_shapes else self.compute

    def homes(self) -> list[Buffer]:
        return [*super().homes(), self.mixed]

    def parameter(self, name: str) -> Tensor:
        """Return a trained tensor as a leaf whose gradient adds up in ``flat.grad``."""
        return self.master.leaf(name, self.shapes[name])

    def route(self, architecture: Mapping[str, Any]) -> dict[str, Tensor]:
        """Mixing coefficients ``[linears, rows or 1, experts]`` of every group; they sum to one."""
        return self.shares(to_device(self.code(architecture), self.flat.device))

    def code(self, architecture: Mapping[str, Any]) -> Tensor:
        """Return the routers' input for an architecture, ``[features]`` on the CPU."""
        space = self.family.space
        code = space.encode(space.largest() if self.constant else architecture, self.encoding)
        return torch.as_tensor(code, dtype=torch.float32)

    def shares(self, phi: Tensor) -> dict[str, Tensor]:
        """Return the mixing coefficients of ``route`` from the routers' input."""
        hidden = F.relu(self.parameter("router.in.weight") @ phi + self.parameter("router.in.bias"))
        if not self.neuron_wise:
            logits = torch.einsum("rkh,rh->rk", self.parameter("router.out.weight"), hidden)
            weights = (logits + self.parameter("router.out.bias")).softmax(-1)[:, None, :]
            return {group: weights[self.rows[group]] for group in self.groups}
        coefficients = {}
        for group in self.groups:
            weight, bias = self.parameter(f"router.{group}.weight"), self.parameter(f"router.{group}.bias")
            logits = torch.bmm(weight, hidden[self.rows[group]].unsqueeze(-1)).squeeze(-1) + bias
            # Row n * m + k of the router is expert k of neuron n, so a neuron keeps its logits at any width.
            coefficients[group] = logits.view(len(bias), -1, self.experts).softmax(-1)
        return coefficients

    def mix(self, architecture: Mapping[str, Any]) -> dict[str, tuple[Tensor, Tensor]]:
        """Group -> mixed weights ``[linears, rows, columns]`` and biases ``[linears, rows]``, full width."""
        stacks = {}
        for group, share in self.route(architecture).items():
            weight, bias = self.parameter(f"experts.{group}.weight"), self.parameter(f"experts.{group}.bias")
            w, b = share[..., 0, None] * weight[:, 0], share[..., 0] * bias[:, 0]
            for k in range(1, self.experts):
                w = torch.addcmul(w, share[..., k, None], weight[:, k])
                b = torch.addcmul(b, share[..., k], bias[:, k])
            stacks[group] = (w, b)
        return stacks

    def prepare(self, architecture: Mapping[str, Any], used: Mapping[str, tuple[int, ...]]) -> None:
        if self._ready == (architecture, self.version) and not torch.is_grad_enabled():
            return
        if self.flat.is_cuda:
            if self.groups:
                self.mix_on_gpu(architecture, used)
            return
        self._graph = self.mix(architecture)
        with torch.no_grad():
            for group, names in self.groups.items():
                for part, stack in zip(("weight", "bias"), self._graph[group], strict=True):
                    self.stack(self.mixed.data, names, part).copy_(stack)
        self._ready = (architecture, self.version)

    def stack(self, flat: Tensor, names: list[str], part: str) -> Tensor:
        """All linears of a group as one view ``[linears, ...]`` of a flat tensor like ``mixed``."""
        shape = self.mixed_shapes[f"{names[0]}.{part}"]
        start = self.start[f"{names[0]}.{part}"]
        return flat[start : start + len(names) * math.prod(shape)].view(len(names), *shape)

    def mix_on_gpu(self, architecture: Mapping[str, Any], used: Mapping[str, tuple[int, ...]]) -> None:
        """Mix the weights that ``architecture`` uses; ``collect_computed`` takes the gradients."""
        every = [used.get(f"{name}.weight", (0, 0)) for names in self.groups.values() for name in names]
        self.phi.copy_(to_device(self.code(architecture), self.flat.device))
        self.used.copy_(to_device(torch.tensor(every, dtype=torch.int32), self.flat.device))
        self.replay("mix", self.mix_used, lambda: [])
        self._ready = (architecture, self.version)

    def replay(self, name: str, step: Callable[[], None], keep: Callable[[], list[Tensor]]) -> None:
        """Run a step of the GPU as one graph, recorded at its first use."""
        from supernet.gpu.recorded_step import record_graph

        if name not in self.recorded:
            self.recorded[name] = record_graph(step, keep)
        self.recorded[name]()

    def accumulated(self) -> list[Tensor]:
        """Return the gradients that ``collect_computed`` changes."""
        assert self.flat.grad is not None
        return [self.mixed.grad, self.flat.grad]

    def extents_used(self) -> dict[str, Tensor]:
        """Return group -> rows and columns in use of each linear, int32 ``[linears, 2]``."""
        parts = self.used.split([len(names) for names in self.groups.values()])
        return dict(zip(self.groups, parts, strict=True))

    @torch.no_grad()
    def mix_used(self) -> None:
        """Mix the parts in use, from ``phi`` and ``used``."""
        from supernet.gpu.mixing import mix

        used = self.extents_used()
        for group, share in self.shares(self.phi).items():
            mix(self.experts_of(group), share, used[group], self.stacks(group, self.mixed.data))

    def collect_used(self) -> None:
        """Add the gradients of the mixed weights to those of experts and routers, and clear them."""
        from supernet.gpu.mixing import mix_gradients

        used = self.extents_used()
        with torch.enable_grad():
            shares = self.shares(self.phi)
        with torch.no_grad():
            of_shares = [
                mix_gradients(self.experts_of(group), share, used[group], self.stacks(group, self.mixed.grad))
                for group, share in shares.items()
            ]
            routers = [self.parameter(name) for name in self.shapes if name.startswith("router.")]
            flows = torch.autograd.grad([*shares.values()], routers, of_shares)
            torch._foreach_add_([router.grad for router in routers], flows)  # type: ignore[arg-type]

    def experts_of(self, group: str) -> tuple[Tensor, Tensor]:
        """Return the expert weights ``[linears, m, rows, columns]`` and biases of a group."""
        return self.parameter(f"experts.{group}.weight"), self.parameter(f"experts.{group}.bias")

    def stacks(self, group: str, flat: Tensor) -> tuple[Tensor, Tensor]:
        """Return the weights and biases of a group's linears as views of a flat tensor like ``mixed``."""
        return self.stack(flat, self.groups[group], "weight"), self.stack(flat, self.groups[group], "bias")

    def collect_computed(self) -> None:
        if self.flat.is_cuda:
            if self.groups:
                self.replay("collect", self.collect_used, self.accumulated)
            self._ready = None
            return
        stacks, grads = [], []
        for group, names in self.groups.items():
            for part, stack in zip(("weight", "bias"), self._graph[group], strict=True):
                stacks.append(stack)
                grads.append(self.stack(self.mixed.grad, names, part).float())
        torch.autograd.backward(stacks, grads)
        self.mixed.grad.zero_()
        self._graph, self._ready = {}, None

    def bake(self, architecture: Mapping[str, Any]) -> dict[str, Tensor]:
        with torch.no_grad():
            mixed: dict[str, Tensor] = {}
            for group, stacks in self.mix(architecture).items():
                for part, stack in zip(("weight", "bias"), stacks, strict=True):
                    names = self.groups[group]
                    mixed |= {f"{name}.{part}": tensor for name, tensor in zip(names, stack, strict=True)}
            full = {
                name: mixed[name] if name in mixed else self.master.views[name][0]
                for name in self.family.slots()
            }
            return {
                name: full[name][tuple(slice(0, n) for n in extents)].detach().clone()
                for name, extents in self.family.extents(architecture).items()
            }
