"""Sentences of the table of text: nothing that is judged on is trained on, padding is as little as may be."""

from pathlib import Path

import pytest
import torch

from benchmarks.studies.simq_tables.sentences import Sentences, Shuffled, corpus, parted


def test_no_phrase_of_a_held_sentence_is_trained_on() -> None:
    texts = ["a b c d", "a b", "c d", "e f g", "f g", "h i", "b", "x y", "d h"]
    rows = [((text,), str(i % 2)) for i, text in enumerate(texts)]
    for count in (1, 2):
        train, held = parted(rows, [(("x y",), "0")], count)
        whole = {"a b c d", "e f g", "h i", "x y", "d h"}
        assert len(held) == count and {texts[0] for texts, _ in held} <= whole
        for (sentence,), _ in held:
            assert all(f" {row[0][0]} " not in f" {sentence} " for row in train)
        assert all(row[0][0] != "x y" for row in train)
        kept = {row[0][0] for row in train} | {text for (text,), _ in held}
        lost = set(texts) - kept - {"x y"}
        assert all(any(f" {text} " in f" {s[0]} " for s, _ in held) for text in lost)


def test_batches_have_every_sentence_once_and_hardly_any_padding() -> None:
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(5, 50, (40, 12), generator=generator)
    lengths = torch.randint(1, 13, (40,), generator=generator)
    tokens[torch.arange(12) >= lengths[:, None]] = 0
    some = Sentences(tokens.int(), torch.arange(40))
    batches = some.batches(9)
    assert sorted(torch.cat([b.labels for b in batches]).tolist()) == list(range(40))
    for batch in batches:
        there = (batch.images != 0).sum(1)
        assert there.tolist() == lengths[batch.labels].tolist() and batch.images.shape[1] == there.max()
    first = [b.labels.tolist() for b, _ in zip(Shuffled(some, 16, 3), range(4), strict=False)]
    assert first == [b.labels.tolist() for b, _ in zip(Shuffled(some, 16, 3), range(4), strict=False)]
    assert len(set(first[0] + first[1])) == 32 and first[0] != first[2]


def test_a_made_corpus_is_found_again_without_a_tokenizer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "sentences.npz"
    made = corpus(path, True, None, lambda line: None)
    monkeypatch.setattr("benchmarks.tasks.text.learn", None)
    again = corpus(path, True, None, lambda line: None)
    assert torch.equal(made.search.tokens, again.search.tokens) and made.vocab == again.vocab == 300
    assert len(made.rows) > 100 and made.rows.rows.shape[1] == made.train.tokens.shape[1] == 24
