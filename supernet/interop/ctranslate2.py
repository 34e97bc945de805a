"""Translators in CTranslate2, which decodes them faster on a processor than PyTorch does.

Its Transformers have one width and one number of heads on each side and attend to the last encoder layer. The
two sides may differ, and so may the feed-forward widths of layers, since weights carry their own shapes.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from supernet import seq2seq
from supernet.export import CorruptExportError
from supernet.interop.errors import InexpressibleError, require

QUANTIZATIONS = ("float32", "int8")
"""Precisions of the weights; int8 with dynamic ranges of activations."""


def convert(
    module: seq2seq.Transformer, vocabulary: Sequence[str], out: Path, quantization: str = ""
) -> None:
    """Write a translator to the new folder ``out``.

    Args:
        module: exported, float32.
        vocabulary: every piece by its id; both sides share it.
        out: new folder.
        quantization: one of ``QUANTIZATIONS``; empty for float32.

    Raises:
        InexpressibleError: CTranslate2 cannot represent this network.
        MissingPackageError: CTranslate2 is not installed.
        FileExistsError: ``out`` exists.
    """
    if quantization and quantization not in QUANTIZATIONS:
        raise ValueError(f"quantization {quantization!r}: choose one of {', '.join(QUANTIZATIONS)}")
    spec = specification(module)
    if len(vocabulary) != module.config.source_vocab or len(vocabulary) != module.config.target_vocab:
        raise ValueError(
            f"a vocabulary of {len(vocabulary)} pieces, and the network has {module.config.source_vocab}"
        )
    spec.register_source_vocabulary(list(vocabulary))
    spec.register_target_vocabulary(list(vocabulary))
    spec.config.decoder_start_token = spec.config.eos_token = vocabulary[seq2seq.EOS]
    spec.config.bos_token, spec.config.unk_token = vocabulary[seq2seq.BOS], vocabulary[seq2seq.UNK]
    spec.config.add_source_eos = True
    spec.config.layer_norm_epsilon = module.encoder[0].attention_norm.eps
    spec.validate()
    spec.optimize(quantization=None if quantization in ("", "float32") else quantization)
    out.mkdir(parents=True)
    spec.save(str(out))


def specification(module: seq2seq.Transformer) -> Any:
    """Return CTranslate2's specification of a translator, weights filled in.

    Raises:
        InexpressibleError: heads differ between layers, or the decoder reads several encoder layers.
    """
    sides: Any = (list(module.encoder)[: module.encoder_depth], list(module.decoder)[: module.decoder_depth])
    encoder, decoder = sides
    if any(min(layer.cross.sources, len(encoder)) > 1 for layer in decoder):
        raise InexpressibleError(
            "CTranslate2's decoders read the last encoder layer alone, and this one reads more"
        )
    heads = [
        {layer.attention.heads for layer in encoder},
        {layer.attention.heads for layer in decoder} | {layer.cross.heads for layer in decoder},
    ]
    if any(len(numbers) > 1 for numbers in heads):
        raise InexpressibleError(
            "CTranslate2 has one number of heads a side, and here it differs between layers"
        )
    specs = require("ctranslate2.specs", "ctranslate2")
    inner = encoder[0].attention.out.in_features
    side_specs = [
        kind(len(layers), number, pre_norm=False, head_dim=inner // number)
        for kind, layers, number in zip(
            (specs.TransformerEncoderSpec, specs.TransformerDecoderSpec),
            sides,
            (numbers.pop() for numbers in heads),
            strict=True,
        )
    ]
    spec = specs.TransformerSpec(*side_specs)
    for side, table, width in (
        (spec.encoder, module.source_embedding, module.encoder_width),
        (spec.decoder, module.target_embedding, module.decoder_width),
    ):
        words = side.embeddings[0] if isinstance(side.embeddings, list) else side.embeddings
        words.weight = _array(table.weight[:, :width])
        side.scale_embeddings = True
        side.position_encodings.encodings = _array(module.positions[:, :width])
    for layers, side in zip(sides, (spec.encoder, spec.decoder), strict=True):
        for layer, layer_spec in zip(layers, side.layer, strict=True):
            _attention(
                layer_spec.self_attention, layer.attention_norm, layer.attention.qkv, layer.attention.out
            )
            if side is spec.decoder:
                cross = layer.cross
                _attention(layer_spec.attention, layer.cross_norm, cross.q, cross.kv, cross.out)
            _linear(layer_spec.ffn.linear_0, layer.feed_forward.fc1)
            _linear(layer_spec.ffn.linear_1, layer.feed_forward.fc2)
            _norm(layer_spec.ffn.layer_norm, layer.feed_forward_norm)
    output = module.target_embedding if module.output is None else module.output
    spec.decoder.projection.weight = _array(output.weight[:, : module.decoder_width])
    return spec


def _attention(target: Any, norm: nn.Module, *linears: nn.Module) -> None:
    _norm(target.layer_norm, norm)
    for place, linear in zip(target.linear, linears, strict=True):
        _linear(place, linear)


def _linear(target: Any, linear: Any) -> None:
    target.weight, target.bias = _array(linear.weight), _array(linear.bias)


def _norm(target: Any, norm: Any) -> None:
    target.gamma, target.beta = _array(norm.weight), _array(norm.bias)


def _array(tensor: Tensor) -> np.ndarray:
    # A copy: CTranslate2 rescales what it is given in place.
    array: np.ndarray = tensor.detach().float().clone(memory_format=torch.contiguous_format).numpy()
    return array


def load(folder: Path, threads: int = 1) -> Any:
    """Return CTranslate2's translator of a folder that ``convert`` wrote, on the processor.

    Raises:
        CorruptExportError: no such folder, or a file is truncated.
    """
    runtime = require("ctranslate2", "ctranslate2")
    try:
        return runtime.Translator(str(folder), device="cpu", inter_threads=1, intra_threads=threads)
    except (RuntimeError, ValueError) as error:
        raise CorruptExportError(f"{folder}: not a model of CTranslate2 ({error})") from error


def translate(
    translator: Any,
    sources: Sequence[Sequence[str]],
    *,
    beam: int = 5,
    lenpen: float = 1.0,
    max_len_a: float = 1.2,
    max_len_b: int = 10,
    batch: int = 64,
    pad: str = "<pad>",
) -> list[list[str]]:
    """Return the best translation of every source, both as pieces.

    The rules are those of ``supernet.decode``, and so are the translations except for ties.
    """
    translations: list[list[str]] = [[] for _ in sources]
    order = sorted(range(len(sources)), key=lambda i: len(sources[i]))
    for length, same in groupby(order, key=lambda i: len(sources[i])):
        indices = list(same)
        results = translator.translate_batch(
            [list(sources[i]) for i in indices],
            beam_size=beam,
            length_penalty=lenpen,
            max_input_length=0,
            max_decoding_length=int(max_len_a * (length + 1) + max_len_b),
            max_batch_size=batch,
            suppress_sequences=[[pad]],
        )
        for i, result in zip(indices, results, strict=True):
            translations[i] = result.hypotheses[0]
    return translations
