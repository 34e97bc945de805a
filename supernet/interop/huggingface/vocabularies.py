"""Vocabularies of exported networks as transformers' tokenizers: equal ids for equal text."""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from supernet.interop.errors import require

WORD_PIECES = {
    "unk_token": "[UNK]",
    "pad_token": "[PAD]",
    "cls_token": "[CLS]",
    "sep_token": "[SEP]",
    "mask_token": "[MASK]",
}


def save_word_pieces(path: Path, out: Path, longest: int) -> Any:
    """Write the tokenizer of an encoder, from the ``tokenizer.json`` at ``path``.

    One text becomes ``[CLS] text [SEP]``, two ``[CLS] text [SEP] other [SEP]``. A text that spells out a
    special token gets it, which it does not in training: masked words have to be asked for somehow.
    """
    from tokenizers import Tokenizer, processors

    tokenizer = Tokenizer.from_file(str(path))
    ends = [(token, tokenizer.token_to_id(token)) for token in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=ends
    )
    saved = require("transformers", "huggingface").PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        model_max_length=longest,
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
        **WORD_PIECES,
    )
    saved.save_pretrained(out)
    return saved


def save_subwords(path: Path, out: Path, longest: int) -> Any:
    """Write the tokenizer of a translator, from the joint sentencepiece model at ``path``.

    sentencepiece itself splits the text; ``</s>`` is appended.
    """
    pieces = subwords(path)
    transformers = require("transformers", "huggingface")
    with TemporaryDirectory() as folder:
        vocab = Path(folder) / "vocab.json"
        vocab.write_text(json.dumps({piece: i for i, piece in enumerate(pieces)}), encoding="utf-8")
        saved = transformers.MarianTokenizer(
            source_spm=str(path), target_spm=str(path), vocab=str(vocab), model_max_length=longest
        )
        saved.save_pretrained(out)
    return saved


def subwords(path: Path) -> list[str]:
    """Return every piece of a sentencepiece model, by its id."""
    from sentencepiece import SentencePieceProcessor

    model = SentencePieceProcessor(model_proto=path.read_bytes())
    return [model.id_to_piece(i) for i in range(model.get_piece_size())]
