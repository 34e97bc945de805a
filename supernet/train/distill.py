"""Distillation of encoders from a teacher: objectives for ``supernet.train.Trainer``.

The teacher is a frozen :class:`supernet.bert.Bert`; no gradient flows into it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from supernet.bert import Bert, Cell, CellBert, Op
from supernet.data.masked_text import MaskedBatch
from supernet.elastic import SuperNet
from supernet.train import TEACHER_COST, Batch, Objective, token_loss


@dataclass(frozen=True)
class LogitDistillation:
    """Labels and teacher logits: ``(1 - share) * MLM + share * KL(teacher || student)``, summed nats.

    NAS-BERT (Xu et al. 2021), section 3.4, where the share is 0.5.
    """

    teacher: Bert
    share: float = 0.5
    teacher_cost: ClassVar[float] = TEACHER_COST

    def __call__(
        self, model: Bert, batch: MaskedBatch, teacher_output: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        if teacher_output is None:
            with torch.no_grad():
                teacher_output = self.teacher(*batch.inputs).log_softmax(-1, dtype=torch.float32)
        logits = model(*batch.inputs)
        logp = F.log_softmax(logits, -1, dtype=torch.float32)
        apart = F.kl_div(logp, teacher_output, reduction="sum", log_target=True)
        return (1 - self.share) * token_loss(logits, batch.labels, 0.0) + self.share * apart, teacher_output

    def weight(self, batch: MaskedBatch) -> int:
        return len(batch.labels)


@dataclass(frozen=True)
class RelationDistillation:
    """Self-attention relations of the last layer (AutoDistil, Xu et al. 2022, section 3.2).

    Queries, keys and values are each split anew into ``heads`` parts, the same number for every width. A
    part's relation is ``softmax(A A' / sqrt(d))``, and the loss its mean squared difference to the teacher's,
    summed over the three. Operations after the last attention's projections get no gradient. With ``raw``, as
    in the public code, scores are compared before the softmax. Channels beyond a multiple of ``heads`` are
    left out, as there.
    """

    teacher: Bert
    heads: int = 12
    raw: bool = False
    teacher_cost: ClassVar[float] = TEACHER_COST

    def __call__(
        self, model: Bert, batch: MaskedBatch, teacher_output: list[Tensor] | None
    ) -> tuple[Tensor, list[Tensor]]:
        tokens = batch.original
        if teacher_output is None:
            with torch.no_grad():
                teacher_output = [self.relation(x) for x in self.teacher.projections(tokens)]
        ours = [self.relation(x) for x in model.projections(tokens)]
        apart = sum(F.mse_loss(a, b) for a, b in zip(ours, teacher_output, strict=True))
        return len(tokens) * torch.as_tensor(apart), teacher_output

    def relation(self, x: Tensor) -> Tensor:
        """Return the relations ``[B, heads, T, T]`` of ``[B, T, D]`` in float32."""
        width = x.shape[-1] // self.heads
        if not width:
            raise ValueError(f"{x.shape[-1]} channels do not make {self.heads} relation heads: use fewer")
        parts = x[..., : width * self.heads].unflatten(-1, (self.heads, width)).transpose(1, 2)
        # Scores are many times what they are made of, so nothing passes over them that need not.
        parts = parts.flatten(0, 1)
        scores = ((parts * width**-0.5) @ parts.mT).unflatten(0, (-1, self.heads))
        return scores.float() if self.raw else scores.softmax(-1, dtype=torch.float32)

    def weight(self, batch: MaskedBatch) -> int:
        return len(batch.shown)


@dataclass(frozen=True)
class BlockDistillation:
    """Block-wise distillation (NAS-BERT, section 3.2).

    The input of every block is the teacher's states before its share of the teacher's layers, and its target
    the states after them. Blocks are independent of one another.
    """

    teacher: Bert
    family: CellBert
    teacher_cost: ClassVar[float] = TEACHER_COST

    def __call__(
        self, model: Bert, batch: MaskedBatch, teacher_output: list[Tensor] | None
    ) -> tuple[Tensor, list[Tensor]]:
        blocks = self.family.space.constants["blocks"]
        if teacher_output is None:
            teacher_output = teacher_states(self.teacher, batch.original, blocks)
        apart = torch.zeros((), device=teacher_output[0].device)
        for block, stages in enumerate(split(model.plan.ops, self.family)):
            states = model.run(teacher_output[block], stages=stages)
            apart = apart + F.mse_loss(states, teacher_output[block + 1])
        return len(batch.shown) * apart, teacher_output

    def weight(self, batch: MaskedBatch) -> int:
        return len(batch.shown)


def split(ops: Sequence[Op], family: CellBert) -> Iterator[list]:
    """Yield a plan's operations block by block, each with its own input and output bridge."""
    for block in range(family.space.constants["blocks"]):
        mine = [op for op in ops if op.name.startswith(f"{block}_")]
        stages = family.block(block, mine[0].width, [])
        yield [stages[0], *mine, stages[1]]


