"""Comparison of a translator's copy with PyTorch and with its record: BLEU on the same sentences."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from benchmarks.export.request import Row
from benchmarks.export.source import StoredCandidate, Vocabulary

if TYPE_CHECKING:
    from sentencepiece import SentencePieceProcessor
    from torch import nn

    from benchmarks.tasks.mt import MTTask

SENTENCES = 200
"""Sentences of a split on which two decoders are compared."""
SAME_BLEU = 0.5
"""Largest difference of BLEU between two decoders of the same weights, which break ties differently."""
NEAR_BLEU = 1.0
"""Largest difference from a record, which may have been scored in another precision or on a GPU."""

Decode = Callable[[list[list[int]]], list[list[int]]]
"""Translates sources into targets, both token ids without special tokens."""


class DifferentTranslationsError(ArithmeticError):
    """A copy's translations score otherwise than those of the original, or than the record."""


@dataclass(frozen=True)
class ComparedSentences:
    """The first sentences of a split.

    Attributes:
        sources: token ids of each source.
        references: text of each reference.
    """

    sources: list[list[int]]
    references: list[str]


@dataclass(frozen=True)
class TranslationCheck:
    """Sentences on which a copy is compared with the original and with the record.

    Attributes:
        ours: translations of ``valid`` in PyTorch, float32.
        valid: validation sentences.
        test: test sentences; None if the record keeps no statistics of them, or the data here are others.
        recorded: BLEU of ``test`` in the record.
        subwords: the vocabulary.
    """

    ours: list[str]
    valid: ComparedSentences
    test: ComparedSentences | None
    recorded: float
    subwords: SentencePieceProcessor

    def compare(
        self, decode: Decode, runtime: str, precision: str = "fp32", *, same: float = 0.0
    ) -> list[Row]:
        """Translate with a copy and return the rows of its comparison.

        Args:
            decode: the copy's decoder, under the rules of the task's tier.
            runtime: the runtime and its version.
            precision: the copy's precision; a copy in another than float32 may score otherwise.
            same: share of translations that have to be equal to those in PyTorch, at least.

        Raises:
            DifferentTranslationsError: BLEU differs from that in PyTorch by more than ``SAME_BLEU``, or from
                the record's by more than ``NEAR_BLEU``, or too few translations are equal.
        """
        name = runtime.partition("-")[0]
        theirs = self._decoded(decode, self.valid)
        copy, original = _bleu(theirs, self.valid), _bleu(self.ours, self.valid)
        metric = _signature()
        here = f"{metric}|first {len(theirs)} of valid|{runtime}|prec:{precision}"
        equal = sum(a == b for a, b in zip(theirs, self.ours, strict=True)) / len(theirs)
        rows = [
            (f"BLEU in {name}", f"{copy:.2f}", here),
            ("BLEU in PyTorch, fp32", f"{original:.2f}", here),
            ("same translations", f"{equal:.1%}", here),
        ]
        exact = precision == "fp32"
        if exact and (abs(copy - original) > SAME_BLEU or equal < same):
            raise DifferentTranslationsError(
                f"BLEU {copy:.2f} in {name} and {original:.2f} here, {equal:.1%} of translations equal:"
                " that is not the same network, or not the same decoding"
            )
        if self.test is None:
            return rows
        scored = _bleu(self._decoded(decode, self.test), self.test)
        signature = f"{metric}|first {len(self.test.sources)} of test|{runtime}|prec:{precision}"
        if exact and abs(scored - self.recorded) > NEAR_BLEU:
            raise DifferentTranslationsError(
                f"BLEU {scored:.2f} of the first test sentences in {name}, and {self.recorded:.2f} in the"
                " record: the copy would contradict its card"
            )
        rows.append((f"BLEU in {name}, test", f"{scored:.2f}", signature))
        rows.append(("BLEU in the record, test", f"{self.recorded:.2f}", signature))
        return rows

    def _decoded(self, decode: Decode, sentences: ComparedSentences) -> list[str]:
        texts: list[str] = self.subwords.decode(decode(sentences.sources))
        return texts


def translation_check(stored: StoredCandidate, module: nn.Module, vocabulary: Vocabulary) -> TranslationCheck:
    """Return the sentences of a candidate's task for a comparison, translated in PyTorch."""
    import numpy as np

    from benchmarks.tasks import get_task
    from benchmarks.tasks.corpus import load_vocabulary

    task = cast("MTTask", get_task(stored.record["spec"]["task"]))
    prepared = vocabulary.prepared
    subwords, pairs = load_vocabulary(prepared.folder), task.validation(prepared)
    flat = ((pairs.source, pairs.source_start), (pairs.target, pairs.target_start))
    sides = [[s.tolist() for s in np.split(ids, starts[1:])[:SENTENCES]] for ids, starts in flat]
    valid = ComparedSentences(sides[0], subwords.decode(sides[1]))
    ours = list(task.translate(module, valid.sources, vocabulary.tier, "cpu", "fp32", subwords))
    test, recorded = _recorded_sentences(stored, vocabulary, subwords)
    return TranslationCheck(ours, valid, test, recorded, subwords)


def _recorded_sentences(
    stored: StoredCandidate, vocabulary: Vocabulary, subwords: SentencePieceProcessor
) -> tuple[ComparedSentences | None, float]:
    """Return the first test sentences and their BLEU in the record; None and 0 if they cannot be compared."""
    from benchmarks.stats import bleu
    from benchmarks.tasks.corpus import read_tests

    kept = stored.candidate.get("sentences")
    prepared, tier = vocabulary.prepared, vocabulary.tier
    recorded = stored.record["provenance"]["data"].get("test")
    if not kept or prepared.sealed is None or prepared.digests.get("test") != recorded:
        return None, 0.0
    tests = read_tests(prepared.sealed)
    if [(name, len(lines)) for name, (lines, _) in tests.items()] != [tuple(part) for part in kept["sets"]]:
        return None, 0.0
    counted = bleu.read_counts(kept["bleu"], sum(int(number) for _, number in kept["sets"]))[:SENTENCES]
    lines = [line for sources, _ in tests.values() for line in sources][:SENTENCES]
    references = [line for _, sides in tests.values() for line in sides][:SENTENCES]
    most = int(tier.model["max_positions"]) - 1  # as MTTask.score cuts them
    sources = [ids[:most] for ids in subwords.encode(lines, out_type=int)]
    return ComparedSentences(sources, references), bleu.corpus_bleu(counted)


def _bleu(outputs: Sequence[str], sentences: ComparedSentences) -> float:
    import sacrebleu

    return float(sacrebleu.BLEU().corpus_score(list(outputs), [sentences.references]).score)


def _signature() -> str:
    import sacrebleu

    metric = sacrebleu.BLEU()
    metric.corpus_score(["a"], [["a"]])  # its signature counts the references
    return str(metric.get_signature())
