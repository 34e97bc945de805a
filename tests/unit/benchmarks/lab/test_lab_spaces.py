"""The Lab with spaces of a method's own, sizes as targets, and weights of another run."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from baselines.hat import HAT, HATSandwich
from baselines.teacher import teacher_space
from benchmarks.api import BudgetExhausted, TaskInfo, Window
from benchmarks.lab.candidates import ContractViolationError
from benchmarks.lab.journal import Journal
from benchmarks.lab.lab import BenchLab
from benchmarks.lab.ledger import Clock, Ledger
from benchmarks.tasks import get_task
from mos.method import MosLayer, MosNeuron
from mos.mixture import Mixture
from supernet import export
from supernet.bert import BertConfig, HomogeneousBert
from supernet.elastic import SuperNet
from supernet.pipeline import chosen_space, limit_tests, reachable_limits, train
from supernet.search import InfeasibleError
from supernet.space import bottleneck_space, get_space, homogeneous_space
from supernet.train import SinglePath, Trainer
from supernet.train.distill import TEACHER_COST, RelationDistillation
from supernet.weights import SharedSlices

ALLOWANCE = {"tokens": 20_000, "evaluations": 3, "probes": 2, "seconds": 600}
OWN = homogeneous_space("own", width=(16, 32), heads=(1, 2), ffn_tenths=(20,), layers=(1, 2), head_dim=16)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Any:
    task = get_task("bert-synthetic-en")
    tier = task.tier("check", "cpu")
    return task, tier, task.prepare(tier, tmp_path_factory.mktemp("cache"), None, print)


@pytest.fixture
def lab(data: Any, tmp_path: Path) -> Iterator[BenchLab]:
    task, tier, prepared = data
    object.__setattr__(tier, "windows", ((50_000, 60_000), (10, 20)))
    info = TaskInfo(task.name, task.suite, "check", task.metric, tier.settings)
    said: list[str] = []
    made = BenchLab(
        tmp_path,
        info,
        task,
        tier,
        prepared,
        ledger=Ledger(ALLOWANCE, Clock()),
        journal=Journal(tmp_path / "journal.jsonl"),
        seed=1,
        method="m",
        device="cpu",
        limits=(),
        reference_ms=2.0,
        options={},
        checkpoint_seconds=0.0,
        say=said.append,
    )
    made.said = said  # type: ignore[attr-defined]
    yield made
    made.close()


def parent_of(lab: BenchLab, folder: Path) -> SuperNet:
    """Export a plain encoder of the tier's shape as the run that a Lab starts from."""
    shape = teacher_space(lab.task.settings["teacher"])
    family = HomogeneousBert(shape, lab.family.config)
    net = SuperNet(family, SharedSlices(family, torch.Generator().manual_seed(9)))
    sha256 = export.save(folder, net.export(shape.largest()), family.spec(), shape.largest())
    spent = {"tokens": 8_000.0, "evaluations": 1.0, "probes": 0.0}
    lab.leader_artifacts, lab.starts = {"candidates": [(str(folder), sha256)], "spent": spent}, True
    return net


