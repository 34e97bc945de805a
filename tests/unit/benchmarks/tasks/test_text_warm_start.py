"""``--start-from``: a task whose networks start from a pre-trained model and speak its vocabulary."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from baselines.teacher import teacher_space
from benchmarks.api import TaskInfo, UsageError
from benchmarks.cli import main
from benchmarks.lab.candidates import ContractViolationError
from benchmarks.lab.journal import Journal
from benchmarks.lab.lab import BenchLab
from benchmarks.lab.ledger import Clock, Ledger
from benchmarks.runs.plan import Folders
from benchmarks.tasks import get_task, starting, text
from benchmarks.verification import rerun
from mos.mixture import Mixture
from supernet.bert import BertConfig, family_of
from supernet.elastic import SuperNet
from supernet.interop.huggingface.warm_start import initialise, special_first, vocabulary
from supernet.space import get_space, homogeneous_space
from supernet.weights import SharedSlices
from tests.fake_records import fake

transformers = pytest.importorskip("transformers", reason="needs the extra huggingface")

OWN = homogeneous_space("own", width=(16, 96), heads=(1, 6), ffn_tenths=(40,), layers=(1, 4), head_dim=16)
LETTERS = "abcdefghijklmnopqrstuvwxyz"
WORDS = ["[PAD]", *(f"[unused{i}]" for i in range(4)), "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "dog", "."]
WORDS += [*LETTERS, *(f"##{letter}" for letter in LETTERS)]
SIZES = {
    "vocab_size": len(WORDS),
    "hidden_size": 96,
    "num_hidden_layers": 4,
    "num_attention_heads": 6,
    "intermediate_size": 384,
    "max_position_embeddings": 32,
}
"""As large as anything in the tier ``check``."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("bert")
    torch.manual_seed(0)
    transformers.BertForMaskedLM(transformers.BertConfig(**SIZES)).save_pretrained(folder)
    (folder / "vocab.txt").write_text("\n".join(WORDS) + "\n")
    return folder


@pytest.fixture(scope="module")
def data(folder, tmp_path_factory) -> Any:
    task = starting(get_task("bert-synthetic-en"), folder)
    tier = task.tier("check", "cpu")
    return task, tier, task.prepare(tier, tmp_path_factory.mktemp("cache"), None, print)


def test_text_is_in_the_models_vocabulary_and_the_record_names_the_model(data, folder):
    task, tier, prepared = data
    plain = get_task("bert-synthetic-en")
    assert prepared.source_vocab == len(WORDS) and len(prepared.digests["start"]) == 64
    assert tier.sha256 != plain.tier("check", "cpu").sha256  # other runs than those that start at random
    pieces = text.load_vocabulary(prepared.folder)
    said = pieces.encode("The dog zx.").tokens
    assert said == ["the", "dog", "z", "##x", "."]
    assert [pieces.token_to_id(t) for t in text.SPECIAL] == [0, 1, 2, 3, 4]
    rows = task.training(prepared)
    assert int(rows.rows.max()) < len(WORDS) and rows.vocab == len(WORDS)


