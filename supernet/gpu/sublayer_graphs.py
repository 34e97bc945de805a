"""Sub-layers as pairs of CUDA graphs: random architectures train without launching kernels one by one.

A space of 10^15 architectures has a few thousand *variants* of sub-layers: one method at one place of the
network with one set of weight slices. Each variant's forward and backward pass is captured when first needed
and replayed from then on, in any order.

All addresses stay the same: weights are leading parts of one buffer (``supernet.weights``), a batch is copied
to the place of the first one of its shapes, and the output of the n-th sub-layer of a pass lies in a buffer
of that place and shape, with its gradient. Where one of our kernels makes it, it is made there
(``supernet.gpu.static_outputs``), else copied. Variants of one place share memory, since only one of them is
alive at a time; all backward passes share theirs, since they follow one another.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from supernet.gpu.static_outputs import StaticOutputs
from supernet.sublayers import SublayerModule
from supernet.weights import Buffer

LIMIT = 4096
"""Variants kept; beyond, the least recently used one is captured again when next needed."""


@dataclass(eq=False)
class Boundary:
    """Tensor between two sub-layers and its gradient, both at fixed addresses."""

    data: Tensor
    grad: Tensor


class Capture(Protocol):
    """Device that records steps, which read and write tensors at fixed addresses."""

    def session(self) -> AbstractContextManager[None]:
        """Let first runs and recordings of this time leave no trace in the order of random draws."""

    def record(self, step: Callable[[], None], place: int | None) -> Callable[[], None]:
        """Record ``step`` and return what repeats it.

        Args:
            place: steps of one place share memory, as do all of None; those of two places may be alive at
                once.
        """


class SublayerGraphs:
    """Runner of the sub-layers of one network in training.

    Args:
        model: the network, of which parts are :class:`supernet.sublayers.SublayerModule`.
        buffers: weight buffers for which the recordings hold.
        capture: of the network's device.
    """

    def __init__(self, model: nn.Module, buffers: Sequence[Buffer], capture: Capture) -> None:
        self.owners = [module for module in model.modules() if isinstance(module, SublayerModule)]
        self.buffers, self.capture = buffers, capture
        self.place = 0
        self.claimed: set[int] = set()
        self.replaying = False
        self.variants: dict[tuple[Any, ...], Variant] = {}
        self.homes: dict[tuple[torch.Size, ...], Any] = {}
        self.fixed: set[tuple[int, torch.Size]] = set()
        """Address and shape of the tensors of ``homes``."""
        self.boundaries: dict[tuple[int, torch.Size], Boundary] = {}
        self.by_address: dict[tuple[int, torch.Size], Boundary] = {}
        self.sites: dict[tuple[Any, ...], Sites] = {}
        self.anchor = torch.zeros((), device=buffers[0].data.device, requires_grad=True)

    @contextmanager
    def attached(self) -> Iterator[None]:
        """Run the network's sub-layers here while this lasts."""
        try:
            for owner in self.owners:
                owner.__dict__["replayer"] = self
            yield
        finally:
            for owner in self.owners:
                owner.__dict__["replayer"] = None

    def begin(self, batch: Any) -> Any:
        """Begin a pass over ``batch``; return it with its tensors at the addresses that graphs read.

        Batches whose shapes change from one to the next come back as they are, and run without graphs.
        """
        self.place = 0
        self.claimed.clear()
        tensors = batch.tensors
        self.replaying = tensors is not None
        if not self.replaying:
            return batch
        shapes = tuple(tensor.shape for tensor in tensors)
        home = self.homes.get(shapes)
        if home is None:
            home = self.homes[shapes] = batch.with_tensors([tensor.clone() for tensor in tensors])
            self.fixed |= {(tensor.data_ptr(), tensor.shape) for tensor in home.tensors}
        else:
            torch._foreach_copy_(list(home.tensors), list(tensors))
        return batch.at(home)

    def run(
        self, function: Callable[..., Tensor], owner: nn.Module, parts: Sequence[str], inputs: Sequence[Any]
    ) -> Tensor:
        """Return ``function(owner, *inputs)``, replayed where it has been recorded."""
        if not self.replaying or not owner.training or not torch.is_grad_enabled():
            return function(owner, *inputs)
        name = id(owner), function.__name__, *parts
        sites = self.sites.get(name)
        if sites is None:
            sites = self.sites[name] = Sites(owner, parts)
        place, self.place = self.place, self.place + 1
        moving = [x for x in inputs if isinstance(x, Tensor) and not self.is_fixed(x)]
        # The first reader of a boundary may leave its gradient there; others' are added to it.
        first = bool(moving) and moving[0].data_ptr() not in self.claimed
        if first:
            self.claimed.add(moving[0].data_ptr())
        weights = sites.weights()
        key = place, first, *name, *map(id, weights), *sites.settings(), *map(self.named, inputs)
        variant = self.variants.pop(key, None)
        if variant is None:
            variant = Variant(self, place, function, owner, sites, inputs, first)
            if len(self.variants) >= LIMIT:
                self.variants.pop(next(iter(self.variants)))
        self.variants[key] = variant
        output: Tensor = Replay.apply(variant, self.anchor, *moving)  # type: ignore[no-untyped-call]
        return output

    def is_fixed(self, x: Tensor) -> bool:
        """Return whether ``x`` is a tensor of the batch, which every pass finds at the same address."""
        return not x.requires_grad and (x.data_ptr(), x.shape) in self.fixed

    def named(self, x: Any) -> Any:
        """Return the part of an input of a sub-layer that its recording depends on.

        Tensors elsewhere than at a fixed address or a boundary are copied to one, so their own is no part.
        """
        if isinstance(x, Tensor):
            known = self.is_fixed(x) or (x.data_ptr(), x.shape) in self.by_address
            return x.data_ptr() if known else None, x.shape, x.dtype, x.requires_grad
        return x if x is None or isinstance(x, str | int | float) else id(x)

    def boundary(self, place: int, like: Tensor) -> Boundary:
        """Return the tensor after the sub-layer at ``place`` for outputs of this shape."""
        key = place, like.shape
        boundary = self.boundaries.get(key)
        if boundary is None:
            data, grad = (torch.zeros_like(like, memory_format=torch.contiguous_format) for _ in range(2))
            boundary = self.boundaries[key] = Boundary(data, grad)
            self.by_address[data.data_ptr(), data.shape] = boundary
        return boundary


