"""Study files: the same plan as the flags, flags that win, lists that sweep, mistakes with their line."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks import tasks
from benchmarks.api import Option, UsageError
from benchmarks.cli import configuration, main
from benchmarks.cli import plan as planning
from benchmarks.cli.arguments import add_published
from benchmarks.hardware import profiles
from benchmarks.records import integrity, store
from benchmarks.registry import MethodRef
from tests import ROOT
from tests.fake_records import fake
from tests.unit.benchmarks.tasks.folders import sentences, test_pictures

STUDY = """\
suite: mt
tier: smoke
methods: [hat, {mos-neuron: {experts: [2, 4], after: [continue, scratch]}}]  # a list is a sweep
seeds: [1, 4]
profile: undeclared
"""


def planned(path: Path, capsys: pytest.CaptureFixture[str], *words: str):
    results = path.parent / "results"
    assert main.main(["plan", "-C", str(path), "--json", "--results", str(results), *words]) == 0
    return json.loads(capsys.readouterr().out)


def write(folder: Path, text: str) -> Path:
    path = folder / "study.yml"
    path.write_text(text)
    return path


def chosen(plan):
    runs = [run["spec"] for run in plan["runs"]]
    return {(spec["method"], spec["seed"], *sorted(map(str, spec["options"].items()))) for spec in runs}


def test_lists_are_sweeps_and_the_plan_prints_a_study_of_the_same_runs(tmp_path, capsys):
    plan = planned(write(tmp_path, STUDY), capsys)
    assert len(plan["runs"]) == len(chosen(plan)) == 2 * (1 + 4)
    again = planned(write(tmp_path, configuration.to_yaml(plan["study"])), capsys)
    assert again["runs"] == plan["runs"]


@pytest.fixture
def forget(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Make this process one in which no task and no profile of the user's is declared."""

    def undeclare() -> None:
        monkeypatch.setattr(tasks, "_DECLARED", {})
        monkeypatch.setattr(profiles, "_DECLARED", {})

    undeclare()
    return undeclare


OWN = """\
from benchmarks import tasks

class Mine:
    name, suite, metric = "mine", "mt", "bleu"

    def tiers(self):
        return ("check",)

    def tier(self, tier, device):
        return tasks.get_task("mt-synthetic-en-de").tier(tier, device)

    def prepare(self, tier, cache, data_dir, progress):
        return tasks.Prepared(cache, None, {"train": "0" * 64}, 9, 9)
"""


def words_of_own_task(kind: str, folder: Path) -> list[str]:
    """Write a task of the user's; return the words of a command that select it."""
    data, methods = folder / "a, b", "scratch"
    if kind == "text":
        word = f"mt-synthetic-en-de,text:{sentences.write(data)}"
        (folder / "mine.toml").write_text("[check]\nvocab = 90\n")
        flags = ["--source", "en", "--target", "fr", "--task-settings", str(folder / "mine.toml")]
        return ["mt", "--task", word, "--methods", methods, *flags]
    if kind == "mlm":
        data.mkdir()
        text = "\n\n".join(pair[0] for pair in sentences.pairs("en", "fr"))
        (data / "news.txt").write_text(text)
        return ["bert", "--task", f"mlm:{data}", "--methods", methods]
    if kind == "images":
        return ["simq", "--task", f"images:{test_pictures.write(data)}", "--methods", "int8-uniform"]
    (folder / "own.py").write_text(OWN)
    return ["mt", "--task", f"{folder}/own.py:Mine", "--methods", methods]


