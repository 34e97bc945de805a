"""Retraining studies: their plans, the share that matches, and a folder that goes on where it was stopped."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.api import UsageError
from benchmarks.cli.main import main
from benchmarks.records import study_files
from benchmarks.studies.retraining import bert, mt
from benchmarks.studies.retraining.amortization import Costs, break_even, costs_of, share_to_keep
from benchmarks.studies.retraining.measure import derive_folder
from benchmarks.studies.retraining.plan import NOTHING, PARENT, REGISTERED, RetrainingPlan, read_plan
from benchmarks.tasks import get_task
from supernet.space import get_space
from tests import ROOT

SHARES = (0, 0.1, 0.5, 1)
STUDY = "mt-retraining"


def plan_of(**changed: object) -> RetrainingPlan:
    space = get_space("mt-smoke")
    networks = tuple(a.to_dict() for a in (space.smallest(), space.largest()))
    fields = {
        "task": "mt-synthetic-en-de", "tier": "check", "tokens": 3000, "seeds": 3, "starts": ("sandwich",),
        "shares": SHARES, "margin": 0.5, "architectures": networks,
    }  # fmt: skip
    return RetrainingPlan(**{**fields, **changed})  # type: ignore[arg-type]


def folder(path: Path, plan: RetrainingPlan, levels: dict[str, list[float]]) -> Path:
    """Curves with the score of ``levels`` at each share, and little noise."""
    rng = np.random.default_rng(0)
    path.mkdir(parents=True)
    (path / "plan.json").write_text(json.dumps(plan.to_dict()))
    for curve in plan.curves():
        points = [
            {
                "share": share,
                "updates": int(100 * share),
                "seconds": share,
                plan.metric: level + rng.normal(0, 0.05),
            }
            for share, level in zip(plan.shares, levels[curve.start], strict=True)
        ]
        (path / f"{curve.name}.json").write_text(json.dumps({**vars(curve), "points": points}))
    return path


def test_the_registered_plan_has_a_network_of_each_depth_of_its_tasks_space() -> None:
    plan = read_plan(REGISTERED["mt-retraining"])
    space = get_space(get_task(plan.task).tier(plan.tier, "cuda").space)
    depths = [space.architecture(values)["decoder_layers"] for values in plan.architectures]
    assert depths == sorted(space.choice("decoder_layers").options)
    assert plan.seeds == 6 and {"sandwich", "mos-neuron"} <= set(plan.starts)
    assert {0, 0.02, 0.05, 0.1, 0.25, 1} <= set(plan.shares)
    names = [curve.name for curve in plan.curves()]
    assert len(set(names)) == len(names) == 6 * 5 * 3
    assert all("seed1" in name for name in names[:15])


def test_a_start_matches_from_the_least_share_of_an_unbroken_run(tmp_path: Path) -> None:
    plan = plan_of(starts=("hat", "sandwich", "mos-neuron"))
    levels = {
        NOTHING: [0, 5, 19.8, 20],
        "hat": [3, 12, 18, 19],  # never
        "sandwich": [15, 19.9, 20.1, 20.5],  # from a tenth on
        "mos-neuron": [19.9, 18, 20.2, 20.5],  # as inherited it is, and not after a tenth: from a half on
    }
    outcome = mt.run(folder(tmp_path / "mt-retraining", plan, levels))
    kept = json.loads(json.dumps(outcome.facts["share_to_match"]))
    assert kept == {
        f"{start}-{n}": share
        for n in (0, 1)
        for start, share in ((NOTHING, 0.5), ("hat", None), ("sandwich", 0.1), ("mos-neuron", 0.5))
    }
    assert [row[-3] for row in outcome.rows[:4]] == ["50 %", "no share", "10 %", "50 %"]
    overall, *differences = (note for note in outcome.notes if "mos-neuron minus sandwich" in note)
    mean = float(overall.split(": ")[1].split(" ")[0])
    of_shares = [float(x) for note in differences for x in re.findall(r"%: ([+-][\d.]+)", note)]
    assert mean == pytest.approx(sum(of_shares) / len(of_shares), abs=0.01)
    assert len(differences) == 2
    for note in differences:
        assert float(note.split("0 %: ")[1].split(" ")[0]) == pytest.approx(4.9, abs=0.2)
    files = study_files.to_files("mt-retraining", outcome, None, None)
    assert set(files) == {"md", "json", "png", "svg"}


def test_one_seed_is_not_judged_and_the_page_names_the_missing_seeds(tmp_path: Path) -> None:
    plan = replace(read_plan(REGISTERED["mt-retraining"]), seeds=1)
    levels = {start: [30.0] * len(plan.shares) for start in (NOTHING, *plan.starts)}
    outcome = mt.run(folder(tmp_path / "mt-retraining", plan, levels))
    assert {row[-3] for row in outcome.rows} == {"not judged"}
    assert [note for note in outcome.notes if "1 of 6 seeds" in note and "mt-retraining-measure" in note]
    two = mt.run(folder(tmp_path / "two" / "mt-retraining", replace(plan, seeds=2), levels))
    assert "not judged" not in {row[-3] for row in two.rows}
    complete = mt.run(
        folder(tmp_path / "six" / "mt-retraining", read_plan(REGISTERED["mt-retraining"]), levels)
    )
    assert not [note for note in complete.notes if "of 6 seeds" in note]


def test_a_plan_grows_by_seeds_alone() -> None:
    plan = read_plan(REGISTERED["mt-retraining"])
    fewer = replace(plan, seeds=1)
    assert fewer.grows_into(plan) and plan.grows_into(plan) and not plan.grows_into(fewer)
    for changed in ({"tokens": plan.tokens / 2}, {"starts": plan.starts[:2]}, {"tier": "smoke"}):
        assert not fewer.grows_into(replace(plan, **changed))
    assert derive_folder(fewer) == derive_folder(plan) != derive_folder(replace(plan, tokens=1.0))
    assert read_plan(ROOT / "results" / "mt-retraining" / "plan.json").grows_into(plan)


def test_the_command_writes_the_study_and_names_missing_curves(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["study", "mt-retraining", "--results", str(tmp_path)]
    assert main(words) == 2
    assert "mt-retraining-measure" in capsys.readouterr().err
    same = {start: [1.0, 2, 3, 4] for start in (NOTHING, "sandwich")}
    curves = folder(tmp_path / "mt-retraining", plan_of(), same)
    assert main(words) == 0
    assert (tmp_path / "studies" / "mt-retraining.md").is_file()
    (curves / "sandwich-1-seed2.json").unlink()
    assert main(words) == 2
    assert "1 curves are missing (sandwich-1-seed2)" in capsys.readouterr().err


PASSES = {"hat": 3000.0, "sandwich": 9000.0, "mos-neuron": 9000.0}


def cells(plan: RetrainingPlan, levels: dict[str, list[float]]) -> dict[str, list[str]]:
    """The numbers of one network in token passes, by start, of curves without noise."""
    curves = {(start, 0): [scores] * plan.seeds for start, scores in levels.items()}
    costs = {start: Costs(PASSES[start], (3000.0,)) for start in plan.starts}
    return {s: [str(break_even(plan, curves, s, 0, aim, costs[s])) for aim in (0.5, 1)] for s in plan.starts}


def test_a_supernet_pays_from_the_number_of_networks_that_share_its_passes() -> None:
    plan = plan_of(starts=("hat", "sandwich", "mos-neuron"))
    levels = {
        NOTHING: [0, 5, 10, 20],
        "hat": [15, 17, 18, 19],  # costs 1: nothing more for 10; 20 it never has
        "sandwich": [12, 16, 24, 25],  # costs 3: after 0.1 + 4/8 x 0.4 it has 20, and saves 0.7
        "mos-neuron": [21, 18, 22, 23],  # it keeps 20 from 0.1 + 2/4 x 0.4 on, not as inherited
    }
    assert cells(plan, levels) == {
        "hat": ["N = 2.0 [2.0, 2.0]", "never [never, never]"],
        "sandwich": ["N = 6.0 [6.0, 6.0]", "N = 4.3 [4.3, 4.3]"],
        "mos-neuron": ["N = 6.0 [6.0, 6.0]", "N = 4.3 [4.3, 4.3]"],
    }
    curves = {(start, 0): [scores] for start, scores in levels.items()}
    one = break_even(replace(plan, seeds=1), curves, "sandwich", 0, 1, Costs(9000, (3000,)))
    assert (one.low, one.high) == (None, None) and one.n == pytest.approx(3 / 0.7)


LEVELS = st.lists(st.integers(0, 40), min_size=4, max_size=4)


@given(LEVELS, LEVELS)
def test_the_number_is_the_first_at_which_shared_and_own_costs_are_no_more_than_alone(
    ours: list[int], alone: list[int]
) -> None:
    plan = plan_of(seeds=1)
    curves = {("sandwich", 0): [list(map(float, ours))], (NOTHING, 0): [list(map(float, alone))]}
    number = break_even(plan, curves, "sandwich", 0, 1, Costs(9000, (3000,))).n
    if ours[-1] < alone[-1]:
        assert number == math.inf
        return
    fine = np.linspace(0, 1, 20001)
    short = np.flatnonzero(np.interp(fine, SHARES, ours) < alone[-1] - 1e-9)
    kept = 0.0 if not len(short) else fine[short[-1]]
    assert share_to_keep(SHARES, ours, alone[-1]) == pytest.approx(kept, abs=1e-4)
    if kept < 0.99:
        first = next(n for n in range(1, 400) if 3 / n + kept <= 1 + 1e-9)
        assert first - 1.01 <= number <= 1.05 * first


def test_costs_are_those_of_supernet_and_parent_in_passes_and_multiplications() -> None:
    from supernet import cost
    from supernet.seq2seq import Seq2SeqConfig, Seq2SeqFamily

    plan = plan_of(starts=("hat", "sandwich"))
    costs = costs_of(plan)
    assert {start: each["token passes"].shared for start, each in costs.items()} == {
        "hat": 3000,
        "sandwich": 9000,
    }
    assert costs["hat"]["token passes"].alone == (3000, 3000)
    space = get_space("mt-smoke")
    tier = get_task(plan.task).tier(plan.tier, "cpu")
    family = Seq2SeqFamily(space, Seq2SeqConfig(8, 8))
    source, steps = tier.workload["source_len"], tier.workload["steps"]

    def macs(architecture: Any) -> float:
        return cost.cost(family, architecture, source_len=source, target_len=steps).macs_body / steps

    small, large = macs(space.smallest()), macs(space.largest())
    hat, sandwich = costs["hat"]["MACs"], costs["sandwich"]["MACs"]
    assert hat.alone == pytest.approx([3000 * small, 3000 * large])
    assert 3000 * small < hat.shared < 3000 * large
    assert sandwich.shared == pytest.approx(hat.shared + 3000 * (small + large), rel=0.05)
    encoders = encoder_plan()
    shared = {start: each["token passes"].shared for start, each in costs_of(encoders).items()}
    assert shared["parent"] == encoders.parent
    assert shared["sandwich"] == encoders.parent + 3 * encoders.tokens
    assert costs_of(encoders)["parent"]["MACs"].shared > 0


@pytest.mark.parametrize("shares", [(), (0.0, 0.5), (0.5, 1.0), (0.0, 0.5, 0.2, 1.0), (0.0, 0.0, 1.0)])
def test_shares_that_do_not_rise_from_nothing_to_all_are_refused(
    tmp_path: Path, shares: tuple[float, ...]
) -> None:
    plan = tmp_path / "plan.json"
    plan.write_text(json.dumps({**plan_of().to_dict(), "shares": shares}))
    with pytest.raises(UsageError, match="not a plan"):
        read_plan(plan)


def encoder_plan(**changed: object) -> RetrainingPlan:
    """The registered plan of encoders, on text of a grammar and at a size for tests."""
    space = get_space(get_task("bert-synthetic-en").tier("check", "cpu").settings["autodistil"]["one"][0])
    fields = {
        "task": "bert-synthetic-en", "tier": "check", "tokens": 6000, "seeds": 2, "parent": 9000,
        "starts": ("parent", "sandwich", "mos-neuron"), "shares": (0, 0.5, 1),
        "architectures": tuple(a.to_dict() for a in (space.smallest(), space.largest())),
    }  # fmt: skip
    return replace(read_plan(REGISTERED["bert-retraining"]), **{**fields, **changed})  # type: ignore[arg-type]


def test_the_registered_plan_of_encoders_has_the_median_network_of_each_window() -> None:
    from benchmarks.studies.supernets import parent_space
    from supernet import cost
    from supernet.bert import BertConfig, family_of

    plan = read_plan(REGISTERED["bert-retraining"])
    tier = get_task(plan.task).tier(plan.tier, "cuda")
    space = get_space(tier.settings["autodistil"]["one"][0])
    family = family_of(space)(space, BertConfig(tier.vocab, **tier.model))
    rng = np.random.default_rng(0)
    for (low, high), values in zip(tier.windows, plan.architectures, strict=True):
        fitting: list[tuple[int, Any]] = []
        while len(fitting) < 101:
            drawn = space.sample(rng)
            if low <= (size := cost.parameters(family, drawn)) <= high:
                fitting.append((size, drawn))
        assert sorted(fitting, key=lambda pair: pair[0])[50][1].to_dict() == values
    assert parent_space(tier).size() == 1
    assert plan.parent == tier.settings["teacher_share"] * tier.budget["tokens"]  # as the harness trains it
    assert plan.references == (NOTHING, PARENT) and plan.seeds == 6
    assert {0, 0.02, 0.05, 0.1, 0.25, 1} == set(plan.shares)


def test_a_start_is_judged_against_each_reference(tmp_path: Path) -> None:
    plan = encoder_plan(seeds=3, shares=SHARES)
    levels = {
        NOTHING: [1, 20, 30, 40],
        PARENT: [10, 35, 41, 45],
        "sandwich": [39.9, 42, 44, 45],
        "mos-neuron": [30, 40, 44.9, 46],
    }
    outcome = bert.run(folder(tmp_path / "bert-retraining", plan, levels))
    assert outcome.columns[-4:-2] == (
        "matches training from nothing after",
        "matches training from parent after",
    )
    assert [(row[1], *row[-4:-2]) for row in outcome.rows[:4]] == [
        (NOTHING, "100 %", "no share"),
        (PARENT, "50 %", "100 %"),
        ("sandwich", "0 %", "100 %"),
        ("mos-neuron", "10 %", "50 %"),
    ]
    assert "training on of the network cut from the parent" in outcome.rule and "BLEU" not in str(outcome)
    assert outcome.facts["share_to_match_parent"]["mos-neuron-1"] == 0.5
    assert any("one a seed, trained on 0.009 M token passes" in note for note in outcome.notes)
    assert set(study_files.to_files("bert-retraining", outcome, None, None)) == {"md", "json", "png", "svg"}


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"references": ["hat"]}, "references hat: none of the starts"),
        ({"parent": 0}, "start parent: it needs the parent's token passes"),
        ({"metric": "loss"}, "metric 'loss': one of bleu, accuracy"),
        ({"shades": [1]}, "unexpected keyword argument 'shades'"),
    ],
)
def test_plans_that_cannot_be_followed_are_refused(tmp_path: Path, changed: Any, why: str) -> None:
    file = tmp_path / "plan.json"
    file.write_text(json.dumps({**encoder_plan().to_dict(), **changed}))
    with pytest.raises(UsageError, match=re.escape(why)):
        read_plan(file)


def test_encoders_start_from_the_parent_of_their_seed(tmp_path: Path) -> None:
    """Networks are the leading parts of its tensors; supernets train on from it, and curves from both."""
    from benchmarks.studies.retraining.measure import Inherited, measure
    from benchmarks.studies.supernets import Setting
    from benchmarks.studies.trainings import Trainings
    from supernet import export

    plan, out = encoder_plan(seeds=1), tmp_path / "out"
    assert measure("bert-retraining", plan, Trainings(out, tmp_path / "cache", None, "cpu")) == 0
    (weights,) = (tmp_path / "cache" / "bert-retraining").iterdir()
    inherited = Inherited(weights)
    whole, about = export.load(inherited.parent(1))
    leading = dict(whole.named_parameters())
    for number in (0, 1):
        cut, _ = export.load(inherited.of(PARENT, 1, number))
        outside = {n: w for n, w in cut.named_parameters() if not n.startswith("ops.")}
        assert sum(weight.dim() == 2 for weight in outside.values()) >= 2
        for name, weight in outside.items():
            assert torch.equal(weight, leading[name][tuple(slice(0, n) for n in weight.shape)]), name
    points = {c: json.loads((out / f"{c.name}.json").read_text())["points"] for c in plan.curves()}
    assert len(points) == 8
    setting = Setting.prepared_for(plan.task, plan.tier, tmp_path / "cache", None, "cpu", space=plan.space)
    for curve, own in points.items():
        assert [p["updates"] for p in own][0] == 0 and own[-1]["updates"] > own[1]["updates"] > 0
        assert 0 <= own[-1]["accuracy"] <= 100 and own[-1]["valid_loss"] < points_from_nothing(points, curve)
    first = next(own for curve, own in points.items() if (curve.start, curve.network) == (PARENT, 1))
    net = export.network(*export.load(inherited.of(PARENT, 1, 1)))
    assert setting.score(net, net.space.largest())["accuracy"] == pytest.approx(first[0]["accuracy"])
    assert bert.run(out).rows


def points_from_nothing(points: Any, curve: Any) -> float:
    """The validation loss of a curve's network as it is drawn."""
    return next(
        own[0]["valid_loss"]
        for other, own in points.items()
        if (other.start, other.network, other.seed) == (NOTHING, curve.network, curve.seed)
    )


