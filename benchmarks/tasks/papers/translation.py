"""Translation as in the papers: their data, their preparation, tokenised BLEU beside sacreBLEU's."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.records.canonical import JsonObject
from benchmarks.stats import bleu
from benchmarks.stats.quantities import METRICS, Quantity
from benchmarks.stats.task_units import TaskUnits
from benchmarks.tasks import Prepared, corpus
from benchmarks.tasks.datasets import Say, sha256
from benchmarks.tasks.mt import MTTask, TranslationScore
from benchmarks.tasks.papers import corpora, downloads
from benchmarks.tasks.papers.preparation import detokenise, split_hyphens
from benchmarks.tasks.prepared_data import RawData, write_info
from benchmarks.tasks.tiers import Tier

if TYPE_CHECKING:
    import torch
    from sentencepiece import SentencePieceProcessor

LEARNT_ON = 2_000_000
"""Most training pairs that subwords are learnt on: equally spaced ones of a larger corpus."""
CHUNK = 100_000
"""Pairs that are encoded at a time."""
TOKENISED = "bleu_tok"
"""Metric of the papers: BLEU of tokens, compounds split at hyphens."""


class PaperTranslation(MTTask):
    """A translation task of the papers.

    Networks read and write Moses tokens in byte pairs. Subwords are sentencepiece's byte pairs of tokenised
    text where the papers have subword-nmt's, and both sides share one vocabulary. ``bleu`` decides and is
    sacreBLEU's of detokenised output against the untouched reference; ``bleu_tok`` is what the papers print.
    """

    tables = Path(__file__).with_name("translation.toml")
    units = TaskUnits(
        {
            "bleu": METRICS["bleu"],
            "chrf": METRICS["chrf"],
            TOKENISED: Quantity("BLEU (tokenised, hyphens split)", "", 0.0, 100.0, higher_is_better=True),
        }
    )

    def __init__(self, name: str) -> None:
        self.corpus = corpora.CORPORA[name]
        self.languages = self.corpus.languages
        super().__init__(
            f"mt-{name}", lambda settings, folder, say: corpora.read(name, settings, folder, say)
        )
        self.key = name

    def declared(self, tier: Tier) -> dict[str, str]:
        """Return the checksums that, with code and settings, determine the data of a tier.

        A file without a published one is named by its address; its own checksum is in the record.
        """
        files = (downloads.downloads()[file] for file in self.corpus.files)
        return {f"papers/{d.file}": d.sha256 or f"pinned on first use: {d.url}" for d in files}

    def prepare(self, tier: Tier, cache: Path, data_dir: Path | None, progress: Say) -> Prepared:
        """Fetch and prepare the data of a tier, or find it prepared.

        Raises:
            UsageError: a file is missing, damaged or altered, or cannot be fetched.
        """
        actual = corpora.digests(self.key, data_dir, progress)
        raw = RawData(
            name=f"{self.name}-{tier.name}",
            reader=lambda: corpora.read(self.key, tier.data, data_dir, progress),
            declared=actual,
            settings=tier.data,
            reproducible=True,
            cache=cache,
            say=progress,
        )
        here = sorted(Path(__file__).parent.glob("*.py"))
        code = [corpus.code_version(), *(sha256(path) for path in here)]
        folder, sealed, info = raw.folders(
            {"vocab": tier.vocab, "code": code},
            lambda read: {},
            corpus.write_tests,
            lambda read, fresh: write_open(read, fresh, actual, tier, progress),
        )
        return Prepared(folder, sealed, info["digests"], info["vocab"], info["vocab"])

    def score(
        self, module: torch.nn.Module, prepared: Prepared, tier: Tier, device: str, precision: str = "fp32"
    ) -> TranslationScore:
        """Translate the sealed test set and compare with the references, for the scoring process.

        Raises:
            ValueError: this process has no access to the test split.
        """
        from supernet.data.sentence_pairs import PairData

        subwords = corpus.load_vocabulary(prepared.folder)
        ((name, (sources, references)),) = corpus.read_tests(self.sealed(prepared)).items()
        most = int(tier.model["max_positions"]) - 1
        sides = [
            [self.corpus.preparation.tokenise(line, language) for line in lines]
            for lines, language in zip((sources, references), self.languages, strict=True)
        ]
        ids = [[sentence[:most] for sentence in subwords.encode(side)] for side in sides]
        tokens = self.translate(module, ids[0], tier, device, precision, subwords)
        outputs = [detokenise(line, self.languages[1]) for line in tokens]
        scores: dict[str, JsonObject] = bleu.scores(self.scorers(outputs, references), slice(None))
        scores[TOKENISED] = tokenised_bleu(tokens, sides[1], lower=self.corpus.preparation.lower).to_dict()
        arrays = [[np.array(sentence, dtype=np.int32) for sentence in side] for side in ids]
        loss = self.evaluate(module, PairData(*arrays), device, precision).loss
        return {
            "test": {name: scores},
            "sentences_sha256": bleu.digest(outputs),
            "sentences": {
                "sets": [[name, len(references)]],
                "bleu": bleu.sentence_counts(outputs, references, self.tokenizer),
            },
            "test_loss": loss,
        }

    def scorers(self, outputs: list[str], references: list[str]) -> dict[str, bleu.Scorer]:
        """Return sacreBLEU's BLEU and chrF of running text."""
        return {
            "bleu": bleu.bleu_scorer(outputs, references),
            "chrf": bleu.chrf_scorer(outputs, references),
        }


