"""Sentence pairs: readers of each corpus, joint subwords, prepared token ids, a sealed test split.

The subwords are learnt on the training split alone, cased and unnormalised, so that a network's output is
raw text again.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.api import UsageError
from benchmarks.stats.bleu import digest
from benchmarks.tasks import Prepared
from benchmarks.tasks.datasets import Say, datasets, locate, read_lines, sha256
from benchmarks.tasks.prepared_data import RawData, write_info
from benchmarks.tasks.tiers import Table

if TYPE_CHECKING:
    from sentencepiece import SentencePieceProcessor

    from supernet.data.sentence_pairs import PairData

BOS, PAD, EOS, UNK = 0, 1, 2, 3
"""Special tokens, in fairseq's order."""
POOL = "pooled"
"""Name of all test sets taken together, if there are several."""
VOCABULARY = "vocabulary.model"

Pair = tuple[str, str]


@dataclass(frozen=True)
class Corpus:
    """Raw sentence pairs ``(source, target)`` of each split; ``tests`` by name of the set."""

    train: Sequence[Pair]
    valid: Sequence[Pair]
    tests: Mapping[str, Sequence[Pair]]


def synthetic(settings: Table, data_dir: Path | None, say: Say) -> Corpus:
    """Draw the generated corpus; ``settings`` has the seed and the size of each split."""
    from benchmarks.tasks.grammar import corpus

    sizes = {name: int(settings[name]) for name in ("train", "valid", "test")}
    say(f"drawing {sum(sizes.values()):,} sentence pairs from the grammar (seed {settings['seed']})")
    pairs = corpus(sizes, np.random.default_rng(settings["seed"]))
    return Corpus(pairs["train"], pairs["valid"], {"test": pairs["test"]})


def multi30k(settings: Table, data_dir: Path | None, say: Say) -> Corpus:
    """Read Multi30k English-German (Elliott et al. 2016) with its three Flickr test sets.

    Raises:
        UsageError: a file is missing or altered, or its two sides differ in length.
    """
    data = datasets()["multi30k"]
    files = locate(data, data_dir, say)

    def pairs(split: str) -> list[Pair]:
        english, german = (read_lines(files[f"{split}.{side}.gz"], data.unpacked) for side in ("en", "de"))
        if len(english) != len(german):
            raise UsageError(
                f"{data.name}/{split}: {len(english)} English and {len(german)} German lines; fetch it again"
            )
        return list(zip(english, german, strict=True))

    years = ("test_2016_flickr", "test_2017_flickr", "test_2018_flickr")
    return Corpus(pairs("train"), pairs("val"), {year: pairs(year) for year in years})


Reader = Callable[[Table, Path | None, Say], Corpus]
"""Reader of a corpus, given the settings of a tier's ``data`` and ``--data-dir``."""


def two_columns(name: str) -> Reader:
    """Return the reader of a data set of English-German pairs, one a line, apart by a tab.

    Args:
        name: of the data set; its files are ``train``, ``dev`` and ``test``, ``.tsv.gz``.
    """

    def read(settings: Table, data_dir: Path | None, say: Say) -> Corpus:
        """Read the data set.

        Raises:
            UsageError: a file is missing or altered, or a line does not have two columns.
        """
        data = datasets()[name]
        files = locate(data, data_dir, say)

        def pairs(split: str) -> list[Pair]:
            rows = [line.split("\t") for line in read_lines(files[f"{split}.tsv.gz"], data.unpacked)]
            for number, row in enumerate(rows, start=1):
                if len(row) != 2:
                    raise UsageError(
                        f"{files[f'{split}.tsv.gz']}, line {number}: {len(row)} columns, expected 2"
                    )
            return [(row[0], row[1]) for row in rows]

        return Corpus(pairs("train"), pairs("dev"), {"test": pairs("test")})

    return read


def joined(readers: Mapping[str, Reader]) -> Reader:
    """Return the reader of several corpora as one; its test sets are named ``<corpus>.<set>``.

    Args:
        readers: by name of the corpus.
    """

    def read(settings: Table, data_dir: Path | None, say: Say) -> Corpus:
        """Read all corpora.

        Raises:
            UsageError: a file of one of them is missing or altered.
        """
        read = {name: reader(settings, data_dir, say) for name, reader in readers.items()}
        tests = {f"{name}.{test}": pairs for name, c in read.items() for test, pairs in c.tests.items()}
        train, valid = ([pair for c in read.values() for pair in getattr(c, x)] for x in ("train", "valid"))
        return Corpus(train, valid, tests)

    return read


def prepare(raw: RawData[Corpus], vocab: int) -> Prepared:
    """Prepare the corpus of one task and tier, or find it prepared.

    Args:
        raw: ``settings.max_tokens`` leaves longer training sentences out.
        vocab: size of the joint vocabulary, special tokens included.

    Raises:
        UsageError: the corpus has too few different parts for the vocabulary.
    """
    folder, sealed, info = raw.folders(
        {"vocab": vocab, "code": code_version()},
        lambda corpus: {name: _digest(pairs) for name, pairs in _splits(corpus).items()},
        write_tests,
        lambda corpus, fresh: write_open(corpus, fresh, raw.declared, raw.settings, vocab, raw.say),
    )
    return Prepared(folder, sealed, info["digests"], info["vocab"], info["vocab"])


