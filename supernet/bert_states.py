"""Health of an encoder: the rank of its states, and the loss that word frequencies alone give."""

from __future__ import annotations

import torch
from torch import Tensor


@torch.no_grad()
def effective_rank(states: Tensor) -> float:
    """Return the effective rank of states ``[..., width]``: ``exp`` of the entropy of their singular values.

    1 if all states are multiples of one vector, ``width`` if all directions are equally strong (Roy and
    Vetterli, EUSIPCO 2007). Post-norm stacks that collapse end near 1.
    """
    rows = states.flatten(0, -2).double()
    # Singular values from the small Gram matrix: rows may be many.
    values = torch.linalg.eigvalsh(rows.T @ rows).clamp(min=0).sqrt()
    shares = values / values.sum()
    return float(torch.special.entr(shares).sum().exp())


def unigram_loss(train: Tensor, held_out: Tensor, vocab: int) -> float:
    """Return the loss of held-out ids in nats by frequencies of the training ids, one added to each count."""
    counts = torch.bincount(train.flatten(), minlength=vocab).double() + 1
    log_shares = (counts / counts.sum()).log()
    return float(-log_shares[held_out.flatten()].mean())
