"""The spaces that this project searches, and the one door to what they are made of.

``get_space("hat-space0")`` gives a ``SearchSpace``; a space of one's own is
``SearchSpace(name, choices, constants)``.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from typing import Any

from supernet.architecture import Architecture, Choice
from supernet.searchspace import SearchSpace

__all__ = [
    "HAT_FIELDS",
    "SPACES",
    "Architecture",
    "Choice",
    "SearchSpace",
    "from_hat",
    "get_space",
    "seq2seq_space",
]


def seq2seq_space(
    name: str,
    *,
    embed: tuple[int, ...],
    ffn: tuple[int, ...],
    heads: tuple[int, ...],
    qkv_dim: int,
    encoder_layers: int,
    decoder_layers: tuple[int, ...],
    cross_source: tuple[int, ...] = (-1, 1, 2),
) -> SearchSpace:
    """HAT's family of encoder-decoder spaces (Wang et al. 2020, section 3.1).

    ``cross_source`` keeps HAT's labels: -1 attends to the last encoder layer, 1 to the last two,
    2 to the last three. Heads only partition ``qkv_dim``.
    """
    deepest = max(decoder_layers)
    codes = {-1: 1, 1: 2, 2: 3}
    return SearchSpace(
        name,
        (
            Choice("encoder_embed_dim", embed),
            Choice("encoder_layers", (encoder_layers,)),
            Choice("encoder_ffn", ffn, encoder_layers, "encoder_layers"),
            Choice("encoder_heads", heads, encoder_layers, "encoder_layers"),
            Choice("decoder_embed_dim", embed),
            Choice("decoder_layers", decoder_layers),
            Choice("decoder_ffn", ffn, deepest, "decoder_layers"),
            Choice("decoder_self_heads", heads, deepest, "decoder_layers"),
            Choice("decoder_cross_heads", heads, deepest, "decoder_layers"),
            Choice(
                "decoder_cross_source",
                cross_source,
                deepest,
                "decoder_layers",
                {option: codes[option] for option in cross_source},
            ),
        ),
        {"qkv_dim": qkv_dim},
    )


def hat_space0() -> SearchSpace:
    """HAT's space for the WMT tasks, 4.18e14 architectures."""
    return seq2seq_space(
        "hat-space0",
        embed=(640, 512),
        ffn=(3072, 2048, 1024),
        heads=(8, 4),
        qkv_dim=512,
        encoder_layers=6,
        decoder_layers=(6, 5, 4, 3, 2, 1),
    )


def hat_space1() -> SearchSpace:
    """HAT's space for IWSLT'14 De-En, of the same cardinality as ``hat-space0``."""
    return seq2seq_space(
        "hat-space1",
        embed=(640, 512),
        ffn=(2048, 1024, 512),
        heads=(4, 2),
        qkv_dim=512,
        encoder_layers=6,
        decoder_layers=(6, 5, 4, 3, 2, 1),
    )


def iwslt_s() -> SearchSpace:
    """Scaled down from ``hat-space1`` for IWSLT-sized data on one small device."""
    return seq2seq_space(
        "iwslt-s",
        embed=(384, 256),
        ffn=(1024, 512, 256),
        heads=(4, 2),
        qkv_dim=256,
        encoder_layers=4,
        decoder_layers=(4, 3, 2, 1),
    )


def multi30k_xs() -> SearchSpace:
    """Scaled down from ``hat-space1`` for 29,000 image captions."""
    return seq2seq_space(
        "multi30k-xs",
        embed=(256, 192),
        ffn=(512, 256, 128),
        heads=(4, 2),
        qkv_dim=128,
        encoder_layers=3,
        decoder_layers=(3, 2, 1),
    )


def mt_smoke() -> SearchSpace:
    """Minutes on two CPU cores; two encoder layers leave no third one to attend to."""
    return seq2seq_space(
        "mt-smoke",
        embed=(64, 32),
        ffn=(128, 64, 32),
        heads=(4, 2),
        qkv_dim=64,
        encoder_layers=2,
        decoder_layers=(2, 1),
        cross_source=(-1, 1),
    )


SPACES: dict[str, Callable[[], SearchSpace]] = {
    "hat-space0": hat_space0,
    "hat-space1": hat_space1,
    "iwslt-s": iwslt_s,
    "multi30k-xs": multi30k_xs,
    "mt-smoke": mt_smoke,
}


def get_space(name: str) -> SearchSpace:
    """The space called ``name``.

    Raises:
        ValueError: no such space; the message has the known names and the nearest one.
    """
    if name not in SPACES:
        near = difflib.get_close_matches(name, SPACES, n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise ValueError(f"no space is called {name!r}; {hint}known: {', '.join(SPACES)}")
    return SPACES[name]()


HAT_FIELDS = {
    "encoder_embed_dim": "encoder_embed_dim",
    "encoder_layer_num": "encoder_layers",
    "encoder_ffn_embed_dim_all": "encoder_ffn",
    "encoder_self_attention_heads_all": "encoder_heads",
    "decoder_embed_dim": "decoder_embed_dim",
    "decoder_layer_num": "decoder_layers",
    "decoder_ffn_embed_dim_all": "decoder_ffn",
    "decoder_self_attention_heads_all": "decoder_self_heads",
    "decoder_ende_attention_heads_all": "decoder_cross_heads",
    "decoder_arbitrary_ende_attn_all": "decoder_cross_source",
}
"""Field names in HAT's published sub-network files -> ours."""


def from_hat(space: SearchSpace, published: Mapping[str, Any]) -> Architecture:
    """An architecture written with the field names of HAT's published files.

    Per-layer lists may be longer than the depth (HAT's own files are): the rest is ignored.

    Raises:
        ValueError: as ``SearchSpace.architecture``.
    """
    renamed: dict[str, Any] = {HAT_FIELDS.get(name, name): value for name, value in published.items()}
    for choice in space.choices:
        layers = renamed.get(choice.name)
        if choice.depth is not None and isinstance(layers, (list, tuple)) and choice.depth in renamed:
            renamed[choice.name] = list(layers[: renamed[choice.depth]])
    return space.architecture(renamed)
