"""Catalogue of search spaces by name, and the functions that build their families."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from supernet.space.architecture import Architecture, Choice
from supernet.space.search_space import SearchSpace


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
    """Build one of HAT's encoder-decoder spaces (Wang et al. 2020, section 3.1).

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
    """Build HAT's space for the WMT tasks, 4.18e14 architectures."""
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
    """Build HAT's space for IWSLT'14 De-En, of the same cardinality as ``hat-space0``."""
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
    """Build ``hat-space1`` scaled down for IWSLT-sized data on one small device."""
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
    """Build ``hat-space1`` scaled down for 29,000 image captions."""
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
    """Build a translation space for minutes on two CPU cores; its two encoder layers leave no third one to
    attend to."""
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


def homogeneous_space(
    name: str,
    *,
    width: Sequence[int],
    heads: Sequence[int],
    ffn_tenths: Sequence[int],
    layers: Sequence[int],
    head_dim: int,
) -> SearchSpace:
    """Build a space of encoders with identical layers; with ``head_dim`` 0 the heads share the layer's
    width."""
    choices = {"width": width, "heads": heads, "ffn_tenths": ffn_tenths, "layers": layers}
    return SearchSpace(
        name, [Choice(c, tuple(options)) for c, options in choices.items()], {"head_dim": head_dim}
    )


def autodistil(size: str) -> SearchSpace:
    """Build one of AutoDistil's three sub-spaces of 256 architectures (Xu et al. 2022, table 1).

    ``all`` is the smallest product of options that contains the three, for the ablation with one supernet.
    """
    width, tenths, heads, layers = {
        "tiny": (range(128, 225, 32), (20, 25, 30, 35), range(7, 11), range(4, 8)),
        "small": (range(256, 353, 32), (25, 30, 35, 40), range(7, 11), range(9, 13)),
        "base": (range(544, 641, 32), (25, 30, 35, 40), range(9, 13), range(9, 13)),
        "all": (
            (*range(128, 225, 32), *range(256, 353, 32), *range(544, 641, 32)),
            (20, 25, 30, 35, 40),
            range(7, 13),
            range(4, 13),
        ),
    }[size]
    return homogeneous_space(
        f"autodistil-{size}", width=width, heads=heads, ffn_tenths=tenths, layers=layers, head_dim=64
    )


def autodistil_scaled(
    name: str, size: str, widths: Sequence[int], layers: Sequence[int], head_dim: int
) -> SearchSpace:
    """Build a scaled-down AutoDistil sub-space of 81 architectures.

    ``small`` has the first three of six widths, ``base`` the others, ``all`` all six.
    """
    width = {"small": widths[:3], "base": widths[3:], "all": widths}[size]
    return homogeneous_space(
        f"{name}-{size}",
        width=width,
        heads=(2, 3, 4),
        ffn_tenths=(20, 30, 40),
        layers=layers,
        head_dim=head_dim,
    )


autodistil_s = partial(
    autodistil_scaled,
    "autodistil-s",
    widths=(160, 176, 192, 208, 224, 240),
    layers=(4, 5, 6),
    head_dim=64,
)
autodistil_smoke = partial(
    autodistil_scaled,
    "autodistil-smoke",
    widths=(32, 40, 48, 52, 56, 60),
    layers=(2, 3, 4),
    head_dim=16,
)


def mos_bert_v5() -> SearchSpace:
    """Build mixture-of-supernets' homogeneous space v5.1: 550 architectures."""
    return homogeneous_space(
        "mos-bert-v5.1",
        width=range(120, 769, 12),
        heads=(6, 12),
        ffn_tenths=(20, 25, 30, 35, 40),
        layers=(12,),
        head_dim=0,
    )


def bert_smoke() -> SearchSpace:
    """Build an encoder space for minutes on two CPU cores; depth decides most of the latency of such small
    networks."""
    return homogeneous_space(
        "bert-smoke",
        width=(32, 48, 64, 96),
        heads=(1, 2, 4),
        ffn_tenths=(10, 20, 30, 40),
        layers=(1, 2, 3, 4),
        head_dim=16,
    )


