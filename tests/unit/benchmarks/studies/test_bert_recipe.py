"""Pilots of BERT's recipe: the plan, a folder that goes on, and what the table says of each."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from benchmarks.api import UsageError
from benchmarks.studies.bert_recipe import table
from benchmarks.studies.bert_recipe.measure import describe_mixture, measure
from benchmarks.studies.bert_recipe.plan import KINDS, REGISTERED, read_pilots
from benchmarks.studies.trainings import Trainings
from mos.mixture import APART, Mixture
from supernet.bert import BertConfig, family_of
from supernet.elastic import SuperNet
from supernet.space import get_space

TINY = """
[all]
task = "bert-synthetic-en"
tier = "check"
seed = 1
length = 32
batch_tokens = 512
learning_rate = 1e-3
tokens = 3e3
space = "task"
[parent]
kind = "parent"
more = 2
[net]
kind = ["sandwich", "mos-neuron"]
space = "homogeneous"
start = "parent"
"""


def test_the_registered_plan_varies_rows_batch_and_rate_of_parent_and_supernets() -> None:
    pilots = read_pilots(REGISTERED)
    assert {pilot.kind for pilot in pilots} == set(KINDS)
    assert len({pilot.name for pilot in pilots}) == len(pilots) < 60
    parents = [pilot for pilot in pilots if pilot.kind == "parent"]
    assert pilots[: len(parents)] == parents
    tuned = [pilot for pilot in parents if pilot.finetune]
    assert {p.seed for p in tuned} == {1, 2, 3, 4} and {p.learning_rate for p in tuned} == {7e-4}
    assert all("finetune" not in p.to_dict() for p in pilots if p not in tuned)
    assert {pilot.length for pilot in parents} == {32, 64, 128}
    assert {pilot.batch_tokens for pilot in parents} == {8192, 16384, 65536}
    for kind in KINDS[1:]:
        own = [p for p in pilots if p.kind == kind and p.space == "task" and p.start != "nothing"]
        assert {p.learning_rate for p in own} == {2e-4, 4e-4, 7e-4}
        assert {p.start for p in own} == {"parent-7e-4"} and {p.tokens for p in own} == {164e6, 1.2 * 164e6}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = [", "no plan of pilots"),
        ("[p]\nkind = 'parent'\nrate = 3", "p has no setting rate; known: batch_tokens"),
        (TINY.replace('"sandwich"', '"hat"'), "kind hat, space homogeneous: choose of parent"),
        (TINY.replace('start = "parent"', 'start = "other"'), "starts from other; parents are parent"),
        ("[p]\nkind = 'parent'", "missing"),
        (TINY.replace("more = 2", "finetune = { number = [] }"), "parent: finetune is a table of a parent"),
        (TINY.replace("more = 2", "finetune = { number = [0] }"), "finetune is a table of a parent"),
        (TINY.replace("more = 2", "finetune = { number = 2 }"), "finetune is a table of a parent"),
        (
            TINY.replace("more = 2", "finetune = { nummer = [2] }"),
            "no task of fine-tuning is called 'nummer'",
        ),
        (TINY + "finetune = { number = [2] }", "net-sandwich: finetune is a table of a parent"),
    ],
)
def test_a_plan_with_a_mistake_is_one_message(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "plan.toml").write_text(text)
    with pytest.raises(UsageError, match=message):
        read_pilots(tmp_path / "plan.toml")


@pytest.mark.slow
def test_pilots_are_measured_once_and_supernets_start_from_their_parent(tmp_path: Path) -> None:
    (tmp_path / "plan.toml").write_text(TINY)
    pilots, lines = read_pilots(tmp_path / "plan.toml"), []
    assert [pilot.name for pilot in pilots] == ["parent", "parent-x2", "net-sandwich", "net-mos-neuron"]
    asked = Trainings(tmp_path / "out", tmp_path / "cache", None, "cpu", say=lines.append)
    assert measure(pilots, replace(asked, minutes=1e-9)) == 4  # no time, nothing begun
    assert measure(pilots, asked) == 0
    facts = table.read(tmp_path / "out", pilots)
    assert list(facts) == [pilot.name for pilot in pilots]
    sandwich = facts["net-sandwich"]
    assert sandwich["updates"] == 1 and sandwich["tokens"] == 3 * 512 and facts["parent"]["updates"] == 5
    assert 0 < facts["net-mos-neuron"]["mixture"]["experts_apart"] < 1 and "mixture" not in sandwich
    assert set(sandwich["networks"]) == {"largest", "typical", "smallest"}
    sizes = [network["parameters"] for network in sandwich["networks"].values()]
    assert sizes == sorted(sizes, reverse=True)
    assert all(1 <= network["effective_rank"] <= 96 for network in sandwich["networks"].values())
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*") if path.is_file()}
    assert measure(pilots, asked) == 0
    assert before == {p: p.stat().st_mtime_ns for p in (tmp_path / "out").rglob("*") if p.is_file()}
    for row in table.rows(facts):
        assert len(row) == len(table.COLUMNS)
    assert "100% more tokens" in table.rows(facts)[0][-1]
    changed = TINY.replace("3e3", "4e3")
    (tmp_path / "plan.toml").write_text(changed)
    with pytest.raises(UsageError, match="is of another pilot"):
        measure(read_pilots(tmp_path / "plan.toml"), asked)


@pytest.mark.slow
def test_a_parent_is_fine_tuned_for_each_number_of_epochs(tmp_path: Path) -> None:
    own, _, _ = TINY.partition("more = 2")
    plan = own.replace('"check"', '"smoke"').replace("length = 32", "length = 24")
    (tmp_path / "plan.toml").write_text(plan + "finetune = { number = [1, 2] }")
    pilots = read_pilots(tmp_path / "plan.toml")
    assert measure(pilots, Trainings(tmp_path / "out", tmp_path / "cache", None, "cpu", say=str)) == 0
    facts = table.read(tmp_path / "out", pilots)
    scores = [facts["parent"]["finetuned"]["number"][n]["accuracy"] for n in ("1", "2")]
    assert all(len(score["values"]) == 3 and 40 < score["value"] <= 100 for score in scores)
    assert [f"|ep:{n}|" in score["signature"] for n, score in enumerate(scores, 1)] == [True, True]
    (line,) = (remark for remark in table.remarks("parent", facts) if remark.startswith("number by epochs"))
    assert f"1: {scores[0]['value']:.1f} (" in line and f"2: {scores[1]['value']:.1f} (" in line


def test_a_tier_without_fine_tuning_is_refused_before_anything_is_trained(tmp_path: Path) -> None:
    (tmp_path / "plan.toml").write_text(TINY.replace("more = 2", "finetune = { number = [1] }"))
    pilots = read_pilots(tmp_path / "plan.toml")
    with pytest.raises(UsageError, match="check fine-tunes nothing: take finetune out of parent"):
        measure(pilots, Trainings(tmp_path / "out", tmp_path / "cache", None, "cpu"))
    assert not (tmp_path / "cache").exists()


def test_a_mixture_of_copies_is_apart_by_its_offsets_and_a_constant_one_routes_all_alike() -> None:
    space = get_space("bert-smoke")
    family = family_of(space)(space, BertConfig(50))
    found = []
    for constant in (False, True):
        source = Mixture(family, torch.Generator().manual_seed(0), encoding="fine", constant=constant)
        for name, shape in source.mixed_shapes.items():
            generator = torch.Generator().manual_seed(len(found))
            source.assign(name, torch.randn(shape, generator=generator))
        found.append(describe_mixture(SuperNet(family, source), source))
    assert [f["experts_apart"] for f in found] == pytest.approx([APART / 2**0.5] * 2, rel=0.05)
    assert found[0]["coefficients_apart"] > 1e-3 and found[1]["coefficients_apart"] == 0


def test_remarks_name_networks_that_learnt_nothing_and_budgets_that_are_too_small() -> None:
    def pilot(tokens: float, *accuracy: float) -> dict:
        names = ("largest", "typical", "smallest")
        networks = {n: {"accuracy": a, "learnt": a > 10} for n, a in zip(names, accuracy, strict=True)}
        return {"pilot": {"tokens": tokens}, "networks": networks, "unigram_loss": 7.14}

    facts = json.loads(json.dumps({"a": pilot(100, 40, 30, 5), "a-x1.2": pilot(120, 40.4, 31.5, 5)}))
    idle, gains = table.remarks("a", facts)
    assert idle == "within 0.1 nats of word frequencies (7.14): smallest"
    assert gains == "20% more tokens: largest +0.4, typical +1.5, smallest +0.0, still gaining"
    assert len(table.remarks("a-x1.2", facts)) == 1