def test_every_network_of_the_lab_starts_from_the_model(data, folder, tmp_path):
    task, tier, prepared = data
    with Journal(tmp_path / "journal.jsonl") as journal:
        lab = BenchLab(
            tmp_path,
            TaskInfo(task.name, task.suite, "check", task.metric, tier.settings),
            get_task(task.name),  # as a worker finds it: the prepared data say what to start from
            tier,
            prepared,
            ledger=Ledger({"tokens": 100, "evaluations": 1, "probes": 1, "seconds": 60}, Clock()),
            journal=journal,
            seed=1,
            method="m",
            device="cpu",
            limits=(),
            reference_ms=2.0,
            options={},
            checkpoint_seconds=0.0,
            say=print,
        )
        model = transformers.BertForMaskedLM.from_pretrained(folder).eval()
        pieces = text.load_vocabulary(prepared.folder)
        words = ["[CLS]", "the", "[MASK]", "z", "##x", "[SEP]"]
        ours = torch.tensor([[pieces.token_to_id(word) for word in words]])
        theirs = torch.tensor([[WORDS.index(word) for word in words]])
        moved = [WORDS.index(pieces.id_to_token(i)) for i in range(len(WORDS))]
        for net in (lab.supernet(space=OWN), lab.supernet(only=OWN.largest())):
            with torch.no_grad():
                found = net.export(net.space.largest())(ours)
                assert torch.allclose(found, model(theirs).logits[..., moved], atol=1e-4)
        mixed = lab.supernet(Mixture, space=OWN)
        with torch.no_grad():
            found = mixed.export(OWN.largest())(ours)
            assert torch.allclose(found, model(theirs).logits[..., moved], atol=0.2)
        # Every space that a method of this tier may ask for, and networks of them alone.
        settings = tier.settings
        names = [tier.space, *settings["autodistil"]["several"], settings["nas_bert"]["space"]]
        for space in (
            *map(get_space, names),
            teacher_space(settings["teacher"]),
            get_space("supershaper-smoke"),
        ):
            lab.supernet(space=space)
            for _ in range(5):
                lab.supernet(only=space.sample(lab.rng))
        deeper = homogeneous_space("d", width=(32,), heads=(2,), ffn_tenths=(40,), layers=(9,), head_dim=16)
        lab.supernet(only=deeper.largest())  # as hand-designed may choose
        with pytest.raises(
            ContractViolationError, match="--start-from: .* channels of a head: 16 in the model"
        ):
            lab.supernet(space=get_space("supershaper-s"))


def test_a_distilbert_is_as_good_a_start_and_has_no_segments(tmp_path):
    torch.manual_seed(0)
    config = transformers.DistilBertConfig(
        vocab_size=len(WORDS), dim=96, n_layers=4, n_heads=6, hidden_dim=384, max_position_embeddings=32
    )
    model = transformers.DistilBertForMaskedLM(config).eval()
    for parameter in model.parameters():
        parameter.data.add_(torch.randn_like(parameter), alpha=0.05)
    model.save_pretrained(tmp_path)
    (tmp_path / "vocab.txt").write_text("\n".join(WORDS) + "\n")
    task = starting(get_task("bert-synthetic-en"), tmp_path)
    assert task.tier("check", "cpu").sha256
    family = family_of(OWN)(OWN, BertConfig(len(WORDS), max_positions=32))
    net = SuperNet(family, SharedSlices(family, torch.Generator().manual_seed(0)))
    assert initialise(net, tmp_path).left_out == []
    order = special_first(vocabulary(tmp_path), len(WORDS))
    theirs = torch.tensor([[6, 9, 8, 12, 7]])
    ours = torch.tensor([[order.index(int(i)) for i in theirs[0]]])
    with torch.no_grad():
        found = net.export(OWN.largest())(ours)
        torch.testing.assert_close(found, model(theirs).logits[..., order], atol=2e-4, rtol=1e-4)


def test_a_model_without_a_masked_word_head_starts_with_a_fresh_one(folder, tmp_path):
    bare = transformers.BertForMaskedLM.from_pretrained(folder).bert
    bare.save_pretrained(tmp_path)
    (tmp_path / "vocab.txt").write_text("\n".join(WORDS) + "\n")
    assert starting(get_task("bert-synthetic-en"), tmp_path).tier("check", "cpu").sha256
    family = family_of(OWN)(OWN, BertConfig(len(WORDS), max_positions=32))
    net = SuperNet(family, SharedSlices(family, torch.Generator().manual_seed(0)))
    assert initialise(net, tmp_path).left_out == [
        "head.bias", "head.dense.bias", "head.dense.weight", "head.norm.bias", "head.norm.weight"
    ]  # fmt: skip


