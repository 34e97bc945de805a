"""Count of the operators that torch's dispatcher runs."""

from __future__ import annotations

from collections.abc import Sequence

from torch._ops import OpOverload
from torch.utils._python_dispatch import TorchDispatchMode


class OperatorCounter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Count of the operators that the dispatcher runs while it is entered, by name."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.calls: dict[str, int] = {}

    @property
    def total(self) -> int:
        """Operators of all names."""
        return sum(self.calls.values())

    def __torch_dispatch__(
        self,
        func: OpOverload,
        types: Sequence[type],
        args: tuple[object, ...] = (),
        kwargs: dict[str, object] | None = None,
    ) -> object:
        name = str(func.overloadpacket)
        self.calls[name] = self.calls.get(name, 0) + 1
        return func(*args, **(kwargs or {}))
