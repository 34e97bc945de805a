"""From documents to a folder of token ids: WordPiece learnt on the training text, a sealed test split.

The cache is addressed by all that went into it: checksums of the data, settings, this code and the
version of tokenizers.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.api import UsageError
from benchmarks.stats.bleu import digest
from benchmarks.tasks import Prepared
from benchmarks.tasks.datasets import Say, build, datasets, locate, read_lines, sha256

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from supernet.data.masked_text import PackedText

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
"""In the order of ``supernet.bert``."""
VOCABULARY = "tokenizer.json"
INFO = "info.json"
MOST_LETTERS = 1000
"""Of the alphabet, the most frequent ones; words with others are unknown."""
DOCUMENT = 20
"""Generated sentences that make one document."""


@dataclass(frozen=True)
class Texts:
    """Raw documents of each split; ``tests`` by name of the set."""

    train: Sequence[str]
    valid: Sequence[str]
    tests: Mapping[str, Sequence[str]]


def synthetic(settings: Mapping[str, Any], data_dir: Path | None, say: Say) -> Texts:
    """The English half of the generated translation task, sentence after sentence."""
    from benchmarks.tasks.grammar import corpus

    sizes = {name: int(settings[name]) for name in ("train", "valid", "test")}
    say(f"drawing {sum(sizes.values()):,} sentences from the grammar (seed {settings['seed']})")
    made = corpus(sizes, np.random.default_rng(settings["seed"]))

    def documents(split: str) -> list[str]:
        lines = [english for english, _ in made[split]]
        return ["\n".join(lines[i : i + DOCUMENT]) for i in range(0, len(lines), DOCUMENT)]

    return Texts(documents("train"), documents("valid"), {"test": documents("test")})


def enwiki(settings: Mapping[str, Any], data_dir: Path | None, say: Say) -> Texts:
    """Articles of the English Wikipedia of 2015; ``settings`` cuts each split to so many characters."""
    data = datasets()["enwiki2015"]
    files = locate(data, data_dir, say)
    shards = [file for file in sorted(data.files) if file.startswith("train_")]

    def some(names: Iterable[str], most: float) -> list[str]:
        kept: list[str] = []
        left = most
        for article in articles((files[name] for name in names), data.unpacked):
            if left <= 0:
                break
            kept.append(article)
            left -= len(article)
        return kept

    def split(name: str) -> list[str]:
        return some(shards if name == "train" else [f"{name}.txt.xz"], float(settings[f"{name}_characters"]))

    say("reading Wikipedia articles")
    return Texts(split("train"), split("valid"), {"test": split("test")})


def articles(paths: Iterable[Path], unpacked: int) -> Iterator[str]:
    """Articles of packed text: each ends with an empty line.

    Raises:
        UsageError: a file is no such text, or unpacks to more than allowed.
    """
    for path in paths:
        for kind, lines in groupby(read_lines(path, unpacked), key=bool):
            if kind:
                yield "\n".join(lines)


def prepare(
    name: str,
    read: Callable[[], Texts],
    *,
    declared: Mapping[str, str],
    settings: Mapping[str, Any],
    vocab: int,
    ours: bool,
    cache: Path,
    say: Say,
    pieces: Sequence[str] = (),
) -> Prepared:
    """Make or find the prepared text of one task and tier.

    Training and validation text go to ``cache/prepared`` as token ids, the test split to
    ``cache/sealed`` as raw documents; each appears whole or not at all.

    Args:
        name: of task and tier, for people who look into the cache.
        read: gives the raw text; one of ours is called only when there is something to make.
        declared: checksums of the published files, empty for generated data.
        ours: what ``read`` gives follows from all the others; otherwise the text itself tells data apart.
        settings: of the data.
        vocab: size of the vocabulary, special tokens included.
        pieces: a vocabulary to use, special tokens first, in place of one learnt on the text.
    """
    made_from: dict[str, Any] = {"data": dict(declared), "settings": dict(settings), "vocab": vocab}
    made_from["code"] = code_version()
    if pieces:
        made_from["pieces"] = digest(pieces)
    read_once: list[Texts] = []

    def texts() -> Texts:
        if not read_once:
            read_once.append(read())
        return read_once[0]

    if not ours:
        splits = {"train": texts().train, "valid": texts().valid, **texts().tests}
        made_from["read"] = {split: digest(documents) for split, documents in splits.items()}
    key = hashlib.sha256(json.dumps(made_from, sort_keys=True).encode()).hexdigest()[:16]
    folder, sealed = cache / "prepared" / f"{name}-{key}", cache / "sealed" / f"{name}-{key}"
    build(sealed, lambda fresh: write_tests(texts(), fresh))
    if build(folder, lambda fresh: write_open(texts(), fresh, declared, settings, vocab, say, pieces)):
        say(f"{name}: prepared in {folder}")
    info = json.loads((folder / INFO).read_text())
    return Prepared(folder, sealed, info["digests"], info["vocab"], info["vocab"])


def code_version() -> str:
    """Changes whenever the code or the lexicon that makes the data does."""
    here = Path(__file__).parent
    files = [Path(__file__), *sorted((here / "grammar").glob("*.py")), here / "grammar" / "lexicon.toml"]
    return digest([*map(sha256, files), version("tokenizers")])


def write_open(
    texts: Texts,
    folder: Path,
    declared: Mapping[str, str],
    settings: Mapping[str, Any],
    vocab: int,
    say: Say,
    pieces: Sequence[str] = (),
) -> None:
    """Vocabulary, training and validation text; raises UsageError where the text is too small for it."""
    if pieces:
        tokenizer = word_pieces({piece: i for i, piece in enumerate(pieces)})
    else:
        say(f"learning {vocab:,} word pieces on {len(texts.train):,} training documents")
        tokenizer = learn(texts.train, vocab)
    (folder / VOCABULARY).write_text(tokenizer.to_str(), encoding="utf-8")
    for split, documents in (("train", texts.train), ("valid", texts.valid)):
        with (folder / f"{split}.npz").open("wb") as file:
            np.savez(file, **flat(encode(tokenizer, documents)))
    splits = (("train", texts.train), ("valid", texts.valid), *texts.tests.items())
    digests = dict(declared) or {split: digest(documents) for split, documents in splits}
    digests["vocabulary"] = digest([tokenizer.to_str()])
    info = {"vocab": tokenizer.get_vocab_size(), "length": int(settings["length"]), "digests": digests}
    (folder / INFO).write_text(json.dumps(info, indent=1))


def write_tests(texts: Texts, folder: Path) -> None:
    """Every test set as a list of raw documents."""
    (folder / "sets.json").write_text(json.dumps({name: list(docs) for name, docs in texts.tests.items()}))


def read_tests(sealed: Path) -> dict[str, list[str]]:
    """Name of each test set -> raw documents."""
    found: dict[str, list[str]] = json.loads((sealed / "sets.json").read_text())
    return found


def learn(documents: Sequence[str], vocab: int) -> Tokenizer:
    """Uncased WordPiece of ``vocab`` pieces, as BERT splits text (Devlin et al. 2019).

    The same pieces in the same order for the same documents. Special tokens are pieces that no text has:
    a document that spells one out is split like any other.

    Raises:
        UsageError: the documents have not enough different parts.
    """
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

    normalizer = normalizers.BertNormalizer(lowercase=True)
    letters: Counter[str] = Counter()
    for document in documents:
        letters.update(normalizer.normalize_str(document))
    common = [
        c for c, _ in sorted(letters.items(), key=lambda found: (-found[1], found[0])) if not c.isspace()
    ]
    alphabet = sorted(common[:MOST_LETTERS])
    made = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    made.normalizer, made.pre_tokenizer = normalizer, pre_tokenizers.BertPreTokenizer()
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
    made.train_from_iterator(documents, trainer)
    if made.get_vocab_size() < vocab:
        raise UsageError(
            f"{len(documents):,} documents give {made.get_vocab_size():,} word pieces, not {vocab:,}:"
            " more text is needed, or a smaller vocabulary"
        )
    return word_pieces(made.get_vocab())


def word_pieces(vocab: Mapping[str, int]) -> Tokenizer:
    """Uncased WordPiece over a given vocabulary."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers

    made = Tokenizer(models.WordPiece(dict(vocab), unk_token="[UNK]"))
    made.normalizer = normalizers.BertNormalizer(lowercase=True)
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.decoder = decoders.WordPiece()
    return made


