"""Groups of comparable runs, labels of methods, and the run that counts for each seed."""

from __future__ import annotations

import hashlib
import tomllib
from pathlib import Path
from typing import Any

import pytest

from benchmarks import identity
from benchmarks.api import UsageError
from benchmarks.comparability import grouping, run_summary
from benchmarks.records.canonical import canonical
from tests.fake_records import fake


def summary(record: dict[str, Any]) -> Any:
    return run_summary.summarize(record, keep=False)


def with_spec(record: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {**record, "spec": {**record["spec"], **changes}}


def test_facts_of_a_table_are_short_texts() -> None:
    record = fake("hat", settings_sha256="x")
    facts = grouping.facts(record)
    assert facts["task"] == "mt-multi30k-en-de" and facts["tier"] == "small"
    assert facts["profile"] == "cpu-2core-avx512.v1" and facts["space"] == "multi30k-xs"
    assert facts["budget.tokens"] == "2,000,000" and facts["budget.probes"] == "300"
    assert "budget.seconds" not in facts and "ruleset" not in facts and "profile_sha256" not in facts
    assert len(facts["settings_sha256"]) == 12 and len(facts["data"]) == 12
    assert facts["data"] == hashlib.sha256(canonical(record["provenance"]["data"])).hexdigest()[:12]
    assert list(facts)[-1] == "data"


def test_digests_are_cut_to_twelve_and_commits_to_forty() -> None:
    spec = {"task_sha256": "t" * 64, "substrate_sha256": "s" * 64}
    facts = grouping.facts(with_spec(fake("hat"), **spec))
    assert (facts["task_sha256"], facts["substrate_sha256"]) == ("t" * 12, "s" * 12)
    old = grouping.facts(fake("hat"))
    assert " " in old["task_sha256"] and 12 < len(old["task_sha256"]) <= 40


def test_an_unlimited_kind_a_ruleset_and_an_own_profile_are_facts() -> None:
    record = fake("hat")
    budget = {kind: amount for kind, amount in record["spec"]["budget"].items() if kind != "probes"}
    assert grouping.facts(with_spec(record, budget=budget))["budget.probes"] == "no limit"
    assert grouping.facts(with_spec(record, ruleset="external"))["ruleset"] == "external"
    own = {**record, "declared": {"profile": {"name": "mine", "threads": 2}}}
    digest = hashlib.sha256(canonical({"name": "mine", "threads": 2})).hexdigest()[:12]
    assert grouping.facts(own)["profile_sha256"] == digest


def test_runs_without_data_join_the_group_that_shares_their_other_facts() -> None:
    runs = [summary(fake(method, seed)) for method in ("hat", "scratch") for seed in (2, 1)]
    failed = fake("hat", 3, status="failed")
    failed["provenance"]["data"] = {}
    other = summary(fake("hat", 1, tier="paper"))
    lost = fake("hat", 4, status="failed", tokens=5e6)
    lost["provenance"]["data"] = {}
    small, unlike, paper = grouping.groups([*runs, other, summary(failed), summary(lost)])
    if small[0].facts["tier"] == "paper":
        small, unlike, paper = unlike, paper, small
    if len(small) == 1:
        small, unlike = unlike, small
    assert [(run.method, run.seed) for run in small] == [
        ("hat", 1), ("hat", 2), ("scratch", 1), ("scratch", 2), ("hat", 3),
    ]  # fmt: skip
    assert [run.seed for run in unlike] == [4] and paper == [other]


def test_a_refusal_lists_every_difference_with_two_runs_each() -> None:
    runs = [summary(fake(method, 1)) for method in ("hat", "scratch", "mos-layer")]
    grouping.require_comparable(runs)
    grouping.require_comparable([])
    external = summary(with_spec(fake("hat", 2, tokens=4e6), ruleset="external"))
    with pytest.raises(UsageError) as refused:
        grouping.require_comparable([*runs, external])
    lines = str(refused.value).splitlines()
    assert lines[0] == "these records cannot share a table; they differ in"
    assert [line.split()[0] for line in lines[1:3]] == ["budget.tokens", "ruleset"] and len(lines) == 4
    assert lines[1].split(maxsplit=1)[1] == (
        "2,000,000 (hat seed 1, scratch seed 1, ...)   4,000,000 (hat seed 2)"
    )
    assert lines[2].split(maxsplit=1)[1].startswith("self (hat seed 1, scratch seed 1, ...)   external (hat")
    with pytest.raises(UsageError, match=r"2,000,000 \(hat seed 1, scratch seed 1\)   4,000,000"):
        grouping.require_comparable([*runs[:2], external])


def test_labels_name_options_and_source_only_where_methods_differ_in_them() -> None:
    plain, other = fake("hat", 1), fake("hat", 2)
    tuned = with_spec(fake("hat", 3), options={"after": "continue", "a": "1"}) | {"id": "tuned"}
    edited = with_spec(fake("hat", 4), method_sha256="f" * 64) | {"id": "edited"}
    alone = with_spec(fake("scratch", 1), options={"after": "scratch"}) | {"id": "alone"}

    def names(*records: dict[str, Any]) -> list[str]:
        runs = [summary(record) for record in records]
        return [grouping.labels(runs)[run.id] for run in runs]

    assert names(plain, other) == ["hat", "hat"]
    assert names(plain, tuned) == ["hat (default options)", "hat (a=1 after=continue)"]
    source = plain["spec"]["method_sha256"][:7]
    assert names(plain, edited) == [f"hat @{source}", "hat @fffffff"]
    assert names(alone) == ["scratch (after=scratch)"]


LONG = {"after": "inherit", "constant": True, "distill": True, "encoding": "aggr"}


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (LONG | {"experts": 4}, LONG | {"experts": 8}),
        (LONG | {"experts": 4}, LONG | {"experts": 4, "width": 1}),
        ({"a": "x" * 500}, {"a": "x" * 499 + "y"}),
        ({"a": True}, {"a": "True"}),
        ({"a": 1}, {"a": "1"}),
        ({"a": "1 b=2"}, {"a": 1, "b": 2}),
        ({"a": "x  y"}, {"a": "x y"}),
        ({"a": "x\u202e"}, {"a": "x"}),
        ({"a": ""}, {"a": "\n"}),
    ],
)
def test_methods_of_different_options_never_share_a_label(
    first: dict[str, Any], second: dict[str, Any]
) -> None:
    runs = [
        summary(with_spec(fake("mos-neuron", seed), options=options) | {"id": f"{name}{seed}"})
        for name, options in (("first", first), ("second", second))
        for seed in (1, 2, 3)
    ]
    named = grouping.labels(runs)
    assert len({*named.values()}) == 2 and named["first1"] == named["first3"] != named["second1"]
    assert all(len(name) <= len("mos-neuron ()") + 60 and name.isprintable() for name in named.values())
    assert len(grouping.latest(runs)) == 6
    alone = grouping.labels(runs[:3])
    assert len({*alone.values()}) == 1