def tokenised_bleu(outputs: Sequence[str], references: Sequence[str], *, lower: bool) -> bleu.Score:
    """Compute BLEU of Moses tokens with compounds split at hyphens (Vaswani et al. 2017), as papers print it.

    Never to be compared with ``bleu``: the tokens are others.
    """
    hypotheses, targets = (
        [split_hyphens(line.replace(" @-@ ", "-")) for line in side] for side in (outputs, references)
    )
    score = bleu.bleu(hypotheses, targets, tokenizer="none")
    case = "lc" if lower else "mixed"
    recipe = f"case:{case}|eff:no|tok:moses-hyphens"
    return bleu.Score(
        score.value, score.low, score.high, score.signature.replace("case:mixed|eff:no|tok:none", recipe)
    )


def write_open(read: corpus.Corpus, folder: Path, digests: dict[str, str], tier: Tier, say: Say) -> None:
    """Write vocabulary, training and validation pairs, a chunk at a time.

    Raises:
        UsageError: the corpus has too few different parts for the vocabulary.
    """
    step = -(-len(read.train) // LEARNT_ON)
    sample = read.train[::step]
    say(f"learning {tier.vocab:,} joint subwords on {len(sample):,} of {len(read.train):,} training pairs")
    model = corpus.learn([side for pair in sample for side in pair], tier.vocab)
    (folder / corpus.VOCABULARY).write_bytes(model)
    subwords = corpus.load_vocabulary(folder)
    longest = int(tier.data["max_tokens"])
    for split, pairs, most in (("train", read.train, longest), ("valid", read.valid, int(1e9))):
        write_pairs(folder / f"{split}.npz", encoded(subwords, pairs, most))
    write_info(
        folder,
        {
            "vocab": subwords.get_piece_size(),
            "digests": digests | {"vocabulary": hashlib.sha256(model).hexdigest()},
        },
    )


Ids = tuple[list[list[int]], list[list[int]]]
"""Token ids of both sides of some pairs."""


def encoded(subwords: SentencePieceProcessor, pairs: Sequence[corpus.Pair], most: int) -> Iterator[Ids]:
    """Yield the token ids of pairs of fewer than ``most`` tokens a side, ``CHUNK`` pairs at a time."""
    for start in range(0, len(pairs), CHUNK):
        chunk = pairs[start : start + CHUNK]
        source, target = (subwords.encode([pair[side] for pair in chunk]) for side in (0, 1))
        kept = [(s, t) for s, t in zip(source, target, strict=True) if max(len(s), len(t)) < most]
        yield [s for s, _ in kept], [t for _, t in kept]


def write_pairs(path: Path, chunks: Iterator[Ids]) -> None:
    """Write ragged token ids in the form that ``corpus.read_pairs`` reads."""
    flat: dict[str, list[np.ndarray]] = {}
    for chunk in chunks:
        for side, sentences in zip(("source", "target"), chunk, strict=True):
            ids = np.fromiter((i for sentence in sentences for i in sentence), dtype=np.int32)
            lengths = np.array([len(sentence) for sentence in sentences], dtype=np.int32)
            flat.setdefault(side, []).append(ids)
            flat.setdefault(f"{side}_length", []).append(lengths)
    with path.open("wb") as file:
        np.savez(file, allow_pickle=False, **{name: np.concatenate(parts) for name, parts in flat.items()})


wmt14_en_de = PaperTranslation("wmt14-en-de")
wmt14_en_fr = PaperTranslation("wmt14-en-fr")
wmt19_en_de = PaperTranslation("wmt19-en-de")
iwslt14_de_en = PaperTranslation("iwslt14-de-en")