class CudaCapture:
    """Recordings as CUDA graphs."""

    def __init__(self, device: torch.device) -> None:
        # Memory of earlier graphs goes back now: nothing can be freed during a capture.
        torch.cuda.empty_cache()
        self.stream = torch.cuda.Stream(device)
        self.generator = torch.cuda.default_generators[self.stream.device_index]
        self.pools: dict[int | None, Pool] = {}

    @contextmanager
    def session(self) -> Iterator[None]:
        """Work on a stream of its own; the next draws are those that would follow without this."""
        offset, current = self.generator.get_offset(), torch.cuda.current_stream()
        self.stream.wait_stream(current)
        with torch.cuda.stream(self.stream):
            yield
        current.wait_stream(self.stream)
        self.generator.set_offset(offset)

    def record(self, step: Callable[[], None], place: int | None) -> Callable[[], None]:
        """Capture ``step`` as a graph with the memory of ``place``; return its replay."""
        pool = self.pools.get(place)
        if pool is None:
            pool = self.pools[place] = Pool(self.stream)
        graph = torch.cuda.CUDAGraph()
        self.stream.synchronize()
        with capturing(graph, pool):
            step()
        return graph.replay


class Pool:
    """Memory that graphs share; a small graph of its own keeps it while there is no other."""

    def __init__(self, stream: torch.cuda.Stream) -> None:
        self.handle, self.keeper = torch.cuda.graph_pool_handle(), torch.cuda.CUDAGraph()
        stream.synchronize()
        with torch.cuda.stream(stream), capturing(self.keeper, self):
            torch.zeros(1, device=stream.device)


@contextmanager
def capturing(graph: torch.cuda.CUDAGraph, pool: Pool) -> Iterator[None]:
    """Capture the current stream's work as ``graph``, with memory of ``pool``."""
    collecting = gc.isenabled()
    gc.disable()  # it may free a graph, which is an error during a capture
    graph.capture_begin(pool.handle, capture_error_mode="thread_local")
    try:
        yield
    except BaseException:
        with suppress(RuntimeError):  # the first error is the one to be read
            graph.capture_end()
        raise
    else:
        graph.capture_end()
    finally:
        if collecting:
            gc.enable()


class Sites:
    """Places of the weights and settings that one method of a module depends on.

    A supernet binds weights anew for each architecture, so they are looked up at every call.
    """

    def __init__(self, owner: nn.Module, parts: Sequence[str]) -> None:
        roots = [owner.get_submodule(part) for part in parts] if parts else [owner]
        modules = [module for root in roots for module in root.modules()]
        self.slots = [(m._parameters, name) for m in modules for name in m._parameters]
        holders = [m for m in dict.fromkeys([owner, *modules]) if isinstance(m, SublayerModule)]
        self.attributes = [(m, name) for m in holders for name in m.settings]

    def weights(self) -> list[Tensor]:
        """Return the weights that are bound now."""
        return [w for parameters, name in self.slots if (w := parameters[name]) is not None]

    @contextmanager
    def bound(self, others: Mapping[int, Tensor]) -> Iterator[None]:
        """Bind ``others[id(w)]`` in place of each weight ``w`` while this lasts."""
        filled = [
            (parameters, name, w) for parameters, name in self.slots if (w := parameters[name]) is not None
        ]
        for parameters, name, weight in filled:
            parameters[name] = others[id(weight)]
        try:
            yield
        finally:
            for parameters, name, weight in filled:
                parameters[name] = weight

    def settings(self) -> Iterator[Any]:
        """Return the settings that hold now."""
        return (getattr(module, name) for module, name in self.attributes)


