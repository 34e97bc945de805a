"""Training objectives: losses over batches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from supernet.elastic import FORWARD_COST


class Batch(Protocol):
    """One training batch: ``model(*inputs)`` returns logits ``[N, V]`` for ``labels`` ``[N]``.

    ``tokens``: cost of one pass over it. ``prepaid``: passes charged when it was drawn; ``passes``: passes so
    far. ``tensors``: the network's inputs if every batch of the stream has the same shapes, else None. Such a
    batch also has ``with_tensors(tensors)``, a copy with other ones, and ``at(home)``, a copy with those of
    another batch.
    """

    labels: Tensor
    prepaid: float
    passes: float

    @property
    def inputs(self) -> tuple[Tensor, ...]: ...
    @property
    def tokens(self) -> int: ...
    @property
    def tensors(self) -> tuple[Tensor, ...] | None: ...


class TokenLoss(torch.autograd.Function):
    """Label-smoothed cross-entropy with its gradient in closed form.

    It takes a third of the memory traffic of the composed operations, which at a vocabulary of thousands
    dominates the cost of this loss.
    """

    @staticmethod
    def forward(ctx: Any, logits: Tensor, labels: Tensor, smoothing: float) -> Tensor:
        logp = F.log_softmax(logits, -1, dtype=torch.float32)
        ctx.save_for_backward(logp, labels)
        ctx.smoothing, ctx.dtype = smoothing, logits.dtype
        loss = -(1 - smoothing) * logp.gather(-1, labels[:, None]).sum()
        return loss - smoothing * logp.sum() / logp.shape[-1] if smoothing else loss

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        logp, labels = ctx.saved_tensors
        slope = logp.exp()
        if ctx.smoothing:
            slope.sub_(ctx.smoothing / logp.shape[-1])
        hit = torch.full_like(labels, ctx.smoothing - 1, dtype=slope.dtype)
        slope.scatter_add_(-1, labels[:, None], hit[:, None])
        out = torch.empty_like(slope, dtype=ctx.dtype)
        return torch.mul(slope, grads[0], out=out), None, None


def token_loss(logits: Tensor, labels: Tensor, smoothing: float) -> Tensor:
    """Return the summed label-smoothed cross-entropy in nats of ``[N, V]`` logits and ``[N]`` labels.

    The smoothing mass is spread over the whole vocabulary, the label included (fairseq's 0.8).
    """
    if logits.is_cuda:
        from supernet.gpu import kernels

        return kernels.TokenLoss.apply(logits, labels, smoothing)  # type: ignore[no-any-return, no-untyped-call]
    return TokenLoss.apply(logits, labels, smoothing)  # type: ignore[no-any-return, no-untyped-call]


def soft_loss(logits: Tensor, teacher: Tensor) -> Tensor:
    """Return the summed cross-entropy in nats of ``[N, V]`` logits against the teacher's logits ``[N,
    V]``."""
    if logits.is_cuda:
        from supernet.gpu import kernels

        return kernels.SoftLoss.apply(logits, teacher)  # type: ignore[no-any-return, no-untyped-call]
    return -(teacher.float().softmax(-1) * F.log_softmax(logits, -1, dtype=torch.float32)).sum()


TEACHER_COST = FORWARD_COST
"""Cost of a teacher's forward pass, in forward-backward passes."""


class Objective(Protocol):
    """Loss that a pass minimises.

    ``teacher_cost``: cost of computing a batch's teacher output, in passes.
    """

    teacher_cost: ClassVar[float]

    def __call__(self, model: Any, batch: Any, teacher_output: Any) -> tuple[Tensor, Any]:
        """Return the summed loss of ``model`` on ``batch``, and the teacher output for later passes over that
        batch.

        ``teacher_output`` is None on the first pass over a batch in an update.
        """

    def weight(self, batch: Any) -> int:
        """Return the number of terms in the summed loss of ``batch``."""


@dataclass(frozen=True)
class Labels:
    """Label-smoothed cross-entropy.

    With ``distill``, passes after the first learn from the first one's logits (in-place distillation, Yu and
    Huang, 2019).
    """

    smoothing: float = 0.0
    distill: bool = False
    teacher_cost: ClassVar[float] = 0.0

    def __call__(
        self, model: Any, batch: Batch, teacher_output: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        logits = model(*batch.inputs)
        if teacher_output is not None:
            return soft_loss(logits, teacher_output), teacher_output
        # The next pass may overwrite the logits.
        return token_loss(
            logits, batch.labels, self.smoothing
        ), logits.clone().detach() if self.distill else None

    def weight(self, batch: Batch) -> int:
        return len(batch.labels)