def _splits(corpus: Corpus) -> dict[str, Sequence[Pair]]:
    return {"train": corpus.train, "valid": corpus.valid, **corpus.tests}


def _digest(pairs: Iterable[Pair]) -> str:
    return digest(f"{a}\t{b}" for a, b in pairs)


def code_version() -> str:
    """Return a digest of the code, lexicon and library that prepared data depends on."""
    here = Path(__file__).parent
    files = [Path(__file__), *sorted((here / "grammar").glob("*.py")), here / "grammar" / "lexicon.toml"]
    return digest([*map(sha256, files), version("sentencepiece")])


def write_open(
    corpus: Corpus,
    folder: Path,
    declared: Mapping[str, str],
    settings: Table,
    vocab: int,
    say: Say,
) -> None:
    """Write vocabulary, training and validation pairs.

    Raises:
        UsageError: the corpus has too few different parts for the vocabulary.
    """
    train = [pair for pair in corpus.train if pair[0].strip() and pair[1].strip()]
    say(f"learning {vocab:,} joint subwords on {len(train):,} training pairs")
    model = learn([sentence for pair in train for sentence in pair], vocab)
    (folder / VOCABULARY).write_bytes(model)
    subwords = load_vocabulary(folder)
    for split, pairs in (("train", train), ("valid", corpus.valid)):
        source, target = (subwords.encode([pair[side] for pair in pairs]) for side in (0, 1))
        if split == "train":
            most = int(settings["max_tokens"])
            keep = [
                i for i, (s, t) in enumerate(zip(source, target, strict=True)) if max(len(s), len(t)) < most
            ]
            source, target = [source[i] for i in keep], [target[i] for i in keep]
        write_pairs(folder / f"{split}.npz", source, target)
    splits = {**_splits(corpus), "train": train}
    digests = dict(declared) or {split: _digest(pairs) for split, pairs in splits.items()}
    digests["vocabulary"] = hashlib.sha256(model).hexdigest()
    write_info(folder, {"vocab": subwords.get_piece_size(), "digests": digests})


def write_tests(corpus: Corpus, folder: Path) -> None:
    """Write each test set as raw lines, sources apart from references, and the order of the sets."""
    for name, pairs in corpus.tests.items():
        for side, kind in enumerate(("source", "reference")):
            lines = [pair[side] for pair in pairs]
            (folder / f"{name}.{kind}.txt").write_text(
                "\n".join(lines) + "\n", encoding="utf-8", newline="\n"
            )
    (folder / "sets.json").write_text(json.dumps(list(corpus.tests)))


def read_tests(sealed: Path) -> dict[str, tuple[list[str], list[str]]]:
    """Return the name of each test set -> sources and references."""

    def lines(name: str, kind: str) -> list[str]:
        text = (sealed / f"{name}.{kind}.txt").read_bytes().decode("utf-8")
        return text.removesuffix("\n").split("\n")

    names: list[str] = json.loads((sealed / "sets.json").read_text())
    return {name: (lines(name, "source"), lines(name, "reference")) for name in names}


def learn(sentences: Sequence[str], vocab: int) -> bytes:
    """Learn a byte-pair encoding of ``vocab`` pieces; equal sentences give equal bytes.

    Raises:
        UsageError: the sentences have too few different parts.
    """
    from sentencepiece import SentencePieceTrainer

    model = io.BytesIO()
    try:
        SentencePieceTrainer.train(
            sentence_iterator=iter(sentences),
            model_writer=model,
            model_type="bpe",
            vocab_size=vocab,
            # A large corpus has letters that are too rare to learn.
            character_coverage=0.9999 if len(sentences) > 200_000 else 1.0,
            normalization_rule_name="identity",
            bos_id=BOS,
            pad_id=PAD,
            eos_id=EOS,
            unk_id=UNK,
            num_threads=1,
            minloglevel=2,
        )
    except RuntimeError as error:
        raise UsageError(
            f"{len(sentences):,} sentences do not give {vocab:,} subwords: {error}\n"
            "give more text, or a smaller vocabulary (the tier's vocab)"
        ) from None
    return model.getvalue()


def load_vocabulary(folder: Path) -> SentencePieceProcessor:
    """Load the subwords of a prepared folder."""
    from sentencepiece import SentencePieceProcessor

    return SentencePieceProcessor(model_proto=(folder / VOCABULARY).read_bytes())


def write_pairs(path: Path, source: Sequence[Sequence[int]], target: Sequence[Sequence[int]]) -> None:
    """Write ragged token ids as flat arrays and lengths."""
    arrays: dict[str, np.ndarray] = {}
    for side, sentences in (("source", source), ("target", target)):
        arrays[side] = np.array([i for sentence in sentences for i in sentence], dtype=np.int32)
        arrays[f"{side}_length"] = np.array([len(sentence) for sentence in sentences], dtype=np.int32)
    with path.open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays)


def read_pairs(path: Path) -> PairData:
    """Read the pairs that ``write_pairs`` wrote."""
    from supernet.data.sentence_pairs import PairData

    with np.load(path, allow_pickle=False) as arrays:
        sides = [
            np.split(arrays[side], np.cumsum(arrays[f"{side}_length"])[:-1]) for side in ("source", "target")
        ]
    return PairData(sides[0], sides[1])