def load_vocabulary(folder: Path) -> Tokenizer:
    """The word pieces of a prepared folder."""
    from tokenizers import Tokenizer

    tokenizer: Tokenizer = Tokenizer.from_file(str(folder / VOCABULARY))
    return tokenizer


def encode(tokenizer: Tokenizer, documents: Sequence[str]) -> list[np.ndarray]:
    """Token ids of each document, without special tokens."""
    found = tokenizer.encode_batch(list(documents))
    return [np.array(one.ids, dtype=np.int32) for one in found]


def flat(documents: Sequence[np.ndarray]) -> dict[str, Any]:
    """Ragged ids as one array and lengths."""
    lengths = np.array([len(document) for document in documents], dtype=np.int32)
    return {"ids": np.concatenate([np.empty(0, np.int32), *documents]), "length": lengths}


def read_packed(folder: Path, split: str) -> PackedText:
    """The ``train`` or ``valid`` documents of a prepared folder, packed into rows."""
    with np.load(folder / f"{split}.npz", allow_pickle=False) as arrays:
        documents = np.split(arrays["ids"], np.cumsum(arrays["length"])[:-1])
    return packed(folder, documents)


def packed(folder: Path, documents: Sequence[np.ndarray]) -> PackedText:
    """Token ids of documents in rows as long as those of a prepared folder."""
    from supernet.data.masked_text import PackedText

    info = json.loads((folder / INFO).read_text())
    return PackedText(documents, info["length"], info["vocab"])