def test_sources_that_are_declared_equal_share_a_label_and_the_last_run_of_a_seed_counts() -> None:
    declared = tomllib.loads((Path(identity.__file__).parent / "equivalences.toml").read_text("utf-8"))
    entries = [entry for entry in declared["method"] if "device" not in entry]
    assert len(entries) > 10
    for entry in entries:
        old = with_spec(fake("hat", 1), method_sha256=entry["old"]) | {"id": "old"}
        new = with_spec(fake("hat", 1), method_sha256=entry["new"]) | {"id": "new"}
        new["provenance"] = {**new["provenance"], "ended": "2099-01-01T00:00:00+00:00"}
        runs = [summary(old), summary(new)]
        assert runs[0].source != runs[1].source and runs[0].code == runs[1].code
        assert set(grouping.labels(runs).values()) == {"hat"}
        assert [run.id for run in grouping.latest(runs)] == ["new"]


def test_methods_of_different_sources_never_share_a_label() -> None:
    digests = "f" * 64, "f" * 20 + "0" * 44, "f" * 63 + "0"
    runs = [summary(with_spec(fake("hat", 1), method_sha256=digest) | {"id": digest}) for digest in digests]
    assert grouping.labels(runs[:2]) == {digest: f"hat @{digest[:21]}" for digest in digests[:2]}
    assert grouping.labels(runs) == {digest: f"hat @{digest}" for digest in digests}


