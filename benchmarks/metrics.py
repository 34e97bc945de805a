"""Translation quality: corpus scores with their signatures and bootstrap intervals.

Everything is computed once a sentence; corpora, pools of corpora and resamples are sums of those
statistics. Scores and intervals are sacreBLEU's own, to the last digit it prints
(``sacrebleu --confidence`` with the same seed).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from importlib.metadata import version
from typing import Any

import numpy as np

RESAMPLES = 1000
SEED = 12345
"""sacreBLEU's default: with it, its command line gives the same interval."""
DIGITS = 6
"""Decimals kept: the last bits of ``exp`` and ``log`` differ between machines, a record's digest must not."""


@dataclass(frozen=True)
class Score:
    """A figure from 0 to 100, its 95 % interval over resampled sentences, and how it was computed."""

    value: float
    low: float
    high: float
    signature: str

    def to_dict(self) -> dict[str, float | str]:
        """As in a record."""
        return asdict(self)


def bleu(outputs: Sequence[str], references: Sequence[str], seed: int = SEED) -> Score:
    """SacreBLEU (Post 2018) of raw text against one raw reference a sentence: 13a tokens, mixed case."""
    from sacrebleu.metrics.bleu import BLEU

    return _score(BLEU(), outputs, references, seed)


def chrf(outputs: Sequence[str], references: Sequence[str], seed: int = SEED) -> Score:
    """ChrF (Popovic 2015) of raw text, character n-grams up to 6, beta 2, as sacreBLEU computes it."""
    from sacrebleu.metrics.chrf import CHRF

    return _score(CHRF(), outputs, references, seed)


def bleu_tok_lc(
    outputs: Sequence[str], references: Sequence[str], seed: int = SEED, language: str = "de"
) -> Score:
    """BLEU as papers on Multi30k print it: lower-cased, normalised and tokenised as ``moses`` does it.

    Outputs and references go through the same three steps. Its tokens are coarser and caseless, so it is
    higher than ``bleu`` and must never be compared with it.
    """
    from sacrebleu.metrics.bleu import BLEU

    metric = BLEU(tokenize="none", force=True)  # tokenised on purpose: no warning
    score = _score(metric, moses(outputs, language), moses(references, language), seed)
    recipe = f"case:lc|norm:moses-{language}|eff:no|tok:moses-{language}.sacremoses-{version('sacremoses')}"
    signature = score.signature.replace("case:mixed|eff:no|tok:none", recipe)
    return Score(score.value, score.low, score.high, signature)


def translation(outputs: Sequence[str], references: Sequence[str], seed: int = SEED) -> dict[str, Any]:
    """All three, as a record keeps them for one test set."""
    scores = {"bleu": bleu, "chrf": chrf, "bleu_tok_lc": bleu_tok_lc}
    return {name: score(outputs, references, seed).to_dict() for name, score in scores.items()}


def moses(lines: Iterable[str], language: str) -> list[str]:
    """Lower-cased, punctuation normalised, tokenised, special characters escaped: in that order.

    The order and the options are those of Multi30k's own ``task1-tokenize.sh``; the German halves of
    its sets come out with the very numbers of tokens it publishes.
    """
    normaliser, tokeniser = _moses(language)
    return [tokeniser.tokenize(normaliser.normalize(line.lower()), return_str=True) for line in lines]


@cache
def _moses(language: str) -> tuple[Any, Any]:
    from sacremoses import MosesPunctNormalizer, MosesTokenizer

    return MosesPunctNormalizer(language), MosesTokenizer(language)


def digest(lines: Iterable[str]) -> str:
    """SHA-256 of sentences in order: equal for two systems that say the same, sentence by sentence."""
    found = hashlib.sha256()
    for line in lines:
        found.update(line.encode())
        found.update(b"\n")
    return found.hexdigest()


def _score(metric: Any, outputs: Sequence[str], references: Sequence[str], seed: int) -> Score:
    if len(outputs) != len(references) or not outputs:
        raise ValueError(
            f"{len(outputs)} outputs for {len(references)} references: need as many, at least one"
        )
    # Statistics add up over sentences; sacreBLEU's own significance tests stand on the same two methods.
    statistics = np.array(metric._extract_corpus_statistics(outputs, [references]), dtype=np.int64)
    value = metric._compute_score_from_stats(statistics.sum(0).tolist()).score
    draws = np.random.default_rng(seed).choice(len(outputs), size=(RESAMPLES, len(outputs)), replace=True)
    resampled = np.empty(RESAMPLES)
    for i, draw in enumerate(draws):
        times = np.bincount(draw, minlength=len(outputs))
        resampled[i] = metric._compute_score_from_stats((times @ statistics).tolist()).score
    resampled.sort()
    cut = RESAMPLES // 40
    low, high = float(resampled[cut]), float(resampled[-cut - 1])
    signature = metric.get_signature()
    signature.update("bs", RESAMPLES)
    signature.update("seed", str(seed))
    return Score(round(float(value), DIGITS), round(low, DIGITS), round(high, DIGITS), signature.format())