def test_another_model_is_another_start(data, folder, tmp_path):
    import shutil

    shutil.copytree(folder, tmp_path / "other")
    model = transformers.BertForMaskedLM.from_pretrained(folder)
    model.bert.embeddings.word_embeddings.weight.data[9] += 1
    model.save_pretrained(tmp_path / "other")
    task = starting(get_task("bert-synthetic-en"), tmp_path / "other")
    assert task.tier("check", "cpu").sha256 != data[1].sha256


def test_mistakes_end_in_one_message(folder, tmp_path, capsys):
    words = ["plan", "bert", "--tier", "check", "--profile", "undeclared", "--results", str(tmp_path)]
    assert main.main([*words, "--start-from", str(tmp_path / "nothing")]) == 2
    assert "error: --start-from" in capsys.readouterr().err
    words[1] = "mt"
    assert main.main([*words, "--start-from", str(folder)]) == 2
    assert "start from no model of transformers" in capsys.readouterr().err
    other = tmp_path / "other"
    other.mkdir()
    (other / "config.json").write_bytes((folder / "config.json").read_bytes())
    (other / "vocab.txt").write_text("\n".join(WORDS[:-1]) + "\n")
    with pytest.raises(UsageError, match=f"{len(WORDS)} word pieces, its vocabulary {len(WORDS) - 1}"):
        starting(get_task("bert-synthetic-en"), other)
    (other / "tokenizer_config.json").write_text('{"do_lower_case": false}')
    with pytest.raises(UsageError, match="a cased model"):
        starting(get_task("bert-synthetic-en"), other)
    (other / "tokenizer_config.json").unlink()
    (other / "vocab.txt").unlink()
    with pytest.raises(UsageError, match="no vocab.txt or tokenizer.json"):
        starting(get_task("bert-synthetic-en"), other)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"model_type": "roberta"}, "a 'roberta': encoders of text start from a bert or distilbert"),
        ({"model_type": "marian"}, "a 'marian': encoders of text start from a bert or distilbert"),
        ({"num_hidden_layers": 3}, "the model has 3 layers, the supernet up to 4"),
        ({"hidden_size": 48, "num_attention_heads": 3}, "cut, not made larger"),
        ({"num_attention_heads": 3}, "channels of a head: 32 in the model, 16"),
        ({"intermediate_size": 255}, "cut, not made larger"),
        ({"max_position_embeddings": 24}, "cut, not made larger"),
        ({"hidden_act": "relu"}, "activation: relu in the model, gelu"),
        ({"num_attention_heads": 0}, "a size that no encoder has"),
        ({"hidden_size": "wide"}, "does not give its sizes"),
    ],
)
def test_a_model_that_some_network_cannot_start_from_is_refused_in_the_plan(
    folder, tmp_path, capsys, change, why
):
    other = tmp_path / "other"
    other.mkdir()
    for name in ("vocab.txt", "model.safetensors"):
        (other / name).write_bytes((folder / name).read_bytes())
    config = json.loads((folder / "config.json").read_text()) | change
    (other / "config.json").write_text(json.dumps(config))
    words = ["plan", "bert", "--tier", "check", "--profile", "undeclared", "--results", str(tmp_path / "r")]
    words += ["--methods", "hat,mos-layer,nas-bert,autodistil", "--start-from", str(other)]
    assert main.main(words) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: --start-from") and why in said, said


def test_nothing_to_start_from_is_a_plan_of_its_own(tmp_path, capsys):
    task, words = get_task("bert-synthetic-en"), ["plan", "bert", "--profile", "undeclared", "--json"]
    untrained = starting(task, Path("nothing"))
    assert "parent" in task.tier("smoke", "cpu").settings
    assert "parent" not in untrained.tier("smoke", "cpu").settings
    assert untrained.tier("smoke", "cpu").sha256 != task.tier("smoke", "cpu").sha256
    words += ["--methods", "hat", "--results", str(tmp_path)]
    assert main.main([*words, "--start-from", "nothing"]) == 0
    (alone,) = json.loads(capsys.readouterr().out)["runs"]
    assert main.main(words) == 0
    parent, hat = json.loads(capsys.readouterr().out)["runs"]
    assert alone["spec"]["follows"] is None and hat["spec"]["follows"] == parent["id"]


