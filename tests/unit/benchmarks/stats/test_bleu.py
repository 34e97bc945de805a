"""Scores say how they were computed; the oracle tests compare them with sacreBLEU's own."""

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import sacrebleu

from benchmarks.api import InvalidRecordError
from benchmarks.stats import bleu
from benchmarks.tasks.mt import synthetic

REFERENCES = ["Der Mann öffnet die Tür.", "Heute geht die Frau in die Schule.", "Das Kind schläft nicht."]
OUTPUTS = ["Der Mann öffnet eine Tür.", "Heute geht die Frau in die Schule.", "Das Kind schlief nicht."]


def test_a_perfect_translation_scores_100_and_a_wrong_one_next_to_nothing() -> None:
    for score in (bleu.bleu, bleu.chrf, bleu.bleu_tok_lc):
        perfect = score(REFERENCES, REFERENCES)
        assert perfect.value == perfect.low == perfect.high == 100
        assert score(["x"] * 3, REFERENCES).value < 5
        assert score([""] * 3, REFERENCES).value == 0


def test_intervals_hold_the_value_and_follow_the_seed() -> None:
    one, again, other = (bleu.bleu(OUTPUTS * 20, REFERENCES * 20, seed) for seed in (1, 1, 2))
    assert one == again
    assert one.low < one.value < one.high
    assert (other.low, other.high) != (one.low, one.high)
    assert other.value == one.value


def test_scores_have_their_signatures() -> None:
    made = bleu.scores(synthetic.scorers(OUTPUTS, REFERENCES), slice(None))
    assert list(made) == ["bleu", "chrf", "bleu_tok_lc"]
    assert made["bleu"]["signature"].startswith(
        "nrefs:1|bs:1000|seed:12345|case:mixed|eff:no|tok:13a|smooth:exp|"
    )
    assert made["chrf"]["signature"].startswith("nrefs:1|bs:1000|seed:12345|case:mixed|eff:yes|nc:6|nw:0|")
    recipe = "|case:lc|norm:moses-de|eff:no|tok:moses-de.sacremoses-"
    assert recipe in made["bleu_tok_lc"]["signature"]
    assert all("version:" in score["signature"] for score in made.values())


@pytest.mark.parametrize("part", [slice(None), slice(1, 7), slice(4, 5)])
def test_scores_of_a_part_are_those_of_its_sentences_alone(part: slice) -> None:
    outputs, references = OUTPUTS * 4, REFERENCES * 4
    alone = {"bleu": bleu.bleu, "chrf": bleu.chrf, "bleu_tok_lc": bleu.bleu_tok_lc}
    for name, scorer in synthetic.scorers(outputs, references).items():
        assert scorer(part) == alone[name](outputs[part], references[part])


def test_references_of_many_networks_are_counted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    from sacrebleu.metrics.base import Metric

    counted: list[int] = []
    count = Metric._cache_references

    def counting(metric: Metric, references: Any) -> Any:
        counted.append(len(references[0]))
        return count(metric, references)

    monkeypatch.setattr(Metric, "_cache_references", counting)
    references = [f"{line} {n}" for n, line in enumerate(REFERENCES)]
    for outputs in (OUTPUTS, REFERENCES, OUTPUTS[::-1]):
        for scorer in synthetic.scorers(outputs, references).values():
            scorer(slice(None))
        bleu.sentence_counts(outputs, references)
    assert counted == [3, 3, 3], "BLEU, chrF and BLEU of other tokens, once each"


def test_bleu_is_cased_and_bleu_tok_lc_is_not() -> None:
    lower = [line.lower() for line in REFERENCES]
    assert bleu.bleu(lower, REFERENCES).value < 80
    assert bleu.bleu_tok_lc(lower, REFERENCES).value == 100


def test_tokens_are_those_of_moses() -> None:
    # As Multi30k's own tokenised files have them (the first is shortened).
    lines = [
        'Eine Frau auf einem Boot namens "El Corazon" lässt Gewichte fallen.',
        "Ein Boston Terrier läuft über saftig-grünes Gras vor einem weißen Zaun.",
    ]
    assert bleu.moses(lines, "de") == [
        "eine frau auf einem boot namens &quot; el corazon &quot; lässt gewichte fallen .",
        "ein boston terrier läuft über saftig-grünes gras vor einem weißen zaun .",
    ]