def bottleneck_space(
    name: str, widths: Sequence[int], layers: int, *, hub: int, heads: int, ffn: int
) -> SearchSpace:
    """Build a space of encoders with one width for each layer (SuperShaper)."""
    constants = {"hub": hub, "heads": heads, "ffn": ffn}
    return SearchSpace(name, [Choice("widths", tuple(widths), layers)], constants)


def cell_space(
    name: str,
    widths: Sequence[int],
    *,
    blocks: int,
    layers: int,
    hub: int,
    embedding: int,
    head_dim: int = 64,
    ffn_ratio: int = 4,
) -> SearchSpace:
    """Build a space of NAS-BERT's blocks (Xu et al. 2021, section 3.1), with operations
    ``supernet.bert.CELLS``.

    NAS-BERT's identity operation is expressed as one layer less at the end of its block, so that every
    network has one name.
    """
    choices = []
    for block in range(blocks):
        choices += [
            Choice(f"width_{block}", tuple(widths)),
            Choice(f"layers_{block}", tuple(range(1, layers + 1))),
            # Ordered by parameters: convolutions, attention, feed-forward.
            Choice(
                f"ops_{block}", (0, 1, 2, 3, 4), layers, f"layers_{block}", {0: 4, 1: 5, 2: 1, 3: 2, 4: 3}
            ),
        ]
    constants = {
        "blocks": blocks,
        "hub": hub,
        "embedding": embedding,
        "head_dim": head_dim,
        "ffn_ratio": ffn_ratio,
    }
    return SearchSpace(name, choices, constants)


def layered_space(
    name: str,
    *,
    layers: Sequence[int],
    heads: Sequence[int],
    ffn: Sequence[int],
    hidden: int | Sequence[int],
    **constants: int,
) -> SearchSpace:
    """Build a space of stacks of one width with heads and feed-forward width of each layer (SimQ-NAS).

    The stacks encode text; with the constant ``patch`` images; with ``experts``, one for each modality, both.
    Several ``hidden`` widths are searched, one is a constant.
    """
    deepest = max(layers)
    choices = [
        Choice("layers", tuple(layers)),
        Choice("heads", tuple(heads), deepest, "layers"),
        Choice("ffn", tuple(ffn), deepest, "layers"),
    ]
    if isinstance(hidden, int):
        constants["hidden"] = hidden
    else:
        choices.insert(0, Choice("hidden", tuple(hidden)))
    return SearchSpace(name, choices, {"head_dim": 64} | constants)


simq_base = partial(layered_space, heads=(6, 8, 10, 12), hidden=768)
"""SimQ-NAS' spaces of Transformers of BERT's base size."""


def resnet_space(
    name: str,
    *,
    stages: Sequence[int],
    deeper: int,
    widths: Sequence[int],
    stem_width: int,
    stem_stride: int = 2,
    expand: Sequence[int] = (20, 25, 35),
    width: Sequence[int] = (65, 80, 100),
    alike: bool = False,
    stem: Sequence[int] = (0, 1),
) -> SearchSpace:
    """Build a space of bottleneck residual networks as in Once-for-All (Cai et al., ICLR 2020).

    Searched are the blocks of each stage, the inner width of each block in per cent of its stage's width, and
    the widths of every stage and of both halves of the stem in per cent.

    Args:
        name: of the space.
        stages: fewest blocks of each stage; a stage has up to ``deeper`` more.
        widths: full width of each stage in channels.
        stem_width: full width of the stem in channels.
        stem_stride: 2 halves the image in the stem and pools it, as for photographs; 1 keeps the size of
            small images.
        alike: search one width factor for everything instead of one for every stage and both halves of the
            stem.
        stem: options of the stem's middle convolution: 0 without, 1 with.
    """
    wide = Choice("width", tuple(width)) if alike else Choice("width", tuple(width), 2 + len(stages))
    choices = [Choice("stem", tuple(stem)), wide]
    constants = {"stages": len(stages), "stem_width": stem_width, "stem_stride": stem_stride}
    for i, (fewest, full) in enumerate(zip(stages, widths, strict=True)):
        choices.append(Choice(f"layers_{i}", tuple(range(fewest, fewest + deeper + 1))))
        choices.append(Choice(f"expand_{i}", tuple(expand), fewest + deeper, f"layers_{i}"))
        constants[f"width_{i}"] = full
    return SearchSpace(name, choices, constants)


