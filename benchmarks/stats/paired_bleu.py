"""Paired tests of two translation systems: bootstrap and approximate randomisation of BLEU.

They use the statistics that records keep for each sentence (``bleu.read_counts``). With the generator
``default_rng(bleu.SEED)`` they equal to sacreBLEU's ``PairedTest``, except where that understates p: it
counts only shuffles that differ *more*, so that for two systems of equal BLEU, or on one sentence, no shuffle
counts and p is 1 / (trials + 1). Here a shuffle that differs as much counts too, and for k sentences on which
two systems differ p is never below the 2 / 2**k of an exact test.

These tests compare two *trained networks* beyond the choice of test sentences. The noise of training is not
in them: for methods, pair over seeds (``intervals.t_test``).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.stats import bleu

RESAMPLES = 1000
TRIALS = 10_000
Counts = NDArray[np.int64]
"""``[sentences, 10]``: lengths of output and reference, matching n-grams, n-grams of the output."""

_CELLS = 2**22
"""Cells of a block of resamples x sentences; bounds the memory."""
_TIE = 1e-9
"""BLEU below which two differences are equal: only their last bits differ."""


@dataclass(frozen=True)
class Difference:
    """BLEU of one system minus that of another, with its 95 % interval over resampled sentences.

    The interval is NaN if resamples do not differ.
    """

    value: float
    low: float
    high: float
    p: float
    """Two-sided p of the paired bootstrap (Koehn 2004); 1 if the systems have the same BLEU."""


def bleu_of_sums(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return corpus BLEU ``[k]`` of summed statistics ``[k, 10]``, smoothed as by sacreBLEU (``exp``)."""
    output, reference, correct, total = sums[:, 0], sums[:, 1], sums[:, 2:6], sums[:, 6:]
    with np.errstate(divide="ignore", invalid="ignore"):
        brevity = np.where(output < reference, np.exp(1 - reference / output), 1.0)
        missing = correct == 0
        precision = 100 * np.where(missing, 0.5 ** np.cumsum(missing, axis=1), correct) / total
        score = brevity * np.exp(np.log(precision).sum(axis=1) / bleu.ORDERS)
    dead = missing.all(axis=1) | (total == 0).any(axis=1)
    return np.where(dead, 0.0, score)


def bootstrap(
    pairs: Sequence[tuple[Counts, Counts]], rng: np.random.Generator, *, draws: int = RESAMPLES
) -> list[Difference]:
    """Resample each pair ``(ours, theirs)`` with the paired bootstrap; all pairs share the resamples.

    Raises:
        ValueError: pairs that are not over equally many sentences.
    """
    sentences = _sentences(pairs)
    if not pairs:
        return []
    counts = np.hstack([side for pair in pairs for side in pair])
    exact = _exact_type(sentences * int(counts.max(initial=0)))
    columns, sums = counts.astype(exact), []
    for block in _blocks(draws, sentences):
        picked = rng.choice(sentences, size=(block, sentences), replace=True)
        picked += np.arange(block)[:, None] * sentences
        times = np.bincount(picked.ravel(), minlength=block * sentences).reshape(block, sentences)
        sums.append(times.astype(exact) @ columns)
    scores = bleu_of_sums(np.vstack(sums).astype(np.float64).reshape(-1, 10)).reshape(draws, -1, 2)
    results = []
    for i, (ours, theirs) in enumerate(pairs):
        differences = scores[:, i, 0] - scores[:, i, 1]
        value = bleu.corpus_bleu(ours) - bleu.corpus_bleu(theirs)
        value = 0.0 if abs(value) < _TIE else value
        centred = np.abs(differences) - np.abs(differences).mean()
        p = (int((centred > abs(value)).sum()) + 1) / (draws + 1)
        p = max(p, _least_p(ours, theirs)) if value else 1.0
        ordered, cut = np.sort(differences), draws // 40
        ends = float(ordered[cut]), float(ordered[-cut - 1])
        low, high = ends if np.ptp(differences) > _TIE else (math.nan, math.nan)
        results.append(Difference(value, low, high, p))
    return results


def _least_p(ours: Counts, theirs: Counts) -> float:
    """Return the smallest two-sided p of an exact test that swaps the sentences on which systems differ."""
    differing = int((ours != theirs).any(axis=1).sum())
    return min(1.0, math.ldexp(2.0, -differing))


def approximate_randomisation(
    pairs: Sequence[tuple[Counts, Counts]], rng: np.random.Generator, *, trials: int = TRIALS
) -> list[float]:
    """Return the two-sided p of each ``(ours, theirs)`` (Riezler and Maxwell 2005); all share the shuffles.

    Raises:
        ValueError: pairs that are not over equally many sentences.
    """
    sentences = _sentences(pairs)
    if not pairs:
        return []
    differences = np.hstack([theirs - ours for ours, theirs in pairs])
    exact = _exact_type(int(np.abs(differences).sum(axis=0).max(initial=0)))
    moved, sums = differences.astype(exact), []
    for block in _blocks(trials, sentences):
        swapped = rng.integers(2, size=(block, sentences), dtype=bool)
        sums.append((swapped.astype(exact) @ moved).astype(np.int64))
    shifts = np.vstack(sums).reshape(trials, len(pairs), 10)
    results = []
    for i, (ours, theirs) in enumerate(pairs):
        first, second = ours.sum(axis=0) + shifts[:, i], theirs.sum(axis=0) - shifts[:, i]
        apart = np.abs(bleu_of_sums(first.astype(np.float64)) - bleu_of_sums(second.astype(np.float64)))
        observed = abs(bleu.corpus_bleu(ours) - bleu.corpus_bleu(theirs))
        p = (int((apart > observed - _TIE).sum()) + 1) / (trials + 1)
        results.append(max(p, _least_p(ours, theirs)))
    return results


def _exact_type(largest: int) -> np.dtype[np.floating]:
    """Return a type in which sums up to ``largest`` are exact; single precision is twice as fast."""
    return np.dtype(np.float32) if largest < 2**24 else np.dtype(np.float64)


def _sentences(pairs: Sequence[tuple[Counts, Counts]]) -> int:
    shapes = {side.shape for pair in pairs for side in pair}
    if len(shapes) > 1 or any(len(s) != 2 or s[1] != 10 or not s[0] for s in shapes):
        raise ValueError(f"pairs need statistics [sentences, 10] of equally many sentences, got {shapes}")
    return next(iter(shapes))[0] if shapes else 0


def _blocks(rows: int, sentences: int) -> Iterator[int]:
    """Yield heights of blocks of rows, multiples of 32.

    As many random bits are drawn at a time, so that the stream is that of one draw.
    """
    height = max(32, _CELLS // sentences // 32 * 32)
    while rows > 0:
        yield min(height, rows)
        rows -= height
