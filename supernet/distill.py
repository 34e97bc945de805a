"""Training an encoder towards a teacher: objectives for ``supernet.train.Trainer``.

The teacher is a :class:`supernet.bert.Bert`; it stays as it is, and nothing flows back into it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from supernet.bert import Bert, Cell, CellBert, Op
from supernet.elastic import SuperNet
from supernet.masked import MaskedBatch
from supernet.train import TEACHING, token_loss


@dataclass(frozen=True)
class Logits:
    """Labels and the teacher's predictions: ``(1 - share) * MLM + share * KL(teacher || student)``
    (NAS-BERT, section 3.4, where the share is 0.5)."""

    teacher: Bert
    share: float = 0.5
    teaching: ClassVar[float] = TEACHING

    def __call__(
        self, model: Bert, batch: MaskedBatch, lesson: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        if lesson is None:
            with torch.no_grad():
                lesson = self.teacher(*batch.inputs).log_softmax(-1, dtype=torch.float32)
        logits = model(*batch.inputs)
        logp = F.log_softmax(logits, -1, dtype=torch.float32)
        apart = F.kl_div(logp, lesson, reduction="sum", log_target=True)
        return (1 - self.share) * token_loss(logits, batch.labels, 0.0) + self.share * apart, lesson

    def weight(self, batch: MaskedBatch) -> int:
        return len(batch.labels)


@dataclass(frozen=True)
class Relations:
    """Self-attention relations of the last layer (AutoDistil, Xu et al. 2022, section 3.2).

    Queries, keys and values are each split anew into ``heads`` parts, as many for every width; a part's
    relation is ``softmax(A A' / sqrt(d))``, and the loss its mean squared difference to the teacher's,
    summed over the three. Operations after the last attention's projections learn nothing from it. With
    ``raw``, as in the public code, scores are compared before the softmax. Channels that ``heads`` does
    not divide are left out, as there.
    """

    teacher: Bert
    heads: int = 12
    raw: bool = False
    teaching: ClassVar[float] = TEACHING

    def __call__(
        self, model: Bert, batch: MaskedBatch, lesson: list[Tensor] | None
    ) -> tuple[Tensor, list[Tensor]]:
        tokens = batch.original
        if lesson is None:
            with torch.no_grad():
                lesson = [self.relation(x) for x in self.teacher.projections(tokens)]
        ours = [self.relation(x) for x in model.projections(tokens)]
        apart = sum(F.mse_loss(a, b) for a, b in zip(ours, lesson, strict=True))
        return len(tokens) * torch.as_tensor(apart), lesson

    def relation(self, x: Tensor) -> Tensor:
        """``[B, T, D]`` to relations ``[B, heads, T, T]`` in float32."""
        width = x.shape[-1] // self.heads
        if not width:
            raise ValueError(f"{x.shape[-1]} channels do not make {self.heads} relation heads: use fewer")
        parts = x[..., : width * self.heads].unflatten(-1, (self.heads, width)).transpose(1, 2)
        scores = (parts @ parts.transpose(-1, -2)).float() * width**-0.5
        return scores if self.raw else scores.softmax(-1)

    def weight(self, batch: MaskedBatch) -> int:
        return len(batch.shown)


@dataclass(frozen=True)
class Blocks:
    """Every block learns the teacher's states after its share of the teacher's layers from the states
    before it (NAS-BERT, section 3.2). Blocks do not see one another."""

    teacher: Bert
    family: CellBert
    teaching: ClassVar[float] = TEACHING

    def __call__(
        self, model: Bert, batch: MaskedBatch, lesson: list[Tensor] | None
    ) -> tuple[Tensor, list[Tensor]]:
        blocks = self.family.space.constants["blocks"]
        if lesson is None:
            lesson = teacher_states(self.teacher, batch.original, blocks)
        apart = torch.zeros((), device=lesson[0].device)
        for block, stages in enumerate(split(model.plan.ops, self.family)):
            found = model.run(lesson[block], stages=stages)
            apart = apart + F.mse_loss(found, lesson[block + 1])
        return len(batch.shown) * apart, lesson

    def weight(self, batch: MaskedBatch) -> int:
        return len(batch.shown)


def split(ops: Sequence[Op], family: CellBert) -> Iterator[list]:
    """A plan's operations block by block, each with its own way in and out."""
    for block in range(family.space.constants["blocks"]):
        mine = [op for op in ops if op.name.startswith(f"{block}_")]
        stages = family.block(block, mine[0].width, [])
        yield [stages[0], *mine, stages[1]]


def teacher_states(teacher: Bert, tokens: Tensor, blocks: int) -> list[Tensor]:
    """States ``[B, T, hub]`` before the first block and after each: ``blocks + 1`` of them.

    Raises:
        ValueError: the teacher's layers do not divide into the blocks.
    """
    stages = teacher.plan.stages
    if len(stages) // 2 % blocks or teacher.plan.bridges:
        raise ValueError(f"a teacher of {len(stages) // 2} layers does not divide into {blocks} blocks")
    each = len(stages) // blocks
    with torch.no_grad():
        states = [teacher.embedding(tokens, None)]
        for block in range(blocks):
            states.append(teacher.run(states[-1], stages=stages[block * each : (block + 1) * each]))
    return states


def beginnings(cells: Iterable[Cell]) -> set[Cell]:
    """The candidates themselves and all that they begin with."""
    return {(width, ops[: i + 1]) for width, ops in cells for i in range(len(ops))}


def block_runs(cells: Iterable[Cell]) -> int:
    """Operations that ``score_block`` runs on each batch."""
    return len(beginnings(cells))


@torch.no_grad()
def score_block(
    net: SuperNet, block: int, states: Sequence[tuple[Tensor, Tensor]], cells: Iterable[Cell]
) -> dict[Cell, float]:
    """Loss of candidates of one block: mean squared error to the teacher's states after it.

    Candidates that begin alike share the states up to where they part, so each costs one operation
    and one way out, whatever its depth.

    Args:
        net: over a :class:`CellBert` with shared slices.
        block: which one.
        states: the teacher's states before and after it, for some batches.
        cells: the candidates.
    """
    family: CellBert = net.family
    model: Bert = net.whole().eval()  # type: ignore[assignment]
    wanted = set(cells)
    runs, widths = beginnings(wanted), sorted({width for width, _ in wanted})
    codes = family.space.choice(f"ops_{block}").options
    totals: dict[Cell, Tensor] = {}
    for before, after in states:
        for width in widths:
            enter, leave = family.block(block, width, [])
            open_: list[tuple[tuple[int, ...], Tensor]] = [((), model.run(before, stages=[enter]))]
            while open_:
                done, x = open_.pop()
                for here in ((*done, code) for code in codes):
                    if (width, here) not in runs:
                        continue
                    y = model.run(x, stages=[family.op(block, len(done), here[-1], width)])
                    if (width, here) in wanted:
                        loss = F.mse_loss(model.run(y, stages=[leave]).float(), after.float())
                        totals[width, here] = totals.get((width, here), 0.0) + loss / len(states)
                    open_.append((here, y))
    return dict(zip(totals, torch.stack(list(totals.values())).tolist(), strict=True))
