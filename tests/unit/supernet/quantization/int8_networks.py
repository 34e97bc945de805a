"""Encoders and translators to quantize, ways to spoil them, and a timing lock that is always free."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.measurement.workload import Workload
from supernet.bert import BertConfig, family_of
from supernet.quantization import precisions
from supernet.quantization.precisions import uniform_int8
from supernet.seq2seq import Seq2SeqConfig, Seq2SeqFamily
from supernet.space import get_space

ENCODER, TRANSLATOR = Workload(12, 0, 1), Workload(6, 4, 3)


def bert(seed: int = 0, space: str = "bert-smoke") -> tuple[Any, nn.Module]:
    found = get_space(space)
    family = family_of(found)(found, BertConfig(60, 0.0, 0.0, 32))
    torch.manual_seed(seed)
    return family, family.build(found.sample(np.random.default_rng(seed))).requires_grad_(False)


def translator(share: str = "none") -> tuple[Seq2SeqFamily, nn.Module]:
    family = Seq2SeqFamily(get_space("mt-smoke"), Seq2SeqConfig(40, 40, share=share))
    torch.manual_seed(1)
    return family, family.build(family.space.largest()).requires_grad_(False)


class Spoilt(nn.Module):
    """A layer that does something with what another one gives."""

    def __init__(self, inner: nn.Module, after: Any, before: Any = lambda x: x) -> None:
        super().__init__()
        self.inner, self.after, self.before = inner, after, before

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.after(self.inner(self.before(x)))
        return out


def spoilt(module: nn.Module, spoil: Any) -> nn.Module:
    made = precisions.quantize(module, uniform_int8(module))
    spoil(made)
    return made


def garbage(made: Any) -> None:
    op = made.ops[next(iter(made.ops))]
    op.norm.weight.data.fill_(0.0)
    op.norm.bias.data.normal_()


class unlocked:
    def __enter__(self) -> float:
        return 0.0

    def __exit__(self, *_: object) -> None:
        pass
