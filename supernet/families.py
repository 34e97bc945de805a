"""Which model family a search space or an exported sub-network belongs to."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import nn

from supernet import bert, seq2seq
from supernet.space import SearchSpace

FROM_SPEC: dict[str, Callable[[Mapping[str, Any], Mapping[str, Any]], nn.Module]] = {
    seq2seq.Seq2SeqFamily.kind: seq2seq.from_spec,
    **dict.fromkeys(bert.FAMILIES, bert.from_spec),
}
"""Kind of family -> what makes the module of a spec and an architecture."""


def family_of(space: SearchSpace, vocab: Sequence[int]) -> Any:
    """The family of a space over one vocabulary, or a source and a target vocabulary.

    Raises:
        ValueError: two vocabularies for an encoder.
    """
    if "qkv_dim" in space.constants:
        share = "all" if len(vocab) == 1 else "none"
        return seq2seq.Seq2SeqFamily(space, seq2seq.Seq2SeqConfig(vocab[0], vocab[-1], share=share))
    if len(vocab) > 1:
        raise ValueError(
            f"space {space.name} is one of encoders, which have one vocabulary, not {len(vocab)}"
        )
    return bert.family_of(space)(space, bert.BertConfig(vocab[0]))
