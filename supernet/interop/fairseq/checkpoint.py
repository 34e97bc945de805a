"""fairseq's Transformer checkpoints: reading into ``supernet.seq2seq``, and writing.

Checkpoints of fairseq 0.6 to 0.12 can be read; written checkpoints are for fairseq 0.12.2.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from supernet import export
from supernet.interop import pickle_reader
from supernet.interop.fairseq import layout
from supernet.model_family import Spec
from supernet.seq2seq import PAD, Seq2SeqFamily
from supernet.space import ArchitectureLike, Choice, SearchSpace, seq2seq_space

POST_LN = {
    "encoder_normalize_before": False,
    "decoder_normalize_before": False,
    "encoder_learned_pos": False,
    "decoder_learned_pos": False,
    "no_token_positional_embeddings": False,
    "no_scale_embedding": False,
    "layernorm_embedding": False,
    "adaptive_input": False,
    "adaptive_softmax_cutoff": None,
    "cross_self_attention": False,
    "no_cross_attention": False,
    "activation_fn": "relu",
}
"""Settings of fairseq for which our Transformer has no alternative."""
BROKEN = (ValueError, RuntimeError, IndexError, TypeError, AttributeError)
"""Errors that tensors of unexpected shapes raise."""


def settings(content: Mapping[str, Any], path: Path) -> layout.Settings:
    """Return a checkpoint's settings of its model: ``args`` (to 0.9) or ``cfg["model"]``."""
    cfg = content.get("cfg")
    args = cfg.get("model") if isinstance(cfg, Mapping) else None
    args = content.get("args") if args is None else args
    state = content.get("model")
    tensors = isinstance(state, Mapping) and all(isinstance(tensor, Tensor) for tensor in state.values())
    if not isinstance(args, (Mapping, pickle_reader.Inert)) or not tensors:
        raise ValueError(
            f"{path}: no checkpoint of fairseq's: it needs 'model' and 'cfg' or 'args', and has"
            f" {', '.join(map(str, list(content)[:8])) or 'nothing'}"
        )
    return args


def translation_of(content: Mapping[str, Any]) -> tuple[str, str] | None:
    """Return the languages that a checkpoint translates from and to; None if it names none."""
    cfg = content.get("cfg")
    for holder in (cfg.get("task") if isinstance(cfg, Mapping) else None, content.get("args")):
        if isinstance(holder, (Mapping, pickle_reader.Inert)):
            sides = [layout.attribute(holder, name) for name in ("source_lang", "target_lang")]
            if all(isinstance(side, str) and side for side in sides):
                return str(sides[0]), str(sides[1])
    return None


def same_direction(content: Mapping[str, Any], languages: tuple[str, str] | None) -> None:
    """Compare a checkpoint's languages, if it names any, with those of the data.

    Raises:
        ValueError: they are others, or the same ones in the other direction.
    """
    own = translation_of(content)
    if languages and own and own != languages:
        ours, theirs = "-".join(own)[:40], "-".join(languages)
        raise ValueError(f"it translates {ours} and the data is {theirs}: name the data-bin of {ours}")


def network(
    path: Path, vocab: Sequence[int] = (), languages: tuple[str, str] | None = None
) -> layout.Imported:
    """Read the Transformer of a ``fairseq-train`` checkpoint; nothing in the file is executed.

    Args:
        vocab: sizes of the source and target dictionary, if known.

    Raises:
        ValueError: no such checkpoint, another model, or dictionaries of other sizes.
    """
    content = pickle_reader.load(path)
    args = settings(content, path)
    try:
        layout.plain(args, POST_LN)
        same_direction(content, languages)
        return _network(args, content["model"], vocab)
    except BROKEN as error:
        arch = layout.attribute(args, "arch") or layout.attribute(args, "_name") or "unnamed"
        raise ValueError(f"{path} (model {str(arch)[:40]!r}) cannot be imported: {error}") from None