class Variant:
    """Forward and backward graphs of one sub-layer with one set of weights and settings."""

    def __init__(
        self,
        graphs: SublayerGraphs,
        place: int,
        function: Callable[..., Tensor],
        owner: nn.Module,
        sites: Sites,
        inputs: Sequence[Any],
        first: bool,
    ) -> None:
        self.held = [x for x in inputs if not isinstance(x, Tensor)]
        """Keeps the objects alive whose identities the key of this variant has."""
        self.inputs: list[Tensor] = []
        self.flows: list[Tensor | None] = []
        self.result: Tensor | None = None
        arguments = list(inputs)
        for i, x in enumerate(inputs):
            if not isinstance(x, Tensor) or graphs.is_fixed(x):
                continue
            boundary = graphs.by_address.get((x.data_ptr(), x.shape))
            home = x.detach() if boundary else x.detach().clone()
            in_place = boundary is not None and first and not self.inputs
            flow = boundary.grad if boundary and in_place else torch.zeros_like(home)
            self.flows.append(flow if x.requires_grad else None)
            self.inputs.append(home)
            arguments[i] = home.detach().requires_grad_(x.requires_grad)
        leaves = [x for x in arguments if isinstance(x, Tensor) and x.requires_grad]
        weights = {id(w): w for w in sites.weights()}
        # Leaves of their own: while a pass that used the bound ones directly is alive, autograd would order
        # this recording after that pass's stream, which is an error.
        own = {key: w.detach().requires_grad_(w.requires_grad) for key, w in weights.items()}
        for key, weight in weights.items():
            own[key].grad = weight.grad
        trained = [w for w in own.values() if w.requires_grad]

        def call() -> Tensor:
            with sites.bound(own):
                return function(owner, *arguments)

        taken = [flow for flow in self.flows if flow is not None]
        forwards, backwards = StaticOutputs(), StaticOutputs()

        def forward() -> None:
            with forwards.answering():
                self.result = call()
            with torch.no_grad():
                leave(self.result, self.output.data)

        def backward() -> None:
            assert self.result is not None
            with backwards.answering():
                gradients = torch.autograd.grad(
                    self.result, leaves + trained, self.output.grad, allow_unused=True
                )
            self.result = None
            with torch.no_grad():
                for flow, gradient in zip(taken, gradients, strict=False):
                    leave(gradient, flow)
                of_weights = zip(trained, gradients[len(leaves) :], strict=True)
                used = [(w.grad, gradient) for w, gradient in of_weights if gradient is not None]
                if used:
                    torch._foreach_add_([s for s, _ in used], [g for _, g in used])  # type: ignore[arg-type]

        with graphs.capture.session(), torch.enable_grad():
            # A first run outside of a recording compiles kernels and makes libraries allocate what they keep.
            with forwards.answering():
                tried = call()
            with backwards.answering():
                flow = torch.zeros_like(tried)
                gradients = torch.autograd.grad(tried, leaves + trained, flow, allow_unused=True)
            self.output = graphs.boundary(place, tried)
            forwards.settle([tried], [self.output.data])
            backwards.settle(gradients[: len(leaves)], taken)
            del tried, flow, gradients
            self.replay_forward = graphs.capture.record(forward, place)
            self.replay_backward = graphs.capture.record(backward, None)

    def forward(self, inputs: Sequence[Tensor]) -> Tensor:
        """Replay the forward pass; the output stays valid until the next pass comes to its place."""
        for home, x in zip(self.inputs, inputs, strict=True):
            if home.data_ptr() != x.data_ptr():
                home.copy_(x)
        self.replay_forward()
        return self.output.data.detach()

    def backward(self, flow: Tensor) -> list[Tensor | None]:
        """Replay the backward pass: add to the gradients of weights, return those of the inputs."""
        if flow.data_ptr() != self.output.grad.data_ptr():
            self.output.grad.copy_(flow)
        self.replay_backward()
        return [None if tensor is None else tensor.detach() for tensor in self.flows]


def leave(result: Tensor | None, place: Tensor) -> None:
    """Copy a result to its place, unless it is there; None counts as zeros."""
    if result is None:
        place.zero_()
    elif result.data_ptr() != place.data_ptr():
        place.copy_(result)


class Replay(torch.autograd.Function):
    """Replay of a variant as one step of automatic differentiation."""

    @staticmethod
    def forward(ctx: Any, variant: Variant, anchor: Tensor, *inputs: Tensor) -> Tensor:
        ctx.variant = variant
        return variant.forward(inputs)

    @staticmethod
    def backward(ctx: Any, *flows: Tensor) -> tuple[Tensor | None, ...]:
        return None, None, *ctx.variant.backward(flows[0])