SPACES: dict[str, Callable[[], SearchSpace]] = {
    "hat-space0": hat_space0,
    "hat-space1": hat_space1,
    "iwslt-s": iwslt_s,
    "multi30k-xs": multi30k_xs,
    "mt-smoke": mt_smoke,
    "bert-smoke": bert_smoke,
    "autodistil-tiny": partial(autodistil, "tiny"),
    "autodistil-small": partial(autodistil, "small"),
    "autodistil-base": partial(autodistil, "base"),
    "autodistil-all": partial(autodistil, "all"),
    "autodistil-s-small": partial(autodistil_s, "small"),
    "autodistil-s-base": partial(autodistil_s, "base"),
    "autodistil-s-all": partial(autodistil_s, "all"),
    "autodistil-smoke-small": partial(autodistil_smoke, "small"),
    "autodistil-smoke-base": partial(autodistil_smoke, "base"),
    "autodistil-smoke-all": partial(autodistil_smoke, "all"),
    "mos-bert-v5.1": mos_bert_v5,
    "supershaper": partial(
        bottleneck_space, "supershaper", (120, 240, 360, 480, 540, 600, 768), 12, hub=768, heads=12, ffn=3072
    ),
    "supershaper-s": partial(
        bottleneck_space, "supershaper-s", (64, 96, 128, 192, 256), 6, hub=256, heads=4, ffn=1024
    ),
    "supershaper-smoke": partial(
        bottleneck_space, "supershaper-smoke", (16, 32, 48, 64), 4, hub=64, heads=4, ffn=128
    ),
    "nas-bert": partial(
        cell_space, "nas-bert", (128, 192, 256, 384, 512), blocks=4, layers=6, hub=768, embedding=512
    ),
    "nas-bert-s": partial(
        cell_space, "nas-bert-s", (64, 128, 192, 256), blocks=3, layers=4, hub=256, embedding=128
    ),
    "nas-bert-smoke": partial(
        cell_space, "nas-bert-smoke", (32, 64), blocks=2, layers=3, hub=64, embedding=32, head_dim=16
    ),
    "simq-bert": partial(simq_base, "simq-bert", layers=range(6, 13), ffn=(1024, 2048, 3072)),
    "simq-vit": partial(simq_base, "simq-vit", layers=(10, 11, 12), ffn=(1024, 2048, 3072), patch=16),
    "simq-beit3": partial(
        simq_base, "simq-beit3", layers=(11, 12), ffn=(2048, 2560, 3072), patch=16, experts=2
    ),
    "simq-resnet50": partial(
        resnet_space,
        "simq-resnet50",
        stages=(2, 2, 4, 2),
        deeper=2,
        widths=(256, 512, 1024, 2048),
        stem_width=64,
    ),
    "vit-s": partial(
        layered_space,
        "vit-s",
        layers=range(5, 9),
        heads=(2, 3, 4),
        ffn=(256, 512, 1024),
        hidden=256,
        patch=4,
    ),
    "vit-smoke": partial(
        layered_space,
        "vit-smoke",
        layers=range(1, 5),
        heads=(1, 2, 3),
        ffn=(32, 64, 128),
        hidden=48,
        head_dim=16,
        patch=2,
    ),
    "resnet-smoke": partial(
        resnet_space,
        "resnet-smoke",
        stages=(1, 1),
        deeper=2,
        widths=(64, 128),
        stem_width=16,
        stem_stride=1,
    ),
    "resnet-s": partial(
        resnet_space,
        "resnet-s",
        stages=(2, 2, 2),
        deeper=2,
        widths=(128, 256, 512),
        stem_width=64,
        stem_stride=1,
    ),
    "vl-smoke": partial(
        layered_space,
        "vl-smoke",
        layers=range(1, 5),
        heads=(1, 2, 3),
        ffn=(64, 128, 192),
        hidden=64,
        head_dim=32,
        patch=16,
        experts=2,
    ),
    "vl-mosaics": partial(
        layered_space,
        "vl-mosaics",
        layers=range(2, 5),
        heads=(2, 3, 4),
        ffn=(128, 256, 512),
        hidden=256,
        patch=14,
        experts=2,
    ),
}
"""Name -> builder of the space."""


def get_space(name: str) -> SearchSpace:
    """Return the space called ``name``.

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
    """Read an architecture written with the field names of HAT's published files.

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
