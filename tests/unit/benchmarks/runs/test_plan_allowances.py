"""Allowances below what a method can work with are refused in the plan, with a scale that is enough."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks import registry
from benchmarks.api import Need, UsageError
from benchmarks.runs.plan import Folders, Plan, PlanRequest, _needs, lay_out, scale_budget, sufficient_scale
from benchmarks.tasks import DEVICES, get_task, task_names
from supernet.predict import MINIMUM_SAMPLES
from supernet.space import get_space

TIERS = [
    (name, tier, device) for name in task_names() for tier in get_task(name).tiers() for device in DEVICES
]

METHODS = {name: ref for name, ref in registry.methods().items() if not isinstance(ref, UsageError)}


def planned(name: str, tier: str, device: str, scale: float, *methods: str, **more: Any) -> Plan:
    """Return the plan of methods on a task at a scale; of all of its suite where none is named."""
    task = get_task(name)
    ours = [ref for ref in METHODS.values() if ref.suite in (None, task.suite)]
    chosen = [METHODS.get(method) or registry.find(method) for method in methods] or ours
    request = PlanRequest(
        tasks=[task], tier=tier, methods=chosen, seeds=[1], profile="undeclared", device=device,
        budget_scale=scale, **more,
    )  # fmt: skip
    return lay_out(request, Folders(Path("nowhere"), task.suite, tier))


@pytest.mark.parametrize("method", ["hat", "random-search", "mos-neuron", "hat-sandwich"])
def test_a_plan_that_leaves_a_predictor_too_few_probes_is_refused(method: str):
    with pytest.raises(UsageError, match=f"{method} needs 8 probes and has 3") as error:
        planned("mt-synthetic-en-de", "smoke", "cpu", 0.1, method)
    assert "--budget-scale 0.3" in str(error.value).splitlines()[-1]
    run = planned("mt-synthetic-en-de", "smoke", "cpu", 0.3, method).runs[0]
    assert run.spec.budget["probes"] == MINIMUM_SAMPLES


def test_a_leader_is_asked_as_well_and_targets_count():
    with pytest.raises(UsageError, match="hat needs 8 probes"):
        planned("mt-synthetic-en-de", "smoke", "cpu", 0.1, "scratch")
    with pytest.raises(UsageError, match="supershaper needs 3 evaluations and has 2"):
        planned("bert-synthetic-en", "smoke", "cpu", 0.05, "supershaper")
    # Sizes are counted: nothing is predicted from probes.
    planned("bert-synthetic-en", "smoke", "cpu", 0.05, "hat")


@pytest.mark.parametrize(("name", "tier", "device"), TIERS)
def test_the_scale_that_a_refusal_recommends_is_enough(name: str, tier: str, device: str):
    planned(name, tier, device, 1.0)  # the tier's own allowance always is
    for scale in (0.001, 0.03, 0.1, 0.3, 0.43, 0.9):
        try:
            planned(name, tier, device, scale)
        except UsageError as error:
            (found,) = re.findall(r"enough for all of this plan: --budget-scale (\S+)", str(error))
            assert scale < float(found) <= 1
            planned(name, tier, device, float(found))
            with pytest.raises(UsageError, match="too little"):
                planned(name, tier, device, float(found) * 0.9)


@pytest.mark.parametrize("place", [place for place in TIERS if get_task(place[0]).suite == "bert"])
def test_the_operation_table_has_the_probes_that_it_makes(place: tuple[str, str, str]):
    tier = get_task(place[0]).tier(*place[1:])
    space = get_space(tier.settings["nas_bert"]["space"])
    made = len(space.choice("width_0").options) * (len(space.choice("ops_0").options) + 1)
    (need,) = METHODS["nas-bert"].needs
    assert isinstance(need.least, dict) and need.least[tier.space] == made
    with pytest.raises(UsageError, match=f"nas-bert needs {made} probes"):
        planned(*place, (made - 1.5) / tier.budget["probes"], "nas-bert")


def test_under_external_tuning_each_trial_needs_its_own(tmp_path: Path):
    file = tmp_path / "t.py"
    file.write_text(
        "from baselines.hat import HAT\nclass T(HAT):\n    name = 't'\n"
        "    trials = ({'after': 'scratch'}, {'after': 'inherit'})\n"
    )
    with pytest.raises(UsageError, match="t needs 8 probes and has 3"):
        planned("mt-synthetic-en-de", "smoke", "cpu", 0.1, f"{file}:T", ruleset="external")


@pytest.mark.parametrize("least", [2, 3, 8, 12, 24, 100])
def test_a_sufficient_scale_is_sufficient_and_near_the_least(least: int):
    for amount in (7, 24, 300, 3750):
        factor = sufficient_scale({"probes": amount}, "probes", least)
        budget = dict.fromkeys(("tokens", "evaluations", "seconds"), 1e6) | {"probes": amount}
        assert scale_budget(budget, factor)["probes"] >= least > scale_budget(budget, factor * 0.89)["probes"]


@pytest.mark.parametrize(
    ("factor", "said"),
    [
        (1e308, "more than can be counted"),
        (1e-300, "next to nothing"),
        (float("nan"), "above zero"),
        (float("inf"), "above zero"),
        (0, "above zero"),
        (-1, "above zero"),
    ],
)
def test_a_scale_that_is_none_is_one_message_that_names_one_that_works(factor: float, said: str):
    budget = get_task("mt-synthetic-en-de").tier("smoke", "cpu").budget
    with pytest.raises(UsageError, match=said) as error:
        scale_budget(budget, factor)
    assert "the tier's own allowance is --budget-scale 1" in str(error.value)


@pytest.mark.parametrize(
    ("limits", "windows", "probes"), [(1, 0, 3), (2, 0, 6), (0, 3, 9), (2, 3, 15), (0, 0, 3)]
)
def test_a_need_of_each_target_counts_latencies_and_sizes(limits: int, windows: int, probes: int):
    tier = SimpleNamespace(space="any", limits=(0.5,) * limits, windows=((1, 2),) * windows)
    needs = (Need("probes", 3, each=True, why="each"), Need("evaluations", 2, timed=True, why="latencies"))
    least = {need.kind: amount for need, amount in _needs(SimpleNamespace(needs=needs), tier)}
    assert least == {"probes": probes} | ({"evaluations": 2} if limits else {})


def test_a_scale_that_leaves_no_whole_updates_is_refused_and_a_tiers_own_allowance_never() -> None:
    with pytest.raises(UsageError, match="mt-synthetic-en-de needs 2,304 tokens and has 500: 6 updates"):
        planned("mt-synthetic-en-de", "smoke", "cpu", 0.0005, "fairseq-transformer")
    (run,) = planned("mt-synthetic-en-de", "smoke", "cpu", 0.0024, "fairseq-transformer").runs
    assert run.spec.budget["tokens"] == 2400