def test_supernets_start_from_the_tiers_parent_which_is_charged_once(lab: BenchLab, tmp_path: Path) -> None:
    master = parent_of(lab, tmp_path / "parent")
    space = bottleneck_space("narrowed", (16, 64), 4, hub=64, heads=4, ffn=256)
    before = lab.supernet(only=OWN.largest())  # networks trained alone start untrained, and pay nothing
    assert lab.ledger.spent("tokens") == 0
    nets = [lab.supernet(space=space), lab.supernet(Mixture, space=space)]
    assert lab.ledger.spent("tokens") == 8_000 and lab.ledger.spent("evaluations") == 1
    words = torch.randint(5, 90, (2, 9), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        theirs = master.export(master.space.largest())(words)
        for net, apart in zip(nets, (1e-4, 0.2), strict=True):
            assert torch.allclose(net.export(space.largest())(words), theirs, atol=apart)
    assert not torch.equal(
        before.source.master.views["embedding.word.weight"][0][:, :16],
        master.source.master.views["embedding.word.weight"][0][:, :16],
    )
    # What is left of the allowance is what schedules count on.
    assert lab.train_batches(1.0).total == 12_000 and lab.train_batches(0.25).total == 5_000
    with pytest.raises(ContractViolationError, match="cannot start from the tier's parent: channels of a"):
        lab.supernet(space=bottleneck_space("other", (16, 64), 4, hub=64, heads=2, ffn=256))


@pytest.mark.parametrize("method", [HAT, HATSandwich, MosLayer, MosNeuron])
def test_searches_go_to_the_homogeneous_space_where_asked(lab: BenchLab, method: type) -> None:
    defaults = {option.name: option.default for option in method.options}
    lab.options = {**defaults, "space": "homogeneous", "after": "inherit"}
    (candidate,) = method().search(lab)
    expected = get_space(lab.task.settings["autodistil"]["one"][0])
    assert candidate.architecture.space.name == expected.name != lab.space.name
    assert 50_000 <= lab.size(candidate.architecture) <= 60_000
    assert lab.accept(candidate)


@pytest.mark.parametrize("method", [HAT, HATSandwich, MosLayer, MosNeuron])
@pytest.mark.parametrize("share", [None, 0.2, 0.8])
def test_winners_are_trained_on_the_share_that_is_asked_for(
    lab: BenchLab, method: type, share: float | None
) -> None:
    defaults = {option.name: option.default for option in method.options}
    lab.options = {**defaults, "space": "homogeneous", "share": share}
    assert len([*method().search(lab)]) == 2
    retrained, trained = (lab.ledger.booked(phase, "tokens") for phase in ("retrain", "supernet"))
    expected = lab.task.settings["retrain_share"] if share is None else share
    each = lab.recipe.batch_tokens / ALLOWANCE["tokens"]
    assert retrained / ALLOWANCE["tokens"] == pytest.approx(expected, abs=3 * each)
    assert retrained + trained == pytest.approx(ALLOWANCE["tokens"], rel=6 * each)


def test_a_tier_without_homogeneous_encoders_refuses_that_choice(lab: BenchLab) -> None:
    settings = {k: v for k, v in lab.task.settings.items() if k != "autodistil"}
    lab.task = replace(lab.task, settings=settings)
    with pytest.raises(ValueError, match="has no space of homogeneous encoders; leave it at task"):
        chosen_space(lab, "homogeneous")
    assert chosen_space(lab, "task") is None and lab.ledger.spent("tokens") == 0


def test_architectures_of_a_space_of_its_own_go_everywhere(lab: BenchLab) -> None:
    small = OWN.smallest()
    assert lab.probe(small) > 0
    assert lab.size(small) < lab.size(OWN.largest())
    net = lab.supernet(space=OWN)
    assert lab.evaluate(net, small).loss > 0
    made = lab.candidate(net, small)
    module, about = export.load(made.path)
    assert sum(p.numel() for p in module.parameters()) == lab.size(small)
    assert lab.accept(made)
    (entry,) = lab.journal.candidates(1)
    assert entry["space"]["name"] == "own"
    alone = lab.supernet(only=small)
    assert alone.source.flat.numel() == lab.size(small)
    with pytest.raises(ContractViolationError, match="not an architecture of space own"):
        lab.evaluate(net, lab.space.smallest())


def test_the_tasks_own_space_is_not_written_down_again(lab: BenchLab) -> None:
    made = lab.candidate(lab.supernet(), lab.space.smallest())
    lab.accept(made)
    assert "space" not in lab.journal.candidates(1)[0]


def test_sizes_are_counted_free_of_charge_and_held_to(lab: BenchLab) -> None:
    window, tiny = lab.limits
    assert window == Window(50_000, 60_000) and str(window) == "0.05-0.06 M"
    fits = [a for a in lab.space if lab.fits(a, window)]
    assert fits and all(50_000 <= lab.size(a) <= 60_000 for a in fits)
    assert lab.budget.spent("probes") == 0
    made = lab.candidate(lab.supernet(), fits[0], target=window)
    lab.accept(made)
    entry = lab.journal.candidates(1)[0]
    assert entry["window"] == [50_000, 60_000] and entry["limit_ms"] is None
    with pytest.raises(ContractViolationError, match=r"the window of 1e-05-2e-05 M parameters has 0\.\d+ M"):
        lab.candidate(lab.supernet(), fits[0], target=tiny)


def test_an_impossible_window_is_refused_with_the_nearest_possible_one(lab: BenchLab) -> None:
    assert reachable_limits(lab, lab.space) == [lab.limits[0]]
    (told,) = lab.said  # type: ignore[attr-defined]
    assert "no network of space bert-smoke has 1e-05-2e-05 M parameters" in told
    assert "the nearest window is 0.02-0.02 M" in told
    with pytest.raises(InfeasibleError, match="nearest window is"):
        reachable_limits(lab, OWN.restrict_to(OWN.smallest()))
    allowed = limit_tests(lab, lab.space)(lab.limits[0])
    some = list(lab.space)[::7]
    assert allowed(some).tolist() == [lab.fits(a, lab.limits[0]) for a in some]
    assert lab.budget.spent("probes") == 0, "sizes need no probes"


def test_an_objective_is_judged_on_a_part_of_the_validation_data(lab: BenchLab) -> None:
    net = lab.supernet(space=OWN)
    teacher = net.export(OWN.largest())
    found = lab.evaluate(net, OWN.smallest(), RelationDistillation(teacher, 1), 0.25)
    assert found.loss > 0
    assert lab.budget.spent("evaluations") == 0.25
    assert not lab.search_log, "another loss is no progress of the task's"
    same = lab.evaluate(net, OWN.largest(), RelationDistillation(teacher, 1), 0.25)
    assert same.loss == pytest.approx(0, abs=1e-8)
    rows = sum(len(batch.shown) for batch in lab.validation_batches(0.25))
    assert rows == round(0.25 * len(lab.validation))
    assert lab.budget.spent("evaluations") == 0.75, "two judged, one handed out"
    with pytest.raises(BudgetExhausted):
        for _ in range(10):
            lab.validation_batches(0.25)
    with pytest.raises(ValueError, match="a share of the validation data"):
        lab.evaluate(net, OWN.smallest(), share=0)


def test_training_on_validation_batches_is_charged(lab: BenchLab) -> None:
    batches = list(lab.validation_batches(1.0))
    Trainer(lab.supernet(), lab.recipe, SinglePath(), 1).fit(batches)
    assert lab.budget.spent("tokens") == sum(batch.tokens for batch in batches) > 0


@pytest.mark.parametrize("task_name", ["bert-synthetic-en", "mt-synthetic-en-de", "vision-digits"])
def test_a_partial_evaluation_costs_the_evaluated_share(task_name: str, tmp_path: Path) -> None:
    task = get_task(task_name)
    tier = task.tier("check", "cpu")
    prepared = task.prepare(tier, tmp_path / "cache", None, print)
    info = TaskInfo(task.name, task.suite, "check", task.metric, tier.settings)
    ledger = Ledger(ALLOWANCE | {"evaluations": 500}, Clock())
    rest = {"seed": 1, "method": "m", "device": "cpu", "limits": (), "reference_ms": 2.0, "options": {}}
    with Journal(tmp_path / "journal.jsonl") as journal:
        own: Any = {"ledger": ledger, "journal": journal, **rest, "checkpoint_seconds": 0.0, "say": print}
        lab = BenchLab(tmp_path, info, task, tier, prepared, **own)
        net, smallest = lab.supernet(), lab.space.smallest()
        everything = sum(batch.tokens for batch in lab.validation_batches(1.0))
        rows = len(lab.validation)
        for share in (1e-9, 1e-6, 0.01, 0.1, 1 / 3, 0.5, 0.84, 0.999):
            for ask in (lambda s: lab.evaluate(net, smallest, share=s), lab.validation_batches):
                spent = ledger.spent("evaluations")
                ask(share)
                charged = ledger.spent("evaluations") - spent
                part = sum(batch.tokens for batch in lab._validation_part(share)) / everything
                assert charged >= max(share, part - 0.501 / rows) - 1e-9, (share, part)
                assert charged <= max(share, part) + 1e-9, "no more than it asked for or got"


def test_lessons_are_paid_for(lab: BenchLab) -> None:
    net = lab.supernet(space=OWN)
    teacher = net.export(OWN.largest())
    seen: list[int] = []
    teacher.embedding.register_forward_hook(lambda module, given, out: seen.append(given[0].numel()))
    train(lab, net, SinglePath(), 0.5, "s", objective=RelationDistillation(teacher, 1))
    spent = lab.budget.spent("tokens")
    assert spent == pytest.approx(sum(seen) * (1 + TEACHER_COST))
    assert 9_000 < spent <= 10_000


def test_inherited_weights_are_charged_once(lab: BenchLab, tmp_path: Path) -> None:
    with pytest.raises(ContractViolationError, match="set `inherits = True`"):
        lab.inherit()
    net = lab.supernet(space=OWN)
    architecture = OWN.largest()
    folder = tmp_path / "leader"
    sha256 = export.save(folder, net.export(architecture), net.family.spec(), architecture)
    lab.given = ((None, architecture),)
    spent = {"tokens": 5_000.0, "evaluations": 1.0, "seconds": 3.0, "updates": 40.0}
    lab.leader_artifacts = {"candidates": [(str(folder), sha256)], "spent": spent}
    before = torch.get_rng_state()
    got = [lab.inherit() for _ in range(2)][1]
    assert torch.equal(before, torch.get_rng_state())
    assert lab.budget.spent("tokens") == 5_000 and lab.budget.spent("evaluations") == 1
    assert lab.ledger.booked("inherited", "updates") == 40
    tokens = torch.arange(5, 17)[None]
    ours, theirs = (n.export(n.space.largest())(tokens) for n in (got, net))
    assert torch.equal(ours, theirs)
    assert got.meter is not None, "training it on is charged"
    lab.leader_artifacts = {"candidates": [(str(folder), "0" * 64)], "spent": {}}
    with pytest.raises(ContractViolationError, match="not the weights that its record names"):
        lab.inherit()


def test_weights_over_another_vocabulary_are_refused(lab: BenchLab, tmp_path: Path) -> None:
    family = HomogeneousBert(OWN, BertConfig(77))
    net = SuperNet(family, SharedSlices(family, torch.Generator().manual_seed(0)))
    architecture = OWN.largest()
    sha256 = export.save(tmp_path / "x", net.export(architecture), family.spec(), architecture)
    lab.leader_artifacts = {"candidates": [(str(tmp_path / "x"), sha256)], "spent": {}}
    with pytest.raises(ContractViolationError, match="a network over 77 pieces, and this task has 300"):
        lab.inherit()


def test_weights_that_cost_more_than_is_left_are_refused(lab: BenchLab, tmp_path: Path) -> None:
    lab.leader_artifacts = {"candidates": [(str(tmp_path), "0" * 64)], "spent": {"tokens": 30_000.0}}
    with pytest.raises(BudgetExhausted, match="asked for 30000"):
        lab.inherit()


def test_merged_bridges_are_inherited_as_they_were_exported(lab: BenchLab, tmp_path: Path) -> None:
    space = bottleneck_space("b", (8, 16), 2, hub=16, heads=2, ffn=32)
    net = lab.supernet(space=space)
    made = lab.candidate(net, space.smallest())
    module, about = export.load(made.path)
    got = export.network(module, about)
    tokens = torch.arange(5, 17)[None]
    assert torch.equal(got.export(got.space.largest())(tokens), module(tokens))