@pytest.mark.slow
def test_curves_start_from_inherited_weights_and_go_on_where_they_were_stopped(tmp_path: Path) -> None:
    from benchmarks.studies.retraining.measure import Inherited, _start, measure
    from benchmarks.studies.supernets import Setting
    from benchmarks.studies.trainings import Trainings
    from supernet import export

    plan, out = plan_of(seeds=1, shares=(0, 0.5, 1)), tmp_path / "out"
    asked = Trainings(out, tmp_path / "cache", None, "cpu")
    assert measure(STUDY, plan, replace(asked, minutes=1e-9)) == 4
    assert measure(STUDY, plan, asked) == 0
    curves = {c: json.loads((out / f"{c.name}.json").read_text())["points"] for c in plan.curves()}
    for points in curves.values():
        updates = [p["updates"] for p in points]
        assert updates[0] == 0 < updates[1] < updates[2]
        assert points[2]["valid_loss"] < points[0]["valid_loss"]
    (weights,) = (tmp_path / "cache" / STUDY).iterdir()
    setting = Setting.prepared_for(plan.task, plan.tier, tmp_path / "cache", None, "cpu")
    for curve, points in curves.items():
        net = _start(STUDY, setting, plan, Inherited(weights), curve)
        largest = net.space.largest()
        assert setting.score(net, largest)["valid_loss"] == pytest.approx(points[0]["valid_loss"])
        if curve.start != NOTHING:
            stored, _ = export.load(Inherited(weights).of(curve.start, curve.seed, curve.network))
            for ours, theirs in zip(net.export(largest).parameters(), stored.parameters(), strict=True):
                assert torch.equal(ours, theirs)
    kept = (out / "sandwich-0-seed1.json").read_bytes()
    (out / "nothing-1-seed1.json").unlink()
    assert measure(STUDY, plan, asked) == 0
    assert json.loads((out / "nothing-1-seed1.json").read_text())["points"][2]["valid_loss"] == pytest.approx(
        next(p for c, p in curves.items() if c.name == "nothing-1-seed1")[2]["valid_loss"]
    )
    assert (out / "sandwich-0-seed1.json").read_bytes() == kept
    with pytest.raises(UsageError, match="another plan"):
        measure(STUDY, replace(plan, tokens=4000), asked)
    with pytest.raises(UsageError, match="kinds none"):
        measure(STUDY, replace(plan, starts=("none",)), asked)
