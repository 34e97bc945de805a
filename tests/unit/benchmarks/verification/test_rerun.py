"""Plan of a record's second run, with the runs that it follows."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

import pytest

from benchmarks import identity, registry
from benchmarks.cli import main
from benchmarks.cli import plan as plans
from benchmarks.records import integrity, store
from benchmarks.runs.plan import Folders
from benchmarks.verification import rerun
from tests import ROOT
from tests.fake_records import fake

CHAIN = ("random-search", "random-search+scratch", "random-search+scratch+int8-uniform")
FOLDERS = Folders(Path("nowhere"), "mt", "check")


@pytest.fixture
def published(tmp_path: Path) -> dict[str, dict]:
    """A record of each run of a chain of three, by its method."""
    words = ["run", "mt", "--tier", "check", "--methods", CHAIN[-1], "--profile", "undeclared"]
    options: Namespace = main.parser().parse_args([*words, "--results", str(tmp_path)])
    made, _, _ = plans.build_plan(options)
    found = {}
    for run in made.runs:
        record = fake(spec=run.spec.to_dict(), limits=(0.8,))
        record["timings"] = {"limits": [], "probes": [[1, run.spec.method, 2.0]]}
        found[run.spec.method] = integrity.seal(record)
    assert tuple(found) == CHAIN
    return found


def planned(record, known):
    made = rerun.prepare(record, FOLDERS, known)
    assert not made.obstacles, made.obstacles
    return made


def names(made):
    return [run.spec.method for run in made.plan.runs]


def test_the_whole_chain_is_run_first_where_no_record_is_there(published):
    made = planned(published[CHAIN[-1]], [])
    assert names(made) == [*CHAIN]
    for run in made.plan.runs:  # the published runs, but for the patience with a slow machine
        spec = published[run.spec.method]["spec"]
        assert run.spec.budget["seconds"] == 10 * spec["budget"]["seconds"]
        assert run.spec.to_dict() | {"budget": spec["budget"]} == spec
    assert made.run.first is made.plan.runs[1] and made.run.first.first is made.plan.runs[0]
    assert made.timings == {made.run.spec.id: [[1, CHAIN[-1], 2.0]]}


def test_weights_are_made_again_and_architectures_taken_from_a_record(published):
    made = planned(published[CHAIN[-1]], [*published.values()])
    assert names(made) == [*CHAIN[1:]]  # int8-uniform takes weights, scratch what was found
    assert made.run.first.first.state == "done"
    assert made.run.first.first.record["id"] == published[CHAIN[0]]["id"]
    assert set(made.timings) == {run.spec.id for run in made.plan.runs}  # each decides as it did


def test_options_of_a_leader_are_those_of_its_record(published):
    leader = published[CHAIN[1]]
    leader["spec"]["options"] = {"dropout": 0.1}
    leader = integrity.seal(leader)
    last = published[CHAIN[-1]]
    last["spec"]["follows"] = leader["id"]
    last = integrity.seal(last)
    made = planned(last, [leader])
    assert names(made) == [*CHAIN] and made.run.first.spec.options == {"dropout": 0.1}
    assert "which is not here" in rerun.prepare(last, FOLDERS, []).obstacles[0]


@pytest.mark.parametrize("change", [{"method_sha256": "ab" * 32}, {"follows": "0" * 16}])
def test_a_leader_of_other_code_hinders(published, change):
    leader = published[CHAIN[1]]
    leader["spec"] |= change
    leader = integrity.seal(leader)
    last = published[CHAIN[-1]]
    last["spec"]["follows"] = leader["id"]
    last = integrity.seal(last)
    said = rerun.prepare(last, FOLDERS, [leader]).obstacles
    assert len(said) == 1 and f"it follows run {leader['id']}" in said[0]


def test_seconds_that_stopped_the_published_run_stop_the_second(published):
    record = published[CHAIN[0]]
    stopped = integrity.seal(record | {"status": "budget", "message": "seconds: the allowance is spent"})
    assert planned(stopped, []).run.spec.budget == record["spec"]["budget"]


def test_the_parts_whose_code_differs_are_named(published, monkeypatch: pytest.MonkeyPatch):
    record = published[CHAIN[0]]
    assert planned(record, []).code == []
    other = integrity.seal(record | {"spec": record["spec"] | {"substrate_sha256": "b" * 64}})
    assert planned(other, []).code == [("substrate", "b" * 64, identity.substrate())]
    equal = {"method": {}, "task": {}, "substrate": {"b" * 64: identity.substrate()}}
    monkeypatch.setattr(identity, "declared", lambda device, path=None: equal)
    assert planned(other, []).code == []


def test_every_published_method_is_verifiable_by_todays_code():
    """Each published row's method has the code that is installed, or is declared to make the same numbers.

    Rows whose numbers have changed since, on GPUs or altogether, are verified at their own commit; a version
    that was raised declares that, too.
    """
    lacking = {}
    entries = identity.declarations()[identity.METHOD]
    changed = {entry["old"] for entry in entries if entry.get("device") == "cpu"}
    changed |= {entry[end] for entry in entries if entry.get("closed") for end in ("old", "new")}
    chains = identity.declared("cpu")[identity.METHOD]
    for record in store.load_all(ROOT / "results" / "records"):
        method = registry.find(record["spec"]["method"])
        digest = identity.of_record(record).method
        if record["spec"]["method_version"] != method.version:
            assert not rerun._same_method(record, method), "a raised version has other code"
            continue
        if not rerun._same_method(record, method) and not {digest, chains.get(digest)} & changed:
            lacking[record["spec"]["method"]] = f'old = "{digest}"\nnew = "{method.sha256}"'
    assert not lacking, "benchmarks/equivalences.toml lacks\n" + "\n".join(sorted(set(lacking.values())))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"x": 1}, "fields unknown to this version: 'x'"),
        (
            {"budget": {"tokens": 24000, "evaluations": 12, "probes": 8, "seconds": None}},
            "allows None seconds",
        ),
        ({"budget": {"tokens": -1, "evaluations": 12, "probes": 8, "seconds": 60}}, "allows -1 tokens"),
        ({"budget": {}}, "allows None tokens"),
        ({"trials": [{}] * 2000, "ruleset": "external"}, "has 2000 trials; at most 5"),
    ],
)
def test_a_specification_that_no_run_could_have_had_is_an_obstacle(published, change, said):
    record = dict(published[CHAIN[0]])
    record["spec"] = record["spec"] | change
    made = rerun.prepare(record, FOLDERS, [])
    assert made.plan is None and len(made.obstacles) == 1 and said in made.obstacles[0]
