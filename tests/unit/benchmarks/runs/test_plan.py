"""Plans: content-hashed specs, who comes before whom, what is done, what it will cost."""

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks.api import InvalidRecordError, Option, UsageError
from benchmarks.records import store
from benchmarks.records.spec import EXTERNAL, RunSpec, spec_id
from benchmarks.registry import MethodRef, find
from benchmarks.runs import plan as planning
from benchmarks.runs.estimate import estimate_runs, format_duration
from benchmarks.runs.plan import Folders, PlanRequest, lay_out, parse_seeds, scale_budget
from tests import ROOT

BUDGET = {"tokens": 1000, "evaluations": 10, "probes": 5, "seconds": 60}


@dataclass
class Tier:
    space: str = "mt-smoke"
    sha256: str = "0" * 64
    budget: dict[str, Any] = field(default_factory=lambda: dict(BUDGET))
    throughput: float | None = None
    recipe: dict[str, Any] = field(default_factory=dict)


@dataclass
class Task:
    name: str = "fake"
    suite: str = "mt"
    made: Tier = field(default_factory=Tier)

    def tier(self, name: str, device: str) -> Tier:
        return self.made


AFTER = Option("after", str, "scratch", choices=("scratch", "continue", "inherit"), help="winners")
HAT = MethodRef("hat", "baselines.hat:HAT", "a" * 64, "here", options=(AFTER,))
SCRATCH = MethodRef("scratch", "baselines.scratch:Scratch", "b" * 64, "here", follows="hat")


def request(**changes: Any) -> PlanRequest:
    base = PlanRequest(
        tasks=[Task()], tier="smoke", methods=[HAT], seeds=[1, 2], profile="undeclared", device="cpu"
    )
    return replace(base, **changes)


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    return Folders(tmp_path, "mt", "smoke")


def finished(run: planning.PlannedRun, folders: Folders, status: str = "done", seconds: float = 30.0) -> Path:
    candidate = {
        "index": 0,
        "architecture": {"a": 1},
        "policy": None,
        "origin": "inherited",
        "limit_ms": 2.0,
        "weights_sha256": "c" * 64,
        "valid": {"loss": 2.0},
        "test": {"pooled": {"bleu": {"value": 1.0, "signature": "s"}}},
        "cost": {"params": 1, "macs": 1, "bytes": 4},
        "latency": {"p50": 1.0, "n": 64, "signature": "s"},
    }
    record = {
        "spec": run.spec.to_dict(),
        "status": status,
        "message": "it broke" if status == "failed" else "",
        "ledger": {
            "entries": [],
            "totals": {"seconds": seconds},
            "share": {},
            "harness_seconds": {"score": 10.0},
        },
        "candidates": [] if status == "failed" else [candidate],
        "energy": None,
        "provenance": {"versions": {}, "data": {}, "machine": {}, "started": "a", "ended": "b"},
    }
    return store.write(folders.store, record)


def test_equal_specs_are_the_same_run_and_any_change_makes_another(folders: Folders):
    ids = {run.spec.id for run in lay_out(request(), folders).runs}
    assert len(ids) == 2 and ids == {run.spec.id for run in lay_out(request(), folders).runs}
    other = replace(HAT, sha256="d" * 64)
    settings = Task(made=Tier(sha256="1" * 64))
    for change in (
        {"methods": [other]},
        {"tasks": [settings]},
        {"budget_scale": 0.5},
        {"options": {"hat": {"after": "continue"}}},
        {"profile": "cpu-2core-avx512.v1"},
        {"seeds": [3]},
    ):
        assert not ids & {run.spec.id for run in lay_out(request(**change), folders).runs}, change


def test_a_follower_comes_after_its_leader_and_states_its_id(folders: Folders):
    runs = lay_out(request(methods=[SCRATCH, HAT]), folders).runs
    assert [run.label for run in runs] == ["hat seed 1", "scratch seed 1", "hat seed 2", "scratch seed 2"]
    assert runs[1].spec.follows == runs[0].spec.id and runs[1].first is runs[0]
    assert runs[0].spec.follows is None


