"""Sentence-level tests against sacreBLEU's own ``PairedTest`` on the same hypotheses."""

import itertools
import math
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.significance import PairedTest

from benchmarks.stats import bleu, paired_bleu

WORDS = "a the man woman dog runs sits on in red blue street with two ball water , . child plays".split()


def corpus(n, seed):
    rng = random.Random(seed)
    return [" ".join(rng.choice(WORDS) for _ in range(rng.randrange(1, 14))) for _ in range(n)]


def noisy(lines, rate, seed):
    rng = random.Random(seed)
    return [" ".join(w if rng.random() > rate else rng.choice(WORDS) for w in line.split()) for line in lines]


def counts(outputs, references):
    return bleu.read_counts(bleu.sentence_counts(outputs, references), len(outputs))


def generator():
    return np.random.default_rng(bleu.SEED)


def sacrebleus(kind, references, baseline, systems, samples):
    named = [("baseline", baseline), *((str(i), system) for i, system in enumerate(systems))]
    _, found = PairedTest(
        named, {"BLEU": BLEU()}, [references], test_type=kind, n_samples=samples, n_jobs=1
    )()
    return found["BLEU"]


CASES = [(300, 0.2, 0.25), (40, 0.3, 0.3), (200, 0.1, 0.5)]
"""So many sentences that no shuffle of the swapped ones differs as much as the systems do."""


@pytest.mark.parametrize(("n", "ours", "theirs"), CASES)
def test_both_tests_are_sacrebleus(n, ours, theirs, monkeypatch):
    monkeypatch.delenv("SACREBLEU_SEED", raising=False)
    references = corpus(n, n)
    baseline, system = noisy(references, theirs, 1), noisy(references, ours, 2)
    pair = [(counts(system, references), counts(baseline, references))]
    expected = sacrebleus("ar", references, baseline, [system], 1000)[1]
    p = paired_bleu.approximate_randomisation(pair, generator(), trials=1000)[0]
    assert f"{p:.4f}" == f"{expected.p_value:.4f}"
    expected = sacrebleus("bs", references, baseline, [system], 1000)
    found = paired_bleu.bootstrap(pair, generator())[0]
    assert f"{found.p:.4f}" == f"{expected[1].p_value:.4f}"
    assert f"{found.value:.4f}" == f"{expected[1].score - expected[0].score:.4f}"
    assert found.low <= found.high


def exact_p(ours, theirs):
    """Two-sided p over all 2**n patterns of swapped sentences."""
    observed = abs(bleu.corpus_bleu(ours) - bleu.corpus_bleu(theirs))
    patterns = np.array(list(itertools.product((0, 1), repeat=len(ours))))
    swapped = patterns @ (theirs - ours)
    scores = (
        paired_bleu.bleu_of_sums(s.astype(float)) for s in (ours.sum(0) + swapped, theirs.sum(0) - swapped)
    )
    first, second = scores
    return float((np.abs(first - second) > observed - 1e-9).mean())


@pytest.mark.parametrize(
    ("n", "ours", "theirs"), [(7, 0.5, 0.2), (3, 0.9, 0.1), (2, 0.5, 0.0), (1, 0.5, 0.0)]
)
def test_on_few_sentences_randomisation_is_the_exact_test(n, ours, theirs):
    references = corpus(n, n)
    pair = counts(noisy(references, ours, 2), references), counts(noisy(references, theirs, 1), references)
    p = paired_bleu.approximate_randomisation([pair], generator())[0]
    assert p == pytest.approx(exact_p(*pair), abs=0.02)
    assert paired_bleu.bootstrap([pair], generator())[0].p >= min(1.0, 2 / 2**n)


def degenerate():
    """Pairs of systems whose BLEU is equal though their sentences are not, or that hardly have any."""
    zero = np.zeros((50, 10), dtype=np.int64)
    zero[:, 1] = 10
    unlike, other = zero.copy(), zero.copy()
    for side, length in ((unlike, 9), (other, 4)):
        side[:, 0], side[:, 6:] = length, length - np.arange(4)
    shuffled = counts(noisy(corpus(50, 1), 0.4, 1), corpus(50, 1))
    swapped = shuffled.copy()
    swapped[:, :] = shuffled[::-1]
    return {
        "equal": (shuffled, shuffled),
        "both-zero": (zero, zero),
        "both-zero-with-unlike-counts": (unlike, other),
        "same-sum": (shuffled, swapped),
        "one-sentence": (shuffled[:1], counts(corpus(50, 1)[:1], corpus(50, 1)[:1])),
    }


@pytest.mark.parametrize("name", list(degenerate()))
def test_where_the_statistic_cannot_differ_p_is_one(name):
    ours, theirs = degenerate()[name]
    assert paired_bleu.approximate_randomisation([(ours, theirs)], generator(), trials=500) == [
        pytest.approx(1.0, abs=0.01)
    ]
    found = paired_bleu.bootstrap([(ours, theirs)], generator(), draws=500)[0]
    assert found.p == 1.0
    if name != "same-sum":
        assert math.isnan(found.low) and math.isnan(found.high)


