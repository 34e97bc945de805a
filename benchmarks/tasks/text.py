"""Documents: readers of each text, WordPiece learnt on the training split, token ids, a sealed test split."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.api import UsageError
from benchmarks.stats.bleu import digest
from benchmarks.tasks import Prepared
from benchmarks.tasks.datasets import Say, datasets, locate, read_lines, sha256
from benchmarks.tasks.prepared_data import RawData, read_info, write_info
from benchmarks.tasks.tiers import Table

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from supernet.data.masked_text import PackedText

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
"""Special tokens, in the order of ``supernet.bert``."""
VOCABULARY = "tokenizer.json"
MOST_LETTERS = 1000
"""Size of the alphabet: the most frequent letters. Words with other letters are unknown."""
DOCUMENT = 20
"""Generated sentences in one document."""


@dataclass(frozen=True)
class Texts:
    """Raw documents of each split; ``tests`` by name of the set."""

    train: Sequence[str]
    valid: Sequence[str]
    tests: Mapping[str, Sequence[str]]


def synthetic(settings: Table, data_dir: Path | None, say: Say) -> Texts:
    """Draw the English half of the generated translation corpus, in documents of ``DOCUMENT`` sentences."""
    from benchmarks.tasks.grammar import corpus

    sizes = {name: int(settings[name]) for name in ("train", "valid", "test")}
    say(f"drawing {sum(sizes.values()):,} sentences from the grammar (seed {settings['seed']})")
    pairs = corpus(sizes, np.random.default_rng(settings["seed"]))

    def documents(split: str) -> list[str]:
        lines = [english for english, _ in pairs[split]]
        return ["\n".join(lines[i : i + DOCUMENT]) for i in range(0, len(lines), DOCUMENT)]

    return Texts(documents("train"), documents("valid"), {"test": documents("test")})


def enwiki(settings: Table, data_dir: Path | None, say: Say) -> Texts:
    """Read articles of the English Wikipedia of 2015; ``settings`` has the characters of each split.

    Raises:
        UsageError: a file is missing or altered.
    """
    data = datasets()["enwiki2015"]
    files = locate(data, data_dir, say)
    shards = [file for file in sorted(data.files) if file.startswith("train_")]

    def split(name: str) -> list[str]:
        paths = [files[file] for file in (shards if name == "train" else [f"{name}.txt.xz"])]
        kept: list[str] = []
        remaining = float(settings[f"{name}_characters"])
        for article in articles(paths, data.unpacked):
            if remaining <= 0:
                break
            kept.append(article)
            remaining -= len(article)
        return kept

    say("reading Wikipedia articles")
    return Texts(split("train"), split("valid"), {"test": split("test")})


def articles(paths: Iterable[Path], unpacked: int) -> Iterator[str]:
    """Yield the articles of packed text; an empty line ends an article.

    Raises:
        UsageError: a file is not packed text, or unpacks to more than ``unpacked`` bytes.
    """
    for path in paths:
        for kind, lines in groupby(read_lines(path, unpacked), key=bool):
            if kind:
                yield "\n".join(lines)


def prepare(raw: RawData[Texts], vocab: int, pieces: Sequence[str] = ()) -> Prepared:
    """Prepare the text of one task and tier, or find it prepared.

    Args:
        raw: ``settings.length`` is the length of a row in tokens.
        vocab: size of the vocabulary, special tokens included.
        pieces: vocabulary to use, special tokens first; empty: a vocabulary is learnt on the training text.

    Raises:
        UsageError: the text has too few different parts for the vocabulary.
    """
    inputs: dict[str, object] = {"vocab": vocab, "code": code_version()}
    if pieces:
        inputs["pieces"] = digest(pieces)
    folder, sealed, info = raw.folders(
        inputs,
        lambda texts: {name: digest(documents) for name, documents in _splits(texts).items()},
        write_tests,
        lambda texts, fresh: write_open(texts, fresh, raw.declared, raw.settings, vocab, raw.say, pieces),
    )
    return Prepared(folder, sealed, info["digests"], info["vocab"], info["vocab"])


def _splits(texts: Texts) -> dict[str, Sequence[str]]:
    return {"train": texts.train, "valid": texts.valid, **texts.tests}


def code_version() -> str:
    """Return a digest of the code, lexicon and library that prepared data depends on."""
    here = Path(__file__).parent
    files = [Path(__file__), *sorted((here / "grammar").glob("*.py")), here / "grammar" / "lexicon.toml"]
    return digest([*map(sha256, files), version("tokenizers")])


def write_open(
    texts: Texts,
    folder: Path,
    declared: Mapping[str, str],
    settings: Table,
    vocab: int,
    say: Say,
    pieces: Sequence[str] = (),
) -> None:
    """Write vocabulary, training and validation text.

    Raises:
        UsageError: the text has too few different parts for the vocabulary.
    """
    if pieces:
        tokenizer = word_piece_tokenizer({piece: i for i, piece in enumerate(pieces)})
    else:
        say(f"learning {vocab:,} word pieces on {len(texts.train):,} training documents")
        tokenizer = learn(texts.train, vocab)
    (folder / VOCABULARY).write_text(tokenizer.to_str(), encoding="utf-8")
    for split, documents in (("train", texts.train), ("valid", texts.valid)):
        with (folder / f"{split}.npz").open("wb") as file:
            np.savez(file, allow_pickle=False, **flatten(encode(tokenizer, documents)))
    digests = dict(declared) or {split: digest(documents) for split, documents in _splits(texts).items()}
    digests["vocabulary"] = digest([tokenizer.to_str()])
    vocab = tokenizer.get_vocab_size()
    write_info(folder, {"vocab": vocab, "length": int(settings["length"]), "digests": digests})


def write_tests(texts: Texts, folder: Path) -> None:
    """Write every test set as a list of raw documents."""
    (folder / "sets.json").write_text(json.dumps({name: list(docs) for name, docs in texts.tests.items()}))


def read_tests(sealed: Path) -> dict[str, list[str]]:
    """Return the name of each test set -> raw documents."""
    tests: dict[str, list[str]] = json.loads((sealed / "sets.json").read_text())
    return tests


def learn(documents: Sequence[str], vocab: int) -> Tokenizer:
    """Learn an uncased WordPiece vocabulary of ``vocab`` pieces, as BERT splits text (Devlin et al. 2019).

    Equal documents give equal pieces in the same order. Special tokens never result from text: a document
    that spells one out is split like any other.

    Raises:
        UsageError: the documents have too few different parts.
    """
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

    normalizer = normalizers.BertNormalizer(lowercase=True)
    letters: Counter[str] = Counter()
    for document in documents:
        letters.update(normalizer.normalize_str(document))
    by_frequency = sorted(letters.items(), key=lambda letter: (-letter[1], letter[0]))
    common = [letter for letter, _ in by_frequency if not letter.isspace()]
    alphabet = sorted(common[:MOST_LETTERS])
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizer, pre_tokenizers.BertPreTokenizer()
    # The trainer numbers inner letters as a hash map has them, and breaks ties by number: name them first.
    first = [*SPECIAL, *(f"##{letter}" for letter in alphabet)]
    trainer = trainers.WordPieceTrainer(
        vocab_size=vocab,
        min_frequency=2,
        special_tokens=first,
        initial_alphabet=alphabet,
        limit_alphabet=len(alphabet),
        show_progress=False,
    )
    tokenizer.train_from_iterator(documents, trainer)
    if tokenizer.get_vocab_size() < vocab:
        raise UsageError(
            f"{len(documents):,} documents give {tokenizer.get_vocab_size():,} word pieces, not {vocab:,}:"
            " give more text, or a smaller vocabulary (the tier's vocab)"
        )
    return word_piece_tokenizer(tokenizer.get_vocab())


def word_piece_tokenizer(vocab: Mapping[str, int]) -> Tokenizer:
    """Return an uncased WordPiece tokenizer over a given vocabulary, piece -> id."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers

    tokenizer = Tokenizer(models.WordPiece(dict(vocab), unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    return tokenizer


def load_vocabulary(folder: Path) -> Tokenizer:
    """Load the tokenizer of a prepared folder."""
    from tokenizers import Tokenizer

    tokenizer: Tokenizer = Tokenizer.from_file(str(folder / VOCABULARY))
    return tokenizer


def encode(tokenizer: Tokenizer, documents: Sequence[str]) -> list[np.ndarray]:
    """Return the token ids of each document, without special tokens."""
    encodings = tokenizer.encode_batch(list(documents))
    return [np.array(encoding.ids, dtype=np.int32) for encoding in encodings]


def flatten(documents: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
    """Return ragged token ids as one array ``ids`` and their lengths ``length``."""
    lengths = np.array([len(document) for document in documents], dtype=np.int32)
    return {"ids": np.concatenate([np.empty(0, np.int32), *documents]), "length": lengths}


def read_packed(folder: Path, split: str) -> PackedText:
    """Read the ``train`` or ``valid`` documents of a prepared folder, packed into rows."""
    with np.load(folder / f"{split}.npz", allow_pickle=False) as arrays:
        documents = np.split(arrays["ids"], np.cumsum(arrays["length"])[:-1])
    return pack(folder, documents)


def pack(folder: Path, documents: Sequence[np.ndarray]) -> PackedText:
    """Pack token ids of documents into rows as long as those of a prepared folder."""
    from supernet.data.masked_text import PackedText

    info = read_info(folder)
    return PackedText(documents, info["length"], info["vocab"])
