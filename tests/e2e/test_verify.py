"""A published row is run again from its record alone, as a user does it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from benchmarks.records import store
from benchmarks.verification import compare, verdict_files
from tests.fake_records import fake


@pytest.fixture
def published(bench, records, tmp_path: Path) -> Path:
    """``results/records`` with one run of the tiny task and the run that follows it."""
    done = bench("run", "tiny", "--methods", "tiny-good,tiny-after", "--profile", "undeclared")
    assert done.returncode == 0, done.stdout + done.stderr
    shutil.copytree(tmp_path / "results/local/tiny-smoke/records", tmp_path / "results/records")
    shutil.rmtree(tmp_path / "results/local")
    return tmp_path / "results/records"


def by_method(published: Path) -> dict[str, Path]:
    return {path.parent.name: path for path in published.rglob("*.json")}


@pytest.fixture
def pretended(bench, tmp_path: Path):
    """A record that says it is a run of the tiny task; ``change`` edits it before it is sealed."""

    def make(change) -> Path:
        planned = bench("plan", "tiny", "--methods", "tiny-good", "--profile", "undeclared", "--json")
        spec = json.loads(planned.stdout)["runs"][0]["spec"]
        record = fake(spec=spec, limits=(0.5,))
        record["provenance"] |= {"commit": "tested", "data": {"tiny": "0" * 64}}
        change(record)
        return store.write(tmp_path / "elsewhere", record)

    return make


@pytest.mark.slow
def test_a_row_reproduces_to_the_bit_and_the_verdict_is_kept(bench, published: Path, tmp_path: Path):
    files = by_method(published)
    done = bench("verify", store.load(files["tiny-good"])["id"])
    assert "bits           identical candidates, weights, translations and ledger" in done.stdout, done.stdout
    assert "latencies of the search: the published timings" in done.stdout
    kept = list((tmp_path / "results/verified").rglob("*.json"))
    assert [path.parent.name for path in kept] == [files["tiny-good"].stem]
    verdict = verdict_files.VERDICTS.load(kept[0])
    assert verdict["identical"] and verdict["repeated_timings"] and verdict["differences"] == []
    assert all(check["holds"] for check in verdict["checks"] if check["what"] == "quality")
    # A timing of a network this small may drift on a busy machine; that is said of latency alone.
    assert verdict["quality"] == compare.YES and verdict["code"] == []
    assert done.returncode == (3 if verdict["latency"] == compare.NO else 0)
    assert not (tmp_path / "results/local/verify/tiny-smoke/runs").exists()

    # What it follows is taken from the store beside it, and run first where there is none.
    copy = tmp_path / "alone.json"
    shutil.copy(files["tiny-after"], copy)
    for word, again in ((str(files["tiny-after"]), 1), (str(copy), 2)):
        if again == 2:
            shutil.rmtree(published)
        done = bench("verify", word, "--json")
        assert done.stderr.count("of " + str(again)) >= 1, done.stderr
        assert json.loads(done.stdout)["identical"], done.stdout


def test_a_row_that_is_better_than_true_does_not_reproduce(bench, pretended):
    path = pretended(lambda record: record["provenance"]["machine"].update(gpus=[]))
    done = bench("verify", str(path))
    assert done.returncode == 1, done.stdout + done.stderr
    assert "=> quality does not reproduce" in done.stdout and "is outside [" in done.stdout
    assert "latencies of the search: timings of its own" in done.stdout


@pytest.mark.parametrize(
    ("change", "said", "then"),
    [
        (lambda r: r["spec"].update(method="gone"), "no method 'gone'", "--method ./its_file.py:Class"),
        (lambda r: r["spec"].update(method_sha256="ab" * 32), "the code of method", "git checkout tested"),
        (lambda r: r["spec"].update(settings_sha256="ab" * 32), "the settings of tiny", "git checkout"),
        (lambda r: r["spec"].update(profile="mars.v1"), "no profile 'mars.v1'", "supernet-bench profiles"),
        (lambda r: r["provenance"].update(data={"tiny": "1" * 64}), "the data are not", "--data-dir DIR"),
    ],
)
def test_undecided_verdicts_have_a_reason_and_a_command(bench, pretended, change, said, then):
    done = bench("verify", str(pretended(change)))
    assert done.returncode == 0, done.stdout + done.stderr
    assert said in done.stdout and then in done.stdout
    assert "=> quality cannot tell; latency cannot tell" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr


def test_without_a_record_one_is_drawn_or_nothing_is_to_be_verified(bench, tmp_path: Path):
    done = bench("verify")
    assert done.returncode == 0 and "nothing to verify: no smoke records under results/records" in done.stdout
    done = bench("verify", "nonsense")
    assert done.returncode == 2 and "no record 'nonsense'" in done.stderr
    done = bench("verify", "abcd")
    assert done.returncode == 2 and "no record starts with abcd" in done.stderr


@pytest.fixture
def bert(tmp_path: Path) -> Path:
    """A BERT of Hugging Face's, of random weights, with a vocabulary of letters."""
    transformers = pytest.importorskip("transformers", reason="needs the extra huggingface")
    letters = "abcdefghijklmnopqrstuvwxyz."
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *(f"##{letter}" for letter in letters)]
    torch.manual_seed(0)
    size = {"hidden_size": 96, "num_hidden_layers": 4, "num_attention_heads": 6, "intermediate_size": 384}
    config = transformers.BertConfig(vocab_size=len(words), max_position_embeddings=32, **size)
    transformers.BertForMaskedLM(config).save_pretrained(tmp_path / "bert")
    (tmp_path / "bert/vocab.txt").write_text("\n".join(words) + "\n")
    return tmp_path / "bert"


@pytest.mark.slow
def test_a_chain_that_started_from_a_bert_is_run_again_from_that_bert_alone(bench, bert, tmp_path: Path):
    method = "random-search+scratch+int8-uniform"
    words = ["--task", "bert-synthetic-en", "--tier", "check", "--profile", "undeclared"]
    done = bench("run", "bert", *words, "--methods", method, "--start-from", str(bert))
    assert done.returncode == 0, done.stdout + done.stderr
    shutil.copytree(tmp_path / "results/local/bert-check/records", tmp_path / "results/records")
    record = by_method(tmp_path / "results/records")[method]
    done = bench("verify", str(record))
    assert "cannot tell" in done.stdout and "--start-from DIR" in done.stdout
    done = bench("verify", str(record), "--start-from", str(bert))
    assert "identical candidates, weights, translations and ledger" in done.stdout, done.stdout + done.stderr
    assert "of 2)" in done.stdout  # the architectures come from the record beside it

    from transformers import BertForMaskedLM

    model = BertForMaskedLM.from_pretrained(bert)
    model.bert.embeddings.word_embeddings.weight.data[9] += 1
    model.save_pretrained(bert)
    done = bench("verify", str(record), "--start-from", str(bert))
    assert f"is {bert} that one?" in done.stdout, done.stdout
    assert "=> quality cannot tell" in done.stdout, done.stdout
