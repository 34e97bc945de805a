"""The Lab charges what costs, for what it hands out, and the method never sees the sealed split."""

from __future__ import annotations

import copy
import dataclasses
import importlib.util
import itertools
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.api import ORIGINS, BudgetExhausted, Candidate, TaskInfo, Window
from benchmarks.lab.candidates import ContractViolationError
from benchmarks.lab.journal import Journal
from benchmarks.lab.lab import FREE_CANDIDATES, BenchLab
from benchmarks.lab.ledger import Clock, Ledger
from supernet.train import Sandwich, SinglePath, Trainer
from tests import ROOT

PLUGIN = ROOT / "tests" / "e2e" / "plugin" / "tiny_task.py"
ALLOWANCE = {"tokens": 2000, "evaluations": 3, "probes": 2, "seconds": 600}


@pytest.fixture
def tiny() -> Any:
    spec = importlib.util.spec_from_file_location("tiny_task_for_lab", PLUGIN)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module.Tiny()


@pytest.fixture
def make(tiny: Any, tmp_path: Path) -> Any:
    def build(**changes: Any) -> BenchLab:
        tier = tiny.tier("smoke", "cpu")
        prepared = tiny.prepare(tier, tmp_path / "cache", None, print)
        folder = tmp_path / "run"
        folder.mkdir(exist_ok=True)
        settings = {
            "ledger": Ledger(ALLOWANCE, Clock()),
            "journal": Journal(folder / "journal.jsonl"),
            "seed": 1,
            "method": "m",
            "device": "cpu",
            "limits": [(0.5, 1.25), (1.0, 2.5)],
            "reference_ms": 2.5,
            "options": {},
            "checkpoint_seconds": 0.0,
            "say": print,
        } | changes
        info = TaskInfo(tiny.name, tiny.suite, "smoke", tiny.metric, {})
        made.append(BenchLab(folder, info, tiny, tier, prepared, **settings))
        return made[-1]

    made: list[BenchLab] = []
    yield build
    for lab in made:
        lab.journal.close()


@pytest.fixture
def lab(make: Any) -> BenchLab:
    return make()


@pytest.mark.parametrize("passes", [1, 3])
def test_batches_end_with_their_share_and_charge_every_pass(lab: BenchLab, passes: int):
    stream = lab.train_batches(0.5, passes)
    assert stream.total == 1000
    tokens = 0
    for batch in stream:
        assert batch.prepaid == passes
        tokens += passes * batch.tokens
    assert tokens == stream.spent == lab.budget.spent("tokens") <= 1000
    assert stream.spent > 1000 - passes * 64
    assert list(stream) == []


def test_the_meter_charges_passes_that_were_not_declared(lab: BenchLab):
    net = lab.supernet()
    stream = lab.train_batches(0.3, 1)
    Trainer(net, lab.recipe, Sandwich(), 1).fit(stream)
    assert lab.budget.spent("tokens") == 3 * stream.spent


def test_a_declared_sandwich_is_charged_once(lab: BenchLab):
    stream = lab.train_batches(0.6, Sandwich().passes)
    Trainer(lab.supernet(), lab.recipe, Sandwich(), 1).fit(stream)
    assert lab.budget.spent("tokens") == stream.spent <= 1200


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("sampling", [SinglePath(), Sandwich()])
def test_updates_are_those_that_the_trainer_makes(lab: BenchLab, sampling: Any, accumulate: int):
    lab.recipe = dataclasses.replace(lab.recipe, accumulate=accumulate)
    trainer = Trainer(lab.supernet(), lab.recipe, sampling, 1)
    with lab.phase("supernet"):
        trainer.fit(lab.train_batches(1.0, sampling.passes))
    counted = lab.ledger.booked("supernet", "updates")
    assert trainer.updates >= 3 and 0 <= counted - trainer.updates < 1, "a rest of a step is none"
    assert lab.ledger.totals()["updates"] == counted
    assert "updates" not in lab.ledger.report()["share"], "they have no allowance"


UNPAID: dict[str, Callable[[BenchLab, Any], Any]] = {
    "replaced": lambda lab, batch: [dataclasses.replace(batch) for _ in range(5)],
    "copied": lambda lab, batch: [copy.copy(batch) for _ in range(5)],
    "deeply copied": lambda lab, batch: [copy.deepcopy(batch) for _ in range(5)],
    "as tensors": lambda lab, batch: [(*batch.inputs, batch.labels)] * 5,
    "of a stream of its own": lambda lab, batch: list(itertools.islice(lab.batches(7), 5)),
}
"""Ways to training batches whose tokens were not charged when they were drawn."""


@pytest.mark.parametrize("way", UNPAID)
def test_training_on_batches_that_were_not_charged_is_charged(lab: BenchLab, way: str):
    batch = next(iter(lab.train_batches(0.1)))
    unpaid = UNPAID[way](lab, batch)
    due = sum(len(b[-1]) if isinstance(b, tuple) else b.tokens for b in unpaid)
    spent = lab.budget.spent("tokens")
    Trainer(lab.supernet(), lab.recipe, SinglePath(), 1).fit(unpaid)
    assert lab.budget.spent("tokens") - spent == due > 0


