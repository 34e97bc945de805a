"""``generate`` of exported translators under the rules of ``supernet.decode``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch.nn.utils.rnn import pad_sequence

from supernet import seq2seq
from supernet.interop.errors import require


def configure(
    model: Any,
    *,
    beam: int = 5,
    lenpen: float = 1.0,
    max_len_a: float = 1.2,
    max_len_b: int = 10,
    min_len: int = 1,
) -> None:
    """Give a translator the generation config with which ``generate`` decodes as ``supernet.decode`` does.

    The arguments are those of ``supernet.decode.translate``. A limit of length that follows from each source
    needs ``SupernetForSeq2SeqLM``, which reads ``max_len_a`` and ``max_len_b``; a stock class stops every
    sentence at the limit of the longest source.
    """
    own = model.config
    longest = getattr(own, "max_position_embeddings", None) or model.network.config.max_positions
    most = max(1, min(int(max_len_a * longest + max_len_b), longest - 1))
    per_source = {"max_len_a": max_len_a, "max_len_b": max_len_b} if hasattr(model, "network") else {}
    beams: dict[str, Any] = {"length_penalty": lenpen, "early_stopping": True} if beam > 1 else {}
    model.generation_config = require("transformers", "huggingface").GenerationConfig(
        num_beams=beam,
        do_sample=False,
        max_new_tokens=most + 1,
        min_new_tokens=min_len,
        suppress_tokens=[seq2seq.PAD],
        bos_token_id=seq2seq.BOS,
        pad_token_id=seq2seq.PAD,
        eos_token_id=seq2seq.EOS,
        decoder_start_token_id=seq2seq.EOS,
        forced_eos_token_id=None if per_source else seq2seq.EOS,
        use_cache=not per_source,
        **beams,
        **per_source,
    )


@torch.inference_mode()
def generate(model: Any, sources: Sequence[Sequence[int]], batch: int = 64) -> list[list[int]]:
    """Return the output of plain ``model.generate`` for every source; token ids without special tokens."""
    outputs: list[list[int]] = [[] for _ in sources]
    order = sorted(range(len(sources)), key=lambda i: len(sources[i]))
    for start in range(0, len(order), batch):
        rows = order[start : start + batch]
        padded = [torch.tensor([*sources[i], seq2seq.EOS]) for i in rows]
        ids = pad_sequence(padded, batch_first=True, padding_value=seq2seq.PAD).to(model.device)
        generated = model.generate(input_ids=ids, attention_mask=(ids != seq2seq.PAD).long()).tolist()
        for i, row in zip(rows, generated, strict=True):
            tokens = row[1:]  # after the start token
            outputs[i] = tokens[: tokens.index(seq2seq.EOS)] if seq2seq.EOS in tokens else tokens
    return outputs