def _network(args: layout.Settings, state: Mapping[str, Tensor], vocab: Sequence[int]) -> layout.Imported:
    share = layout.shared(args)
    weights = layout.to_weights(state, share)
    source = weights["source_embedding.weight"]
    target = weights.get("target_embedding.weight", source)
    matched(vocab, (len(source), len(target)))
    width = target.shape[1]
    if source.shape[1] != width:
        raise ValueError(
            f"encoder and decoder are {source.shape[1]} and {width} wide; here they are equally wide"
        )
    sizes = {side: layout.depth(state, side) for side in layout.LAYERS}
    heads = {side: layout.number(args, f"{side}_attention_heads") for side in layout.LAYERS}
    if any(width % n for n in heads.values()):
        raise ValueError(f"{heads} heads do not divide a width of {width}")
    ffn = {side: len(weights[f"{side}.0.feed_forward.fc1.bias"]) for side in layout.LAYERS}
    space = standard_space(width, sizes, heads, ffn)
    family = Seq2SeqFamily(space, layout.config_of(args, weights, share))
    architecture = space.largest()
    for name, extents in family.extents(architecture).items():
        if tuple(weights[name].shape) != extents:
            raise ValueError(f"{name} is {list(weights[name].shape)}, where {list(extents)} is expected")
    return layout.Imported(family, architecture, weights)


def matched(vocab: Sequence[int], embedded: tuple[int, int]) -> None:
    """Raise ``ValueError`` if dictionaries (source, target) differ from the embedded sizes."""
    for side, have, need in zip(("source", "target"), vocab, embedded, strict=False):
        if have != need:
            raise ValueError(
                f"the {side} dictionary has {have} symbols and the checkpoint embeds {need}: take the"
                " dictionary that it was trained with"
            )


def standard_space(
    width: int, layers: Mapping[str, int], heads: Mapping[str, int], ffn: Mapping[str, int]
) -> SearchSpace:
    """Return the space of the one standard Transformer that fairseq's options state; arguments by side."""
    space = seq2seq_space(
        f"fairseq-{width}-{layers['encoder']}x{ffn['encoder']}x{heads['encoder']}"
        f"-{layers['decoder']}x{ffn['decoder']}x{heads['decoder']}",
        embed=(width,),
        ffn=tuple(sorted(set(ffn.values()))),
        heads=tuple(sorted(set(heads.values()))),
        qkv_dim=width,
        encoder_layers=layers["encoder"],
        decoder_layers=(layers["decoder"],),
        cross_source=(-1,),
    )
    only = {"encoder": (ffn["encoder"], heads["encoder"]), "decoder": (ffn["decoder"], heads["decoder"])}
    choices = []
    for choice in space.choices:
        side = choice.name.partition("_")[0]
        options = choice.options
        if choice.name.endswith(("ffn", "heads")):
            options = (only[side][0 if choice.name.endswith("ffn") else 1],)
        choices.append(Choice(choice.name, options, choice.repeat, choice.depth, choice.codes))
    return SearchSpace(space.name, choices, space.constants)


def uniform(architecture: ArchitectureLike, qkv_dim: int) -> dict[str, dict[str, int]]:
    """Return width, feed-forward width, heads and depth of ``encoder`` and ``decoder``.

    Raises:
        ValueError: they differ between layers, or fairseq's Transformer cannot represent them; the message
            gives the reason.
    """
    a = architecture
    if set(a["decoder_cross_source"]) != {-1}:
        raise ValueError("cross-attention over several encoder layers: fairseq's reads the last one alone")
    out = {}
    for side, fields in (
        ("encoder", ("encoder_heads",)),
        ("decoder", ("decoder_self_heads", "decoder_cross_heads")),
    ):
        ffn, heads = set(a[f"{side}_ffn"]), {n for field in fields for n in a[field]}
        for what, values in (("feed-forward widths", ffn), ("numbers of heads", heads)):
            if len(values) > 1:
                raise ValueError(
                    f"{what} {', '.join(map(str, sorted(values)))} in one {side}: fairseq's has one"
                )
        sizes = {
            "width": a[f"{side}_embed_dim"],
            "ffn": ffn.pop(),
            "heads": heads.pop(),
            "layers": a[f"{side}_layers"],
        }
        if qkv_dim > sizes["width"] or sizes["width"] % sizes["heads"]:
            raise ValueError(
                f"{sizes['heads']} heads of {qkv_dim} in all on a width of {sizes['width']} ({side}):"
                " fairseq's heads divide the width among them"
            )
        out[side] = sizes
    return out