def test_an_unrequested_leader_is_added_with_a_note(folders: Folders):
    plan = lay_out(request(methods=[SCRATCH], seeds=[1]), folders)
    assert [run.spec.method for run in plan.runs] == ["hat", "scratch"]
    assert plan.notes == ["scratch follows hat: its runs are added to the plan"]


def test_a_plan_has_the_same_runs_before_and_after_they_are_made(folders: Folders):
    methods = [find("scratch"), find("mos-neuron")]  # hat, which one of them follows, is not among them
    new = lay_out(request(methods=methods), folders)
    for run in new.runs:
        finished(run, folders)
    again = lay_out(request(methods=methods), folders)
    assert [run.spec.id for run in again.runs] == [run.spec.id for run in new.runs] and len(new.runs) == 6
    assert not again.pending and again.notes == new.notes


def test_a_leader_with_a_record_of_another_command_is_not_run_again(folders: Folders):
    leader = lay_out(request(methods=[find("hat")], seeds=[1]), folders).runs[0]
    finished(leader, folders)
    plan = lay_out(request(methods=[SCRATCH], seeds=[1]), folders)
    assert [(run.spec.method, run.state) for run in plan.runs] == [("hat", "done"), ("scratch", "new")]
    assert plan.runs[1].first is plan.runs[0] and plan.runs[0].record["id"] == leader.spec.id


def test_a_plan_keeps_no_record_in_memory(folders: Folders):
    made = lay_out(request(methods=[HAT], seeds=[1]), folders).runs[0]
    path = finished(made, folders)
    (run,) = lay_out(request(methods=[HAT], seeds=[1]), folders).runs
    assert run.state == "done" and run.record["id"] == made.spec.id
    path.unlink()
    with pytest.raises(InvalidRecordError, match="cannot be read"):
        _ = run.record


def test_in_a_tier_with_a_parent_every_method_with_a_supernet_starts_from_it(folders: Folders):
    tier = Tier()
    tier.settings = {"parent": "teacher"}  # type: ignore[attr-defined]
    alone = replace(find("hand-designed"), suite=None)
    methods = [HAT, SCRATCH, alone, find("autodistil"), find("hand-designed-kd")]
    plan = lay_out(request(tasks=[Task(made=tier)], methods=methods, seeds=[1, 2]), folders)
    by_name = {(run.spec.method, run.spec.seed): run for run in plan.runs}
    assert len(plan.runs) == 12  # one parent for each seed, which all share
    for seed in (1, 2):
        parent = by_name["teacher", seed]
        assert parent.first is None and not parent.method.starts
        for name in ("hat", "autodistil"):
            run = by_name[name, seed]
            assert run.first is parent and run.spec.follows == parent.spec.id
            assert run.method.inherits and run.method.starts
        assert by_name["scratch", seed].first is by_name["hat", seed]
        assert not by_name["scratch", seed].method.inherits
        assert by_name["hand-designed", seed].first is None
        assert by_name["hand-designed-kd", seed].first is parent
        assert not by_name["hand-designed-kd", seed].method.starts  # its networks start untrained
    assert "hat starts from teacher: its runs are added to the plan" in plan.notes
    plain = lay_out(request(methods=[HAT]), folders)
    assert all(run.spec.follows is None for run in plain.runs)


def test_following_in_a_circle_is_refused(folders: Folders):
    a = MethodRef("a", "x:A", "a" * 64, "here", follows="b")
    b = MethodRef("b", "x:B", "b" * 64, "here", follows="a")
    with pytest.raises(UsageError, match="a -> b -> a"):
        lay_out(request(methods=[a, b]), folders)


@pytest.mark.parametrize(("status", "state"), [("done", "done"), ("budget", "done"), ("failed", "failed")])
def test_finished_runs_are_served_and_failed_ones_are_not(folders: Folders, status: str, state: str):
    finished(lay_out(request(), folders).runs[0], folders, status)
    runs = lay_out(request(), folders).runs
    assert [run.state for run in runs] == [state, "new"]


def stopped(run: Any, folders: Folders, message: str, **more: Any) -> Path:
    path = finished(run, folders)
    record = json.loads(path.read_text()) | {"status": "budget", "message": message} | more
    path.unlink()
    return store.write(folders.store, record)


