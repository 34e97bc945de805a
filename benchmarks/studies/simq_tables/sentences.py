"""Data of the table of text: rows of Wikipedia, phrases of SST-2, sentences that networks are judged on.

Searches see sentences of SST-2's *train* that training does not: 1,000 whole sentences are held, and every
phrase that occurs in one of them is left out of training. *dev* and the labelled *test* are for nobody.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.tasks import glue, text
from benchmarks.tasks.datasets import Say, datasets, locate
from supernet.data.images import ImageBatch
from supernet.data.masked_text import PackedText
from supernet.export import write_atomically

LENGTH, VOCABULARY, CHARACTERS = 64, 4000, 60e6
"""Tokens of a row or of a sentence at most; word pieces; Wikipedia's characters."""
HELD = 1000
"""Sentences of train for searches."""
SEED = 1


@dataclass(frozen=True)
class Sentences:
    """Token ids ``[N, T]``, padded behind, with labels ``[N]``."""

    tokens: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def batch(self, index: Tensor | slice) -> ImageBatch:
        """Those at ``index``; charged are all tokens, padding too."""
        tokens = self.tokens[index].long()
        return ImageBatch(tokens, self.labels[index], tokens.numel())

    def to(self, device: str) -> Sentences:
        """The same on another device."""
        return Sentences(self.tokens.to(device), self.labels.to(device))

    def batches(self, size: int) -> list[ImageBatch]:
        """All of them, sentences of like length together, no more padded than they must."""
        lengths = (self.tokens != 0).sum(1)
        order = lengths.argsort(stable=True)
        found = []
        for part in torch.split(order, size):
            there = Sentences(self.tokens[part, : int(lengths[part].max())], self.labels[part])
            found.append(there.batch(slice(None)))
        return found


class Shuffled:
    """Training batches without end; batch ``i`` depends on the seed and ``i`` alone."""

    def __init__(self, some: Sentences, size: int, seed: int) -> None:
        self.some, self.size, self.seed = some, size, seed

    def __iter__(self) -> Iterator[ImageBatch]:
        for epoch in range(1 << 30):
            order = torch.from_numpy(np.random.default_rng([self.seed, epoch]).permutation(len(self.some)))
            order = order.to(self.some.labels.device)
            for start in range(0, len(order) - self.size + 1, self.size):
                yield self.some.batch(order[start : start + self.size])


@dataclass(frozen=True)
class Corpus:
    """All that the table of text is made from."""

    rows: PackedText
    train: Sentences
    search: Sentences
    held_out: Sentences
    vocab: int
    digests: dict[str, str]


def corpus(path: Path, tiny: bool, data_dir: Path | None, say: Say) -> Corpus:
    """Make or find the file ``path`` and read it; nothing else is needed then, no tokenizer either."""
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        arrays = _made(tiny, data_dir, say)
        write_atomically(path, lambda name: _save(name, arrays))
    with np.load(path, allow_pickle=False) as file:
        about = json.loads(file["about"].tobytes())
        rows = PackedText([file["text"].astype(np.int32)], about["length"], about["vocab"])
        parts = {
            split: Sentences(
                torch.from_numpy(file[f"{split}_tokens"].astype(np.int32)),
                torch.from_numpy(file[f"{split}_labels"].astype(np.int64)),
            )
            for split in ("train", "search", "held_out")
        }
    return Corpus(rows, **parts, vocab=about["vocab"], digests=about["digests"])


def _save(name: str, arrays: dict[str, Any]) -> None:
    with open(name, "wb") as file:
        np.savez_compressed(file, **arrays)


def _made(tiny: bool, data_dir: Path | None, say: Say) -> dict[str, Any]:
    if tiny:
        task = glue.TASKS["number"]
        splits = glue.from_grammar(task, 11)
        search, train = splits["train"][:60], splits["train"][60:]
        held, digests, vocab, length = splits["dev"][:60], {}, 300, 24
        documents = [" ".join(texts) for texts, _ in train] * 3
    else:
        data = datasets()["glue/SST-2"]
        task = replace(glue.TASKS["sst-2"], length=LENGTH)
        files = locate(data, data_dir, say)
        rows = {
            n: glue.read_table(files[f"{n}.tsv.gz"], task, data.unpacked) for n in ("train", "dev", "test")
        }
        held = rows["dev"] + rows["test"]
        train, search = parted(rows["train"], held, HELD)
        say(f"{len(train):,} phrases to train on, {len(search):,} sentences for searches, {len(held):,} held")
        read = text.enwiki(
            {"train_characters": CHARACTERS, "valid_characters": 0, "test_characters": 0}, data_dir, say
        )
        documents, vocab, length = list(read.train), VOCABULARY, LENGTH
        digests = data.digests() | datasets()["enwiki2015"].digests()
    say(f"learning {vocab:,} word pieces on {len(documents):,} documents")
    pieces = text.learn(documents, vocab)
    ids = np.concatenate([np.append(found, 3) for found in text.encode(pieces, documents)])
    arrays: dict[str, Any] = {"text": ids.astype(np.uint16)}
    from benchmarks.tasks.finetuning import examples

    for split, some in (("train", train), ("search", search), ("held_out", held)):
        found = examples(replace(task, length=length), some, pieces)
        arrays[f"{split}_tokens"] = found.tokens.numpy().astype(np.uint16)
        arrays[f"{split}_labels"] = found.labels.numpy().astype(np.uint8)
    about = {"vocab": pieces.get_vocab_size(), "length": length, "digests": digests}
    return arrays | {"about": np.frombuffer(json.dumps(about).encode(), np.uint8)}


def parted(
    rows: Sequence[glue.Row], elsewhere: Sequence[glue.Row], count: int
) -> tuple[list[glue.Row], list[glue.Row]]:
    """Rows to train on, and ``count`` whole sentences, no part of which is among them.

    Args:
        rows: sentences and phrases of them; a whole sentence is one that no other row has in it.
        elsewhere: rows that must not be among those to train on either.
    """
    words = [tuple(texts[0].split()) for texts, _ in rows]
    parts = {part for sentence in words for part in _phrases(sentence) if len(part) < len(sentence)}
    whole = [i for i, sentence in enumerate(words) if sentence not in parts]
    chosen = np.random.default_rng(SEED).permutation(len(whole))[:count]
    held = [whole[i] for i in sorted(chosen.tolist())]
    taken = {part for i in held for part in _phrases(words[i])}
    taken |= {tuple(texts[0].split()) for texts, _ in elsewhere}
    return [row for row, sentence in zip(rows, words, strict=True) if sentence not in taken], [
        rows[i] for i in held
    ]


def _phrases(words: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """Every run of words."""
    for start in range(len(words)):
        for end in range(start + 1, len(words) + 1):
            yield words[start:end]
