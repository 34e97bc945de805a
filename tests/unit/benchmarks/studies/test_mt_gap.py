"""The gap study: its statistics against brute force, its plan, and the study over invented scores."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.api import UsageError
from benchmarks.cli.main import main
from benchmarks.records import study_files
from benchmarks.studies.mt_gap import study
from benchmarks.studies.mt_gap.analysis import (
    effects,
    error_by_chance,
    gap,
    over_networks,
    predictors,
    published,
    regret,
    tau_b,
    tau_within,
    tau_within_one,
)
from benchmarks.studies.mt_gap.plan import ALONE, GapPlan, missing, read_plan, stratified
from supernet.space import get_space
from tests import ROOT

ERRORS = {"hat": [3.0, 4.0], "sandwich": [0.5, 0.25]}
SCORES = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5), st.integers(1, 3)), min_size=2, max_size=9)


@given(SCORES)
def test_statistics_equal_those_of_brute_force(networks: list[tuple[int, int, int]]) -> None:
    alone, inherited, depth = (list(map(float, side)) for side in zip(*networks, strict=True))
    agree = differ = 0
    for (a, b, d), (x, y, e) in combinations(networks, 2):
        agree += d == e and (a - x) * (b - y) > 0
        differ += d == e and (a - x) * (b - y) < 0
    value, pairs = tau_within(alone, inherited, depth)  # type: ignore[arg-type]
    assert pairs == agree + differ
    assert math.isnan(value) if not pairs else value == pytest.approx((agree - differ) / pairs)
    found = gap(alone, inherited, depth)  # type: ignore[arg-type]
    errors = [b - a for a, b in zip(alone, inherited, strict=True)]
    mean = sum(errors) / len(errors)
    assert found.mae == pytest.approx(sum(map(abs, errors)) / len(errors))
    assert found.offset == pytest.approx(mean)
    assert found.mae_without_offset == pytest.approx(sum(abs(e - mean) for e in errors) / len(errors))
    for k, lost in found.regret.items():
        order = np.argsort([-b for b in inherited], kind="stable")[:k]
        assert lost == max(alone) - max(alone[i] for i in order) >= 0


def test_a_perfect_supernet_with_an_offset_has_no_other_error() -> None:
    alone, depth = [20.0, 25.0, 23.0, 27.0], [1, 2, 1, 2]
    found = gap(alone, [a - 2 for a in alone], depth)
    assert (found.mae, found.offset, found.tau, found.tau_within) == (2, -2, 1, 1)
    assert found.mae_without_offset == pytest.approx(0) and set(found.regret.values()) == {0}
    assert regret(alone, [-a for a in alone], 1) == 7
    assert math.isnan(tau_b([1, 1], [1, 2]))
    assert predictors(alone, {"depth": depth}, depth)["depth"]["regret"][1] == 2
    with pytest.raises(ValueError, match="as many"):
        gap(alone, alone[:2], depth)


class Recorded:
    """A generator that keeps what it drew."""

    def __init__(self, seed: int) -> None:
        self._rng, self.drawn = np.random.default_rng(seed), []

    def multinomial(self, *given):
        """Draw, and keep it."""
        self.drawn.append(self._rng.multinomial(*given))
        return self.drawn[-1]


def test_the_interval_over_networks_and_supernets_is_that_of_brute_force() -> None:
    rng = np.random.default_rng(3)
    depth = [1] * 5 + [2] * 4 + [3] * 6
    alone, predictor, *supernets = rng.normal(size=(5, len(depth))).round(1).tolist()
    recorded = Recorded(1)
    mean, low, high = over_networks(alone, supernets, predictor, depth, recorded, 200)
    *networks, shares = recorded.drawn
    times = sum(networks)
    assert {tuple(times[:, np.equal(depth, d)].sum(1)) for d in set(depth)} == {
        (depth.count(d),) * 200 for d in set(depth)
    }

    def difference(numbers: list[int], weights: list[int]) -> float:
        def tau(scores: list[float]) -> float:
            return tau_within(*([values[i] for i in numbers] for values in (alone, scores, depth)))[0]

        each = [tau(scores) for scores in supernets]
        return sum(w * t for w, t in zip(weights, each, strict=True)) / len(each) - tau(predictor)

    drawn = [
        difference(np.repeat(np.arange(len(depth)), row).tolist(), weights)
        for row, weights in zip(times, shares[1:], strict=True)
    ]
    assert mean == pytest.approx(difference([*range(len(depth))], [1, 1, 1]))
    assert (low, high) == pytest.approx(tuple(np.quantile(drawn, [0.025, 0.975])))
    assert over_networks(alone, [predictor], predictor, depth, np.random.default_rng(0), 50) == (0, 0, 0)


def test_the_interval_over_networks_holds_the_truth_in_95_of_100_samples() -> None:
    """Samples of a space whose predictor and supernets are the truth with noise; few networks widen it."""
    rng, depth = np.random.default_rng(1), [1] * 8 + [2] * 8 + [3] * 8
    spans = []
    for _ in range(100):
        truth = rng.normal(size=24)
        common, predictor = truth + rng.normal(size=24), truth + rng.normal(size=24)
        supernets = [(common + rng.normal(scale=0.5, size=24)).tolist() for _ in range(6)]
        spans.append(over_networks(truth.tolist(), supernets, predictor.tolist(), depth, rng, 200))
    # A sample's tau is unbiased, so that the mean of all samples is the truth to 0.02.
    true = float(np.mean([mean for mean, _, _ in spans]))
    assert sum(low <= true <= high for _, low, high in spans) >= 95


def test_an_error_by_chance_alone_is_the_one_that_is_expected() -> None:
    rng = np.random.default_rng(0)
    truth = rng.normal(30, 3, size=4000)
    alone = truth + rng.normal(0, 0.3, size=(2, 4000))
    inherited = truth + rng.normal(0, 0.2, size=(6, 4000))
    expected = error_by_chance(alone, inherited)
    seen = [gap(alone.mean(0)[:500], scores[:500], [1] * 500).mae for scores in inherited]
    assert expected == pytest.approx(math.sqrt(2 / math.pi * (0.3**2 / 2 + 0.2**2)), rel=0.03)
    assert np.mean(seen) == pytest.approx(expected, rel=0.06)
    assert math.isnan(error_by_chance(alone[:1], inherited))


def test_effects_of_shares_are_those_that_were_planted() -> None:
    rng = np.random.default_rng(1)
    strata, shares = [1, 2, 3] * 8, {"small": rng.random(24), "large": rng.random(24)}
    exact = np.array(strata) * 7.0 + 2 * shares["small"] - 3 * shares["large"]
    found = effects(exact.tolist(), shares, strata)
    assert [round(found[name].mean, 9) for name in ("small", "large")] == [2, -3]
    held = 0
    for _ in range(300):
        span = effects((exact + rng.normal(0, 0.5, 24)).tolist(), shares, strata)["large"]
        assert span.low is not None and span.high is not None
        held += span.low <= -3 <= span.high
    assert 273 <= held <= 294, "95 % of 300, within three standard deviations of 3.8"


def test_a_supernet_that_favours_the_smallest_feed_forwards_is_found_out() -> None:
    plan = read_plan()
    widths = [a["encoder_ffn"] for a in plan.architectures]
    least, most = (pick(map(pick, widths)) for pick in (min, max))
    alone = [float(depth) for depth in study.depths(plan)]
    favoured = [
        score + 3 * w.count(least) / 3 - 6 * w.count(most) / 3 for score, w in zip(alone, widths, strict=True)
    ]
    plain = [score + 1.0 for score in alone]
    found = study.extremes(plan, alone, {"hat": [plain, plain], "sandwich": [favoured, favoured]})
    assert set(found) == {"hat minus alone", "sandwich minus alone", "sandwich minus hat"}
    for name, effects_of in found.items():
        smallest, largest = (effects_of[f"all {size}"] for size in ("smallest", "largest"))
        expected = (0.0, 0.0) if name == "hat minus alone" else (3.0, -6.0)
        assert (smallest[0], largest[0]) == pytest.approx(expected, abs=1e-9)
        assert smallest[1] <= smallest[0] <= smallest[2]
    assert any("all smallest +3.00 [+3.00, +3.00]" in line for line in study.extremes_texts("BLEU", found))


def test_effects_that_networks_cannot_separate_are_left_out() -> None:
    alike = [0.5] * 6
    assert effects([1.0] * 6, {"a": alike, "b": alike}, [1, 1, 1, 2, 2, 2]) == {}
    assert effects([1.0, 2.0], {"a": [0.0, 1.0]}, [1, 1]) == {}


def test_against_one_seed_a_perfect_order_of_the_mean_is_none() -> None:
    first, second, depth = [1.0, 2.0, 3.0], [3.0, 2.0, 1.0], [1, 1, 1]
    assert tau_within_one([first, second], first, depth) == 0
    assert tau_within_one([first, first], first, depth) == 1


def test_the_registered_plan_is_stratified_by_depth_in_its_tasks_space() -> None:
    plan = read_plan()
    space = get_space("multi30k-xs")
    architectures = [space.architecture(a) for a in plan.architectures]
    assert len(set(architectures)) == len(architectures) >= 24
    counts = {d: sum(a["decoder_layers"] == d for a in architectures) for d in (1, 2, 3)}
    assert len(set(counts.values())) == 1
    assert [a.to_dict() for a in architectures] == stratified(space, 8)
    assert plan.alone_seeds >= 2 and plan.supernet_seeds >= 3 and len(plan.kinds) == 7
    jobs = list(plan.jobs())
    assert len({job.name for job in jobs}) == len(jobs) == 24 * plan.alone_seeds + 7 * plan.supernet_seeds
    assert missing(plan, [jobs[0].name]) == jobs[1:]


def test_every_kind_of_the_registered_plan_can_be_trained() -> None:
    from benchmarks.studies.supernets import KINDS

    assert set(read_plan().kinds) == set(KINDS)


def folder(path: Path, offset: float = -2.0) -> Path:
    """Scores of six invented networks: the supernet ``hat`` is ``offset`` off with little noise."""
    space, rng = get_space("mt-smoke"), np.random.default_rng(0)
    plan = GapPlan("mt-synthetic-en-de", "check", 1, 2, 3, ("hat",), tuple(stratified(space, 3)))
    path.mkdir(parents=True)
    (path / "plan.json").write_text(json.dumps(plan.to_dict()))
    bleu = [10.0, 12.0, 11.0, 17.0, 15.0, 18.0]
    for job in plan.jobs():
        numbers = range(6) if job.kind != ALONE else (job.network,)
        shift = offset if job.kind != ALONE else 0.0
        values = {n: bleu[n] + shift + float(rng.normal(0, 0.2)) for n in numbers}  # type: ignore[index]
        scores = {n: {"bleu": v, "valid_loss": 5 - v / 10} for n, v in values.items()}
        (path / f"{job.name}.json").write_text(json.dumps({**vars(job), "scores": scores}))
    return path


def test_the_study_finds_the_offset_and_the_order(tmp_path: Path) -> None:
    outcome = study.run(folder(tmp_path / "mt-gap"))
    result = outcome.facts["results"]["bleu"]  # type: ignore[index,call-overload]
    gaps = result["gaps"]["hat"]
    assert len(gaps) == 3
    assert all(g["offset"] == pytest.approx(-2, abs=0.3) and g["mae_without_offset"] < 0.5 for g in gaps)
    assert all(g["tau_within"] == 1 for g in gaps)
    loss = outcome.facts["results"]["valid_loss"]["gaps"]["hat"]  # type: ignore[index,call-overload]
    assert all(g["offset"] == pytest.approx(-0.2, abs=0.03) for g in loss)
    assert [row[0] for row in outcome.rows][:2] == ["hat, BLEU", "depth alone, BLEU"]
    files = study_files.to_files("mt-gap", outcome, None, None)
    assert set(files) == {"md", "json", "png", "svg"}


def test_the_command_writes_the_study_and_names_missing_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["study", "mt-gap", "--results", str(tmp_path)]
    assert main(words) == 2
    assert "mt-gap-measure" in capsys.readouterr().err
    scores = folder(tmp_path / "mt-gap")
    assert main(words) == 0
    assert (tmp_path / "studies" / "mt-gap.json").is_file()
    (scores / "hat-seed3.json").unlink()
    assert main(words) == 2
    assert "1 trainings are missing (hat-seed3)" in capsys.readouterr().err


def test_a_plan_grows_by_seeds_alone() -> None:
    plan = read_plan()
    more = replace(plan, supernet_seeds=plan.supernet_seeds + 3)
    assert plan.grows_into(plan) and plan.grows_into(more) and not more.grows_into(plan)
    for changed in ({"tokens": plan.tokens / 2}, {"kinds": plan.kinds[:2]}, {"tier": "smoke"}):
        assert not plan.grows_into(replace(more, **changed))
    published_plan = read_plan(ROOT / "results" / "mt-gap" / "plan.json")
    assert published_plan.grows_into(plan)


def test_claims_read_errors_and_those_minus_the_control_of_one_seed() -> None:
    gaps = {kind: [{"mae": error} for error in errors] for kind, errors in ERRORS.items()}
    paired = study.for_claims(gaps)
    assert paired["hat: mean absolute error"] == {"values": [3.0, 4.0], "unit": "BLEU"}
    assert paired["hat - sandwich: mean absolute error"]["values"] == [2.5, 3.75]
    assert set(paired) == {f"{k}: mean absolute error" for k in gaps} | {
        "hat - sandwich: mean absolute error"
    }


def test_bad_plans_and_published_files_are_one_message(tmp_path: Path) -> None:
    bad = tmp_path / "plan.json"
    for text in ("{", "[]", "{}", '{"task": "x"}'):
        bad.write_text(text)
        with pytest.raises(UsageError, match="not a plan"):
            read_plan(bad)
    with pytest.raises(UsageError, match="published"):
        published(bad, "wmt14ende")


@pytest.mark.slow
def test_measurements_go_on_where_they_were_stopped(tmp_path: Path) -> None:
    from benchmarks.studies.mt_gap.measure import measure
    from benchmarks.studies.trainings import Trainings

    space = get_space("mt-smoke")
    plan = GapPlan(
        "mt-synthetic-en-de", "check", 1500, 1, 1, ("hat", "mos-layer"), tuple(stratified(space, 1))
    )
    out = tmp_path / "out"
    asked = Trainings(out, tmp_path / "cache", None, "cpu")
    assert measure(plan, replace(asked, minutes=1e-9)) == 4
    assert measure(plan, asked) == 0
    before = (out / "hat-seed1.json").read_bytes()
    alone = [out / f"alone-{i:02d}-seed1.json" for i in (0, 1)]
    scores = [json.loads(path.read_text())["scores"] for path in alone]
    assert set(scores[1]) == {"1"} and scores[1]["1"]["valid_loss"] > 0
    for path in alone:
        path.unlink()
    assert measure(plan, replace(asked, workers=2)) == 0
    assert (out / "hat-seed1.json").read_bytes() == before
    assert [json.loads(path.read_text())["scores"] for path in alone] == scores
    other = GapPlan(**{**vars(plan), "tokens": 2000})
    with pytest.raises(UsageError, match="another plan"):
        measure(other, asked)
    with pytest.raises(UsageError, match="kinds nothing"):
        measure(GapPlan(**{**vars(plan), "kinds": ("nothing",)}), asked)