@pytest.mark.parametrize("trial", [0, 1])
@pytest.mark.parametrize("name", ["inherited", " inherited ", "inherited\n"])
def test_no_method_books_under_the_phase_of_inherited_weights(lab: BenchLab, trial: int, name: str):
    if trial:
        lab.begin_trial(trial, {})
    with (
        pytest.raises(ContractViolationError, match="only lab.inherit books under this name"),
        lab.phase(name),
    ):
        pass


def test_shares_that_sum_to_one_fit(lab: BenchLab):
    for _ in range(3):
        list(lab.train_batches(1 / 3))
    assert lab.budget.spent("tokens") <= 2000
    assert [b.tokens for b in lab.train_batches(1.0)] == [] or lab.budget.left("tokens") < 64


def test_a_restored_stream_goes_on_after_the_last_batch(make: Any):
    one = make()
    stream = one.train_batches(0.5)
    iterator = iter(stream)
    for _ in range(4):
        next(iterator)
    state = stream.state()
    rest = [b.target_out.tolist() for b in iterator]
    other = make()
    resumed = other.train_batches(0.5)
    resumed.restore(state)
    assert [b.target_out.tolist() for b in resumed] == rest
    ended = stream.state()
    again = make().train_batches(0.5)
    again.restore(ended)
    assert list(again) == [] and again.spent == stream.spent


@pytest.mark.parametrize(("share", "passes"), [(0, 1), (1.5, 1), (-1, 1), (float("nan"), 1), (1.0, 0)])
def test_shares_and_passes_that_cannot_be(lab: BenchLab, share: float, passes: int):
    with pytest.raises(ValueError, match="train_batches"):
        lab.train_batches(share, passes)


def test_evaluations_and_probes_are_charged_and_refused(lab: BenchLab):
    net = lab.supernet()
    loss = [lab.evaluate(net, lab.space.smallest()).loss for _ in range(3)]
    assert len(set(loss)) == 1
    with pytest.raises(BudgetExhausted, match="evaluations: asked for 1, 0 left"):
        lab.evaluate(net, lab.space.smallest())
    assert lab.probe(lab.space.largest()) > 0
    assert lab.budget.left("probes") == 1
    assert lab.search_log == [
        {"tokens": 0.0, "evaluations": 1.0, "seconds": pytest.approx(0, abs=60), "best_valid_loss": loss[0]}
    ]


def test_a_probe_leaves_the_global_random_state_alone(lab: BenchLab):
    before = torch.get_rng_state()
    lab.probe(lab.space.smallest())
    assert torch.equal(before, torch.get_rng_state())


def test_one_seed_makes_the_same_initial_weights_for_every_method(make: Any):
    flat = [make(method=m, seed=s).supernet().source.flat.clone() for m, s in (("a", 1), ("b", 1), ("a", 2))]
    assert torch.equal(flat[0], flat[1]) and not torch.equal(flat[0], flat[2])
    lab = make()
    assert not torch.equal(lab.supernet().source.flat, lab.supernet().source.flat)
    draws = [make(method=m).rng.random() for m in ("a", "a", "b")]
    assert draws[0] == draws[1] != draws[2]


def test_a_candidate_is_exported_validated_and_free(lab: BenchLab):
    net = lab.supernet()
    made = lab.candidate(net, lab.space.smallest(), target=lab.limits[0])
    assert lab.budget.spent("evaluations") == 0 and (made.path / "model.safetensors").exists()
    assert made.valid.loss == pytest.approx(lab.evaluate(net, lab.space.smallest()).loss, abs=1e-5)
    assert lab.accept(made) and lab.proposals == 1
    entry = lab.journal.candidates(1)[0]
    assert entry["limit_share"] == 0.5 and entry["spent"]["tokens"] == 0
    with pytest.raises(ContractViolationError, match="twice"):
        lab.accept(made)


def ranked_by_candidates(lab: BenchLab, count: int) -> Iterator[Candidate]:
    net = lab.supernet()
    return (lab.candidate(net, lab.space.smallest(), origin=ORIGINS[i % len(ORIGINS)]) for i in range(count))


@pytest.mark.parametrize("proposed", [False, True])
def test_candidates_beyond_a_few_a_target_cost_evaluations(lab: BenchLab, proposed: bool):
    free = FREE_CANDIDATES * len(lab.limits)
    for candidate in ranked_by_candidates(lab, free):
        assert not proposed or lab.accept(candidate)
    assert lab.budget.spent("evaluations") == 0
    with pytest.raises(BudgetExhausted, match="evaluations: asked for 1, 0 left"):
        for candidate in ranked_by_candidates(lab, 100):
            assert not proposed or lab.accept(candidate)
    assert lab.budget.spent("evaluations") == 3 and lab._candidate_count == free + 3


