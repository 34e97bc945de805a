"""Own and published records of one table: which are taken, which are missing, why, and what those cost."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks import registry
from benchmarks.cli import compare, main
from benchmarks.comparability import grouping, published_rows
from benchmarks.records import store
from benchmarks.records.spec import RunSpec
from benchmarks.registry import MethodRef
from benchmarks.runs.plan import Folders, Plan, PlannedRun
from benchmarks.runs.published_runs import equal_runs, reasons, take_over
from tests.fake_records import fake

CPU, GPU = "cpu-2core-avx512.v1", "nvidia-h100.v1"


def ref(record: Any) -> MethodRef:
    spec = record["spec"]
    return MethodRef(spec["method"], "m:M", spec["method_sha256"], "here")


def test_only_rows_of_equal_conditions_are_taken() -> None:
    mine = [fake("mine", seed) for seed in (1, 2)]
    theirs = [fake("hat", seed) for seed in (1, 2, 3)] + [
        fake("hat", 4, tokens=1e6),
        fake("hat", 5, profile=GPU),
    ]
    refs = [ref(mine[0]), ref(theirs[0])]
    conditions = published_rows.choose_conditions(refs, mine, theirs, CPU)
    assert conditions == grouping.facts(mine[0])
    rows = published_rows.gather(refs, conditions, mine, theirs)
    assert [(r["spec"]["method"], r["spec"]["seed"]) for r in rows.records] == [
        ("mine", 1), ("mine", 2), ("hat", 1), ("hat", 2), ("hat", 3),
    ]  # fmt: skip
    assert rows.published == 3
    assert rows.missing == {"mine": [3]}


def test_own_records_come_before_published_ones_of_the_same_run() -> None:
    mine, theirs = [fake("hat", 1, message="mine")], [fake("hat", 1), fake("hat", 2)]
    rows = published_rows.gather([ref(mine[0])], grouping.facts(mine[0]), mine, theirs)
    assert [record["message"] for record in rows.records] == ["mine", ""]


def test_missing_runs_have_a_reason_and_a_cost() -> None:
    mine = [fake("mine", 1)]
    other = fake("hat", 1, tokens=1e6)
    conditions = grouping.facts(mine[0])
    none = published_rows.gather([ref(mine[0]), ref(fake("scratch", 1))], conditions, mine, [])
    assert none.missing == {"scratch": [1]} and none.reasons == {"scratch": "it has no records"}
    apart = published_rows.gather([ref(mine[0]), ref(other)], conditions, mine, [other])
    assert apart.reasons == {"hat": "its records differ in budget.tokens"}
    spent = fake("hat", 1)
    seconds = published_rows.seconds_of("hat", conditions, [spent, fake("mine", 1, profile=GPU)])
    harness = sum(spent["ledger"].get("harness_seconds", {}).values())
    assert seconds == pytest.approx(spent["ledger"]["totals"]["seconds"] + harness)
    assert published_rows.seconds_of("hat", {**conditions, "profile": "none"}, [spent]) is None
    slow = fake("mine", 1)
    slow["ledger"]["totals"]["seconds"] = 9e6
    assert published_rows.seconds_of("hat", conditions, [spent, slow]) == seconds
    assert published_rows.seconds_of("mine", conditions, [spent]) == seconds, "else of all methods"
    mean = published_rows.seconds_of("none", conditions, [spent, slow])
    assert mean == pytest.approx((seconds + 9e6 + harness) / 2)
    del slow["ledger"]["totals"]["seconds"]
    assert published_rows.seconds_of("mine", conditions, [slow]) == pytest.approx(harness)


def test_an_installed_methods_last_published_version_stands_where_no_row_of_todays_code_fits() -> None:
    mine = [fake("mine", 1)]
    conditions = grouping.facts(mine[0])
    today = ref(fake("hat", 1))
    versions = {
        "0" * 64: ("2026-01-01T00:00:00+00:00", (1, 2, 3)),
        "1" * 64: ("2026-03-01T00:00:00+00:00", (1, 2)),
    }
    earlier = [
        with_code("hat", seed, code, ended) for code, (ended, seeds) in versions.items() for seed in seeds
    ]
    rows = published_rows.gather([ref(mine[0]), today], conditions, mine, earlier)
    assert [r["spec"]["method_sha256"][0] for r in rows.records[1:]] == ["1", "1"]
    assert rows.earlier == ["hat"] and rows.missing == {"mine": [2]} and rows.published == 2
    assert published_rows.choose_conditions([today], [], earlier, CPU) == conditions
    fits = published_rows.gather([ref(mine[0]), today], conditions, mine, [*earlier, fake("hat", 1)])
    assert not fits.earlier and len(fits.records) == 2
    ours = published_rows.gather([today], conditions, [fake("hat", 1)], earlier)
    assert not ours.earlier and len(ours.records) == 1, "versions never share a table"
    stopped = [{**record, "status": "failed"} for record in earlier]
    assert not published_rows.gather([today], conditions, [], stopped).records
    more = [*mine, fake("mine", 3)]
    assert published_rows.gather([ref(mine[0]), today], conditions, more, earlier).missing == {
        "mine": [2],
        "hat": [1, 2, 3],  # a new run of hat shares no table with the rows of its earlier code
    }


def test_a_users_own_file_never_gets_the_rows_of_another_code_of_its_name() -> None:
    mine = [fake("mine", 1)]
    conditions = grouping.facts(mine[0])
    own_file = replace(ref(fake("hat", 1)), source="/home/me/hat.py:HAT")
    earlier = [with_code("hat", 1, "0" * 64, "2026-01-01T00:00:00+00:00")]
    rows = published_rows.gather([ref(mine[0]), own_file], conditions, mine, earlier)
    assert rows.reasons == {"hat": "its records are of another version of its code"}
    assert published_rows.choose_conditions([own_file], [], earlier, CPU) is None


def with_code(method: str, seed: int, code: str, ended: str) -> Any:
    """Return a record of some version of a method's code."""
    record = fake(method, seed)
    provenance = {**record["provenance"], "ended": ended}
    return {**record, "spec": {**record["spec"], "method_sha256": code}, "provenance": provenance}


