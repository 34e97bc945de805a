"""Candidates with a precision policy in the Lab."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.api import TaskInfo
from benchmarks.lab.candidates import ContractViolationError
from benchmarks.lab.journal import Journal, ReplayDivergedError
from benchmarks.lab.lab import BenchLab
from benchmarks.lab.ledger import Clock, Ledger
from supernet import export
from supernet.quantization.precisions import uniform_int8
from tests import ROOT

PLUGIN = ROOT / "tests" / "e2e" / "plugin" / "tiny_task.py"


@pytest.fixture
def make_lab(tmp_path: Path) -> Any:
    spec = importlib.util.spec_from_file_location("tiny_task_for_int8", PLUGIN)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    tiny, made = module.Tiny(), []

    def build() -> BenchLab:
        (tmp_path / "lab").mkdir(exist_ok=True)
        made.append(
            BenchLab(
                tmp_path / "lab", TaskInfo(tiny.name, tiny.suite, "smoke", tiny.metric, {}), tiny,
                tiny.tier("smoke", "cpu"), tiny.prepare(None, tmp_path / "cache", None, print),
                ledger=Ledger({"tokens": 1, "evaluations": 1, "probes": 1, "seconds": 600}, Clock()),
                journal=Journal(tmp_path / "lab" / "journal.jsonl"), seed=1, method="m", device="cpu",
                limits=[(0.5, 1.25)], reference_ms=2.5, options={}, checkpoint_seconds=0.0, say=print,
            )
        )  # fmt: skip
        return made[-1]

    yield build
    for lab in made:
        lab.journal.close()


def test_the_validation_score_is_that_of_the_quantised_network(make_lab: Any) -> None:
    lab = make_lab()
    net, architecture = lab.supernet(), lab.space.largest()
    policy = uniform_int8(net.export(architecture))
    plain, low = lab.candidate(net, architecture), lab.candidate(net, architecture, policy)
    assert low.policy == policy and plain.policy is None and low.weights_sha256 == plain.weights_sha256
    assert 0 < abs(low.valid.loss - plain.valid.loss) < 0.05
    assert low.valid.loss == lab._validate(export.load_deployed(low.path)).loss
    assert lab.candidate(net, architecture, dict.fromkeys(policy, "fp32")).policy is None
    with pytest.raises(ContractViolationError, match="nearest name"):
        lab.candidate(net, architecture, {"encoder.0": "int8"})


@pytest.mark.parametrize("ask", ["evaluate", "probe", "energy", "bytes", "candidate"])
def test_an_impossible_policy_is_refused_with_the_reason(make_lab: Any, ask: str) -> None:
    lab = make_lab()
    net, architecture = lab.supernet(), lab.space.smallest()
    given = (net, architecture) if ask in ("evaluate", "candidate") else (architecture,)
    with pytest.raises(
        ContractViolationError, match=r"names 'nope', which is no linear layer .* the nearest name is"
    ):
        getattr(lab, ask)(*given, policy={"nope": "int8"})
    layer = next(iter(lab.units(architecture)))
    with pytest.raises(
        ContractViolationError, match=r"no precision 'int3', choose one of fp32, bf16, int8, w4"
    ):
        getattr(lab, ask)(*given, policy={layer: "int3"})
    assert lab.budget.spent("evaluations") == lab.budget.spent("probes") == 0


def test_a_candidate_of_weights_that_are_no_numbers_is_refused(make_lab: Any) -> None:
    lab = make_lab()
    net, architecture = lab.supernet(), lab.space.smallest()
    net.source.flat.data.fill_(float("nan"))
    for policy in (None, {next(iter(lab.units(architecture))): "int8"}):
        with pytest.raises(
            ContractViolationError, match=r"candidate \d\d: weights that are not finite numbers"
        ):
            lab.candidate(net, architecture, policy)


def test_a_resumed_search_that_asks_for_another_policy_is_noticed(make_lab: Any) -> None:
    for policy in ("encoder.0.attention.out", "encoder.0.attention.qkv"):
        lab = make_lab()
        net, architecture = lab.supernet(), lab.space.largest()
        if policy.endswith("out"):
            lab.candidate(net, architecture, {policy: "int8"})
            lab.journal.close()
        else:
            with pytest.raises(ReplayDivergedError):
                lab.candidate(net, architecture, {policy: "int8"})
