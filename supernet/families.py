"""Registry of model families: the family of a search space, or of an exported sub-network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from supernet import bert, bert_classifier, resnet, seq2seq, vision_language, vit
from supernet.model_family import ModelFamily, Spec
from supernet.space import SearchSpace

FROM_SPEC: dict[str, Callable[[Spec], ModelFamily]] = {
    seq2seq.Seq2SeqFamily.kind: seq2seq.from_spec,
    **dict.fromkeys(bert.FAMILIES, bert.from_spec),
    bert_classifier.SentenceFamily.kind: bert_classifier.from_spec,
    vit.ViTFamily.kind: vit.from_spec,
    resnet.ResNetFamily.kind: resnet.from_spec,
    vision_language.VLFamily.kind: vision_language.from_spec,
}
"""Kind of family -> function that builds the family of a spec."""


def from_spec(spec: Spec) -> ModelFamily:
    """Build the family that a family's ``spec()`` describes.

    Raises:
        KeyError: no such kind, or an entry is missing.
        ValueError: an entry is not what it should be.
    """
    return FROM_SPEC[spec["kind"]](spec)


def family_of(space: SearchSpace, vocab: Sequence[int]) -> ModelFamily:
    """Return the family of a space over one vocabulary, or a source and a target vocabulary.

    For networks over images ``vocab`` is the number of classes, and images have the default size of their
    configuration.

    Raises:
        ValueError: two vocabularies for an encoder, or patches that do not tile those images.
    """
    if "qkv_dim" in space.constants:
        share = "all" if len(vocab) == 1 else "none"
        return seq2seq.Seq2SeqFamily(space, seq2seq.Seq2SeqConfig(vocab[0], vocab[-1], share=share))
    if len(vocab) > 1:
        raise ValueError(
            f"space {space.name} is one of encoders, which have one vocabulary, not {len(vocab)}"
        )
    if {"patch", "stages"} & set(space.constants):
        return image_family(space, vocab[0])
    return bert.family_of(space)(space, bert.BertConfig(vocab[0]))


def image_family(space: SearchSpace, classes: int, **config: Any) -> ModelFamily:
    """Return the family of a space of networks over images; ``config`` describes the images.

    Raises:
        ValueError: patches do not tile the images.
    """
    if "stages" in space.constants:
        return resnet.ResNetFamily(space, resnet.ResNetConfig(classes, **config))
    if "experts" in space.constants:
        return vision_language.VLFamily(space, vision_language.VLConfig(classes, **config))
    return vit.ViTFamily(space, vit.ViTConfig(classes, **config))
