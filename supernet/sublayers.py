"""Sub-layers of networks, marked so that a GPU can replay them as CUDA graphs while a supernet trains."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any, Protocol, TypeVar, cast

from torch import Tensor, nn


class Replayer(Protocol):
    """Runner of sub-layers, such as :class:`supernet.gpu.sublayer_graphs.SublayerGraphs`."""

    def run(
        self, function: Callable[..., Tensor], owner: nn.Module, parts: Sequence[str], inputs: Sequence[Any]
    ) -> Tensor:
        """Return ``function(owner, *inputs)``."""


class SublayerModule(nn.Module):
    """Module with methods marked by ``sublayer``.

    Attributes:
        replayer: runs those methods while it is set; None calls them directly.
        settings: names of the attributes, besides weights, that change a method's operations.
    """

    replayer: Replayer | None = None
    settings: tuple[str, ...] = ()


Method = TypeVar("Method", bound=Callable[..., Tensor])


def sublayer(*parts: str) -> Callable[[Method], Method]:
    """Mark a method as a sub-layer: a function of its inputs and of the weights of ``parts`` alone.

    Args:
        parts: attributes of the module whose weights it uses; all of them if there are none.
    """

    def mark(function: Method) -> Method:
        @wraps(function)
        def call(self: SublayerModule, *inputs: Any) -> Tensor:
            if self.replayer is None:
                return function(self, *inputs)
            return self.replayer.run(function, self, parts, inputs)

        return cast(Method, call)

    return mark
