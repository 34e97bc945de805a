"""Machine translation: generated English-German, Multi30k and Tatoeba.

One class for all of them; they differ in the corpus and in the numbers of ``mt.toml``.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

import numpy as np

from benchmarks import stage
from benchmarks.api import Measurement
from benchmarks.records.canonical import JsonObject
from benchmarks.stats import bleu, task_units, translation_metrics
from benchmarks.tasks import Prepared, corpus, lexicon_digest
from benchmarks.tasks.base import TieredTask, autocast, evaluating
from benchmarks.tasks.datasets import datasets
from benchmarks.tasks.prepared_data import RawData
from benchmarks.tasks.tiers import Tier

if TYPE_CHECKING:
    import torch
    from sentencepiece import SentencePieceProcessor

    from supernet.data.sentence_pairs import AnyPairs, PairData, TokenBatches
    from supernet.seq2seq import Seq2SeqFamily
    from supernet.space import SearchSpace

EVALUATION_TOKENS = {"cpu": 4096, "cuda": 16384}
"""Tokens of a validation batch, padding included."""
DECODING_SENTENCES = {"cpu": 64, "cuda": 512}
"""Sentences decoded together."""


class Sentences(TypedDict):
    """Statistics of a record's translations, sentence by sentence."""

    sets: list[list[str | int]]
    """Name and number of sentences of each test set."""
    bleu: str
    """Packed by ``benchmarks.stats.bleu.sentence_counts``."""


class TranslationScore(TypedDict):
    """Score of one network on all test sets, as a record keeps it."""

    test: dict[str, JsonObject]
    """Test set -> metric -> value, low, high, signature; all sets pooled first if there are several."""
    sentences_sha256: str
    sentences: Sentences
    test_loss: float