@pytest.mark.parametrize(
    ("message", "more", "state"),
    [
        ("said otherwise", {"stopped_by": "seconds"}, "stopped"),
        ("seconds: the allowance is spent", {}, "stopped"),
        ("did not stop by itself: terminated after 102 % of its 240 seconds", {}, "stopped"),
        ("trial 2: seconds: the allowance is spent", {}, "stopped"),
        ("evaluations: asked for 1, 0 left", {}, "done"),
        ("seconds: in a message that a method wrote", {"stopped_by": "tokens"}, "done"),
    ],
)
def test_runs_that_seconds_stopped_run_again_and_their_record_is_kept_aside(
    folders: Folders, message: str, more: dict[str, Any], state: str
):
    run = lay_out(request(), folders).runs[0]
    path = stopped(run, folders, message, **more)
    plan = lay_out(request(), folders)
    assert plan.runs[0].state == state and (plan.runs[0] in plan.pending) is (state == "stopped")
    if state == "stopped":
        assert finished(run, folders) == path
        assert lay_out(request(), folders).runs[0].state == "done"
        assert [p.name for p in path.parent.glob("*.stopped-1.json")] == [f"{run.spec.id}.stopped-1.json"]
    else:
        with pytest.raises(InvalidRecordError, match="append-only"):
            finished(run, folders)


def test_an_unreadable_record_is_run_again(folders: Folders):
    path = finished(lay_out(request(), folders).runs[0], folders)
    path.write_text(path.read_text()[:-40])
    plan = lay_out(request(), folders)
    assert plan.runs[0].state == "unreadable" and len(plan.pending) == 2


def test_a_started_run_is_partial(folders: Folders):
    run = lay_out(request(), folders).runs[0]
    (folders.runs / run.spec.id).mkdir(parents=True)
    (folders.runs / run.spec.id / "spec.json").write_text("{}")
    assert lay_out(request(), folders).runs[0].state == "partial"


@pytest.mark.parametrize("factor", [0, -1, float("nan"), float("inf")])
def test_a_budget_of_nothing_is_refused(factor: float):
    with pytest.raises(UsageError, match="--budget-scale"):
        scale_budget(BUDGET, factor)
    with pytest.raises(UsageError, match="budget of 0 probes"):
        scale_budget({**BUDGET, "probes": 0}, 1.0)


def test_scaling_keeps_whole_counts_above_zero():
    assert scale_budget(BUDGET, 0.05) == {"tokens": 50, "evaluations": 1, "probes": 1, "seconds": 3.0}
    assert scale_budget(BUDGET, 3) == {"tokens": 3000, "evaluations": 30, "probes": 15, "seconds": 180.0}


@pytest.mark.parametrize(("text", "seeds"), [("3", [1, 2, 3]), ("2,5", [2, 5]), ("7,", [7]), ("1", [1])])
def test_parse_seeds_reads_lists_and_ranges(text: str, seeds: list[int]):
    assert parse_seeds(text) == seeds


@pytest.mark.parametrize("text", ["", "0", "-2", "a", "1,1", "1.5", ","])
def test_invalid_seeds_are_refused(text: str):
    with pytest.raises(UsageError, match="--seeds"):
        parse_seeds(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("99999999999999999999", "at most 10,000 seeds$"),
        ("1000000000", "at most 10,000 seeds; a single seed is --seeds 1000000000,$"),
        ("1,4294967296", "a seed is at most 4,294,967,295"),
    ],
)
def test_seeds_beyond_their_bounds_are_refused(text: str, message: str):
    with pytest.raises(UsageError, match=message):
        parse_seeds(text)


def test_the_largest_seeds_are_read():
    assert parse_seeds("4294967295,") == [2**32 - 1] and len(parse_seeds("10000")) == 10_000


def test_a_list_of_seeds_may_begin_at_zero():
    assert parse_seeds("0,4") == [0, 4]


