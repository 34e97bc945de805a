"""Any list or iterable of batches as the stream that the trainer takes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from supernet.data.prepayment import Prepayment
from supernet.objective import Batch


@dataclass
class TensorBatch(Prepayment):
    """One batch of plain tensors: ``model(*inputs)`` returns logits ``[N, V]`` for ``labels`` ``[N]``.

    ``tokens`` is N.
    """

    inputs: tuple[Tensor, ...]
    labels: Tensor

    @property
    def tokens(self) -> int:
        """Cost of one pass."""
        return len(self.labels)

    @property
    def tensors(self) -> None:
        """None, since shapes may differ from batch to batch."""


class PlainBatches:
    """Batches of a data loader, a list or a function, trained on for a number of updates.

    Args:
        batches: an iterable that starts anew each time it is iterated, such as a list or a ``DataLoader``,
            or a function from the number of the epoch, from 0, to an iterable. A batch is a
            ``supernet.train.Batch``, or a tuple or list of tensors: the network's inputs, then the labels.
        updates: batches in all; epochs follow one another. None: one epoch of an iterable with a length.
        device: of the tensors of tuples; None leaves them where they are.

    Attributes:
        total: the updates, as the schedule of the learning rate counts them.
        spent: batches yielded.

    Raises:
        ValueError: fewer than one update or an unknown number, or an epoch without a batch.
        TypeError: a batch is neither a ``Batch`` nor tensors.
    """

    def __init__(
        self,
        batches: Iterable[Any] | Callable[[int], Iterable[Any]],
        updates: int | None = None,
        device: torch.device | None = None,
    ) -> None:
        if updates is None:
            if not hasattr(batches, "__len__"):
                raise ValueError("how many updates? give updates=N: these batches have no length")
            updates = len(batches)
        if updates < 1:
            raise ValueError(f"updates={updates}: at least 1")
        if isinstance(batches, Iterator):
            raise ValueError(
                "an iterator is used up after one epoch: give a list, or a function of the epoch"
            )
        self._batches, self.total, self.spent = batches, float(updates), 0.0
        self._device = device
        self._epoch, self._position = 0, 0

    def __iter__(self) -> Iterator[Batch]:
        while self.spent < self.total:
            skipped, self._position = self._position, 0
            for batch in self._batches(self._epoch) if callable(self._batches) else self._batches:
                self._position += 1
                if self._position <= skipped:
                    continue
                self.spent += 1
                yield self._as_batch(batch)
                if self.spent >= self.total:
                    return
            if not self._position:
                raise ValueError("an epoch has no batch")
            self._epoch, self._position = self._epoch + 1, 0

    def _as_batch(self, batch: Any) -> Batch:
        if not isinstance(batch, tuple | list):
            return batch  # type: ignore[no-any-return]
        if len(batch) < 2 or not all(isinstance(part, Tensor) for part in batch):
            kinds = ", ".join(type(part).__name__ for part in batch)
            raise TypeError(f"a batch of ({kinds}): tensors are needed, the network's inputs and the labels")
        *inputs, labels = self._placed(batch)
        return TensorBatch(tuple(inputs), labels)

    def _placed(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        return [tensor if self._device is None else tensor.to(self._device) for tensor in tensors]

    def state(self) -> dict[str, Any]:
        """Return the place in the stream."""
        return {"epoch": self._epoch, "position": self._position, "spent": self.spent}

    def restore(self, state: dict[str, Any]) -> None:
        """Continue after the batch at which ``state`` was taken."""
        self._epoch, self._position = int(state["epoch"]), int(state["position"])
        self.spent = float(state["spent"])