@pytest.mark.parametrize(
    ("status", "spent", "reason"),
    [
        ("done", {}, ""),
        ("done", {"tokens": 1.0}, ""),
        ("done", {"seconds": 1.5}, ""),
        ("done", {"evaluations": 1.25}, "spent 125% of its evaluations"),
        ("budget", {}, "stopped: stopped at 100 % of tokens"),
        ("failed", {"tokens": 2.0}, "failed: ValueError: nonsense"),
    ],
)
def test_runs_that_must_not_be_compared_have_a_reason(
    status: str, spent: dict[str, float], reason: str
) -> None:
    record = fake("hat", status=status)
    record["ledger"]["share"] |= spent
    assert grouping.obstacle(summary(record)) == reason


def test_a_leaders_obstacle_is_its_followers_too_and_a_circle_ends() -> None:
    leader = summary(fake("hat", 2, status="budget"))
    middle = summary(fake("scratch", 1))._replace(follows=leader.id)
    last = summary(fake("mos-layer", 1))._replace(follows=middle.id)
    free = summary(fake("mos-neuron", 1))._replace(follows="no such run")
    stopped = "stopped: stopped at 100 % of tokens"
    assert grouping.obstacles([leader, middle, last, free]) == {
        leader.id: stopped,
        middle.id: f"follows hat seed 2, which {stopped}",
        last.id: f"follows hat seed 2, which {stopped}",
    }
    circle = [middle._replace(follows=last.id), last]
    assert grouping.obstacles(circle) == {}


def test_the_last_run_of_a_seed_counts_and_a_comparable_one_before_any_other() -> None:
    def ended(record: dict[str, Any], at: str, name: str) -> Any:
        record["provenance"]["ended"] = at
        return summary(record | {"id": name})

    early = ended(fake("hat", 1), "2026-01-01", "early")
    late = ended(fake("hat", 1), "2026-01-02", "late")
    stopped = ended(fake("hat", 1, status="budget"), "2026-01-03", "stopped")
    failed = ended(fake("hat", 1, status="failed"), "2026-01-04", "failed")
    second = ended(fake("hat", 2, status="failed"), "2026-01-04", "second")
    other = ended(fake("autodistil", 9), "2026-01-01", "other")
    kept = grouping.latest([late, failed, early, second, stopped, other])
    assert [run.id for run in kept] == ["other", "late", "second"]
    assert [run.id for run in grouping.latest([failed, stopped])] == ["stopped"]


def test_a_run_that_follows_a_finished_one_counts_before_one_that_follows_a_stopped_one() -> None:
    stopped = summary(fake("hat", 1, status="budget") | {"id": "stopped"})
    done = summary(fake("hat", 1) | {"id": "done"})
    late = summary(fake("scratch", 1))._replace(id="late", follows="stopped", ended="2026-02-01")
    early = late._replace(id="early", follows="done", ended="2026-01-01")
    assert [run.id for run in grouping.latest([stopped, done, late, early])] == ["done", "early"]
    assert [run.id for run in grouping.latest([stopped, done, late])] == ["done", "late"]


def test_the_deciding_metric_is_the_tasks_own_or_the_first_that_was_scored() -> None:
    run = summary(fake("hat"))
    assert grouping.metric_of([run._replace(metric=None)]) == "bleu"
    assert grouping.metric_of([run._replace(metric="chrf"), run]) == "bleu"
    assert grouping.metric_of([run._replace(metric=None), run._replace(metric="chrf")]) == "chrf"