def test_without_own_records_the_most_published_conditions_of_this_machine_count() -> None:
    theirs = [fake("hat", s) for s in (1, 2, 3)] + [fake("hat", 1, profile=GPU)]
    chosen = published_rows.choose_conditions([ref(theirs[0])], [], theirs, GPU)
    assert chosen is not None and chosen["profile"] == GPU
    chosen = published_rows.choose_conditions([ref(theirs[0])], [], theirs, "another")
    assert chosen is not None and chosen["profile"] == CPU
    assert published_rows.choose_conditions([ref(fake("mine", 1))], [], theirs, CPU) is None


def planned(record: Any, **changes: Any) -> tuple[Plan, PlannedRun]:
    spec = RunSpec(**{**record["spec"], **changes})
    run = PlannedRun(spec, ref(record))
    plan = Plan(Folders(Path("r"), "mt", "small"), spec.profile, "cpu", [run])
    return plan, run


def modern(record: Any) -> Any:
    """The record with the digests of code and data that specs hold today."""
    spec = {**record["spec"], "task_sha256": "a" * 64, "substrate_sha256": "b" * 64, "data_sha256": "c" * 64}
    return {**record, "spec": spec}


def test_a_run_that_would_do_the_same_is_taken_over() -> None:
    record = modern(fake("hat", 1))
    plan, run = planned(record, budget={**record["spec"]["budget"], "seconds": 5.0})
    pairs = equal_runs(plan, [record, modern(fake("hat", 2))])
    assert pairs == [(run, record)]
    take_over(pairs)
    assert run.state == "done" and not plan.pending


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("seed", 9), ("profile", GPU), ("settings_sha256", "0" * 64), ("task_sha256", "0" * 64),
        ("substrate_sha256", "0" * 64), ("data_sha256", "0" * 64), ("options", {"after": "continue"}),
        ("tier", "paper"), ("budget", {"tokens": 1.0, "evaluations": 1.0, "probes": 1.0, "seconds": 1.0}),
    ],
)  # fmt: skip
def test_a_run_that_differs_in_any_field_is_not_equal(field: str, value: Any) -> None:
    record = modern(fake("hat", 1))
    assert equal_runs(planned(record)[0], [record])
    assert not equal_runs(planned(record, **{field: value})[0], [record])
    failed = {**record, "status": "failed"}
    assert not equal_runs(planned(record)[0], [failed])


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({}, ""),
        ({"seed": 9}, "the nearest published record differs in seed"),
        ({"task": "other"}, f"no record of it is published under {CPU}"),
        ({"options": {"after": "continue"}}, "differs in options"),
        ({"settings_sha256": "0" * 64}, "differs in the tier's settings"),
        ({"task_sha256": "0" * 64, "substrate_sha256": "0" * 64}, "the task's code, the substrate's code"),
        ({"data_sha256": "0" * 64}, "differs in data"),
        ({"follows": "0" * 16}, "differs in whether it follows a run"),
        ({"budget": {"tokens": 1.0}}, "differs in allowed tokens, allowed evaluations, allowed probes"),
    ],
)
def test_a_run_that_is_not_taken_over_has_its_reason(changes: dict[str, Any], why: str) -> None:
    record = modern(fake("hat", 1))
    plan, _ = planned(record, **changes)
    lines = [] if equal_runs(plan, [record]) else reasons(plan, [record])
    assert len(lines) == bool(why) and all(why in line for line in lines)


