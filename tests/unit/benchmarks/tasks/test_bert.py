"""The masked-language-model task: word pieces, sealed text, exact and repeatable scores."""

from __future__ import annotations

import dataclasses
import lzma
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.api import UsageError
from benchmarks.measurement import latency
from benchmarks.measurement.workload import Workload
from benchmarks.stats import bleu
from benchmarks.tasks import Prepared, get_task, glue, text
from benchmarks.tasks.bert import BertTask
from benchmarks.tasks.tiers import Tier
from supernet.bert import CLS, MASK, PAD, SEP, UNK, BertConfig, family_of
from supernet.cost import parameters
from supernet.elastic import SuperNet
from supernet.space import get_space
from supernet.weights import SharedSlices

DEVICES = ("cpu", "cuda")


@pytest.fixture(scope="module")
def task() -> BertTask:
    found = get_task("bert-synthetic-en")
    assert isinstance(found, BertTask)
    return found


@pytest.fixture(scope="module")
def tier(task: BertTask) -> Tier:
    return task.tier("check", "cpu")


@pytest.fixture(scope="module")
def prepared(task: BertTask, tier: Tier, tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    return task.prepare(tier, tmp_path_factory.mktemp("cache"), None, lambda line: None)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(
    ("name", "tier"), [(n, t) for n in ("bert-synthetic-en", "bert-enwiki") for t in get_task(n).tiers()]
)
def test_every_tier_is_complete(name: str, tier: str, device: str) -> None:
    found = get_task(name).tier(tier, device)
    space = get_space(found.space)
    assert set(found.budget) == {"tokens", "evaluations", "probes", "seconds"}
    assert found.data["length"] <= found.model["max_positions"]
    assert found.workload["source_len"] <= found.model["max_positions"]
    assert found.settings["parents"] <= found.budget["evaluations"] / (len(found.limits) + len(found.windows))
    assert space.size() > 100
    assert found.budget["tokens"] > 50 * found.recipe["batch_tokens"]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", ["bert-enwiki", "bert-synthetic-en", "bert-wikipedia"])
def test_every_window_of_a_tier_has_networks_in_its_space(name: str, device: str) -> None:
    task = get_task(name)
    for found in (task.tier(tier, device) for tier in task.tiers()):
        space = get_space(found.space)
        family = family_of(space)(space, BertConfig(found.vocab, **found.model))
        ends = [parameters(family, a) for a in (space.smallest(), space.largest())]
        for low, high in found.windows:
            assert low <= ends[1] and ends[0] <= high, (found.name, low, high, ends)


@pytest.mark.parametrize("tier", ["paper", "paper-small"])
def test_allowances_of_the_papers_tiers_are_counted_by_the_path(tier: str) -> None:
    """125,000 updates of 2,048 rows of 128 for the parent, each of three sub-networks, and each winner."""
    found = get_task("bert-enwiki").tier(tier, "cuda")
    settings, each = found.settings, found.recipe["batch_tokens"] * found.recipe["accumulate"]
    assert each == 2048 * 128
    rest = found.budget["tokens"] * (1 - settings["teacher_share"])
    updates = {
        "parent": found.budget["tokens"] * settings["teacher_share"] / each,
        "sandwich": rest * (1 - settings["retrain_share"]) / 3 / each,
        "winner": rest * settings["retrain_share"] / len(found.windows) / each,
    }
    assert updates == {name: pytest.approx(125_000, rel=1e-3) for name in updates}


@pytest.mark.parametrize("device", DEVICES)
def test_rows_of_fine_tuning_hold_their_sentences(device: str) -> None:
    for found in (get_task("bert-enwiki").tier(tier, device) for tier in ("small", "paper", "paper-small")):
        for name in found.finetune["tasks"]:
            if name in ("sst-2", "sts-b", "cola"):
                assert glue.TASKS[name].length <= found.model["max_positions"], (found.name, name)


def test_special_tokens_are_those_of_the_model(prepared: Prepared) -> None:
    pieces = text.load_vocabulary(prepared.folder)
    ids = [pieces.token_to_id(piece) for piece in text.SPECIAL]
    assert ids == [PAD, UNK, CLS, SEP, MASK]
    assert pieces.get_vocab_size() == prepared.source_vocab
    encoded = text.encode(pieces, ["The old man sees the bank."])[0]
    assert encoded.min() > MASK
    assert pieces.decode(encoded.tolist()) == "the old man sees the bank."


def test_the_same_text_gives_the_same_pieces() -> None:
    documents = ["a walk by the river bank", "the bank of the river", "walking banks"] * 20
    made = {text.learn(documents, 44).to_str() for _ in range(8)}
    assert len(made) == 1


def test_a_document_cannot_spell_a_special_token() -> None:
    pieces = text.learn(["the mask of the man"] * 5, 30)
    ids = text.encode(pieces, ["the [MASK] of [PAD] the man"])[0]
    assert not {PAD, CLS, SEP, MASK} & set(ids.tolist())


def test_too_little_text_is_refused() -> None:
    with pytest.raises(UsageError, match="not 5,000: give more text"):
        text.learn(["a b c"], 5000)


def test_no_test_document_lies_open(task: BertTask, tier: Tier, prepared: Prepared) -> None:
    assert prepared.sealed is not None
    documents = text.read_tests(prepared.sealed)["test"]
    assert documents
    opened = b"".join(path.read_bytes() for path in prepared.folder.iterdir())
    assert not any(document.encode() in opened for document in documents)
    trained = {
        line for document in text.synthetic(tier.data, None, print).train for line in document.split("\n")
    }
    held = [line for document in documents for line in document.split("\n")]
    # Distinct derivations may be written alike: an English sentence can have two German ones.
    assert sum(line in trained for line in held) < 0.1 * len(held)


def test_prepared_once_and_found_again(task: BertTask, tier: Tier, prepared: Prepared) -> None:
    lines: list[str] = []
    again = task.prepare(tier, prepared.folder.parents[1], None, lines.append)
    assert again == prepared
    assert not lines


def test_evaluation_is_the_mean_over_predictions_under_any_batches(
    task: BertTask, tier: Tier, prepared: Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    family = task.family(tier, prepared)
    net = SuperNet(family, SharedSlices(family, torch.Generator().manual_seed(0)))
    module = net.export(family.space.largest())
    rows = task.validation(prepared)
    found = task.evaluate(module, rows, "cpu")
    assert task.evaluate(module, rows, "cpu") == found
    monkeypatch.setattr("benchmarks.tasks.bert.EVALUATION_TOKENS", {"cpu": 70})
    small = task.evaluate(module, task.validation(prepared), "cpu")
    assert small.loss == pytest.approx(found.loss, rel=1e-6)
    assert found.loss == pytest.approx(np.log(prepared.source_vocab), rel=0.05), (
        "an untrained network guesses"
    )
    losses, hits = task.predictions(module, rows, "cpu", "fp32")
    assert losses.shape == hits.shape == (len(rows),)
    assert found.metrics["mlm_accuracy"] == pytest.approx(100 * hits.mean())


def test_a_score_has_its_interval_and_recipe(task: BertTask, tier: Tier, prepared: Prepared) -> None:
    family = task.family(tier, prepared)
    module = family.build(family.space.smallest())
    found = task.score(module, prepared, tier, "cpu")
    figure = found["test"]["test"]["mlm_accuracy"]
    assert figure["low"] <= figure["value"] <= figure["high"]
    assert figure["signature"].startswith("mlm-acc|mask:15%|mask-seed:1|len:32|")
    rank, gained = (found["test"]["test"][name] for name in ("effective_rank", "below_frequencies"))
    assert 1 <= rank["low"] == rank["value"] <= module.plan.out and "version:" in rank["signature"]
    # Untrained, it predicts all words alike, which is worse than by their frequencies.
    assert gained["value"] < 0 and gained["low"] <= gained["value"] <= gained["high"]
    frequencies = gained["value"] + found["test_loss"]
    assert 0 < frequencies < np.log(prepared.source_vocab)
    with pytest.raises(ValueError, match="sealed"):
        task.score(module, dataclasses.replace(prepared, sealed=None), tier, "cpu")


def test_the_bootstrap_of_a_mean_is_that_of_its_normal_limit() -> None:
    values = np.random.default_rng(0).normal(50, 10, 4000)
    found = bleu.mean(values, "x")
    error = 10 / 4000**0.5
    assert found.value == pytest.approx(values.mean(), abs=1e-6)
    assert found.high - found.value == pytest.approx(1.96 * error, rel=0.1)
    assert found.value - found.low == pytest.approx(1.96 * error, rel=0.1)


def test_an_encoder_is_timed_up_to_its_first_state(task: BertTask, tier: Tier, prepared: Prepared) -> None:
    family = task.family(tier, prepared)
    module = family.build(family.space.smallest())
    workload = Workload.of(tier.workload)
    with torch.inference_mode():
        out = workload.run(module, workload.source("cpu"))
    assert out.shape == (1, family.space.smallest()["width"])
    assert workload.target_len == 1
    assert latency.probe_latency(module, workload, "cpu") > 0


@pytest.mark.parametrize("damage", ["cut", "no xz", "no text", "bomb"])
def test_damaged_articles_are_refused_in_one_sentence(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "a.txt.xz"
    raw = lzma.compress(b"= A =\none\n\n= B =\ntwo\n")
    path.write_bytes(
        {
            "cut": raw[:-10],
            "no xz": b"plain",
            "no text": lzma.compress(b"\xff\xfe"),
            "bomb": lzma.compress(b"a" * 10**6),
        }[damage]
    )
    with pytest.raises(UsageError, match="a.txt.xz"):
        list(text.articles([path], unpacked=10**5))


def test_articles_are_separated(tmp_path: Path) -> None:
    path = tmp_path / "a.txt.xz"
    path.write_bytes(lzma.compress(b"= A =\none\nmore\n\n= B =\ntwo\n"))
    assert list(text.articles([path], 1000)) == ["= A =\none\nmore", "= B =\ntwo"]


def test_wikipedia_is_read_to_the_limit_of_the_tier(data_dir: Path) -> None:
    if not (data_dir / "enwiki2015").is_dir():
        pytest.skip(f"{data_dir}/enwiki2015 is absent")
    settings = {"train_characters": 2e5, "valid_characters": 1e5, "test_characters": 1e12}
    found = text.enwiki(settings, data_dir, lambda line: None)
    assert len(found.tests["test"]) == 250
    assert 2e5 <= sum(map(len, found.train)) < 4e5
    assert all(article.startswith("= ") for article in (*found.train, *found.valid))
    assert not set(found.train) & {*found.valid, *found.tests["test"]}
