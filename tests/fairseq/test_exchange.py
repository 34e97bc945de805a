"""Real fairseq 0.12.2 against what is exchanged with it; run by ``nox -s fairseq``, skipped elsewhere.

Both decoders translate the same 1000 generated test sentences with beam 4, to 60 tokens at most: a limit that
grows with the source would be taken from the sentence's own length here, from its batch's in fairseq.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks.stats import bleu as metrics
from benchmarks.tasks import corpus, fairseq_data, get_task
from supernet import export
from supernet.data.sentence_pairs import PairData, TokenBatches
from supernet.decode import translate
from supernet.elastic import SuperNet
from supernet.interop.fairseq import checkpoint as fairseq
from supernet.interop.fairseq import command, training
from supernet.interop.fairseq import databin as reader
from supernet.seq2seq import Seq2SeqConfig, Seq2SeqFamily
from supernet.space import seq2seq_space
from supernet.train import Recipe, SinglePath, Trainer
from supernet.weights import SharedSlices

pytestmark = pytest.mark.fairseq

ROOT = Path(__file__).parents[2]
TASK = "mt-synthetic-en-de"
LANGUAGES = ["--source-lang", "en", "--target-lang", "de"]
DECODE = ["--beam", "4", "--max-len-a", "0", "--max-len-b", "60", "--batch-size", "256"]


@dataclass
class Data:
    folder: Path
    bin: Path
    pairs: PairData
    subwords: Any
    sources: list[str]
    references: list[str]


@pytest.fixture(scope="module")
def python() -> str:
    try:
        return command.interpreter()
    except LookupError as missing:
        pytest.skip(str(missing))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Data:
    folder = tmp_path_factory.mktemp("data")
    task = get_task(TASK)
    prepared = task.prepare(task.tier("smoke", "cpu"), folder / "cache", None, print)
    fairseq_data.export(prepared, ("en", "de"), folder / "bin")
    assert prepared.sealed is not None
    sources, references = corpus.read_tests(prepared.sealed)["test"]
    subwords = corpus.load_vocabulary(prepared.folder)
    return Data(folder, folder / "bin", task.training(prepared), subwords, sources, references)


@pytest.fixture(scope="module")
def trained(python: str, data: Data) -> Path:
    """A checkpoint of ``fairseq-train`` over our data-bin: 450 updates."""
    saved = data.folder / "saved"
    sizes = {"encoder_layers": 2, "decoder_layers": 1, "encoder_embed_dim": 64, "decoder_embed_dim": 64}
    sizes |= {"encoder_ffn_embed_dim": 128, "decoder_ffn_embed_dim": 96}
    sizes |= {"encoder_attention_heads": 4, "decoder_attention_heads": 2}
    words = [word for name, n in sizes.items() for word in (f"--{name.replace('_', '-')}", str(n))]
    words += [
        "--cpu",
        "--arch",
        "transformer",
        "--share-all-embeddings",
        "--optimizer",
        "adam",
        "--lr",
        "6e-3",
    ]
    words += ["--adam-betas", "(0.9, 0.98)", "--lr-scheduler", "inverse_sqrt", "--warmup-updates", "60"]
    words += ["--criterion", "label_smoothed_cross_entropy", "--label-smoothing", "0.1", "--dropout", "0.0"]
    words += ["--max-tokens", "768", "--max-update", "450", "--no-epoch-checkpoints", "--num-workers", "0"]
    words += ["--seed", "1", "--no-progress-bar", "--log-format", "json", "--save-dir", str(saved)]
    said = command.run("fairseq-train", [str(data.bin), *LANGUAGES, *words], data.folder / "train.txt")
    assert "dictionary: 1500 types" in said and f"{len(data.pairs)} examples" in said
    return saved / "checkpoint_last.pt"


def ask(python: str, *words: object) -> None:
    line = [python, "-P", str(ROOT / "tests/fairseq/ask.py"), str(command.SHIM), *map(str, words)]
    done = subprocess.run(line, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]


def theirs(data: Data, checkpoint: Path) -> list[str]:
    """Return the test set's translations by ``fairseq-generate``, in order."""
    words = [str(data.bin), *LANGUAGES, "--path", str(checkpoint), "--cpu", "--gen-subset", "test", *DECODE]
    words += ["--post-process", "sentencepiece", "--scoring", "sacrebleu"]
    said = command.run("fairseq-generate", words, data.folder / "generate.txt")
    lines = (line.split("\t") for line in said.splitlines() if line.startswith("D-"))
    found = {int(line[0][2:]): line[2] for line in lines}
    printed = re.search(r"BLEU = ([\d.]+)", said)
    outputs = [found[i] for i in range(len(data.sources))]
    assert printed and abs(float(printed[1]) - bleu(data, outputs)) < 0.01  # its own scoring agrees
    return outputs


