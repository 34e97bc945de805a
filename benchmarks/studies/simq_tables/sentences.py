"""Data of the tables of text: rows of Wikipedia, and phrases and sentences of SST-2.

Searches are evaluated on 1,000 whole sentences of SST-2's *train*; every phrase that occurs in one of them is
excluded from training. *dev* and the labelled *test* are held out from training and searches.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import torch
from torch import Tensor

from benchmarks.api import UsageError
from benchmarks.records.canonical import JsonObject
from benchmarks.stats.bleu import digest
from benchmarks.tasks import glue, text
from benchmarks.tasks.datasets import Say, datasets, locate
from supernet.data.images import ImageBatch
from supernet.data.masked_text import PackedText
from supernet.export import write_atomically

LENGTH, TINY_LENGTH = 64, 24
"""Largest number of tokens of a row or sentence, real or of tests."""
VOCABULARY = 4000
"""Word pieces."""
CHARACTERS = 60e6
"""Characters of Wikipedia."""
HELD = 1000
"""Sentences of train for searches."""
SEED = 1
"""Seed of the split."""


@dataclass(frozen=True)
class LabelledSentences:
    """Token ids ``[N, T]``, padded behind, with labels ``[N]``."""

    tokens: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def batch(self, index: Tensor | slice) -> ImageBatch:
        """Return the batch of the sentences at ``index``; its tokens include padding."""
        tokens = self.tokens[index].long()
        return ImageBatch(tokens, self.labels[index], tokens.numel())

    def to(self, device: str) -> LabelledSentences:
        """Copy to another device."""
        return LabelledSentences(self.tokens.to(device), self.labels.to(device))

    def batches(self, size: int) -> list[ImageBatch]:
        """Return all sentences in batches of similar lengths, each padded to its longest."""
        lengths = (self.tokens != 0).sum(1)
        order = lengths.argsort(stable=True)
        batches = []
        for part in torch.split(order, size):
            similar = LabelledSentences(self.tokens[part, : int(lengths[part].max())], self.labels[part])
            batches.append(similar.batch(slice(None)))
        return batches


class Shuffled:
    """Endless training batches; batch ``i`` depends only on the seed and ``i``."""

    def __init__(self, sentences: LabelledSentences, size: int, seed: int) -> None:
        self.sentences, self.size, self.seed = sentences, size, seed

    def __iter__(self) -> Iterator[ImageBatch]:
        for epoch in range(1 << 30):
            order = torch.from_numpy(
                np.random.default_rng([self.seed, epoch]).permutation(len(self.sentences))
            )
            order = order.to(self.sentences.labels.device)
            for start in range(0, len(order) - self.size + 1, self.size):
                yield self.sentences.batch(order[start : start + self.size])


@dataclass(frozen=True)
class TextData:
    """Data of a table of text.

    Attributes:
        rows: for masked words; None in the word pieces of a trained encoder.
        train, search, held_out: labelled sentences.
        vocab: word pieces.
        digests: file of the source -> sha256.
    """

    rows: PackedText | None
    train: LabelledSentences
    search: LabelledSentences
    held_out: LabelledSentences
    vocab: int
    digests: dict[str, str]


def load_corpus(
    cache: Path, tiny: bool, data_dir: Path | None, say: Say, model: Path | None = None
) -> TextData:
    """Read the prepared data, after writing them if they do not exist; reading needs no tokenizer.

    Args:
        cache: folder of the file.
        tiny: generated sentences, for tests.
        data_dir: folder of real data; None: it is downloaded.
        model: folder of a checked encoder whose word pieces are used; None: they are learnt.

    Raises:
        UsageError: the file is damaged, or its sentences are of another length or source.
    """
    from supernet.interop.huggingface import warm_start

    pieces = warm_start.pieces(model) if model else ()
    own = f"-{digest(pieces)[:12]}" if pieces else ""
    path = cache / f"sentences{'-tiny' if tiny else ''}{own}.npz"
    if not path.is_file():
        cache.mkdir(parents=True, exist_ok=True)
        arrays = _prepare(tiny, data_dir, say, pieces)
        write_atomically(path, lambda name: _save(name, arrays))
    try:
        corpus, about = _read(path)
    except (EOFError, KeyError, TypeError, ValueError, BadZipFile, zlib.error) as error:
        raise UsageError(f"'{path}' is damaged ({error}): delete it, and it is prepared again") from None
    expected = {"length": _length(tiny), "digests": _digests(tiny, pieces)}
    for name, value in expected.items():
        if about[name] != value:
            raise UsageError(
                f"'{path}' holds other sentences: {name} {about[name]}, needed {value}: delete it, and it is"
                " prepared again, or name another folder with --cache DIR"
            )
    return corpus


def _read(path: Path) -> tuple[TextData, JsonObject]:
    """Return the data of a file of ``load_corpus``, and the facts about them."""
    with open(path, "rb") as opened, np.load(opened, allow_pickle=False) as file:
        about: JsonObject = json.loads(file["about"].tobytes())
        ids = file["text"].astype(np.int32)
        rows = PackedText([ids], about["length"], about["vocab"]) if len(ids) else None
        parts = {
            split: LabelledSentences(
                torch.from_numpy(file[f"{split}_tokens"].astype(np.int32)),
                torch.from_numpy(file[f"{split}_labels"].astype(np.int64)),
            )
            for split in ("train", "search", "held_out")
        }
    return TextData(rows, **parts, vocab=about["vocab"], digests=about["digests"]), about


def _length(tiny: bool) -> int:
    return TINY_LENGTH if tiny else LENGTH


def _digests(tiny: bool, pieces: Sequence[str]) -> dict[str, str]:
    """Return file -> sha256 of the sources: none of generated sentences, Wikipedia if pieces are learnt."""
    if tiny:
        return {}
    sources = ("glue/SST-2",) if pieces else ("glue/SST-2", "enwiki2015")
    return {name: sha256 for key in sources for name, sha256 in datasets()[key].digests().items()}


def _save(name: str, arrays: JsonObject) -> None:
    with open(name, "wb") as file:
        np.savez_compressed(file, **arrays)


def _prepare(tiny: bool, data_dir: Path | None, say: Say, pieces: Sequence[str]) -> JsonObject:
    if tiny:
        task = glue.TASKS["number"]
        splits = glue.from_grammar(task, 11)
        search, train = splits["train"][:60], splits["train"][60:]
        held, vocab = splits["dev"][:60], 300
        documents = [" ".join(texts) for texts, _ in train] * 3
    else:
        data = datasets()["glue/SST-2"]
        task = replace(glue.TASKS["sst-2"], length=LENGTH)
        files = locate(data, data_dir, say)
        rows = {
            n: glue.read_table(files[f"{n}.tsv.gz"], task, data.unpacked) for n in ("train", "dev", "test")
        }
        held = rows["dev"] + rows["test"]
        train, search = split_sentences(rows["train"], held, HELD)
        say(f"{len(train):,} phrases to train on, {len(search):,} sentences for searches, {len(held):,} held")
        documents, vocab = [], VOCABULARY
        if not pieces:
            read = text.enwiki(
                {"train_characters": CHARACTERS, "valid_characters": 0, "test_characters": 0}, data_dir, say
            )
            documents = list(read.train)
    if pieces:
        tokenizer, ids = text.word_piece_tokenizer({p: i for i, p in enumerate(pieces)}), np.zeros(0)
    else:
        say(f"learning {vocab:,} word pieces on {len(documents):,} documents")
        tokenizer = text.learn(documents, vocab)
        ids = np.concatenate([np.append(tokens, 3) for tokens in text.encode(tokenizer, documents)])
    arrays: JsonObject = {"text": ids.astype(np.uint16)}
    from benchmarks.tasks.finetuning import examples

    for split, some in (("train", train), ("search", search), ("held_out", held)):
        encoded = examples(replace(task, length=_length(tiny)), some, tokenizer)
        arrays[f"{split}_tokens"] = encoded.tokens.numpy().astype(
            np.min_scalar_type(tokenizer.get_vocab_size())
        )
        arrays[f"{split}_labels"] = encoded.labels.numpy().astype(np.uint8)
    about = {"vocab": tokenizer.get_vocab_size(), "length": _length(tiny), "digests": _digests(tiny, pieces)}
    return arrays | {"about": np.frombuffer(json.dumps(about).encode(), np.uint8)}


def split_sentences(
    rows: Sequence[glue.Row], elsewhere: Sequence[glue.Row], count: int
) -> tuple[list[glue.Row], list[glue.Row]]:
    """Return rows to train on, and ``count`` whole sentences with no phrase among them.

    Args:
        rows: sentences and phrases of them; a whole sentence is part of no other row.
        elsewhere: rows that are excluded from training too.
    """
    words = [tuple(texts[0].split()) for texts, _ in rows]
    parts = {part for sentence in words for part in _phrases(sentence) if len(part) < len(sentence)}
    complete = [i for i, sentence in enumerate(words) if sentence not in parts]
    chosen = np.random.default_rng(SEED).permutation(len(complete))[:count]
    held = [complete[i] for i in sorted(chosen.tolist())]
    taken = {part for i in held for part in _phrases(words[i])}
    taken |= {tuple(texts[0].split()) for texts, _ in elsewhere}
    return [row for row, sentence in zip(rows, words, strict=True) if sentence not in taken], [
        rows[i] for i in held
    ]


def _phrases(words: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """Yield every run of consecutive words."""
    for start in range(len(words)):
        for end in range(start + 1, len(words) + 1):
            yield words[start:end]
