"""Vocabularies as tokenizers of transformers."""

from __future__ import annotations

import pytest

from supernet import seq2seq

transformers = pytest.importorskip("transformers", reason="needs the extra huggingface")

from supernet.interop.huggingface import vocabularies


def test_saved_tokenizers_give_the_same_ids(tmp_path):
    tokenizers = pytest.importorskip("tokenizers")
    from benchmarks.tasks import corpus, text

    lines = ["the cat sat on the mat", "a dog saw the cats", "the mat is on a dog", "cats and dogs"] * 20
    pieces = text.learn(lines, 45)
    (tmp_path / "pieces.json").write_text(pieces.to_str())
    vocabularies.save_word_pieces(tmp_path / "pieces.json", tmp_path / "encoder", 24)
    found = transformers.AutoTokenizer.from_pretrained(tmp_path / "encoder")
    ids = [pieces.encode(line).ids for line in lines[:2]]
    assert found(*lines[:2])["input_ids"] == [2, *ids[0], 3, *ids[1], 3]
    assert found(*lines[:2])["token_type_ids"] == [0] * (len(ids[0]) + 2) + [1] * (len(ids[1]) + 1)
    assert found.mask_token_id == 4 and found.pad_token_id == 0 and found.model_max_length == 24
    assert isinstance(pieces, tokenizers.Tokenizer)

    (tmp_path / "vocabulary.model").write_bytes(corpus.learn(lines, 45))
    ours = corpus.load_vocabulary(tmp_path)
    vocabularies.save_subwords(tmp_path / "vocabulary.model", tmp_path / "pairs", 32)
    found = transformers.AutoTokenizer.from_pretrained(tmp_path / "pairs")
    for line in (*lines[:4], "an unseen Zebra, too: ä!"):
        assert found(line)["input_ids"] == [*ours.encode(line), seq2seq.EOS]
    for line in lines[:4]:
        assert found.decode(ours.encode(line), skip_special_tokens=True) == ours.decode(ours.encode(line))
