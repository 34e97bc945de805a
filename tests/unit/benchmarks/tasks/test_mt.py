"""The translation tasks: settings that fit what they configure, a sealed test split, exact scores."""

import copy
import json
import math
import os
import pickle
import shutil
import sys
from dataclasses import replace
from importlib.metadata import EntryPoint
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.api import UsageError
from benchmarks.lab.batches import recipe_of
from benchmarks.measurement.workload import Workload
from benchmarks.stats.bleu import corpus_bleu, digest, read_counts
from benchmarks.tasks import DEVICES, Prepared, corpus, get_task, mt, task_names, tiers
from benchmarks.tasks.mt import MTTask
from benchmarks.tasks.tiers import Tier
from supernet.data.sentence_pairs import PairData
from supernet.seq2seq import Seq2SeqConfig
from supernet.space import get_space

OURS = (
    "mt-libreoffice-en-de",
    "mt-multi30k-en-de",
    "mt-synthetic-en-de",
    "mt-tatoeba-en-de",
    "mt-three-domains-en-de",
)
TIERS = [(name, tier) for name in OURS for tier in get_task(name).tiers()]


def quiet(_line: str) -> None:
    pass


@pytest.fixture(scope="module")
def tiny() -> tuple[MTTask, Tier]:
    """The synthetic task with next to no data."""
    task = get_task("mt-synthetic-en-de")
    assert isinstance(task, MTTask)
    tier = task.tier("smoke", "cpu")
    data = {**tier.data, "train": 400, "valid": 40, "test": 30}
    return task, replace(tier, data=data, vocab=300)