def to_fairseq(folder: Path, out: Path) -> None:
    """Write an exported sub-network as the checkpoint file ``out``, which ``fairseq-generate`` decodes.

    The outputs are the network's. If its heads together are narrower than its width, they are padded with
    zeros to fairseq's. If its positions are a part of a wider table, they are written as learned ones.
    Dictionaries are not part of a checkpoint: ``supernet-bench export-data`` writes them.

    Raises:
        ValueError: no exported translator, or one that fairseq's Transformer cannot represent; the message
            gives the reason.
    """
    module, about = export.load(folder)
    if about["spec"]["kind"] != Seq2SeqFamily.kind:
        raise ValueError(
            f"{folder}: a network of kind {about['spec']['kind']!r}; fairseq's Transformer translates"
        )
    if about["policy"]:
        raise ValueError(
            f"{folder}: it is deployed in low precision, which fairseq's checkpoints do not hold"
        )
    try:
        sides = uniform(about["architecture"], about["spec"]["space"]["constants"]["qkv_dim"])
    except ValueError as error:
        raise ValueError(f"{folder}: fairseq's Transformer cannot express it: {error}") from None
    state = layout.to_state(module, {side: sizes["width"] for side, sizes in sides.items()})
    args = arguments(about["spec"], sides)
    for side in sides:
        if args[f"{side}_learned_pos"]:
            table = module.positions[:, : sides[side]["width"]]
            # fairseq counts positions from the padding symbol on.
            state[f"{side}.embed_positions.weight"] = torch.cat(
                [table.new_zeros(PAD + 1, table.shape[1]), table]
            )
        else:
            state[f"{side}.embed_positions._float_tensor"] = torch.zeros(1)
        state[f"{side}.version"] = torch.tensor([3.0])
    # The names of languages only say which files of a data-bin are read; the command line overrides them.
    task = argparse.Namespace(task="translation", source_lang=None, target_lang=None, **args)
    content = {
        "args": task,
        "cfg": None,
        "model": state,
        "optimizer_history": [
            {"criterion_name": "none", "optimizer_name": "none", "lr_scheduler_state": {}, "num_updates": 0}
        ],
        "extra_state": {"epoch": 1},
        "last_optimizer_state": None,
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    export.write_atomically(out, lambda path: torch.save(content, path))


def arguments(spec: Spec, sides: Mapping[str, Mapping[str, int]]) -> dict[str, Any]:
    """Return fairseq's options for a network of ``spec``; ``sides`` as ``uniform`` returns them."""
    equal = sides["encoder"]["width"] == sides["decoder"]["width"]
    args: dict[str, Any] = {
        "arch": "transformer",
        "criterion": "cross_entropy",
        "share_all_embeddings": spec["share"] == "all" and equal,
        "share_decoder_input_output_embed": spec["share"] != "none",
        "max_source_positions": spec["max_positions"],
        "max_target_positions": spec["max_positions"],
    }
    args |= {name: spec[name] for name in ("dropout", "attention_dropout", "activation_dropout")}
    for side, sizes in sides.items():
        args[f"{side}_embed_dim"], args[f"{side}_ffn_embed_dim"] = sizes["width"], sizes["ffn"]
        args[f"{side}_layers"], args[f"{side}_attention_heads"] = sizes["layers"], sizes["heads"]
        args[f"{side}_learned_pos"] = sizes["width"] != spec["position_dim"]
        args[f"{side}_normalize_before"] = False
    return args