def teacher_states(teacher: Bert, tokens: Tensor, blocks: int) -> list[Tensor]:
    """Return the teacher's states ``[B, T, hub]`` before the first block and after each: ``blocks + 1`` of
    them.

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


def prefixes(cells: Iterable[Cell]) -> set[Cell]:
    """Return all prefixes of the candidates, the candidates included."""
    return {(width, ops[: i + 1]) for width, ops in cells for i in range(len(ops))}


def block_runs(cells: Iterable[Cell]) -> int:
    """Return the number of operations that ``score_block`` runs on each batch."""
    return len(prefixes(cells))


PIECE = {"cuda": 65536, "cpu": 2048}
"""Tokens that ``score_block`` sends through an operation at once, by device: enough to fill a GPU, few enough
for a CPU's cache."""


@torch.no_grad()
def score_block(
    net: SuperNet, block: int, states: Sequence[tuple[Tensor, Tensor]], cells: Iterable[Cell]
) -> dict[Cell, float]:
    """Return the loss of each candidate of one block: mean squared error to the teacher's states after it.

    Candidates with a common prefix share its states, so that each costs one operation and one output bridge,
    whatever its depth. Prefixes of one length go through an operation together, ``PIECE`` tokens at a time,
    and the only wait for the device is at the end.

    Args:
        net: over a :class:`CellBert` with shared slices.
        block: index of the block.
        states: the teacher's states ``[B, T, hub]`` before and after it, for some batches.
        cells: the candidates.
    """
    family: CellBert = net.family
    model: Bert = net.bind_all().eval()  # type: ignore[assignment]
    wanted = set(cells)
    runs, codes = prefixes(wanted), family.space.choice(f"ops_{block}").options
    names: list[Cell] = []
    losses: list[Tensor] = []
    for before, after in states:
        most = max(1, PIECE.get(before.device.type, PIECE["cpu"]) // before[..., 0].numel())
        for width in sorted({width for width, _ in wanted}):
            enter, leave = family.block(block, width, [])
            begun: list[tuple[list[tuple[int, ...]], Tensor]]
            begun = [([()], model.run(before, stages=[enter]))]
            while begun:
                done, x = begun.pop()
                grown: list[tuple[int, ...]] = []
                outputs: list[Tensor] = []
                for code in codes:
                    going = [i for i, start in enumerate(done) if (width, (*start, code)) in runs]
                    if not going:
                        continue
                    grown += [(*done[i], code) for i in going]
                    some = x
                    if len(going) < len(done):
                        some = x.unflatten(0, (len(done), -1))[going].flatten(0, 1)
                    outputs.append(model.run(some, stages=[family.op(block, len(done[0]), code, width)]))
                if not grown:
                    continue
                y = torch.cat(outputs)
                states_after = model.run(y, stages=[leave]).unflatten(0, (len(grown), -1))
                losses.append((states_after.float() - after.float()).square_().flatten(1).mean(1))
                names += [(width, ops) for ops in grown]
                pieces = y.split(most * len(before))
                begun += [(grown[i * most : (i + 1) * most], piece) for i, piece in enumerate(pieces)]
    totals: dict[Cell, float] = {}
    for name, loss in zip(names, torch.cat(losses).tolist(), strict=True):
        if name in wanted:
            totals[name] = totals.get(name, 0.0) + loss / len(states)
    return totals


@torch.no_grad()
def mean_loss(
    model: nn.Module, objective: Objective, batches: Sequence[Batch], teacher_outputs: list[Any]
) -> float:
    """Return the loss of one network per unit of ``objective.weight`` over ``batches``.

    ``teacher_outputs`` has one entry a batch, at first None, and is filled here. So the teacher runs once,
    however many networks are evaluated.
    """
    total: Tensor | float = 0.0
    for i, batch in enumerate(batches):
        loss, teacher_outputs[i] = objective(model, batch, teacher_outputs[i])
        total = total + loss
    return float(total) / sum(objective.weight(batch) for batch in batches)
