"""Training batches charged against an allowance, and the seeds of all random draws of a run."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from benchmarks.api import TrainBatches
from benchmarks.records.canonical import JsonObject, JsonView
from supernet.train import Batch, Recipe

if TYPE_CHECKING:
    from benchmarks.lab.lab import BenchLab


def derive_seed(*parts: object) -> int:
    """Return a seed of 63 bits from readable parts: equal parts give an equal seed on every machine."""
    text = "/".join(map(str, parts)).encode()
    return int.from_bytes(hashlib.sha256(text).digest()[:8], "big") >> 1


def recipe_of(fields: JsonView) -> Recipe:
    """Return the training recipe in a tier's table."""
    values: JsonObject = {k: tuple(v) if isinstance(v, list) else v for k, v in fields.items()}
    return Recipe(**values)


class ChargedBatches(TrainBatches):
    """Batches for a share of the token allowance; see ``TrainBatches``.

    Args:
        lab: the Lab that is charged.
        share: share of the total token allowance, in (0, 1].
        passes: charged passes over each batch, at least 1.
        number: number of the stream, which its order depends on.

    Raises:
        ValueError: ``share`` or ``passes`` is out of range.
    """

    def __init__(self, lab: BenchLab, share: float, passes: float, number: int) -> None:
        if not 0 < share <= 1 or passes < 1:
            raise ValueError(
                f"train_batches(share={share!r}, passes={passes!r}): a share in (0, 1], at least 1 pass"
            )
        self.total = share * lab.ledger.total("tokens")
        if lab.starts:  # the parent's share is spent: schedules end where the tokens do
            self.total = min(self.total, lab.ledger.left("tokens"))
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
                # The rest is less than a batch. It ends for good, so that a resumed stream ends here too.
                self._over = True
                return
            self.spent += cost
            self._lab.ledger.book("updates", 1 / self._lab.recipe.accumulate)
            batch.prepaid = self._passes
            self._lab.yield_to_timing()
            yield batch

    def state(self) -> JsonObject:
        return {"source": self._source.state(), "spent": self.spent, "over": self._over}

    def restore(self, state: JsonView) -> None:
        self._source.restore(state["source"])
        self.spent, self._over = state["spent"], state["over"]
