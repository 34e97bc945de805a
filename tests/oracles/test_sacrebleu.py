"""Our scores and intervals against sacreBLEU's own, and our tokens against Multi30k's published numbers."""

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF

from benchmarks.stats import bleu
from benchmarks.tasks.datasets import datasets, read_lines


def noisy(lines: list[str], seed: int) -> list[str]:
    """Lines with words lost, doubled and swapped: a poor translation."""
    rng = random.Random(seed)
    out = []
    for line in lines:
        words = [w for w in line.split() for _ in range(rng.choice((0, 1, 1, 1, 1, 1, 2)))]
        if len(words) > 3 and rng.random() < 0.4:
            i = rng.randrange(len(words) - 1)
            words[i], words[i + 1] = words[i + 1], words[i]
        out.append(" ".join(words) or line)
    return out


@pytest.fixture(scope="module")
def references(data_dir: Path) -> list[str]:
    data = datasets()["multi30k"]
    return read_lines(data_dir / data.name / "test_2017_flickr.de.gz", data.unpacked)


@pytest.mark.parametrize(("ours", "theirs"), [(bleu.bleu, BLEU), (bleu.chrf, CHRF)])
def test_value_interval_and_signature(ours, theirs, references: list[str], monkeypatch) -> None:
    monkeypatch.setenv("SACREBLEU_SEED", "12345")
    outputs, metric = noisy(references, 1), theirs()
    expected = metric.corpus_score(outputs, [references], n_bootstrap=1000)
    score = ours(outputs, references)
    assert score.value == pytest.approx(expected.score, abs=1e-6)
    assert (score.high - score.low) / 2 == pytest.approx(expected._ci, abs=1e-4)
    assert score.low < expected._mean < score.high
    assert score.signature == metric.get_signature().format()


def test_sentence_counts_are_all_that_bleu_needs(references: list[str]) -> None:
    outputs = noisy(references, 3)
    counts = bleu.read_counts(bleu.sentence_counts(outputs, references), len(outputs))
    for part in (slice(None), slice(10, 60), slice(7, 8)):
        expected = BLEU().corpus_score(outputs[part], [references[part]])
        assert bleu.corpus_bleu(counts[part]) == pytest.approx(expected.score, abs=1e-12)


def test_the_command_line_prints_the_same(references: list[str], tmp_path: Path) -> None:
    outputs = noisy(references, 2)
    for name, lines in (("out", outputs), ("ref", references)):
        (tmp_path / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    arguments = ["sacrebleu", str(tmp_path / "ref"), "-i", str(tmp_path / "out"), "-m", "bleu", "chrf"]
    arguments.append("--confidence")
    environment = os.environ | {"SACREBLEU_SEED": "12345"}
    command = [sys.executable, "-m", *arguments, "-f", "json", "-w", "4"]
    printed = subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout
    for theirs, ours in zip(json.loads(printed), (bleu.bleu, bleu.chrf), strict=True):
        score = ours(outputs, references)
        assert f"{score.value:.4f}" == f"{theirs['score']:.4f}"
        assert f"{(score.high - score.low) / 2:.4f}" == f"{theirs['confidence_var']:.4f}"
        assert f"seed:12345|{theirs['signature'].split('|seed:12345|')[1]}" in score.signature


def test_tokens_are_as_many_as_published(data_dir: Path) -> None:
    """Words of the tokenised files as the README of the dataset gives them; fairseq, too, printed 12,103."""
    data = datasets()["multi30k"]
    for split, words in {"val": 12_828, "test_2016_flickr": 12_103, "test_2017_flickr": 10_758}.items():
        lines = read_lines(data_dir / data.name / f"{split}.de.gz", data.unpacked)
        assert sum(len(line.split()) for line in bleu.moses(lines, "de")) == words