def ours(data: Data, module: Any) -> list[str]:
    ids = data.subwords.encode(data.sources, out_type=int)
    return data.subwords.decode(
        [found.tokens for found in translate(module, ids, beam=4, max_len_a=0, max_len_b=60)]
    )


def bleu(data: Data, outputs: list[str]) -> float:
    return float(metrics.translation(outputs, data.references)["bleu"]["value"])


def same_logits(python: str, data: Data, checkpoint: Path, module: Any) -> None:
    rng = np.random.default_rng(3)
    source, target_in = rng.integers(4, 1500, (6, 11)), rng.integers(4, 1500, (6, 9))
    source[:, -1] = target_in[:, 0] = 2
    source[2, 5:], source[2, 4] = 1, 2  # a shorter sentence, padded
    np.savez(data.folder / "tokens.npz", source=source, target_in=target_in)
    ask(python, "logits", checkpoint, data.bin, data.folder / "tokens.npz", data.folder / "logits.npy")
    expected = np.load(data.folder / "logits.npy")
    found = module(torch.from_numpy(source), torch.from_numpy(target_in)).numpy()
    assert np.abs(expected).max() > 1
    assert np.abs(found - expected).max() < 1e-4


def test_an_imported_transformer_has_fairseqs_logits_and_bleu(python: str, data: Data, trained: Path) -> None:
    module = fairseq.network(trained, (1500, 1500)).network()
    same_logits(python, data, trained, module)
    both = theirs(data, trained), ours(data, module)
    scores = [round(bleu(data, outputs), 2) for outputs in both]
    print(
        f"BLEU {scores}, {sum(a != b for a, b in zip(*both, strict=True))} of {len(both[0])} sentences differ"
    )
    assert scores[0] == scores[1] > 5


class Limited:
    """So many target tokens, as the harness hands them out."""

    def __init__(self, pairs: PairData, total: float) -> None:
        self.stream, self.total, self.spent = TokenBatches(pairs, 384, 1), total, 0.0

    def __iter__(self) -> Iterator[Any]:
        for batch in self.stream:
            if self.spent + batch.tokens > self.total:
                return
            self.spent += batch.tokens
            yield batch


def test_an_exported_sub_network_is_decoded_by_fairseq_to_the_same_bleu(
    python: str, data: Data, tmp_path: Path
) -> None:
    # Heads of 32 in widths of 64 and 48, positions of a wider table: all that must be reworked.
    space = seq2seq_space(
        "exchange",
        embed=(64, 48),
        ffn=(128, 96),
        heads=(4, 2),
        qkv_dim=32,
        encoder_layers=2,
        decoder_layers=(2, 1),
    )
    family = Seq2SeqFamily(
        space, Seq2SeqConfig(1500, 1500, dropout=0.0, attention_dropout=0.0, max_positions=256)
    )
    chosen = {
        "encoder_embed_dim": 64,
        "encoder_layers": 2,
        "encoder_ffn": [128] * 2,
        "encoder_heads": [4] * 2,
    }
    chosen |= {"decoder_embed_dim": 48, "decoder_layers": 1, "decoder_ffn": [96], "decoder_self_heads": [2]}
    chosen |= {"decoder_cross_heads": [2], "decoder_cross_source": [-1]}
    architecture = space.architecture(chosen)
    alone = family.restrict_to(architecture)
    net = SuperNet(alone, SharedSlices(alone, torch.Generator().manual_seed(1)))
    recipe = Recipe(learning_rate=4e-3, schedule="cosine", batch_tokens=384)
    Trainer(net, recipe, SinglePath(), 1).fit(Limited(data.pairs, 250_000))
    export.save(tmp_path / "net", net.export(architecture), alone.spec(), architecture)
    fairseq.to_fairseq(tmp_path / "net", tmp_path / "net.pt")
    module, _ = export.load(tmp_path / "net")
    same_logits(python, data, tmp_path / "net.pt", module)
    both = theirs(data, tmp_path / "net.pt"), ours(data, module)
    scores = [round(bleu(data, outputs), 2) for outputs in both]
    print(
        f"BLEU {scores}, {sum(a != b for a, b in zip(*both, strict=True))} of {len(both[0])} sentences differ"
    )
    assert scores[0] == scores[1] > 5