@pytest.mark.parametrize("damage", ["", "!", "AAAA", None])
def test_damaged_sentence_counts_are_refused(damage: str | None) -> None:
    text = bleu.sentence_counts(OUTPUTS, REFERENCES)
    assert bleu.read_counts(text, 3).shape == (3, 10)
    with pytest.raises(InvalidRecordError, match="sentence counts"):
        bleu.read_counts(text[:-8] if damage is None else damage, 3)
    for wrong in (0, 2, 4, 10**9):
        with pytest.raises(InvalidRecordError, match=f"of {wrong} sentences"):
            bleu.read_counts(text, wrong)


def test_digests_of_other_sentences_differ() -> None:
    assert bleu.digest(["a", "b"]) == bleu.digest(["a", "b"])
    assert bleu.digest(["a", "b"]) != bleu.digest(["b", "a"]) != bleu.digest(["b a"])


def test_mismatched_lines_are_refused() -> None:
    with pytest.raises(ValueError, match="2 outputs for 3 references"):
        bleu.bleu(OUTPUTS[:2], REFERENCES)
    with pytest.raises(ValueError, match="at least one"):
        bleu.bleu([], [])


def test_no_torch_at_import() -> None:
    code = (
        "import sys, benchmarks.stats.bleu, benchmarks.tasks.datasets, benchmarks.tasks, benchmarks.tasks.mt;"
        "benchmarks.tasks.get_task('mt-multi30k-en-de').tier('small', 'cpu');"
        "heavy = {'torch', 'sacrebleu', 'sentencepiece', 'sacremoses', 'pandas'} & set(sys.modules);"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_sentences_of_more_tokens_than_16_bits_hold() -> None:
    outputs, references = ["a b c d " * 20_000, "short"], ["a b c d " * 20_000, "another"]
    statistics = bleu.read_counts(bleu.sentence_counts(outputs, references), 2)
    assert statistics[0, 0] == 80_000
    expected = sacrebleu.corpus_bleu(outputs, [references]).score
    assert bleu.corpus_bleu(statistics) == pytest.approx(expected, abs=1e-9) and expected <= 100


def test_figures_have_six_decimals_on_any_machine():
    third = bleu.proportion(1, 3, "acc")
    assert (third.value, third.low, third.high) == tuple(
        round(x, 6) for x in (100 / 3, third.low, third.high)
    )
    assert third.value == 33.333333


def test_the_bootstrap_interval_leaves_25_of_1000_means_out_on_each_side():
    values = np.random.default_rng(0).normal(50, 10, 40)
    draws = np.random.default_rng(bleu.SEED).integers(0, 40, (1000, 40))
    means = sorted(values[draws].mean(1))
    score = bleu.mean(values, "acc")
    assert (score.low, score.high) == (round(means[25], 6), round(means[-26], 6))
    assert score.value == round(values.mean(), 6) and score.signature == f"acc|bs:1000|seed:{bleu.SEED}"


def test_a_proportion_has_wilsons_interval():
    score = bleu.proportion(9, 10, "acc")
    assert (score.value, score.low, score.high) == (90, 59.584997, 98.212379)
    assert score.signature == "acc|ci:wilson95" and bleu.proportion(10, 10, "acc").high == 100
    assert bleu.proportion(0, 10, "acc").low == 0


def test_counts_of_one_sentence_and_of_the_most_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bleu, "MOST_SENTENCES", 3)
    for count in (1, 3):
        text = bleu.sentence_counts(OUTPUTS[:count], REFERENCES[:count])
        assert bleu.read_counts(text, count).shape == (count, 2 + 2 * 4)
        with pytest.raises(InvalidRecordError, match="sentence counts"):
            bleu.read_counts(text, 0)
    monkeypatch.setattr(bleu, "MOST_SENTENCES", 2)
    with pytest.raises(InvalidRecordError, match="of 3 sentences"):
        bleu.read_counts(text, 3)


def test_the_interval_leaves_out_as_many_resamples_at_either_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bleu, "RESAMPLES", 200)
    references = [f"{REFERENCES[i % 3]} {'wort ' * i}nummer {i}" for i in range(20)]
    outputs = [f"{OUTPUTS[i % 3]} {'wort ' * (i % 7)}nummer {i}" for i in range(20)]
    metric, scores = sacrebleu.BLEU(), []
    for draw in np.random.default_rng(7).choice(20, size=(200, 20), replace=True):
        drawn = [references[i] for i in draw]
        scores.append(metric.corpus_score([outputs[i] for i in draw], [drawn]).score)
    ends = sorted(scores)
    assert ends[4] < ends[5] < ends[6] and ends[-7] < ends[-6] < ends[-5]
    score = bleu.bleu(outputs, references, 7)
    assert (score.low, score.high) == pytest.approx((ends[5], ends[-6]), abs=1e-5)
