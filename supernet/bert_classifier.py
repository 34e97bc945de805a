"""Sentence classifiers with elastic layers: the encoder of ``supernet.bert``, a pooler, a linear layer.

InstaTune (Sridhar et al., 2023) turns a pre-trained encoder into such a supernet during fine-tuning, and
SimQ-NAS searches it: every sub-network is a classifier, with BERT's head over the first token's state.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from supernet.bert import Bert, BertConfig, Bridge, EncoderPlan, LayeredBert, Op
from supernet.layers import Shapes, dropout, linear_shapes
from supernet.model_family import Spec
from supernet.space import ArchitectureLike, SearchSpace


@dataclass(frozen=True)
class SentenceConfig(BertConfig):
    """Configuration common to all classifiers of a family."""

    classes: int = 2


class SentenceHead(nn.Module):
    """A tanh pooler and a linear layer, over the first token's state ``[B, width]``."""

    def __init__(self, config: SentenceConfig, width: int) -> None:
        super().__init__()
        self.pooler = nn.Linear(width, width)
        self.out = nn.Linear(width, config.classes)
        self.config = config

    def forward(self, x: Tensor) -> Tensor:
        pooled = torch.tanh(self.pooler(x))
        return self.out(dropout(pooled, self.config.dropout, self.training))  # type: ignore[no-any-return]


class SentenceBert(Bert):
    """One classifier, or the skeleton of all of them; see ``Bert``."""

    def __init__(self, config: SentenceConfig, plan: EncoderPlan, more: Sequence[Op | Bridge] = ()) -> None:
        super().__init__(config, plan, more)
        self.head = SentenceHead(config, plan.out)  # type: ignore[assignment]

    def forward(self, tokens: Tensor) -> Tensor:  # type: ignore[override]
        """Classify ``[B, T]`` ids, padded on the right: logits ``[B, classes]``."""
        return self.head(self.encode(tokens, padded=True)[:, 0])  # type: ignore[no-any-return, call-arg]


class SentenceFamily(LayeredBert):
    """All classifiers of one layered space over one vocabulary."""

    kind = "bert-sentences"
    named_draws = False  # as the published tables were drawn
    network = SentenceBert
    config: SentenceConfig

    def shapes(self, plan: EncoderPlan, more: Sequence[Op | Bridge] = ()) -> Shapes:
        width, classes = plan.out, self.config.classes
        shapes = {n: shape for n, shape in super().shapes(plan, more).items() if not n.startswith("head.")}
        return shapes | linear_shapes("head.pooler", width, width) | linear_shapes("head.out", width, classes)

    def macs(self, architecture: ArchitectureLike, source_len: int, target_len: int = 1) -> tuple[int, int]:
        """Return MACs of the layers over ``source_len`` tokens, and of the head, once a sentence."""
        width = self.plan(architecture).out
        body, _ = super().macs(architecture, source_len, 0)
        return body, target_len * width * (width + self.config.classes)


def from_spec(spec: Spec) -> SentenceFamily:
    """Build the family that ``SentenceFamily.spec`` describes."""
    return SentenceFamily(
        SearchSpace.from_dict(spec["space"]), SentenceConfig(**spec["config"]), spec["form"]
    )