def test_a_system_of_zero_against_one_that_translates_is_still_significant():
    zero, _ = degenerate()["both-zero-with-unlike-counts"]
    good = counts(noisy(corpus(50, 1), 0.1, 1), corpus(50, 1))
    assert paired_bleu.approximate_randomisation([(good, zero)], generator(), trials=500)[0] < 0.01
    assert paired_bleu.bootstrap([(good, zero)], generator(), draws=500)[0].low > 0


@settings(max_examples=40)
@given(st.integers(0, 10_000), st.integers(1, 12), st.integers(0, 12))
def test_p_of_k_differing_sentences_is_never_below_that_of_an_exact_test(seed, n, differing):
    references = corpus(n, seed)
    ours = counts(noisy(references, 0.1, seed), references)
    theirs = ours.copy()
    k = min(n, differing)
    theirs[:k] = counts(noisy(references, 0.9, seed + 1), references)[:k]
    least = min(1.0, 2 / 2 ** int((ours != theirs).any(axis=1).sum()))
    assert 1 >= paired_bleu.approximate_randomisation([(ours, theirs)], generator(), trials=100)[0] >= least
    assert 1 >= paired_bleu.bootstrap([(ours, theirs)], generator(), draws=100)[0].p >= least


def test_with_sacrebleus_own_numbers_of_trials_and_several_systems_at_once(monkeypatch):
    monkeypatch.delenv("SACREBLEU_SEED", raising=False)
    references = corpus(150, 5)
    baseline = noisy(references, 0.3, 1)
    systems = [noisy(references, rate, i + 2) for i, rate in enumerate((0.3, 0.25))]
    pairs = [(counts(s, references), counts(baseline, references)) for s in systems]
    expected = sacrebleus("ar", references, baseline, systems, 0)[1:]
    found = paired_bleu.approximate_randomisation(pairs, generator())
    assert [f"{p:.4f}" for p in found] == [f"{e.p_value:.4f}" for e in expected]
    assert 0.0001 < found[1] < 1


def test_paired_tests_in_blocks_equal_those_at_once(monkeypatch):
    references = corpus(90, 3)
    pair = [(counts(noisy(references, 0.3, 1), references), counts(noisy(references, 0.4, 2), references))]

    def both():
        return (
            paired_bleu.approximate_randomisation(pair, generator(), trials=500),
            paired_bleu.bootstrap(pair, generator(), draws=500),
        )

    whole = both()
    monkeypatch.setattr(paired_bleu, "_CELLS", 90 * 33)
    assert both() == whole


def test_equal_systems_do_not_differ():
    references = corpus(30, 4)
    same = counts(noisy(references, 0.3, 1), references)
    assert paired_bleu.approximate_randomisation([(same, same)], generator()) == [1.0]
    (found,) = paired_bleu.bootstrap([(same, same)], generator())
    assert (found.value, found.p) == (0.0, 1.0) and math.isnan(found.low) and math.isnan(found.high)


def test_unequal_sentences_are_refused_and_nothing_gives_nothing():
    pair = (np.ones((4, 10), dtype=np.int64), np.ones((5, 10), dtype=np.int64))
    for test in (paired_bleu.approximate_randomisation, paired_bleu.bootstrap):
        with pytest.raises(ValueError, match="equally many sentences"):
            test([pair], generator())
        assert test([], generator()) == []


@given(st.lists(st.lists(st.integers(0, 12), min_size=6, max_size=6), min_size=1, max_size=8))
def test_scores_of_sums_are_sacrebleus(lines):
    kept = np.array(lines, dtype=np.int64)
    kept[:, 2:] = np.minimum.accumulate(np.minimum(kept[:, 2:], kept[:, :1]), axis=1)
    totals = np.maximum(kept[:, :1] - np.arange(4), 0)
    sums = np.hstack([kept, totals])
    found = paired_bleu.bleu_of_sums(sums.astype(np.float64))
    expected = [bleu.corpus_bleu(line) for line in sums]
    assert found.tolist() == pytest.approx(expected, abs=1e-9)


@settings(max_examples=20)
@given(st.integers(0, 1000), st.integers(2, 30))
def test_swapping_the_sides_negates_the_difference_and_keeps_p_of_the_bootstrap(seed, n):
    references = corpus(n, seed)
    a, b = (counts(noisy(references, rate, seed + 1), references) for rate in (0.2, 0.6))
    there = paired_bleu.bootstrap([(a, b)], generator(), draws=200)[0]
    back = paired_bleu.bootstrap([(b, a)], generator(), draws=200)[0]
    expected = -there.value, -there.high, -there.low
    assert (back.value, back.low, back.high) == pytest.approx(expected, nan_ok=True)
    assert back.p == there.p and 0 < there.p <= 1
    p = paired_bleu.approximate_randomisation([(a, b)], generator(), trials=100)[0]
    assert 1 / 101 <= p <= 1


def test_sums_are_counted_in_a_type_that_holds_them_exactly():
    for largest in (1, 2**24 - 1, 2**24, 3**24):
        kind = paired_bleu._exact_type(largest)
        assert np.array(largest, dtype=kind) == largest and np.array(largest - 1, dtype=kind) != largest
    assert paired_bleu._exact_type(2**24 - 1) == np.float32 and paired_bleu._exact_type(2**24) == np.float64
