"""Any list or iterable of batches as the stream that the trainer takes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from supernet.train import Batch


class PlainBatches:
    """Batches of a data loader, a list or a function, trained on for a number of updates.

    Args:
        batches: an iterable that starts anew each time it is iterated, such as a list or a ``DataLoader``,
            or a function from the number of the epoch, from 0, to an iterable.
        updates: batches in all; epochs follow one another.

    Attributes:
        total: the updates, as the schedule of the learning rate counts them.
        spent: batches yielded.

    Raises:
        ValueError: fewer than one update, or an epoch without a batch.
    """

    def __init__(self, batches: Iterable[Batch] | Callable[[int], Iterable[Batch]], updates: int) -> None:
        if updates < 1:
            raise ValueError(f"updates={updates}: at least 1")
        if isinstance(batches, Iterator):
            raise ValueError(
                "an iterator is used up after one epoch: give a list, or a function of the epoch"
            )
        self._batches, self.total, self.spent = batches, float(updates), 0.0
        self._epoch, self._position = 0, 0

    def __iter__(self) -> Iterator[Batch]:
        while self.spent < self.total:
            skipped, self._position = self._position, 0
            for batch in self._batches(self._epoch) if callable(self._batches) else self._batches:
                self._position += 1
                if self._position <= skipped:
                    continue
                self.spent += 1
                yield batch
                if self.spent >= self.total:
                    return
            if not self._position:
                raise ValueError("an epoch has no batch")
            self._epoch, self._position = self._epoch + 1, 0

    def state(self) -> dict[str, Any]:
        """Return the place in the stream."""
        return {"epoch": self._epoch, "position": self._position, "spent": self.spent}

    def restore(self, state: dict[str, Any]) -> None:
        """Continue after the batch at which ``state`` was taken."""
        self._epoch, self._position = int(state["epoch"]), int(state["position"])
        self.spent = float(state["spent"])
