"""Roofline of a step, counted from the operations it dispatches."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from tests.bench.timing import Rates, clock

FREE = {"empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided", "_unsafe_view"}
"""Operations that touch no element; those that say that they are views do not either."""


class Roofline(TorchDispatchMode):
    """Counts what runs inside it.

    An operation lasts as long as its arithmetic at the matrix rate or as its bytes (each tensor it is
    given or gives, once) at the copy rate, whichever is longer. What a kernel reads twice, and what the
    cache spares, is not seen, nor are kernels in Triton; an operation of several kernels counts as one
    launch.

    Attributes:
        launches: operations that are no views.
        bytes: read and written.
        flops: of matrix products and attention.
        seconds: sum over the operations.
        by_bytes: that part of ``seconds`` in which bytes bind.
    """

    def __init__(self, rates: Rates) -> None:
        super().__init__()
        self.rates = rates
        self.launches, self.bytes, self.flops, self.seconds, self.by_bytes = 0, 0, 0, 0.0, 0.0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        name = func.overloadpacket.__name__
        if func.is_view or name in FREE:
            return out
        self.launches += 1
        moved = sum(size(x) for x in moves(name, args, kwargs, out))
        # Attention on a CPU has a name of its own and the arguments of the others.
        count = flop_registry.get(getattr(torch.ops.aten, name.replace("_for_cpu", ""), None))
        flops = count(*args, **kwargs, out_val=out) if count else 0
        self.bytes, self.flops = self.bytes + moved, self.flops + flops
        arithmetic, traffic = flops / self.rates.matrix, moved / self.rates.copy
        self.seconds += max(arithmetic, traffic)
        self.by_bytes += traffic if traffic > arithmetic else 0.0
        return out

    @property
    def host(self) -> float:
        """Seconds that the host takes to launch it all."""
        return self.launches / self.rates.launch

    @property
    def larger(self) -> str:
        """``bytes`` or ``arithmetic``."""
        return "bytes" if self.by_bytes > self.seconds / 2 else "arithmetic"


def moves(name: str, args: Any, kwargs: Any, out: Any) -> Iterator[Tensor]:
    """The tensors that an operation reads or writes, as far as it does."""
    given = [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
    if name in ("embedding", "index_select", "index", "gather"):
        given = given[1:]  # of the table, what comes out is read
        yield from (x for x in tree_leaves(out) if isinstance(x, Tensor))
    elif name in ("fill_", "zero_", "copy_"):
        given = given[1:]
    elif name in ("scatter_add_", "index_add_"):
        given = [*given[1:], given[-1], given[-1]]
    yield from given
    yield from (x for x in tree_leaves(out) if isinstance(x, Tensor))


def size(x: Tensor) -> int:
    """Bytes of a tensor's elements; broadcast ones count once."""
    spread = [n for n, stride in zip(x.shape, x.stride(), strict=True) if stride]
    return int(torch.Size(spread).numel()) * x.element_size()


def launch_rate(device: torch.device) -> float:
    """Operations a second that the host launches in forward and backward passes of small layers."""
    x = torch.zeros(8, 16, device=device)
    weights = [torch.zeros(16, 16, device=device, requires_grad=True) for _ in range(64)]
    biases = [torch.zeros(16, device=device, requires_grad=True) for _ in weights]

    def passes() -> None:
        y = x
        for weight, bias in zip(weights, biases, strict=True):
            y = y + F.gelu(F.linear(y, weight, bias))
        y.sum().backward()

    for _ in range(2):
        passes()
    with Roofline(Rates(1.0, 1.0, 1.0)) as counted:
        passes()
    return counted.launches / clock(device, passes, 5)