def test_a_suite_has_a_folder_and_shares_prepared_data(tmp_path: Path):
    folders = Folders(tmp_path, "mt", "smoke")
    assert folders.home == tmp_path / "mt-smoke"
    assert (folders.store, folders.runs) == (tmp_path / "mt-smoke/records", tmp_path / "mt-smoke/runs")
    assert folders.site == tmp_path / "mt-smoke/site"
    assert folders.cache == Folders(tmp_path, "bert", "small").cache == tmp_path / "cache"


@pytest.mark.parametrize(
    ("factor", "message"),
    [
        (1e-8, "--budget-scale 1e-08 makes next to nothing of 60 seconds"),
        (1e13, "--budget-scale 1e\\+13 makes more than can be counted of 1000 tokens"),
    ],
)
def test_a_scale_that_leaves_no_number_is_refused(factor: float, message: str):
    with pytest.raises(UsageError, match=message):
        scale_budget(
            BUDGET if factor > 1 else {**BUDGET, "tokens": 1e9, "evaluations": 1e9, "probes": 1e9}, factor
        )


def test_scales_up_to_the_largest_exact_number_and_down_to_a_millionth_are_taken():
    large = {**BUDGET, "tokens": planning.LARGEST}
    assert scale_budget(large, 1)["tokens"] == planning.LARGEST == 1e15
    assert scale_budget(large, 0.5)["tokens"] == 5e14
    with pytest.raises(UsageError, match="more than can be counted"):
        scale_budget({**BUDGET, "tokens": 1e15 + 1}, 1)
    small = scale_budget(dict.fromkeys(BUDGET, 1.0), 1e-6)
    assert small == {"tokens": 1, "evaluations": 1, "probes": 1, "seconds": 1e-6}


def test_counts_are_rounded_up_and_seconds_kept_to_the_microsecond():
    assert scale_budget(BUDGET, 0.1011) == {"tokens": 102, "evaluations": 2, "probes": 1, "seconds": 6.066}
    assert scale_budget(BUDGET, 1 / 7)["seconds"] == 8.571429
    # 0.07 * 100 is 7.000000000000001 in floating point: still 7 evaluations
    assert scale_budget({**BUDGET, "evaluations": 100}, 0.07)["evaluations"] == 7


def test_an_allowance_that_is_missing_or_no_number_is_refused():
    for budget in ({k: v for k, v in BUDGET.items() if k != "tokens"}, {**BUDGET, "tokens": float("nan")}):
        with pytest.raises(UsageError, match="tokens: each kind needs one above zero"):
            scale_budget(budget, 1.0)


def test_the_seconds_of_a_plan_are_those_of_the_runs_that_are_left(folders: Folders):
    plan = lay_out(request(seeds=[1, 2, 3]), folders)
    assert plan.seconds is None
    for run, seconds in zip(plan.runs, (1.5, 2.0, 4.0), strict=True):
        run.estimate = seconds
    assert plan.seconds == 7.5
    plan.runs[1].state = "done"
    assert plan.seconds == 5.5 and plan.pending == [plan.runs[0], plan.runs[2]]
    assert plan.to_dict()["estimate_seconds"] == 5.5 and plan.runs[0].label == "hat seed 1"


def test_options_for_a_method_that_is_not_run_are_refused(folders: Folders):
    with pytest.raises(UsageError, match="'mos' is not among"):
        lay_out(request(options={"mos": {"experts": 4}}), folders)


def test_estimates_state_their_source(folders: Folders):
    def estimated(**changes: Any) -> list[tuple[float | None, str]]:
        asked = request(**changes)
        plan = lay_out(asked, folders)
        estimate_runs(plan, asked)
        return [(run.estimate, run.basis) for run in plan.pending]

    assert estimated()[0] == (60, "at most: the whole allowance of seconds")
    throughput = Task(made=Tier(throughput=50.0))
    assert estimated(tasks=[throughput])[0] == (20, "the tier's own figure of 50 training tokens a second")
    finished(lay_out(request(), folders).runs[0], folders)
    assert estimated() == [(40, "measured on 1 past run")]
    assert estimated(budget_scale=2)[0] == (80, "measured on 1 past run")
    assert estimated(methods=[SCRATCH, HAT], seeds=[1]) == [(40, "measured on 1 past run of other methods")]