@pytest.mark.parametrize("form", ["mmap", "lazy"])
def test_data_that_fairseq_preprocess_writes_is_read_as_fairseq_reads_it(
    python: str, data: Data, tmp_path: Path, form: str
) -> None:
    for side, lines in (("en", data.sources[:300]), ("de", data.references[:300])):
        text = "\n".join(" ".join(pieces) for pieces in data.subwords.encode(lines, out_type=str))
        (tmp_path / f"text.{side}").write_text(text + "\n")
    words = ["--trainpref", str(tmp_path / "text"), "--validpref", str(tmp_path / "text"), "--workers", "1"]
    words += ["--destdir", str(tmp_path / "bin"), "--dataset-impl", form]
    command.run("fairseq-preprocess", [*LANGUAGES, *words], tmp_path / "log.txt")
    found = dict(zip(("en", "de"), reader.read_split(tmp_path / "bin", "valid"), strict=True))
    for side, sentences in found.items():
        dictionary = tmp_path / f"bin/dict.{side}.txt"
        ask(python, "data", tmp_path / f"bin/valid.en-de.{side}", dictionary, tmp_path / "read.npz")
        expected = np.load(tmp_path / "read.npz")
        assert reader.read_dictionary(dictionary) == expected["symbols"].tolist()
        assert [len(sentence) + 1 for sentence in sentences] == expected["lengths"].tolist()
        ended = np.concatenate([[*sentence, reader.EOS] for sentence in sentences])
        assert np.array_equal(ended, expected["tokens"])


def test_our_data_bin_is_read_by_fairseq_as_we_read_it(python: str, data: Data, tmp_path: Path) -> None:
    for side, number in (("en", 0), ("de", 1)):
        ask(
            python,
            "data",
            data.bin / f"train.en-de.{side}",
            data.bin / f"dict.{side}.txt",
            tmp_path / "read.npz",
        )
        expected = np.load(tmp_path / "read.npz")
        flat = (data.pairs.source, data.pairs.target)[number]
        assert np.array_equal(expected["tokens"][expected["tokens"] != reader.EOS], flat)
        assert np.array_equal(
            expected["lengths"] - 1, (data.pairs.source_length, data.pairs.target_length)[number]
        )
        pieces = [data.subwords.id_to_piece(i) for i in range(1500)]
        assert expected["symbols"].tolist() == pieces


def test_one_pass_of_fairseq_trains_on_every_token_once_and_is_repeatable(
    python: str, data: Data, tmp_path: Path
) -> None:
    batches = list(Limited(data.pairs, 30_000))
    pairs = training.pairs_of(batches)
    assert sum(len(target) + 1 for target in pairs[1]) == sum(batch.tokens for batch in batches)
    recipe = Recipe(learning_rate=4e-3, schedule="cosine", batch_tokens=768, average_checkpoints=2)
    sizes = {"encoder": 2, "decoder": 1}
    space = fairseq.standard_space(32, sizes, dict.fromkeys(sizes, 4), dict.fromkeys(sizes, 64))
    family = Seq2SeqFamily(space, Seq2SeqConfig(1500, 1500, dropout=0.1, max_positions=256))
    found = [
        training.train(tmp_path / name, family, pairs, recipe, 7, "cpu", lambda *_: None)
        for name in ("a", "b")
    ]
    assert all(torch.equal(found[1][name], weight) for name, weight in found[0].items())
    lengths = [[len(sentence) + 1 for sentence in side] for side in pairs]
    log = (tmp_path / "a/log.txt").read_text()
    assert training.at(tmp_path / "a/log.txt") == training.count_batches(lengths, recipe.batch_tokens)
    epoch = next(
        json.loads(line.partition(" | train | ")[2]) for line in log.splitlines() if " | train | " in line
    )
    tokens = float(epoch["train_wpb"]) * float(epoch["train_num_updates"])
    assert abs(tokens - sum(batch.tokens for batch in batches)) < 0.01 * tokens


def test_the_baseline_is_a_row_like_any_other(python: str, tmp_path: Path) -> None:
    words = ["run", "mt", "--task", TASK, "--tier", "check", "--profile", "undeclared"]
    words += ["--methods", "fairseq-transformer"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), command.VARIABLE: python}
    # Its timings do not matter, so it waits for those of nobody else.
    environment["SUPERNET_BENCH_LOCKS"] = str(tmp_path)
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", *words],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=400,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    (file,) = (tmp_path / "results/local/mt-check/records").rglob("*.json")
    record = json.loads(file.read_text())
    assert record["status"] == "done"
    assert 0.9 * 24_000 < record["ledger"]["totals"]["tokens"] <= 24_000
    assert record["candidates"] and all(c["origin"] == "scratch" for c in record["candidates"])
