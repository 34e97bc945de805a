"""NAS-BERT's progressive shrinking: candidates of every block, halved within bins of size and latency."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np

from supernet.bert import Cell, CellBert, op_shapes
from supernet.elastic import SuperNet
from supernet.space import Architecture, SearchSpace

Losses = Callable[[SuperNet, int, Sequence[Cell]], Mapping[Cell, float]]


def blocks(space: SearchSpace) -> int:
    """Return the number of blocks of a cell space."""
    return int(space.constants["blocks"])


def cells_of(space: SearchSpace, block: int) -> Iterator[Cell]:
    """Yield every candidate of a block: a width and one to all layers of operations."""
    ops = space.choice(f"ops_{block}")
    for width in space.choice(f"width_{block}").options:
        for depth in space.choice(f"layers_{block}").options:
            yield from ((width, codes) for codes in product(ops.options, repeat=depth))


def cell_size(family: CellBert, block: int, cell: Cell) -> int:
    """Return the parameters of the operations of one candidate."""
    shapes: dict[str, tuple[int, ...]] = {}
    for layer, code in enumerate(cell[1]):
        shapes |= op_shapes(family.op(block, layer, code, cell[0]))
    return sum(math.prod(shape) for shape in shapes.values())


def architecture_of(space: SearchSpace, cells: Sequence[Cell]) -> Architecture:
    """Return the network of one candidate a block."""
    values: dict[str, Any] = {}
    for block, (width, codes) in enumerate(cells):
        values |= {f"width_{block}": width, f"layers_{block}": len(codes), f"ops_{block}": list(codes)}
    return space.architecture(values)


class Shrinking:
    """Single-path sampling over the remaining candidates, fewer after every epoch (NAS-BERT, section 3.3).

    Bin ``b`` of ``bins`` keeps candidates whose size is between ``(b - 1) / bins`` and ``b / bins`` of the
    largest's; those whose latency is not in the same interval of the largest latency go at once. After
    ``warm_up`` epochs, every bin with more than ``keep`` loses the worse half of at most ``sampled`` random
    ones of its candidates, down to ``keep``, at the end of each epoch. There are as many epochs as the
    fullest bin needs; a bin of at most ``sampled`` is halved.

    Args:
        family: of the supernet.
        latencies: block and candidate -> milliseconds.
        losses: of candidates of one block, as the network stands.
        sampled: candidates of a bin that an epoch compares; the paper's E, 2,000.
        seed: of these samples.
    """

    passes = 1
    distill = False

    def __init__(
        self,
        family: CellBert,
        latencies: Callable[[int, Cell], float],
        losses: Losses,
        *,
        bins: int,
        keep: int,
        warm_up: int,
        sampled: int,
        seed: int,
    ) -> None:
        self.family, self.losses, self.keep, self.warm_up, self.halved = family, losses, keep, warm_up, 0
        self.sampled, self.seed = sampled, seed
        space = family.space
        self.remaining = [
            binned(
                {cell: cell_size(family, b, cell) for cell in cells_of(space, b)},
                {cell: latencies(b, cell) for cell in cells_of(space, b)},
                bins,
            )
            for b in range(blocks(space))
        ]
        fullest = max(len(kept) for parts in self.remaining for kept in parts)
        self.rounds = 0
        while fullest > keep:
            fullest -= self.dropped(fullest)
            self.rounds += 1

    def cells(self, block: int) -> list[Cell]:
        """Return the remaining candidates of a block, in the order of bins."""
        return [cell for part in self.remaining[block] for cell in part]

    def draw(self, space: SearchSpace, rng: np.random.Generator) -> list[Architecture]:
        chosen = [self.cells(block) for block in range(len(self.remaining))]
        picked = [those[int(rng.integers(len(those)))] for those in chosen]
        return [architecture_of(space, picked)]

    def after(self, net: SuperNet, done: float) -> None:
        epochs = self.warm_up + self.rounds
        while self.halved < self.rounds and done >= (self.warm_up + self.halved + 1) / epochs:
            self.halve(net)

    def finish(self, net: SuperNet) -> None:
        """Halve for the last epoch, at the end of training."""
        while self.halved < self.rounds:
            self.halve(net)

    def dropped(self, count: int) -> int:
        """Return the number of candidates that a bin of ``count`` loses in one epoch."""
        return min(min(count, self.sampled) // 2, max(count - self.keep, 0))

    def halve(self, net: SuperNet) -> None:
        """Drop the worse half of the sampled candidates of every bin that has more than ``keep``."""
        for block, parts in enumerate(self.remaining):
            compared = [self.sample(block, number, part) for number, part in enumerate(parts)]
            loss = self.losses(net, block, [cell for part in compared for cell in part])
            for part, some in zip(parts, compared, strict=True):
                worst = sorted(some, key=lambda cell: (loss[cell], cell), reverse=True)
                gone = set(worst[: self.dropped(len(part))])
                part[:] = [cell for cell in part if cell not in gone]
        self.halved += 1

    def sample(self, block: int, number: int, part: list[Cell]) -> list[Cell]:
        """Return at most ``sampled`` random candidates of bin ``number`` of a block, its order kept."""
        if len(part) <= self.sampled:
            return list(part)
        rng = np.random.default_rng([self.seed, self.halved, block, number])
        chosen = rng.choice(len(part), self.sampled, replace=False)
        return [part[i] for i in sorted(chosen)]

    def state(self) -> dict[str, Any]:
        return {"left": self.remaining, "halved": self.halved}

    def restore(self, state: Mapping[str, Any]) -> None:
        self.remaining = [[[(w, tuple(ops)) for w, ops in part] for part in parts] for parts in state["left"]]
        self.halved = state["halved"]


def binned(sizes: Mapping[Cell, int], latencies: Mapping[Cell, float], bins: int) -> list[list[Cell]]:
    """Return the candidates in bins of size, without those whose latency lies in another interval.

    Intervals are shares of the largest, open below and closed above. A bin that latency would empty keeps
    its candidates, because on some devices size and latency do not agree, and every size must be searchable.
    """
    largest, slowest = max(sizes.values()), max(latencies.values())

    def interval(share: float) -> int:
        return max(0, math.ceil(share * bins - 1e-9) - 1)

    parts: list[list[Cell]] = []
    for number in range(bins):
        part = [cell for cell, size in sizes.items() if interval(size / largest) == number]
        both = [cell for cell in part if interval(latencies[cell] / slowest) == number]
        parts.append(both or part)
    return parts