@pytest.fixture(scope="module")
def prepared(tiny: tuple[MTTask, Tier], tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    return tiny[0].prepare(tiny[1], tmp_path_factory.mktemp("cache"), None, quiet)


def test_names_and_mistakes() -> None:
    assert set(OURS) <= set(task_names())
    with pytest.raises(
        UsageError, match=r"no task 'mt-multi30k'. Did you mean 'mt-multi30k-en-de'\?\nknown: bert-"
    ):
        get_task("mt-multi30k")
    with pytest.raises(
        UsageError, match=r"no tier of mt-multi30k-en-de 'smal'. Did you mean 'small'\?\n.*\nchoose"
    ):
        get_task("mt-multi30k-en-de").tier("smal", "cpu")


def test_a_broken_task_of_somebody_else_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = EntryPoint("theirs", "no_such_module:task", "supernet_bench.tasks")
    monkeypatch.setattr("benchmarks.tasks._installed", lambda: {"theirs": broken})
    with pytest.raises(UsageError, match="task 'theirs' does not load from no_such_module:task: No module"):
        get_task("theirs")


@pytest.mark.parametrize(("name", "tier"), TIERS)
def test_settings_make_models_recipes_and_workloads(name: str, tier: str) -> None:
    task = get_task(name)
    assert task.suite == "mt"
    assert task.metric == "bleu"
    for device in DEVICES:
        found = task.tier(tier, device)
        assert found == task.tier(tier, device)
        space = get_space(found.space)
        Seq2SeqConfig(found.vocab, found.vocab, **found.model)
        recipe = recipe_of(found.recipe)
        assert recipe.precision in ("fp32", "bf16", "fp16")
        assert found.data["max_tokens"] < min(recipe.batch_tokens, found.model["max_positions"]) + 1
        assert Workload.of(found.workload).steps < found.model["max_positions"]
        assert set(found.decode) == {"beam", "lenpen", "max_len_a", "max_len_b"}
        assert found.limits == tuple(sorted(found.limits))
        assert 0 < found.limits[0] <= found.limits[-1] <= 1
        assert set(found.budget) == {"tokens", "evaluations", "probes", "seconds"}
        assert min(found.budget.values()) > 0
        assert found.settings["parents"] <= found.budget["evaluations"] / len(found.limits)
        assert 0 < found.settings["retrain_share"] < 1
        assert space.size() > 1000


def test_the_digest_covers_the_settings_of_that_device(monkeypatch: pytest.MonkeyPatch) -> None:
    assert len({get_task(name).tier(tier, "cpu").sha256 for name, tier in TIERS}) == len(TIERS)
    task = get_task("mt-multi30k-en-de")

    def digests() -> tuple[str, str]:
        return task.tier("small", "cpu").sha256, task.tier("small", "cuda").sha256

    cpu, cuda = digests()
    tables = copy.deepcopy(tiers._tables(mt.MTTask.tables))
    monkeypatch.setattr(tiers, "_tables", lambda file: tables)
    small = tables[task.name]["small"]
    small["throughput"], small["budget"]["cpu"]["tokens"] = {"cpu": 1.0, "cuda": 1.0}, 7
    assert digests() == (cpu, cuda)
    small["recipe"]["batch_tokens"]["cpu"] += 1
    assert digests()[0] != cpu
    assert digests()[1] == cuda
    small["vocab"] += 1
    assert digests()[1] != cuda


def test_data_is_prepared_once(tiny: tuple[MTTask, Tier], prepared: Prepared) -> None:
    task, tier = tiny
    said: list[str] = []
    again = task.prepare(tier, prepared.folder.parents[1], None, said.append)
    assert (again, said) == (prepared, [])
    assert pickle.loads(pickle.dumps(again)) == prepared
    assert prepared.source_vocab == prepared.target_vocab == 300
    assert set(prepared.digests) == {"train", "valid", "test", "vocabulary"}
    assert all(len(value) == 64 for value in prepared.digests.values())
    other = replace(tier, vocab=310)
    assert task.prepare(other, prepared.folder.parents[1], None, said.append).folder != prepared.folder
    assert said[0].startswith("drawing 470 sentence pairs")


def test_damage_is_noticed_and_mended(tiny: tuple[MTTask, Tier], tmp_path: Path) -> None:
    task, tier = tiny
    first = task.prepare(tier, tmp_path, None, quiet)
    before = {path.name: path.read_bytes() for path in first.folder.iterdir()}
    (first.folder / "train.npz").write_bytes(b"cut")
    (first.sealed / "test.reference.txt").unlink()
    assert task.prepare(tier, tmp_path, None, quiet) == first
    assert {path.name: path.read_bytes() for path in first.folder.iterdir()} == before
    assert (first.sealed / "test.reference.txt").exists()


def test_training_and_validation_never_open_the_sealed_split(
    tiny: tuple[MTTask, Tier], prepared: Prepared
) -> None:
    task, tier = tiny
    opened: list[str] = []
    watching = [True]

    def watch(event: str, arguments: tuple) -> None:
        if watching[0] and event == "open" and isinstance(arguments[0], (str, os.PathLike)):
            opened.append(str(arguments[0]))

    sys.addaudithook(watch)
    sealed_off = replace(prepared, sealed=None)
    train, valid = task.training(sealed_off), task.validation(sealed_off)
    task.family(tier, sealed_off)
    watching[0] = False
    assert (len(train), len(valid)) == (400, 40)
    assert any(path.endswith("train.npz") for path in opened)
    assert not [path for path in opened if "sealed" in path]
    assert not list(prepared.folder.rglob("*test*"))
    with pytest.raises(ValueError, match="sealed off"):
        task.score(torch.nn.Identity(), sealed_off, tier, "cpu")


def test_ids_are_without_special_tokens_and_give_the_text_back(prepared: Prepared) -> None:
    subwords = corpus.load_vocabulary(prepared.folder)
    assert [subwords.id_to_piece(i) for i in range(4)] == ["<s>", "<pad>", "</s>", "<unk>"]
    train = corpus.read_pairs(prepared.folder / "train.npz")
    assert train.source.min() > 3
    assert train.target.min() > 3
    source, target = (
        side[:n].tolist()
        for side, n in ((train.source, train.source_length[0]), (train.target, train.target_length[0]))
    )
    assert subwords.decode(source)[-1] in ".?"
    lines = ["Die Straße, äh, ist grün!  ", "x"]
    assert subwords.decode(subwords.encode(lines))[1] == "x"
    assert subwords.decode(target).strip()


def test_evaluate_is_the_exact_mean_over_tokens(tiny: tuple[MTTask, Tier], prepared: Prepared) -> None:
    task, tier = tiny
    torch.manual_seed(0)
    family = task.family(replace(tier, model={**tier.model, "dropout": 0.5}), prepared)
    module = family.build(family.space.smallest()).train()
    pairs = task.validation(prepared)
    found = task.evaluate(module, pairs, "cpu")
    assert module.training
    assert task.evaluate(module, pairs, "cpu") == found
    module.eval()
    total = tokens = 0.0
    for i in range(len(pairs)):
        source, target = (
            flat[start[i] : start[i] + length[i]].tolist()
            for flat, start, length in (
                (pairs.source, pairs.source_start, pairs.source_length),
                (pairs.target, pairs.target_start, pairs.target_length),
            )
        )
        with torch.no_grad():
            logits = module(torch.tensor([[*source, 2]]), torch.tensor([[2, *target]]))[0].double()
        picked = logits.log_softmax(-1).gather(1, torch.tensor([*target, 2])[:, None])
        total, tokens = total - picked.sum().item(), tokens + len(target) + 1
    assert found.loss == pytest.approx(total / tokens, rel=1e-5)
    assert tokens == pairs.target_tokens


def test_score_of_a_perfect_and_of_an_untrained_network(
    tiny: tuple[MTTask, Tier], prepared: Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    task, tier = tiny
    torch.manual_seed(0)
    family = task.family(tier, prepared)
    module = family.build(family.space.smallest())
    poor = task.score(module, prepared, tier, "cpu")
    assert list(poor) == ["test", "sentences_sha256", "sentences", "test_loss"]
    assert list(poor["test"]) == ["test"]
    assert set(poor["test"]["test"]) >= {"bleu", "chrf", "bleu_tok_lc", "ter"}
    assert poor["test"]["test"]["bleu"]["value"] < 5
    assert math.isfinite(poor["test_loss"])
    assert json.loads(json.dumps(poor)) == task.score(module, prepared, tier, "cpu")
    references = corpus.read_tests(prepared.sealed)["test"][1]
    monkeypatch.setattr(MTTask, "translate", lambda *_: references)
    perfect = task.score(module, prepared, tier, "cpu")
    assert perfect["test"]["test"]["bleu"]["value"] == 100
    assert perfect["sentences_sha256"] == digest(references)
    assert perfect["sentences"]["sets"] == [["test", 30]]
    counts = read_counts(perfect["sentences"]["bleu"], 30)
    assert corpus_bleu(counts) == pytest.approx(100)


def test_several_test_sets_are_pooled_first(
    tiny: tuple[MTTask, Tier], prepared: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task, tier = tiny
    pairs = list(zip(*corpus.read_tests(prepared.sealed)["test"], strict=True))
    sealed = tmp_path / "two"
    sealed.mkdir()
    corpus.write_tests(corpus.Corpus([], [], {"b": pairs[:10], "a": pairs[10:]}), sealed)
    said = [target for _, target in pairs[:10]] + ["falsch"] * 20
    monkeypatch.setattr(MTTask, "translate", lambda *_: said)
    family = task.family(tier, prepared)
    scored = task.score(family.build(family.space.smallest()), replace(prepared, sealed=sealed), tier, "cpu")[
        "test"
    ]
    assert list(scored) == ["pooled", "b", "a"]
    assert scored["b"]["bleu"]["value"] == 100
    assert scored["a"]["bleu"]["value"] < 1
    assert 0 < scored["pooled"]["chrf"]["value"] < 100


def test_long_training_sentences_are_left_out_and_test_sentences_cut(
    tiny: tuple[MTTask, Tier], prepared: Prepared, tmp_path: Path
) -> None:
    task, tier = tiny
    short = task.prepare(replace(tier, data={**tier.data, "max_tokens": 20}), tmp_path, None, quiet)
    train = task.training(short)
    assert 0 < len(train) < 400
    assert max(train.source_length.max(), train.target_length.max()) < 20
    sealed = tmp_path / "long"
    sealed.mkdir()
    corpus.write_tests(corpus.Corpus([], [], {"test": [("word " * 2000, "Wort")]}), sealed)
    family = task.family(tier, prepared)
    scored = task.score(family.build(family.space.smallest()), replace(prepared, sealed=sealed), tier, "cpu")
    assert math.isfinite(scored["test_loss"])


def test_too_little_text_for_the_vocabulary(tiny: tuple[MTTask, Tier], tmp_path: Path) -> None:
    task, tier = tiny
    with pytest.raises(UsageError, match="800 sentences do not give 50,000 subwords"):
        task.prepare(replace(tier, vocab=50_000), tmp_path, None, quiet)
    assert not list((tmp_path / "prepared").glob("mt-*"))


def test_subwords_are_learnt_on_training_text_alone(
    tiny: tuple[MTTask, Tier], prepared: Prepared, tmp_path: Path
) -> None:
    task, tier = tiny
    made = corpus.synthetic(tier.data, None, quiet)
    model = corpus.learn([line for pair in made.train for line in pair], tier.vocab)
    assert model == (prepared.folder / corpus.VOCABULARY).read_bytes()
    fewer = task.prepare(replace(tier, data={**tier.data, "valid": 5, "test": 5}), tmp_path, None, quiet)
    same = {name for name in prepared.digests if fewer.digests[name] == prepared.digests[name]}
    assert same == {"train", "vocabulary"}


def test_multi30k_is_whole(data_dir: Path, tmp_path: Path) -> None:
    task = get_task("mt-multi30k-en-de")
    tier = task.tier("small", "cpu")
    made = task.prepare(tier, tmp_path, data_dir, quiet)
    train, valid = task.training(made), task.validation(made)
    assert (len(train), len(valid)) == (29_000, 1_014)
    tests = corpus.read_tests(made.sealed)
    assert {name: len(lines) for name, (lines, _) in tests.items()} == {
        "test_2016_flickr": 1000,
        "test_2017_flickr": 1000,
        "test_2018_flickr": 1071,
    }
    assert tests["test_2016_flickr"][0][0].startswith("A man in an orange hat")
    assert made.digests["multi30k/train.en.gz"].startswith("d79cfa99")
    # Without the raw files the prepared ones do, with others they do not.
    assert task.prepare(tier, tmp_path, tmp_path / "nowhere", quiet) == made
    shutil.rmtree(made.folder)
    with pytest.raises(UsageError, match="no folder .*multi30k"):
        task.prepare(tier, tmp_path, tmp_path / "nowhere", quiet)


@pytest.mark.parametrize(
    ("name", "sizes"),
    [("tatoeba_en-de", [164_022, 2_000, 2_000]), ("libreoffice_en-de", [22_843, 1_110, 2_457])],
)
def test_pairs_in_two_columns_are_read(data_dir: Path, name: str, sizes: list[int]) -> None:
    made = corpus.two_columns(name)({}, data_dir, quiet)
    assert [len(made.train), len(made.valid), len(made.tests["test"])] == sizes
    assert all(a and b for a, b in made.train[:1000])
    sides = [{pair[side] for pair in made.train} for side in (0, 1)]
    held_out = [*made.valid, *made.tests["test"]]
    assert not any(pair[side] in sides[side] for pair in held_out for side in (0, 1))


def test_joined_corpora_are_the_sum_of_their_parts(data_dir: Path) -> None:
    task = get_task("mt-three-domains-en-de")
    made = task.read({}, data_dir, quiet)
    assert (len(made.train), len(made.valid)) == (29_000 + 164_022 + 22_843, 1_014 + 2_000 + 1_110)
    assert {name: len(pairs) for name, pairs in made.tests.items()} == {
        "multi30k.test_2016_flickr": 1_000,
        "multi30k.test_2017_flickr": 1_000,
        "multi30k.test_2018_flickr": 1_071,
        "tatoeba_en-de.test": 2_000,
        "libreoffice_en-de.test": 2_457,
    }
    files = task.declared(task.tier("paper", "cpu"))
    assert {name.partition("/")[0] for name in files} >= {"multi30k", "tatoeba_en-de", "libreoffice_en-de"}


def test_pairs_survive_the_disk(tmp_path: Path) -> None:
    source, target = [[5, 6], [], [7]], [[8], [9, 10, 11], []]
    corpus.write_pairs(tmp_path / "x.npz", source, target)
    found = corpus.read_pairs(tmp_path / "x.npz")
    assert isinstance(found, PairData)
    expected = PairData(
        [np.array(s, dtype=np.int32) for s in source], [np.array(t, dtype=np.int32) for t in target]
    )
    for name in ("source", "source_start", "source_length", "target", "target_start", "target_length"):
        assert np.array_equal(getattr(found, name), getattr(expected, name))