def test_a_tier_of_other_heads_is_refused_before_anything_is_made(folder, tmp_path, capsys):
    words = ["run", "bert", "--tier", "small", "--profile", "undeclared", "--results", str(tmp_path / "r")]
    words += ["--task", "bert-enwiki", "--methods", "hat", "--start-from", str(folder), "--dry-run"]
    assert main.main(words) == 2
    said = capsys.readouterr().err
    assert "channels of a head: 16 in the model, 64 in the supernet" in said
    assert "no tier fits; small needs at least 6 layers of width 256, heads of 64 channels" in said
    assert not (tmp_path / "r").exists()


@pytest.mark.slow
def test_networks_of_the_papers_size_start_from_a_model_of_bert_bases_shape(tmp_path, capsys):
    config = transformers.BertConfig()  # bert-base-uncased's: 12 layers, 768 wide, 30,522 words
    model = transformers.BertForMaskedLM(config)
    model.save_pretrained(tmp_path / "base")
    special = ["[PAD]", *(f"[unused{i}]" for i in range(99)), "[UNK]", "[CLS]", "[SEP]", "[MASK]", *LETTERS]
    words = special + [f"##{i}" for i in range(config.vocab_size - len(special))]
    (tmp_path / "base" / "vocab.txt").write_text("\n".join(words) + "\n")
    named = ["--task", "bert-enwiki", "--profile", "undeclared", "--results", str(tmp_path / "r")]
    named += ["--start-from", str(tmp_path / "base"), "--methods", "supershaper", "--dry-run"]
    for tier in ("small", "paper"):
        assert main.main(["run", "bert", "--tier", tier, *named]) == 0
    assert main.main(["run", "bert", "--tier", "smoke", *named, "--task", "bert-synthetic-en"]) == 2
    assert "those of tier smoke have 16" in capsys.readouterr().err
    space = get_space(get_task("bert-enwiki").tier("paper", "cpu").space)
    family = family_of(space)(space, BertConfig(config.vocab_size, max_positions=32))
    net = SuperNet(family, SharedSlices(family, torch.Generator().manual_seed(0)))
    initialise(net, tmp_path / "base")
    order = special_first(vocabulary(tmp_path / "base"), config.vocab_size)
    theirs = torch.tensor([[101, 110, 103, 5000, 30_000, 102]])  # [CLS] g [MASK] ... [SEP]
    ours = torch.tensor([[order.index(int(i)) for i in theirs[0]]])
    with torch.no_grad():
        found = net.export(space.largest())(ours)
        due = model.eval()(theirs).logits[..., order]
    torch.testing.assert_close(found, due, atol=2e-4, rtol=1e-4)


def test_absent_or_truncated_weights_are_refused_in_the_plan(folder, tmp_path, capsys):
    other = tmp_path / "other"
    other.mkdir()
    for name in ("config.json", "vocab.txt"):
        (other / name).write_bytes((folder / name).read_bytes())
    words = ["plan", "bert", "--tier", "check", "--profile", "undeclared", "--results", str(tmp_path / "r")]
    assert main.main([*words, "--start-from", str(other)]) == 2
    assert "no weights in it as *.safetensors" in capsys.readouterr().err
    whole = (folder / "model.safetensors").read_bytes()
    (other / "model.safetensors").write_bytes(whole[:-9])
    assert main.main([*words, "--start-from", str(other)]) == 2
    assert "not a whole file of weights" in capsys.readouterr().err
    (other / "model.safetensors").write_bytes(whole)
    assert main.main([*words, "--start-from", str(other)]) == 0


def test_verify_asks_for_the_model(tmp_path):
    record = fake("hand-designed", task="bert-synthetic-en", tier="check")
    record["spec"]["suite"] = "bert"
    record["provenance"]["data"]["start"] = "a" * 64
    made = rerun.prepare(record, Folders(tmp_path, "bert", "check"), [])
    assert made.plan is None and "--start-from DIR" in made.obstacles[0]
