"""Static output buffers, in which operations of a recorded sub-layer leave its results without a copy."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor


class StaticOutputs:
    """Memory for the results of one step that runs again and again.

    The first run shows which requests for memory become results of the step. In later runs, which make the
    same requests, these are answered with the place where the result is wanted.
    """

    _answering: StaticOutputs | None = None
    """The one whose step runs now, in whatever thread: autograd has a thread for each GPU."""

    def __init__(self) -> None:
        self.given: list[Tensor] | None = []
        """Answers of the first run, held so that no address is given twice; None afterwards."""
        self.places: dict[int, Tensor] = {}
        """Number of a request -> place that answers it."""
        self.number = 0

    @contextmanager
    def answering(self) -> Iterator[None]:
        """Answer requests while this lasts: one run of the step."""
        before, StaticOutputs._answering, self.number = StaticOutputs._answering, self, 0
        try:
            yield
        finally:
            StaticOutputs._answering = before

    def settle(self, results: Sequence[Tensor | None], places: Sequence[Tensor]) -> None:
        """End the first run: give each result that a request became its place, for the runs to come."""
        given = {tensor.data_ptr(): i for i, tensor in enumerate(self.given or ())}
        self.given = None
        for result, place in zip(results, places, strict=True):
            if result is None or result.dtype != place.dtype or not result.is_contiguous():
                continue
            number = given.pop(result.data_ptr(), None)  # one place for each request
            if number is not None and result.numel() == place.numel():
                self.places[number] = place

    def answer(self, shape: Sequence[int], like: Tensor) -> Tensor:
        """Return memory for the request that is made now."""
        place = self.places.get(self.number)
        self.number += 1
        if place is not None:
            # An alias for each run: autograd marks what an operation returns as made by it.
            return place.detach().view(shape)
        new = torch.empty(shape, dtype=like.dtype, device=like.device)
        if self.given is not None:
            self.given.append(new)
        return new


def memory(shape: Sequence[int], like: Tensor) -> Tensor:
    """Return memory of a shape, and of the data type and device of ``like``, for an operation's result."""
    current = StaticOutputs._answering
    if current is None:
        return torch.empty(shape, dtype=like.dtype, device=like.device)
    return current.answer(shape, like)