class MTTask(TieredTask[corpus.Corpus, "PairData", "AnyPairs"]):
    """A translation task."""

    suite = "mt"
    units = task_units.TRANSLATION
    tables = Path(__file__).with_name("mt.toml")
    languages = "en", "de"
    """Source and target language."""
    tokenizer = bleu.TOKENIZER
    """sacreBLEU's tokenizer of the target language."""

    def declared(self, tier: Tier) -> dict[str, str]:
        """Return the checksums that, with code and settings, determine the data of a tier."""
        return {**lexicon_digest(), **super().declared(tier)}

    def prepare_data(self, raw: RawData[corpus.Corpus], tier: Tier) -> Prepared:
        """Return the prepared sentence pairs.

        Raises:
            UsageError: the corpus is too small for the tier's vocabulary.
        """
        return corpus.prepare(raw, tier.vocab)

    def family(self, tier: Tier, prepared: Prepared, space: SearchSpace | None = None) -> Seq2SeqFamily:
        """Return the encoder-decoders of a space, by default the tier's, over the prepared vocabulary."""
        from supernet.seq2seq import Seq2SeqConfig, Seq2SeqFamily
        from supernet.space import get_space

        config = Seq2SeqConfig(prepared.source_vocab, prepared.target_vocab, **tier.model)
        return Seq2SeqFamily(space or get_space(tier.space), config)

    def training(self, prepared: Prepared) -> PairData:
        """Return the training pairs."""
        return corpus.read_pairs(prepared.folder / "train.npz")

    def validation(self, prepared: Prepared) -> PairData:
        """Return the validation pairs."""
        return corpus.read_pairs(prepared.folder / "valid.npz")

    def batches(self, pairs: PairData, max_tokens: int, seed: int, device: str) -> TokenBatches:
        """Return an endless stream of training batches, in an order that the seed determines."""
        import torch

        from supernet.data.sentence_pairs import TokenBatches

        packed = torch.device(device).type == "cuda"
        return TokenBatches(pairs, max_tokens, seed, device=device, packed=packed)

    def evaluate(
        self, module: torch.nn.Module, pairs: PairData, device: str, precision: str = "fp32"
    ) -> Measurement:
        """Return the teacher-forced loss in nats per target token, end of sentence included.

        The batches and their order are the same each time; sums are in double precision.
        """
        import torch
        import torch.nn.functional as F

        batches = self.validation_batches(pairs, device)
        total = torch.zeros((), dtype=torch.float64, device=device)
        with evaluating(module, device, precision):
            for batch in batches:
                logits = module(*batch.inputs).float()
                losses = F.cross_entropy(logits, batch.labels, reduction="none")
                total += losses.sum(dtype=torch.float64)
        return Measurement(total.item() / sum(batch.tokens for batch in batches))

    def evaluation_batches(self, pairs: PairData, share: float, device: str) -> list[AnyPairs]:
        """Return all pairs in batches; ``validation_batches`` takes a share of the batches."""
        import torch

        from supernet.data.sentence_pairs import packed_batches, validation_batches

        kind = torch.device(device).type
        batches = packed_batches if kind == "cuda" else validation_batches
        return [*batches(pairs, EVALUATION_TOKENS[kind], device=device)]

    def validation_batches(self, pairs: PairData, device: str, share: float = 1.0) -> list[AnyPairs]:
        """Return the first ``share`` of all batches of pairs, at least one batch."""
        batches = super().validation_batches(pairs, device)
        return batches[: max(1, round(share * len(batches)))]

    def score(
        self, module: torch.nn.Module, prepared: Prepared, tier: Tier, device: str, precision: str = "fp32"
    ) -> TranslationScore:
        """Translate the sealed test sets and compare with the references, for the scoring process.

        Raises:
            ValueError: this process has no access to the test split.
        """
        from supernet.data.sentence_pairs import PairData

        subwords = corpus.load_vocabulary(prepared.folder)
        tests = corpus.read_tests(self.sealed(prepared))
        sources = [line for lines, _ in tests.values() for line in lines]
        references = [line for _, lines in tests.values() for line in lines]
        ids = [subwords.encode(lines, out_type=int) for lines in (sources, references)]
        # A sentence longer than the network can embed is cut, as it would be in use.
        most = int(tier.model["max_positions"]) - 1
        ids = [[sentence[:most] for sentence in side] for side in ids]
        outputs = self.translate(module, ids[0], tier, device, precision, subwords)
        parts: dict[str, slice] = {corpus.POOL: slice(0, len(outputs))} if len(tests) > 1 else {}
        start = 0
        for name, (_, lines) in tests.items():
            parts[name] = slice(start, start + len(lines))
            start += len(lines)
        scorers = self.scorers(outputs, references)
        stage.note(1, 2, "kinds of scores")
        translated = translation_metrics.Lines(sources, outputs, references)
        scorers = {**scorers, **translation_metrics.scorers(translated, self.tokenizer)}
        stage.note(2, 2, "kinds of scores")
        scores: dict[str, JsonObject] = {name: bleu.scores(scorers, part) for name, part in parts.items()}
        loss = self.evaluate(module, PairData(*map(_arrays, ids)), device, precision).loss
        sizes: list[list[str | int]] = [[name, len(lines)] for name, (lines, _) in tests.items()]
        return {
            "test": scores,
            "sentences_sha256": bleu.digest(outputs),
            "sentences": {"sets": sizes, "bleu": bleu.sentence_counts(outputs, references, self.tokenizer)},
            "test_loss": loss,
        }

    def scorers(self, outputs: list[str], references: list[str]) -> dict[str, bleu.Scorer]:
        """Return each score that a record keeps, as a function of a slice of the sentences."""
        return {
            "bleu": bleu.bleu_scorer(outputs, references),
            "chrf": bleu.chrf_scorer(outputs, references),
            "bleu_tok_lc": bleu.bleu_tok_lc_scorer(outputs, references),
        }

    def translate(
        self,
        module: torch.nn.Module,
        ids: list[list[int]],
        tier: Tier,
        device: str,
        precision: str,
        subwords: SentencePieceProcessor,
    ) -> list[str]:
        """Translate sources given as token ids into raw text."""
        import torch

        from supernet.decode import translate

        with autocast(device, precision):
            hypotheses = translate(
                module,
                ids,
                **tier.decode,
                batch_sentences=DECODING_SENTENCES[torch.device(device).type],
                device=device,
                progress=lambda done, total: stage.note(done, total, "sentences"),
            )
        outputs: list[str] = subwords.decode([hypothesis.tokens for hypothesis in hypotheses])
        return outputs


def _arrays(sentences: list[list[int]]) -> list[np.ndarray]:
    return [np.array(sentence, dtype=np.int32) for sentence in sentences]


class JoinedTask(MTTask):
    """Several published corpora of one pair of languages as one task.

    Args:
        name: name of the task.
        readers: name of each published data set -> its reader.
    """

    def __init__(self, name: str, readers: Mapping[str, corpus.Reader]) -> None:
        super().__init__(name, corpus.joined(readers))
        self.datasets = tuple(readers)

    def _files(self) -> dict[str, str]:
        return {file: digest for name in self.datasets for file, digest in datasets()[name].digests().items()}


synthetic = MTTask("mt-synthetic-en-de", corpus.synthetic)
READERS: dict[str, corpus.Reader] = {
    "multi30k": corpus.multi30k,
    "tatoeba_en-de": corpus.two_columns("tatoeba_en-de"),
    "libreoffice_en-de": corpus.two_columns("libreoffice_en-de"),
}
"""Published data set -> its reader."""
multi30k = MTTask("mt-multi30k-en-de", READERS["multi30k"], "multi30k")
tatoeba = MTTask("mt-tatoeba-en-de", READERS["tatoeba_en-de"], "tatoeba_en-de")
libreoffice = MTTask("mt-libreoffice-en-de", READERS["libreoffice_en-de"], "libreoffice_en-de")
three_domains = JoinedTask("mt-three-domains-en-de", READERS)