def test_published_runs_of_the_method_count_before_past_runs_of_others(
    folders: Folders, monkeypatch: pytest.MonkeyPatch
):
    def estimated(**changes: Any) -> list[tuple[float | None, str]]:
        asked = request(seeds=[1], methods=[SCRATCH, HAT], **changes)
        plan = lay_out(asked, folders)
        estimate_runs(plan, asked)
        return [(run.estimate, run.basis) for run in plan.pending]

    public = Folders(folders.results, "mt", "smoke")
    monkeypatch.setattr(Folders, "store", property(lambda self: self.results / "records" / "fake"))
    here, other, gpu = "cpu-2core-avx2.v1", "cpu-2core-avx512.v1", "nvidia-h100.v1"
    for profile, seconds in ((here, (20.0, 90.0)), (other, (5.0, 5.0)), (gpu, (1.0, 1.0))):
        runs = lay_out(request(seeds=[1], methods=[HAT, SCRATCH], profile=profile), public).runs
        for run, spent in zip(runs, seconds, strict=True):
            finished(run, public, seconds=spent)
    monkeypatch.undo()
    # Each scored for 10 s; the allowance of seconds (60) stops a search and no scoring.
    assert estimated() == [(30, f"published on {here}"), (70, f"published on {here}")]
    assert estimated(profile=other) == [(15, f"published on {other}")] * 2
    changed = [Task(made=Tier(sha256="1" * 64))]
    assert estimated(tasks=changed)[0] == (30, f"published on {here} with other settings")
    monkeypatch.setattr(Folders, "store", property(lambda self: self.results / "records" / "fake"))
    finished(lay_out(request(seeds=[1], tasks=changed, profile=here), public).runs[0], public, seconds=2.0)
    monkeypatch.undo()
    assert estimated(tasks=changed)[0] == (12, f"published on {here}"), "former settings do not count beside"
    assert estimated()[0] == (30, f"published on {here}")
    finished(lay_out(request(seeds=[1]), folders).runs[0], folders, seconds=50.0)
    # It took twice as long as published: 60 s in place of 30.
    assert estimated() == [(80, f"published on {here}, at the pace of past runs here")]


@pytest.mark.parametrize(
    ("seconds", "text"), [(None, "?"), (5, "5 s"), (99.4, "99 s"), (600, "10 min"), (7200, "2.0 h")]
)
def test_durations_have_a_unit_of_their_size(seconds: float | None, text: str):
    assert format_duration(seconds) == text


def test_a_plan_is_json(folders: Folders):
    import json

    data = json.loads(json.dumps(lay_out(request(), folders).to_dict()))
    assert [run["state"] for run in data["runs"]] == ["new", "new"]
    assert spec_id(data["runs"][0]["spec"]) == data["runs"][0]["id"]


TRIALS = ({"after": "scratch"}, {"after": "inherit"})
TUNED = MethodRef("tuned", "tuned:Tuned", "c" * 64, "here", trials=TRIALS, options=(AFTER,))


def test_external_tuning_is_another_run_with_five_allowances(folders: Folders):
    (own,) = lay_out(request(methods=[TUNED], seeds=[1]), folders).runs
    (tuned,) = lay_out(request(methods=[TUNED], seeds=[1], ruleset=EXTERNAL), folders).runs
    assert "ruleset" not in own.spec.to_dict() and "trials" not in own.spec.to_dict()
    assert tuned.spec.to_dict()["ruleset"] == "external" and tuned.spec.id != own.spec.id
    assert tuned.spec.to_dict()["trials"] == TRIALS
    assert tuned.spec.budget == {kind: 5 * amount for kind, amount in BUDGET.items()}
    fewer = replace(TUNED, trials=TRIALS[:1])
    (other,) = lay_out(request(methods=[fewer], seeds=[1], ruleset=EXTERNAL), folders).runs
    assert other.spec.id != tuned.spec.id


def test_published_records_keep_their_ids_with_two_rulesets():
    found = store.load_all(ROOT / "results" / "records")
    if not found:
        pytest.skip("no published records")
    assert [RunSpec(**record["spec"]).id for record in found] == [record["id"] for record in found]
