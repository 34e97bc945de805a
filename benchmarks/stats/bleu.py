"""Translation quality: corpus scores with their signatures and bootstrap intervals.

Everything is computed once a sentence; corpora, pools of corpora and resamples are sums of those
statistics. Scores and intervals are sacreBLEU's own, to the last digit it prints
(``sacrebleu --confidence`` with the same seed).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import math
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache, lru_cache, partial
from importlib.metadata import version
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.api import InvalidRecordError

RESAMPLES = 1000
SEED = 12345
"""sacreBLEU's default: with it, its command line gives the same interval."""
TOKENIZER = "13a"
"""sacreBLEU's default tokenizer, for languages with spaces between words."""
ORDERS = 4
"""BLEU counts n-grams of 1 to 4 tokens."""
MOST_SENTENCES = 1_000_000
KEPT = 10_000
"""References, at most, whose counts are kept for the next network: some 50 to 70 kB a sentence."""
Z95 = 1.959963984540054
"""Standard deviations within which 95 % of a normal distribution lie."""
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
        """Return the score as a record holds it."""
        return asdict(self)


Scorer = Callable[[slice], Score]
"""A metric of a slice of sentences, whose statistics were counted before."""


def bleu(
    outputs: Sequence[str], references: Sequence[str], seed: int = SEED, tokenizer: str = TOKENIZER
) -> Score:
    """Compute sacreBLEU (Post 2018) of raw text against one raw reference each, mixed case.

    Args:
        outputs: one text an item.
        references: one text an item.
        seed: of the bootstrap.
        tokenizer: one of sacreBLEU's, such as ``13a``, ``ja-mecab``, ``zh`` or ``char``.
    """
    return bleu_scorer(outputs, references, seed, tokenizer)(slice(None))


def bleu_scorer(
    outputs: Sequence[str], references: Sequence[str], seed: int = SEED, tokenizer: str = TOKENIZER
) -> Scorer:
    """Return ``bleu`` of any slice of these sentences."""
    return scorer(_bleu_metric(tokenizer), outputs, references, seed)


def chrf(outputs: Sequence[str], references: Sequence[str], seed: int = SEED) -> Score:
    """Compute chrF (Popovic 2015) of raw text, character n-grams up to 6, beta 2, as sacreBLEU does."""
    return chrf_scorer(outputs, references, seed)(slice(None))


def chrf_scorer(outputs: Sequence[str], references: Sequence[str], seed: int = SEED) -> Scorer:
    """Return ``chrf`` of any slice of these sentences."""
    from sacrebleu.metrics.chrf import CHRF

    return scorer(CHRF, outputs, references, seed)


def bleu_tok_lc(
    outputs: Sequence[str], references: Sequence[str], seed: int = SEED, language: str = "de"
) -> Score:
    """Compute BLEU as papers on Multi30k print it: lower-cased, normalised and tokenised by ``moses``.

    Outputs and references go through the same three steps. Its tokens are coarser and caseless, so it is
    higher than ``bleu`` and must never be compared with it.
    """
    return bleu_tok_lc_scorer(outputs, references, seed, language)(slice(None))


def bleu_tok_lc_scorer(
    outputs: Sequence[str], references: Sequence[str], seed: int = SEED, language: str = "de"
) -> Scorer:
    """Return ``bleu_tok_lc`` of any slice of these sentences."""
    tokens = moses(outputs, language), _moses_references(tuple(references), language)
    score = scorer(_bleu_metric("none"), *tokens, seed)
    recipe = f"case:lc|norm:moses-{language}|eff:no|tok:moses-{language}.sacremoses-{version('sacremoses')}"

    def of_part(part: slice) -> Score:
        plain = score(part)
        return replace(plain, signature=plain.signature.replace("case:mixed|eff:no|tok:none", recipe))

    return of_part


@cache
def _bleu_metric(tokenizer: str) -> Callable[..., Any]:
    """Return the constructor of BLEU over some tokens, always the same: its references stay counted."""
    from sacrebleu.metrics.bleu import BLEU

    # Tokenised on purpose: no warning.
    return partial(BLEU, tokenize=tokenizer, force=tokenizer == "none")


def moses(lines: Iterable[str], language: str) -> list[str]:
    """Lower-case, normalise punctuation, tokenise and escape special characters, in that order.

    The order and the options are those of Multi30k's own ``task1-tokenize.sh``; the German halves of
    its sets come out with the very numbers of tokens it publishes.
    """
    normaliser, tokeniser = _moses(language)
    return [tokeniser.tokenize(normaliser.normalize(line.lower()), return_str=True) for line in lines]


@lru_cache(maxsize=1)
def _moses_references(lines: tuple[str, ...], language: str) -> tuple[str, ...]:
    """Return ``moses`` of references, which all networks of a run are compared with."""
    return tuple(moses(lines, language))


@cache
def _moses(language: str) -> tuple[Any, Any]:
    from sacremoses import MosesPunctNormalizer, MosesTokenizer

    return MosesPunctNormalizer(language), MosesTokenizer(language)


def sentence_counts(outputs: Sequence[str], references: Sequence[str], tokenizer: str = TOKENIZER) -> str:
    """Return the sufficient statistics of corpus BLEU for each sentence, packed as a record keeps them.

    A paired test needs no more, so that two rows of a leaderboard can be tested against each other without
    their translations. Six 16-bit numbers a sentence (tokens of the output, tokens of the
    reference, matching n-grams of 1 to 4 tokens), one after the other over all sentences, zlib, base64;
    32-bit numbers where a sentence has more than 65,535 tokens.
    """
    counting = _counted(_bleu_metric(tokenizer), references)
    statistics = np.array(counting._extract_corpus_statistics(outputs, None), dtype=np.int64)
    kept = statistics[:, : 2 + ORDERS]
    kept = kept.astype("<u2" if kept.max(initial=0) <= np.iinfo(np.uint16).max else "<u4")
    return base64.b64encode(zlib.compress(kept.T.tobytes(), 9)).decode()


