"""Sentences in four languages: a task in a few lines of configuration, scored as sacreBLEU itself scores.

``data/sentences.tsv`` has 60 everyday sentences in English, French, Japanese and Chinese, written for these
tests.
"""

from __future__ import annotations

import gzip
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import tasks
from benchmarks.stats import bleu
from benchmarks.tasks import corpus, prepare
from benchmarks.tasks.folders import languages
from benchmarks.tasks.folders.sources import TaskFlags, find

TABLE = Path(__file__).parent / "data" / "sentences.tsv"
SETTINGS = """name = "everyday"
source = "en"
target = "{target}"
[splits]
valid = 6
test = 6
[check]
vocab = 400
"""


@pytest.fixture(autouse=True)
def afresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "_DECLARED", {})


def column(language: str) -> list[str]:
    rows = [line.split("\t") for line in TABLE.read_text("utf-8").splitlines()]
    place = rows[0].index(language)
    return [row[place] for row in rows[1:]]


def altered(sentences: list[str]) -> list[str]:
    """Return outputs that share a part with their references: every third is another's, others are cut."""
    swapped = [sentences[(i + 1) % len(sentences)] if i % 3 == 0 else s for i, s in enumerate(sentences)]
    return [text[: len(text) * 3 // 4] if i % 4 == 1 else text for i, text in enumerate(swapped)]


@pytest.mark.parametrize(("target", "tokenizer"), [("fr", "13a"), ("ja", "ja-mecab"), ("zh", "zh")])
def test_a_language_pair_takes_few_lines_and_no_code(tmp_path: Path, target: str, tokenizer: str) -> None:
    folder = tmp_path / "news"
    folder.mkdir()
    (folder / "sentences.tsv.gz").write_bytes(gzip.compress(TABLE.read_bytes()))
    settings = SETTINGS.format(target=target)
    assert len(settings.splitlines()) < 15
    (folder / "task.toml").write_text(settings)
    task: Any = find(f"text:{folder}", TaskFlags())
    ready = prepare(task, task.tier("check", "cpu"), tmp_path / "cache", None, lambda line: None)
    assert task.notes(ready)[0] == "pairs: train 48, valid 6, test 6"
    assert ready.target_vocab == 400
    subwords = corpus.load_vocabulary(ready.folder)
    sources, references = corpus.read_tests(ready.sealed)["test"]
    expected = dict(zip(column("en"), column(target), strict=True))
    assert references == [expected[source] for source in sources]
    data, sides = corpus.read_pairs(ready.folder / "train.npz"), []
    for ids, lengths in ((data.source, data.source_length), (data.target, data.target_length)):
        sides.append([subwords.decode(part.tolist()) for part in np.split(ids, np.cumsum(lengths)[:-1])])
    assert [expected[source] for source in sides[0]] == sides[1]
    signature = task.scorers(references, references)["bleu"](slice(None)).signature
    assert f"|tok:{tokenizer}" in signature


@pytest.mark.parametrize(
    ("language", "tokenizer"),
    [("fr", "13a"), ("ja", "ja-mecab"), ("zh", "zh"), ("ja", "char"), ("zh", "char")],
)
def test_scores_and_intervals_are_those_of_sacrebleus_command(
    tmp_path: Path, language: str, tokenizer: str
) -> None:
    references = column(language)
    outputs = altered(references)
    own = bleu.bleu(outputs, references, tokenizer=languages.tokenizer_of(language, tokenizer))
    for name, lines in (("outputs", outputs), ("references", references)):
        (tmp_path / name).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    words = ["-m", "sacrebleu", "references", "-i", "outputs", "-tok", tokenizer, "--confidence", "-w", "6"]
    command = [sys.executable, *words, "-f", "text"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    printed = re.search(r"= ([\d.]+) \(μ = [\d.]+ ± ([\d.]+)\)", done.stdout)
    assert printed is not None, done.stdout
    score, half = map(float, printed.groups())
    assert own.value == pytest.approx(score, abs=2e-6) and 20 < score < 90
    assert (own.high - own.low) / 2 == pytest.approx(half, abs=2e-6)
    assert f"tok:{tokenizer}" in done.stdout


def test_words_of_japanese_are_those_of_mecab_itself() -> None:
    import ipadic
    import MeCab
    from sacrebleu.metrics.bleu import BLEU

    references = column("ja")
    outputs = altered(references)
    tagger = MeCab.Tagger(f"{ipadic.MECAB_ARGS} -Owakati")
    split = [[tagger.parse(text).strip() for text in texts] for texts in (outputs, references)]
    by_words = BLEU(tokenize="none", force=True).corpus_score(split[0], [split[1]]).score
    by_characters = BLEU(tokenize="none", force=True).corpus_score(
        [" ".join(text) for text in outputs], [[" ".join(text) for text in references]]
    )
    assert bleu.bleu(outputs, references, tokenizer="ja-mecab").value == pytest.approx(by_words, abs=1e-5)
    assert bleu.bleu(outputs, references, tokenizer="char").value == pytest.approx(
        by_characters.score, abs=1e-5
    )
    assert abs(by_words - by_characters.score) > 0.1  # the choice of a tokenizer makes a difference