@pytest.mark.parametrize("kind", ["text", "mlm", "images", "file"])
def test_the_study_of_a_users_task_is_planned_alike_in_a_new_process(tmp_path, capsys, forget, kind):
    words = [*words_of_own_task(kind, tmp_path), "--tier", "check", "--seeds", "2", "--profile", "undeclared"]
    assert main.main(["plan", *words, "--json", "--results", str(tmp_path / "results")]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert plan["study"]["task"] == [words[2]]
    forget()
    again = planned(write(tmp_path, configuration.to_yaml(plan["study"])), capsys)
    assert again["runs"] == plan["runs"]
    for name in ("task", "source", "target", "task-settings"):
        assert again["study"].get(name) == plan["study"].get(name)


def test_the_study_of_a_users_profile_is_planned_alike_in_a_new_process(tmp_path, capsys, forget):
    file = tmp_path / "mine.v1.toml"
    machine = 'machine = { arch = "x86_64", cpus = 2 }'
    file.write_text(f'summary = "mine"\ndevice = "cpu"\nthreads = 2\n{machine}\n')
    words = ["plan", "mt", "--methods", "scratch", "--profile", str(file), "--json"]
    assert main.main([*words, "--results", str(tmp_path / "results")]) == 0
    plan = json.loads(capsys.readouterr().out)
    forget()
    assert planned(write(tmp_path, configuration.to_yaml(plan["study"])), capsys)["runs"] == plan["runs"]


def test_a_study_takes_over_the_published_runs_of_its_plan(tmp_path, capsys):
    words = ["plan", "mt", "--methods", "hat", "--seeds", "1", "--profile", "undeclared", "--json"]
    words += ["--results", str(tmp_path / "results"), "--published", str(tmp_path / "shared")]
    assert main.main(words) == 0
    (run,) = json.loads(capsys.readouterr().out)["runs"]
    assert run["state"] == "new"
    store.write(tmp_path / "shared" / "records", integrity.seal({**fake("hat"), "spec": run["spec"]}))
    assert main.main(words) == 0
    plan = json.loads(capsys.readouterr().out)
    assert [run["state"] for run in plan["runs"]] == ["done"]
    assert planned(write(tmp_path, configuration.to_yaml(plan["study"])), capsys)["runs"] == plan["runs"]


def test_the_study_of_a_plan_has_every_flag_that_selects_runs():
    command = argparse.ArgumentParser()
    planning.add_selection(command)
    add_published(command, "published")
    names = {max(action.option_strings, key=len, default=action.dest): action for action in command._actions}
    flags = {name.lstrip("-"): action.dest for name, action in names.items()}
    options = argparse.Namespace(**dict.fromkeys(flags.values(), "x"))
    options.configuration, options.option = None, []
    plan: Any = SimpleNamespace(runs=[SimpleNamespace(spec=SimpleNamespace(task="t", seed=1))], profile="p")
    study = configuration.effective(options, plan, {})
    assert {*study} == {*flags} - {"parallel-config", *configuration.OMITTED}


def test_flags_override_the_file(tmp_path, capsys):
    path = write(tmp_path, STUDY + "budget-scale: [0.5, 1]\n")
    assert len(planned(path, capsys)["runs"]) == 20
    plan = planned(path, capsys, "--seeds", "7,", "--option", "mos-neuron.experts=3", "--budget-scale", "2")
    specs = [run["spec"] for run in plan["runs"]]
    assert {spec["seed"] for spec in specs} == {7} and len(specs) == 3
    assert {spec["options"]["experts"] for spec in specs if spec["method"] == "mos-neuron"} == {3}
    assert planned(path, capsys, "--methods", "hat")["runs"], "options of methods left out are left out"


def test_a_plan_of_more_runs_than_anybody_makes_is_refused_at_once(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(planning, "lay_out", lambda *_: pytest.fail("laid out"))
    values = ", ".join(map(str, range(1, 65)))
    many = f"[{{mos-neuron: {{experts: [{values}], after: [continue, scratch]}}}}, hat]"
    for text, product in (
        (
            "suite: mt\nmethods: [hat, scratch]\nseeds: 9000\nbudget-scale: [1, 2, 3, 4, 5, 6]\n",
            "9,000 seeds",
        ),
        (f"suite: mt\nmethods: {many}\nseeds: 9000\n", "129 methods x 9,000 seeds"),
    ):
        assert main.main(["plan", "-C", str(write(tmp_path, text)), "--profile", "undeclared"]) == 2
        error = capsys.readouterr().err
        assert error.startswith("error: a plan of 1") and product in error and "at most 100,000" in error
    entries = [configuration.Entry(value, 1, str(value)) for value in range(2, 1002)]
    study = configuration.Configuration(tmp_path, {}, {"mine": dict.fromkeys(("a", "b", "c", "d"), entries)})
    options = tuple(Option(name, int, 2, help="a number") for name in "abcd")
    method = MethodRef("mine", "m:M", "0" * 64, "here", options=options)
    with pytest.raises(UsageError, match="1,000 values of a x 1,000 values of b"):
        study.sweeps({"mine": method}, {})


def test_one_seed_in_a_list_is_a_seed(tmp_path, capsys):
    for text, seeds in (("3", {1, 2, 3}), ("[3]", {3})):
        plan = planned(write(tmp_path, STUDY.replace("[1, 4]", text)), capsys)
        assert {run["spec"]["seed"] for run in plan["runs"]} == seeds


def test_a_run_that_follows_follows_each_run_of_a_sweep(tmp_path, capsys):
    text = STUDY.replace("[hat, ", "[{hat: {after: [continue, scratch]}}, scratch, ")
    runs = planned(write(tmp_path, text), capsys)["runs"]
    leaders = {run["id"] for run in runs if run["spec"]["method"] == "hat"}
    assert {r["spec"]["follows"] for r in runs if r["spec"]["method"] == "scratch"} == leaders
    assert len(leaders) == 4


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("suite: mt\nteir: smoke\n", 2, "no flag 'teir'. Did you mean 'tier'?"),
        ("suite: mt\ntier: smok\n", 2, "Did you mean 'smoke'?"),
        ("suite: nt\n", 1, "no suite 'nt'"),
        (
            "suite: mt\nsource: no\n",
            2,
            'source: no is a truth value in YAML, not a text: write  source: "no"',
        ),
        ("suite: mt\ntier: Off\n", 2, 'tier: Off is a truth value in YAML, not a text: write  tier: "Off"'),
        (
            "suite: mt\nmethods: {hat: {after: scratch}}\n",
            2,
            "methods: a list with an item for each method: ",
        ),
        ("suite: mt\nmethods: ''\n", 2, "methods: no value: write one, or leave the line out"),
        ("suite: mt\ntask: [' ']\n", 2, "task: no value: write one, or leave the line out"),
        ("suite: mt\nmethods: ','\n", 2, "--methods ',': names nothing: leave it out for the default"),
        ("suite: mt\ncheckpoint-seconds: -1\n", 2, "checkpoint-seconds: -1: zero or more"),
        ("suite: mt\ncarbon-intensity: -5\n", 2, "--carbon-intensity -5: grams of CO2 equivalent a kWh"),
        ("suite: mt\ncarbon-intensity: 5\npue: 0.1\n", 3, "--pue 0.1: the building's energy over"),
        ("suite: mt\nhook: tracker\n", 2, "'hook' belongs on the command line: --hook"),
        ("suite: mt\n\nmethods:\n  - hat\n  - hatt\n", 5, "Did you mean 'hat'?"),
        ("suite: mt\nmethods: [hat, hat]\nmethods: [hat]\n", 3, "methods stands in line 2 too"),
        ("suite: mt\nmethods:\n- mos-neuron:\n    experts: [2,\n      no-number]\n", 5, "'no-number' is not"),
        ("suite: mt\nmethods:\n- mos-neuron: {expert: 2}\n", 3, "Did you mean 'experts'?"),
        ("suite: mt\nmethods:\n- {hat: {}, scratch: {}}\n", 3, "one method an item"),
        ("suite: mt\nmethods:\n- {hat: {after: scratch}}\n- {hat: {}}\n", 4, "stands there twice"),
        ("suite: mt\ntask: [mt-multi30k]\n", 2, "Did you mean"),
        ("suite: mt\ntier: [smoke, small]\n", 2, "one value"),
        ("suite: mt\njobs: 0\n", 2, "at least 1"),
        ("suite: mt\nfresh: 2\n", 2, "neither true nor false"),
        ("suite: mt\nruleset: me\n", 2, "allowed: self external"),
        ("suite: mt\nprofile: nvidia-h100.v9\n", 2, "no profile"),
        ("suite: mt\nbudget-scale: [1, -1]\n", 2, "a budget must be above zero"),
        ("suite: mt\nseeds: []\n", 2, "an empty list"),
        ("suite: mt\nseeds:\n", 2, "no value"),
        ("suite: mt\nseeds: {a: 1}\n", 2, "one value"),
        ("suite: mt\nconfig: other.yml\n", 2, "belongs on the command line"),
        ("suite: mt\noption: hat.after=scratch\n", 2, "below their method"),
        ("suite: &a mt\ntier: *a\n", 1, "no anchors"),
        ("suite: [\n", 2, "not YAML"),
        ("suite: mt\nmethods: " + "[" * 40_000 + "\n", 2, "more than 20 deep"),
        ("- mt\n", 1, "no mapping"),
        ("", 1, "no mapping"),
    ],
)
def test_a_mistake_is_one_message_with_its_line(tmp_path, capsys, text, line, message):
    path = write(tmp_path, text)
    assert main.main(["plan", "--config", str(path), "--results", str(tmp_path / "r")]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: {path}:{line}: ") and message in error


def test_a_missing_suite_and_a_missing_file_are_refused(tmp_path, capsys):
    assert main.main(["plan"]) == 2 and "no suite" in capsys.readouterr().err
    assert main.main(["plan", "-C", str(tmp_path / "none.yml")]) == 2
    assert "cannot be read" in capsys.readouterr().err


@pytest.mark.parametrize(
    "data", [b"\xff\xfe\x00", b"[" * 5000, b"a: !!python/object/apply:os.system [ls]", b"x" * 2**21]
)
def test_a_hostile_file_is_refused(tmp_path, data):
    path = tmp_path / "study.yml"
    path.write_bytes(data)
    with pytest.raises(UsageError):
        configuration.read(path)


SCALARS = st.one_of(st.integers(), st.booleans(), st.text(max_size=5), st.floats(), st.none())
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3), max_leaves=4)


@settings(max_examples=60)
@given(st.dictionaries(st.sampled_from([*configuration.run_flags(), "x"]), VALUES, max_size=3))
def test_any_mapping_is_read_or_refused(tmp_path_factory, values):
    path = tmp_path_factory.mktemp("any") / "study.yml"
    path.write_text(yaml.safe_dump(values))
    try:
        main.parser(["plan"], configuration.read(path))
    except UsageError as error:
        assert str(error).startswith(f"{path}:") or "YAML" in str(error)


def test_the_page_on_studies_names_the_flags_that_are_typed():
    page = (ROOT / "docs" / "scaling.md").read_text()
    (line,) = (line for line in page.splitlines() if line.startswith("# study.yml: "))
    typed = set(configuration.OMITTED) - {"config", "help"}
    assert {word.strip(",") for word in line.split() if word.startswith("--")} == {f"--{f}" for f in typed}
