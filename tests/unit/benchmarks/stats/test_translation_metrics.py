"""TER, spBLEU and COMET beside BLEU: sacreBLEU's own figures, and COMET through its command."""

from __future__ import annotations

import hashlib
import os
import sys
from pathlib import Path

import pytest
import sacrebleu

from benchmarks.stats import bleu
from benchmarks.stats import translation_metrics as metrics

SOURCES = ["The man opens the door.", "Today the woman goes to school.", "The child does not sleep."] * 4
REFERENCES = ["Der Mann öffnet die Tür.", "Heute geht die Frau zur Schule.", "Das Kind schläft nicht."] * 4
OUTPUTS = ["Der Mann öffnet eine Tür.", "Die Frau geht heute zur Schule.", "Das Kind schlief nicht."] * 4
LINES = metrics.Lines(SOURCES, OUTPUTS, REFERENCES)
PARTS = {"pooled": slice(0, 12), "a": slice(0, 5), "b": slice(5, 12)}
SPBLEU_MODEL = metrics.spbleu_model
"""The function itself: tests run as if its file were absent."""


@pytest.fixture(autouse=True)
def nothing_installed(monkeypatch, tmp_path):
    monkeypatch.setattr(metrics, "spbleu_model", lambda: tmp_path / "none")
    monkeypatch.delenv(metrics.COMET, raising=False)


def scores_of(lines, parts=PARTS, tokenizer=bleu.TOKENIZER):
    scorers = metrics.scorers(lines, tokenizer)
    return {name: bleu.scores(scorers, part) for name, part in parts.items()}


def test_ter_of_each_part_is_sacrebleus_of_its_sentences():
    scored = scores_of(LINES)
    assert {name: list(scores) for name, scores in scored.items()} == dict.fromkeys(PARTS, ["ter"])
    for name, part in PARTS.items():
        expected = sacrebleu.TER().corpus_score(OUTPUTS[part], [REFERENCES[part]]).score
        score = scored[name]["ter"]
        assert score["value"] == pytest.approx(expected, abs=1e-5) and 0 < expected < 100
        assert score["low"] <= score["value"] <= score["high"]
        assert score["signature"].startswith("nrefs:1|bs:1000|seed:12345|case:lc|tok:tercom|norm:no|")
    perfect = scores_of(LINES._replace(outputs=REFERENCES))["pooled"]["ter"]
    assert perfect["value"] == perfect["high"] == 0


@pytest.mark.parametrize("tokenizer", ["zh", "ja-mecab", "ko-mecab", "char"])
def test_ter_splits_characters_of_languages_without_spaces(tokenizer):
    outputs, references = ["猫が魚を食べた。"], ["猫が肉を食べた。"]
    score = scores_of(metrics.Lines([""], outputs, references), {"x": slice(0, 1)}, tokenizer)["x"]["ter"]
    assert 0 < score["value"] < 50 and "|asian:yes|" in score["signature"]


def test_spbleu_where_its_vocabulary_lies_here(monkeypatch, tmp_path):
    import sentencepiece

    monkeypatch.setattr("sacrebleu.tokenizers.tokenizer_spm.SACREBLEU_DIR", str(tmp_path))
    monkeypatch.setattr("sacrebleu.utils.SACREBLEU_DIR", str(tmp_path))
    monkeypatch.setattr(metrics, "spbleu_model", SPBLEU_MODEL)
    path = tmp_path / "models" / "flores200sacrebleuspm"
    assert metrics.spbleu_model() == path
    path.parent.mkdir()
    with path.open("wb") as file:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(REFERENCES * 5), model_writer=file, vocab_size=30, minloglevel=2
        )
    score = scores_of(LINES)["b"]["spbleu"]
    expected = sacrebleu.BLEU(tokenize="flores200").corpus_score(OUTPUTS[5:], [REFERENCES[5:]]).score
    assert score["value"] == pytest.approx(expected, abs=1e-5) and "tok:flores200" in score["signature"]


def comet_score(folder: Path, body: str) -> None:
    """Put a stand-in for ``comet-score`` on PATH, which reads its flags as that does."""
    (folder / "bin").mkdir()
    command = folder / "bin" / "comet-score"
    command.write_text(
        f"#!{sys.executable}\nimport json, sys\nflags = dict(zip(sys.argv[1::1], sys.argv[2::1]))\n"
        "read = lambda flag: open(flags[flag]).read().splitlines()\n"
        "lines = list(zip(read('-s'), read('-t'), read('-r'), strict=True))\n" + body
    )
    command.chmod(0o755)
    package = folder / "lib/python3.11/site-packages/unbabel_comet-2.2.7.dist-info"
    package.mkdir(parents=True)


GOOD = (
    "scored = [{'COMET': 0.9 if t == r else 0.5} for s, t, r in lines]\n"
    "json.dump({flags['-t']: scored}, open(flags['--to_json'], 'w'))\n"
)


def test_comet_through_its_own_command(monkeypatch, tmp_path):
    comet_score(tmp_path, GOOD)
    (tmp_path / "model.ckpt").write_bytes(b"weights")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv(metrics.COMET, str(tmp_path / "model.ckpt"))
    broken = [*REFERENCES[:6], *OUTPUTS[6:]]
    broken[0] = broken[0].replace(" ", "\n")  # a line is a sentence there
    scored = scores_of(LINES._replace(outputs=broken))
    assert scored["a"]["comet"]["value"] == pytest.approx(90)
    assert scored["pooled"]["comet"]["value"] == pytest.approx(70)
    assert "version:2.2.7" in scored["a"]["comet"]["signature"]
    digest = hashlib.sha256(b"weights").hexdigest()[:12]
    assert scored["a"]["comet"]["signature"].startswith(f"comet|model:{digest}|version:")


@pytest.mark.parametrize(
    "body",
    [
        "sys.exit(3)",
        "",
        GOOD + "sys.exit(3)",
        GOOD.replace("0.9", "float('nan')"),
        "json.dump([1], open(flags['--to_json'], 'w'))",
    ],
)
def test_comet_that_fails_costs_no_other_metric(body, monkeypatch, tmp_path, capsys):
    comet_score(tmp_path, body)
    (tmp_path / "model.ckpt").write_bytes(b"weights")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv(metrics.COMET, str(tmp_path / "model.ckpt"))
    scored = scores_of(LINES._replace(outputs=REFERENCES))
    assert list(scored["pooled"]) == ["ter"] and "COMET left out" in capsys.readouterr().err


def test_comet_that_is_not_here_is_named(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv(metrics.COMET, str(tmp_path / "model.ckpt"))
    scores_of(LINES)
    assert "comet-score is not on PATH" in capsys.readouterr().err
    comet_score(tmp_path, GOOD)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    scores_of(LINES)
    assert "no such file" in capsys.readouterr().err
