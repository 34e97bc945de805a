"""HAT's own artefacts: super- and sub-network checkpoints and the YAML files beside them.

A checkpoint of a HAT sub-network holds the whole supernet's tensors; which part is the sub-network follows
from the options it was trained with, or from its YAML file. Nothing in either file is executed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from supernet.elastic import SuperNet
from supernet.interop import pickle_reader
from supernet.interop.fairseq import layout
from supernet.interop.fairseq.checkpoint import BROKEN, POST_LN, matched, same_direction, settings
from supernet.seq2seq import SOURCES, Seq2SeqFamily
from supernet.space import HAT_FIELDS, SearchSpace, from_hat, seq2seq_space

ENDING = "_subtransformer"
WHOLE = re.compile(r"-?\d{1,9}(\.0*)?")
MOST = 1 << 20
"""Bytes of a YAML file; HAT's have a thousand."""


def read_config(path: Path) -> dict[str, int | list[int]]:
    """Return the sub-network of one of HAT's YAML files, under the names of ``supernet.space.HAT_FIELDS``.

    Other fields, such as those of training, are skipped. The file's syntax alone is read, no object is made.

    Raises:
        ValueError: it cannot be read, or one of the ten fields is missing or no whole number.
    """
    try:
        if path.stat().st_size > MOST:
            raise ValueError(f"{path}: larger than a configuration is ({MOST} bytes at most)")
        top = yaml.compose(path.read_bytes().decode("utf-8-sig"), Loader=yaml.SafeLoader)
    except (OSError, UnicodeDecodeError, RecursionError, yaml.YAMLError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else " ".join(str(error).split())
        raise ValueError(f"{path}: no readable YAML file ({reason[:200]})") from None
    fields: dict[str, int | list[int]] = {}
    for key, value in top.value if isinstance(top, yaml.MappingNode) else ():
        name = key.value.strip().replace("-", "_") if isinstance(key, yaml.ScalarNode) else ""
        if not name.endswith(ENDING) or (name := name.removesuffix(ENDING)) not in HAT_FIELDS:
            continue
        items = value.value if isinstance(value, yaml.SequenceNode) else [value]
        texts = [item.value if isinstance(item, yaml.ScalarNode) else "" for item in items]
        if not texts or not all(WHOLE.fullmatch(text) for text in texts):
            shown = "a mapping" if isinstance(value, yaml.MappingNode) else repr(", ".join(texts)[:60])
            line = value.start_mark.line + 1
            raise ValueError(f"{path}, line {line}: {shown} is no whole number and no list of them")
        numbers = [int(text.partition(".")[0]) for text in texts]
        fields[name] = numbers if isinstance(value, yaml.SequenceNode) else numbers[0]
    complete(fields, str(path))
    return fields


def complete(fields: Mapping[str, Any], where: str) -> None:
    """Raise ``ValueError`` if a field of a sub-network is missing."""
    if missing := [name for name in HAT_FIELDS if name not in fields]:
        names = ", ".join(f"{name}{ENDING}".replace("_", "-") for name in missing)
        raise ValueError(f"{where}: no HAT sub-network: it lacks {names}")


def network(
    path: Path,
    config: Path | None = None,
    vocab: tuple[int, ...] = (),
    languages: tuple[str, str] | None = None,
) -> layout.Imported:
    """Read a HAT checkpoint.

    ``architecture`` is the sub-network of ``config``; without one, that of the checkpoint's options, else the
    largest of the supernet.

    Args:
        vocab: sizes of the source and target dictionary, if known.

    Raises:
        ValueError: no such checkpoint, another model, dictionaries of other sizes, or a sub-network outside
            its space.
    """
    content = pickle_reader.load(path)
    args = settings(content, path)
    try:
        layout.plain(args, POST_LN | {"vocab_original_scaling": False})
        same_direction(content, languages)
        for side in layout.LAYERS:
            stated, has = layout.number(args, f"{side}_layers"), layout.depth(content["model"], side)
            if stated != has:
                raise ValueError(f"it states {stated} {side} layers and has {has}")
        share, space = layout.shared(args), space_of(args)
        weights = layout.to_weights(content["model"], share)
        family = Seq2SeqFamily(space, layout.config_of(args, weights, share))
        matched(vocab, (family.config.source_vocab, family.config.target_vocab))
        layout.cut(weights, family, family.largest)
        fields = read_config(config) if config else trained_as(args)
        architecture = from_hat(space, fields) if fields else space.largest()
    except BROKEN as error:
        raise ValueError(f"{path} cannot be imported as HAT's: {error}") from None
    return layout.Imported(family, architecture, weights)


def supernet(path: Path) -> SuperNet:
    """Return the supernet of a HAT checkpoint, to evaluate, search, export or train on.

    Raises:
        ValueError: as ``network``.
    """
    import torch

    from supernet.weights import SharedSlices

    imported = network(path)
    source = SharedSlices(imported.family, torch.Generator().manual_seed(0))
    source.load(imported.weights)
    return SuperNet(imported.family, source)


def space_of(args: layout.Settings) -> SearchSpace:
    """Return the space that a checkpoint's options state, its own size included."""
    width = layout.number(args, "encoder_embed_dim")
    if width != layout.number(args, "decoder_embed_dim"):
        raise ValueError("encoder and decoder of a supernet are equally wide here")

    def options(largest: int, *names: str) -> tuple[int, ...]:
        """Return the choices up to the supernet's own value, which is the largest."""
        listed = [n for name in names for n in layout.attribute(args, f"{name}_choice", None) or ()]
        own = [layout.attribute(args, f"{name}{ENDING}", None) for name in names]
        own += [n for name in names for n in layout.attribute(args, f"{name}_all{ENDING}", None) or ()]
        numbers = {n for n in [*listed, *own] if type(n) is int and 0 < n <= largest}
        return tuple(sorted(numbers | {largest}, reverse=True))

    qkv = layout.number(args, "qkv_dim")
    heads = options(
        max(layout.number(args, f"{side}_attention_heads") for side in layout.LAYERS),
        *("encoder_self_attention_heads", "decoder_self_attention_heads", "decoder_ende_attention_heads"),
    )
    depth = layout.number(args, "decoder_layers")
    sources = layout.attribute(args, "decoder_arbitrary_ende_attn_choice", None) or ()
    return seq2seq_space(
        "hat",
        embed=options(width, "encoder_embed", "decoder_embed", "encoder_embed_dim", "decoder_embed_dim"),
        ffn=options(
            max(layout.number(args, f"{side}_ffn_embed_dim") for side in layout.LAYERS),
            *("encoder_ffn_embed_dim", "decoder_ffn_embed_dim"),
        ),
        heads=tuple(n for n in heads if qkv % n == 0),
        qkv_dim=qkv,
        encoder_layers=layout.number(args, "encoder_layers"),
        decoder_layers=options(depth, "decoder_layer_num"),
        cross_source=tuple(n for n in sources if n in SOURCES) or tuple(SOURCES),
    )


def trained_as(args: layout.Settings) -> dict[str, Any] | None:
    """Return the sub-network that a checkpoint's options name; None for a supernet's."""
    options = {name: layout.attribute(args, f"{name}{ENDING}") for name in HAT_FIELDS}
    named = {name: value for name, value in options.items() if value is not None}
    if named:
        complete(named, "its options")
    return named or None