def test_reasons_name_other_code_and_runs_that_others_inherit_from() -> None:
    record = modern(fake("hat", 1))
    plan, run = planned(record)
    run.method = replace(run.method, sha256="1" * 64)
    (line,) = reasons(plan, [record])
    assert line.endswith("seed 1: the nearest published record differs in the method's code")
    plan, run = planned(record)
    heir = PlannedRun(replace(run.spec, method="heir"), replace(run.method, name="heir", inherits=True), run)
    plan.runs.append(heir)
    lines = reasons(plan, [record])
    assert lines[0].endswith("another run inherits its weights") and len(lines) == 2


def test_published_runs_that_are_not_taken_over_are_noted_in_the_plan(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store.write(tmp_path / "records", fake("hat", 1, task="mt-synthetic-en-de", tier="smoke"))
    words = ["plan", "mt", "--methods", "hat", "--seeds", "2", "--profile", CPU, "--json"]
    words += ["--results", str(tmp_path / "own")]
    assert main.main([*words, "--published", str(tmp_path)]) == 0
    taken, *notes = json.loads(capsys.readouterr().out)["notes"][:2]
    assert taken == "0 runs of this plan taken over from published records"
    assert notes[0].startswith("not taken over: hat of mt-synthetic-en-de, seed") and "code" in notes[0]
    assert main.main(words) == 0
    assert "taken over" not in capsys.readouterr().out


def test_compare_reads_published_rows_and_any_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for seed in (1, 2, 3):
        store.write(tmp_path / "pub" / "records", fake("hat", seed))
    for seed in (1, 2):
        store.write(tmp_path / "own" / "mt-small" / "records", fake("mine", seed))
    refs = {name: ref(fake(name, 1)) for name in ("hat", "mine")}
    monkeypatch.setattr(registry, "find", refs.__getitem__)
    words = ["compare", "mine", "hat", "--tier", "small", "--results", str(tmp_path / "own")]
    assert main.main([*words, "--published", str(tmp_path / "pub"), "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert {row["method"] for row in shown["rows"]} == {"mine", "hat"}
    assert shown["missing"][0] == "published runs: 3 of 5, of mt-multi30k-en-de small on " + CPU
    other, missing, command = shown["missing"][1:]
    assert other.endswith("is another: settings, the task's code, the substrate's code")
    assert missing == "missing: mine, 1 seed", "no run of today's code can join this table"
    assert command.endswith(f"--methods mine,hat --seeds 1,2,3 --profile {CPU} --results {tmp_path / 'own'}")
    monkeypatch.setattr(compare, "_other_code", lambda conditions: "")
    assert main.main([*words, "--published", str(tmp_path / "pub"), "--json"]) == 0
    missing = json.loads(capsys.readouterr().out)["missing"][-1]
    assert missing.startswith("missing: mine, 1 seed, about")
    assert missing.endswith(f"--methods mine --seeds 3, --profile {CPU} --results {tmp_path / 'own'}")
    assert main.main(["compare", "hat", "--tier", "small", "--results", str(tmp_path / "pub"), "--json"]) == 0
    assert {row["method"] for row in json.loads(capsys.readouterr().out)["rows"]} == {"hat"}
    out = ["--out", str(tmp_path / "out"), "--json"]
    assert (
        main.main(["report", "mt", "--tier", "small", "--results", str(tmp_path / "pub" / "records"), *out])
        == 0
    )
    assert (tmp_path / "out" / "mt-small" / "table.md").is_file()
    assert sorted(p.name for p in (tmp_path / "pub").iterdir()) == ["records"]