def test_each_trial_has_free_candidates(make: Any):
    lab = make(ledger=Ledger(ALLOWANCE, Clock(), 2))
    for number in (1, 2):
        lab.begin_trial(number, {})
        list(ranked_by_candidates(lab, FREE_CANDIDATES * len(lab.limits)))
    assert lab.ledger.totals()["evaluations"] == 0


def test_a_resumed_run_is_charged_for_the_same_candidates(make: Any):
    first = make()
    made = list(ranked_by_candidates(first, FREE_CANDIDATES * len(first.limits) + 2))
    first.journal.close()
    again = make()
    assert list(ranked_by_candidates(again, len(made))) == made
    assert again.budget.spent("evaluations") == first.budget.spent("evaluations") == 2


@pytest.mark.parametrize(
    ("label", "message"),
    [
        (
            {"origin": "mine"},
            "origin='mine'.*choose one of inherited, continued, retrained, scratch, distilled, ",
        ),
        ({"target": 12345.0}, r"target=12345\.0.*choose one of lab\.limits: 1\.25, 2\.5$"),
        ({"target": float("nan")}, "target=nan"),
        ({"target": "1.25"}, r"target=1\.25.*choose one of"),
        ({"target": Window(1, 2)}, "target=1e-06-2e-06 M.*choose one of"),
    ],
)
def test_a_label_of_the_methods_own_is_refused_before_the_export(
    lab: BenchLab, label: dict[str, Any], message: str
):
    with pytest.raises(ContractViolationError, match=message):
        lab.candidate(lab.supernet(), lab.space.smallest(), **label)
    assert not (lab.folder / "candidates").exists() and lab.journal.next_call == 0


def test_every_origin_and_target_of_the_run_is_accepted(lab: BenchLab):
    net, smallest = lab.supernet(), lab.space.smallest()
    lab.given = ((3.75, smallest), (None, smallest))
    for target in (None, *lab.limits, 3.75):
        assert lab.candidate(net, smallest, target=target).target == target
    for origin in ORIGINS:
        assert lab.candidate(net, smallest, origin=origin).origin == origin


def test_swapped_arguments_are_called_swapped(lab: BenchLab):
    for call in (lab.candidate, lab.evaluate):
        with pytest.raises(
            ContractViolationError, match="first argument is of type Architecture, are the two swapped"
        ):
            call(lab.space.smallest(), lab.supernet())  # type: ignore[arg-type]


def test_the_former_name_of_a_target_works_for_one_release(lab: BenchLab):
    with pytest.warns(DeprecationWarning, match="target"):
        made = lab.candidate(lab.supernet(), lab.space.smallest(), limit_ms=lab.limits[0])
    assert made.target == lab.limits[0]
    with pytest.warns(DeprecationWarning, match="target"):
        assert made.limit_ms == made.target
    assert lab.accept(made) and lab.journal.candidates(1)[0]["limit_ms"] == lab.limits[0]


def test_candidates_after_the_time_limit_do_not_count(make: Any):
    class Time:
        now = 0.0

        def __call__(self) -> float:
            return self.now

    time = Time()
    lab = make(ledger=Ledger(ALLOWANCE, Clock(time)))
    made = lab.candidate(lab.supernet(), lab.space.smallest())
    time.now = 600.0
    assert not lab.accept(made) and lab.proposals == 0
    with pytest.raises(BudgetExhausted, match="seconds"):
        lab.candidate(lab.supernet(), lab.space.smallest())


def test_a_probe_of_no_architecture_violates_the_contract(lab: BenchLab):
    for wrong in (None, 3, {"encoder_embed_dim": 32}, "largest"):
        with pytest.raises(ContractViolationError, match="not an architecture of space mt-smoke"):
            lab.probe(wrong)
    assert lab.budget.spent("probes") == 0


def test_a_checkpoint_takes_counters_ledger_and_generators_along(make: Any):
    one = make()
    net = one.supernet()
    one.evaluate(net, one.space.smallest())
    one.rng.random(5)
    one.checkpoint("a").save({"x": 1})
    drawn, spent = one.rng.random(), one.ledger.totals()
    one.journal.close()
    two = make()
    assert two.checkpoint("a").load() == {"x": 1}
    assert two.rng.random() == drawn and two.journal.next_call == 1
    assert two.ledger.totals()["evaluations"] == spent["evaluations"] == 1
    assert two.ledger.totals()["seconds"] >= spent["seconds"] - 1
    assert make().checkpoint("b").load() is None


@pytest.mark.parametrize("name", ["", "../a", "a/b", "a b"])
def test_checkpoint_names_are_plain(lab: BenchLab, name: str):
    with pytest.raises(ValueError, match="checkpoint name"):
        lab.checkpoint(name)


def test_a_sandwiched_supernet_of_one_architecture(lab: BenchLab):
    alone = lab.supernet(only=lab.space.smallest())
    Trainer(alone, lab.recipe, SinglePath(), 1).fit(lab.train_batches(0.1))
    assert alone.space.size() == 1 and lab.budget.spent("tokens") > 0