def read_counts(text: str, sentences: int) -> NDArray[np.int64]:
    """Return the statistics ``[sentences, 10]`` that ``sentence_counts`` packed, in sacreBLEU's order.

    They are lengths of output and reference, matching n-grams, and n-grams of the output.

    Raises:
        InvalidRecordError: the text is damaged or holds another number of sentences.
    """
    size = sentences * (2 + ORDERS) * 4
    try:
        if not 0 < sentences <= MOST_SENTENCES:
            raise ValueError(f"of {sentences} sentences")
        reader = zlib.decompressobj()
        data = reader.decompress(base64.b64decode(text, validate=True), size + 1)  # no more: it may be a bomb
        if len(data) not in (size // 2, size) or not reader.eof:
            raise ValueError(f"not of {sentences} sentences")
    except (ValueError, binascii.Error, zlib.error) as error:
        raise InvalidRecordError(f"sentence counts: {error}") from None
    numbers = np.frombuffer(data, "<u4" if len(data) == size else "<u2")
    kept = numbers.reshape(2 + ORDERS, sentences).T.astype(np.int64)
    totals = np.maximum(kept[:, :1] - np.arange(ORDERS), 0)
    return np.hstack([kept, totals])


def corpus_bleu(statistics: NDArray[np.int64]) -> float:
    """Return the BLEU of sentences from their statistics ``[sentences, 10]``, or from their sum ``[10]``."""
    from sacrebleu.metrics.bleu import BLEU

    total = statistics.sum(0) if statistics.ndim == 2 else statistics
    return float(BLEU()._compute_score_from_stats(total.tolist()).score)


def digest(lines: Iterable[str]) -> str:
    """Return the SHA-256 of sentences in order; two systems with the same output have the same digest."""
    hashed = hashlib.sha256()
    for line in lines:
        hashed.update(line.encode())
        hashed.update(b"\n")
    return hashed.hexdigest()


def mean(values: NDArray[np.float64], recipe: str, seed: int = SEED) -> Score:
    """Return the mean of one figure an item ``[n]`` with the bootstrap's percentile interval over items."""
    draws = np.random.default_rng(seed).integers(0, len(values), (RESAMPLES, len(values)))
    resampled = np.sort(values[draws].mean(1))
    cut = RESAMPLES // 40
    value, low, high = (round(float(x), DIGITS) for x in (values.mean(), resampled[cut], resampled[-cut - 1]))
    return Score(value, low, high, f"{recipe}|bs:{RESAMPLES}|seed:{seed}")


def proportion(hits: int, items: int, recipe: str) -> Score:
    """Return the percentage of items that are right, with Wilson's interval (1927)."""
    z2, share = Z95**2, hits / items
    centre = (share + z2 / (2 * items)) / (1 + z2 / items)
    half = Z95 / (1 + z2 / items) * math.sqrt(share * (1 - share) / items + z2 / (4 * items**2))
    value, low, high = (round(100 * x, DIGITS) for x in (share, max(0.0, centre - half), centre + half))
    return Score(value, low, min(high, 100.0), f"{recipe}|ci:wilson95")


def scorer(
    metric: Callable[..., Any], outputs: Sequence[str], references: Sequence[str], seed: int
) -> Scorer:
    """Return a metric of sacreBLEU's as a function of a slice of the sentences, each counted once.

    Args:
        metric: makes the metric; references are counted once for all calls with an equal one.

    Raises:
        ValueError: no outputs, or another number of references.
    """
    if len(outputs) != len(references) or not outputs:
        raise ValueError(
            f"{len(outputs)} outputs for {len(references)} references: need as many, at least one"
        )
    counting = _counted(metric, references)
    # Statistics add up over sentences; sacreBLEU's own significance tests stand on the same two methods.
    statistics = np.array(counting._extract_corpus_statistics(outputs, None))
    return lambda part: _of_statistics(counting, statistics[part], seed)


def scores(scorers: Mapping[str, Scorer], part: slice) -> dict[str, Any]:
    """Return the scores of a slice of the sentences, as a record keeps them for one test set."""
    return {name: score(part).to_dict() for name, score in scorers.items()}


def _counted(metric: Callable[..., Any], references: Sequence[str]) -> Any:
    """Return a metric that has counted its references."""
    if len(references) > KEPT:
        return metric(references=[references])
    return _kept(metric, tuple(references))


@lru_cache(maxsize=8)
def _kept(metric: Callable[..., Any], references: tuple[str, ...]) -> Any:
    """Return ``_counted`` of references that a run compares all its networks with."""
    return metric(references=[references])


def _of_statistics(metric: Any, statistics: NDArray[Any], seed: int) -> Score:
    """Return the score of sentences from their statistics ``[sentences, n]``."""
    size = len(statistics)
    value = metric._compute_score_from_stats(statistics.sum(0).tolist()).score
    draws = np.random.default_rng(seed).choice(size, size=(RESAMPLES, size), replace=True)
    resampled = np.empty(RESAMPLES)
    for i, draw in enumerate(draws):
        times = np.bincount(draw, minlength=size)
        resampled[i] = metric._compute_score_from_stats((times @ statistics).tolist()).score
    resampled.sort()
    cut = RESAMPLES // 40
    low, high = float(resampled[cut]), float(resampled[-cut - 1])
    signature = metric.get_signature()
    signature.update("bs", RESAMPLES)
    signature.update("seed", str(seed))
    return Score(round(float(value), DIGITS), round(low, DIGITS), round(high, DIGITS), signature.format())
