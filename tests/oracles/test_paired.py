"""Sentence-level tests against sacreBLEU's own ``PairedTest`` on the same hypotheses."""

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.significance import PairedTest

from benchmarks import metrics, paired

WORDS = "a the man woman dog runs sits on in red blue street with two ball water , . child plays".split()


def corpus(n, seed):
    rng = random.Random(seed)
    return [" ".join(rng.choice(WORDS) for _ in range(rng.randrange(1, 14))) for _ in range(n)]


def noisy(lines, rate, seed):
    rng = random.Random(seed)
    return [" ".join(w if rng.random() > rate else rng.choice(WORDS) for w in line.split()) for line in lines]


def counts(outputs, references):
    return metrics.read_counts(metrics.sentence_counts(outputs, references), len(outputs))


def generator():
    return np.random.default_rng(metrics.SEED)


def sacrebleus(kind, references, baseline, systems, samples):
    named = [("baseline", baseline), *((str(i), system) for i, system in enumerate(systems))]
    _, found = PairedTest(
        named, {"BLEU": BLEU()}, [references], test_type=kind, n_samples=samples, n_jobs=1
    )()
    return found["BLEU"]


CASES = [(300, 0.2, 0.25), (40, 0.3, 0.3), (200, 0.1, 0.5), (7, 0.5, 0.2), (3, 0.9, 0.1), (1, 0.5, 0.0)]


@pytest.mark.parametrize(("n", "ours", "theirs"), CASES)
def test_both_tests_are_sacrebleus(n, ours, theirs, monkeypatch):
    monkeypatch.delenv("SACREBLEU_SEED", raising=False)
    references = corpus(n, n)
    baseline, system = noisy(references, theirs, 1), noisy(references, ours, 2)
    pair = [(counts(system, references), counts(baseline, references))]
    expected = sacrebleus("ar", references, baseline, [system], 1000)[1]
    p = paired.approximate_randomisation(pair, generator(), trials=1000)[0]
    assert f"{p:.4f}" == f"{expected.p_value:.4f}"
    expected = sacrebleus("bs", references, baseline, [system], 1000)
    found = paired.bootstrap(pair, generator())[0]
    assert f"{found.p:.4f}" == f"{expected[1].p_value:.4f}"
    assert f"{found.value:.4f}" == f"{expected[1].score - expected[0].score:.4f}"
    assert found.low <= found.high


def test_with_sacrebleus_own_numbers_of_trials_and_several_systems_at_once(monkeypatch):
    monkeypatch.delenv("SACREBLEU_SEED", raising=False)
    references = corpus(150, 5)
    baseline = noisy(references, 0.3, 1)
    systems = [noisy(references, rate, i + 2) for i, rate in enumerate((0.3, 0.25))]
    pairs = [(counts(s, references), counts(baseline, references)) for s in systems]
    expected = sacrebleus("ar", references, baseline, systems, 0)[1:]
    found = paired.approximate_randomisation(pairs, generator())
    assert [f"{p:.4f}" for p in found] == [f"{e.p_value:.4f}" for e in expected]
    assert 0.0001 < found[1] < 1


def test_in_blocks_it_is_the_same(monkeypatch):
    references = corpus(90, 3)
    pair = [(counts(noisy(references, 0.3, 1), references), counts(noisy(references, 0.4, 2), references))]

    def both():
        return (
            paired.approximate_randomisation(pair, generator(), trials=500),
            paired.bootstrap(pair, generator(), draws=500),
        )

    whole = both()
    monkeypatch.setattr(paired, "_CELLS", 90 * 33)
    assert both() == whole


def test_equal_systems_do_not_differ():
    references = corpus(30, 4)
    same = counts(noisy(references, 0.3, 1), references)
    assert paired.approximate_randomisation([(same, same)], generator()) == [1.0]
    assert paired.bootstrap([(same, same)], generator()) == [paired.Difference(0.0, 0.0, 0.0, 1.0)]


def test_unequal_sentences_are_refused_and_nothing_gives_nothing():
    pair = (np.ones((4, 10), dtype=np.int64), np.ones((5, 10), dtype=np.int64))
    for test in (paired.approximate_randomisation, paired.bootstrap):
        with pytest.raises(ValueError, match="equally many sentences"):
            test([pair], generator())
        assert test([], generator()) == []


@settings(deadline=None)
@given(st.lists(st.lists(st.integers(0, 12), min_size=6, max_size=6), min_size=1, max_size=8))
def test_scores_of_sums_are_sacrebleus(lines):
    kept = np.array(lines, dtype=np.int64)
    kept[:, 2:] = np.minimum.accumulate(np.minimum(kept[:, 2:], kept[:, :1]), axis=1)
    totals = np.maximum(kept[:, :1] - np.arange(4), 0)
    sums = np.hstack([kept, totals])
    found = paired.bleu_of_sums(sums.astype(np.float64))
    expected = [metrics.corpus_bleu(line) for line in sums]
    assert found.tolist() == pytest.approx(expected, abs=1e-9)


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 1000), st.integers(2, 30))
def test_swapping_the_sides_negates_the_difference_and_keeps_p_of_the_bootstrap(seed, n):
    references = corpus(n, seed)
    a, b = (counts(noisy(references, rate, seed + 1), references) for rate in (0.2, 0.6))
    there = paired.bootstrap([(a, b)], generator(), draws=200)[0]
    back = paired.bootstrap([(b, a)], generator(), draws=200)[0]
    assert (back.value, back.low, back.high) == pytest.approx((-there.value, -there.high, -there.low))
    assert back.p == there.p and 0 < there.p <= 1
    p = paired.approximate_randomisation([(a, b)], generator(), trials=100)[0]
    assert 1 / 101 <= p <= 1
