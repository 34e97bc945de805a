"""Prepaid passes over training batches."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Prepayment:
    """Base class of batches: passes that were charged when a batch was drawn, and passes made over it.

    Both belong to one batch. A copy, by ``dataclasses.replace``, ``copy`` or ``pickle``, begins at 0, so that
    training on it is charged.

    Attributes:
        prepaid: passes that were charged; 0 for batches that no allowance paid for.
        passes: passes made so far.
    """

    prepaid: float = field(default=0, init=False)
    passes: float = field(default=0, init=False)

    def __getstate__(self) -> dict[str, object]:
        """Return the fields of a copy: all but those of this batch alone."""
        return {name: value for name, value in vars(self).items() if name not in ("prepaid", "passes")}
