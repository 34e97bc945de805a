"""Training batches against an allowance, and the seeds of everything that a run draws."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from benchmarks.api import TrainBatches
from supernet.train import Batch, Recipe

if TYPE_CHECKING:
    from benchmarks.lab.lab import BenchLab


def derive_seed(*parts: object) -> int:
    """A seed of 63 bits from readable parts: equal parts, equal seed, on every machine."""
    text = "/".join(map(str, parts)).encode()
    return int.from_bytes(hashlib.sha256(text).digest()[:8], "big") >> 1


def recipe_of(fields: Mapping[str, Any]) -> Recipe:
    """The recipe that a tier's table states."""
    values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in fields.items()}
    return Recipe(**values)


class ChargedBatches(TrainBatches):
    """Batches for a share of the token allowance; see ``TrainBatches``."""

    def __init__(self, lab: BenchLab, share: float, passes: float, number: int) -> None:
        if not 0 < share <= 1 or passes < 1:
            raise ValueError(
                f"train_batches(share={share!r}, passes={passes!r}): a share in (0, 1], at least 1 pass"
            )
        self.total = share * lab.ledger.total("tokens")
        self.spent = 0.0
        self._over = False
        self._lab, self._passes = lab, passes
        self._source = lab.batches(derive_seed(lab.seed, lab.task.name, "batches", number))

    def __iter__(self) -> Iterator[Batch]:
        if self._over:
            return
        for batch in self._source:
            cost = self._passes * batch.tokens
            if self.spent + cost > self.total or not self._lab.try_charge("tokens", cost):
                # What is left is less than a batch: over for good, so that a resumed stream ends here too.
                self._over = True
                return
            self.spent += cost
            batch.prepaid = self._passes
            self._lab.yield_to_timing()
            yield batch

    def state(self) -> dict[str, Any]:
        return {"source": self._source.state(), "spent": self.spent, "over": self._over}

    def restore(self, state: Mapping[str, Any]) -> None:
        self._source.restore(state["source"])
        self.spent, self._over = state["spent"], state["over"]
