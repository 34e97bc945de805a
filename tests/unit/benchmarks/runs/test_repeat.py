"""The printed command plans the very run that a record is of; what nobody can repeat is refused."""

from __future__ import annotations

import copy
import json
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from benchmarks import registry
from benchmarks.cli import main
from benchmarks.cli import plan as plans
from benchmarks.hardware import profiles
from benchmarks.leaderboard import submission
from benchmarks.records import integrity, provenance
from benchmarks.records import store as records
from benchmarks.runs import repeat
from benchmarks.runs.plan import scale_budget
from benchmarks.tasks import get_task
from tests import ROOT
from tests.fake_records import fake
from tests.unit.benchmarks.leaderboard.test_submission import SETTINGS, good

PUBLISHED = records.load_all(ROOT / "results" / "records")
CODE = ("method_version", "method_sha256", "settings_sha256", "follows", "task_sha256", "data_sha256",
        "substrate_sha256")  # fmt: skip
"""Fields of a specification that today's code decides, not the command."""


@pytest.fixture
def anywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every declared profile is this machine."""
    monkeypatch.setattr(profiles, "enforce", lambda name: profiles.get(name))


def planned(words: list[str], results: Path) -> Any:
    """Return the last run that a typed command plans."""
    assert words[0] == "supernet-bench"
    options = main.parser().parse_args([*words[1:], "--results", str(results)])
    return plans.build_plan(options)[0].runs[-1]


def shared(spec: dict[str, Any]) -> dict[str, Any]:
    kept = {key: value for key, value in spec.items() if key not in CODE}
    # Seconds are a safety net, which a tier may have widened since.
    return kept | {"budget": {kind: amount for kind, amount in spec["budget"].items() if kind != "seconds"}}


def kinds() -> list[Any]:
    """Return one published record of each kind that differs in more than its seed."""
    found: dict[str, Any] = {}
    for record in PUBLISHED:
        spec = record["spec"] | {"seed": 0, "follows": None, "method_sha256": ""}
        found.setdefault(json.dumps(spec, sort_keys=True), record)
    return [pytest.param(record, id=record["id"]) for record in found.values()]


@pytest.mark.parametrize("record", kinds())
@pytest.mark.usefixtures("anywhere")
def test_the_command_of_every_published_record_plans_its_run(record: dict[str, Any], tmp_path: Path):
    leaders = {one["id"]: one for one in PUBLISHED}
    before, _, command = repeat.repeat_command(record, leaders).rpartition(" && ")
    words, spec = shlex.split(command), record["spec"]
    run = planned(words, tmp_path)
    mine, theirs = shared(run.spec.to_dict()), shared(spec)
    former = spec["settings_sha256"] != run.spec.settings_sha256
    assert before == (f"git switch --detach {record['provenance']['commit']}" if former else "")
    if former:  # its allowances are those of that commit, to which the command goes first
        mine, theirs = ({**fields, "budget": None} for fields in (mine, theirs))
    assert mine == theirs
    local = ("bert-enwiki", "mt-libreoffice-en-de", "vision-cifar10", "vision-cifar10-resnet")
    unfetched = record["spec"]["task"] in local
    assert ("--data-dir" in words) == unfetched, "what nobody can fetch"
    assert ("--jobs" in words) == (record["provenance"]["jobs"] != 1)
    if all(record["spec"][key] == run.spec.to_dict().get(key) for key in CODE if key in record["spec"]):
        assert run.spec.id == record["id"]


@pytest.mark.usefixtures("anywhere")
@pytest.mark.parametrize(
    ("typed", "scale"), [([], None), (["--budget-scale", "0.5"], "0.5"), (["--budget-scale=3"], "3")]
)
def test_a_run_of_former_settings_is_that_of_its_own_commit(typed: list[str], scale: str | None):
    """As it was typed then: its allowances are no scale of today's."""
    record = copy.deepcopy(PUBLISHED[0])
    record["spec"] |= {"settings_sha256": "c" * 64, "budget": dict.fromkeys(record["spec"]["budget"], 7)}
    record["provenance"] |= {"commit": "a" * 40, "command": ["supernet-bench", "run", "mt", *typed]}
    before, _, command = repeat.repeat_command(record).partition(" && ")
    words = shlex.split(command)
    assert before == "git switch --detach " + "a" * 40
    assert (words[words.index("--budget-scale") + 1] if "--budget-scale" in words else None) == scale
    assert "git" not in repeat.repeat_command(record, here=True)


@pytest.mark.usefixtures("anywhere")
@pytest.mark.parametrize("scale", [0.3, 0.45, 1 / 3, 2, 0.777])
@pytest.mark.parametrize("ruleset", ["self", "external"])
def test_scale_options_and_ruleset_come_back(scale: float, ruleset: str, tmp_path: Path):
    file = tmp_path / "t.py"
    file.write_text(
        "from mos.method import MosNeuron\nclass T(MosNeuron):\n    name = 'tuned'\n"
        "    trials = ({'after': 'scratch'}, {'constant': True})\n"
    )
    words = ["supernet-bench", "run", "mt", "--methods", f"{file}:T", "--budget-scale", repr(scale),
             "--profile", "cpu-2core-avx512.v1", "--seeds", "7,", "--ruleset", ruleset]  # fmt: skip
    if ruleset == "self":
        words += ["--option", "tuned.constant=yes", "--option", "tuned.experts=3"]
    first = planned(words, tmp_path)
    method = provenance.method(first.method) | {"word": f"{file}:T"}
    record = {"spec": first.spec.to_dict(), "provenance": {"data": {}, "jobs": 1, "method": method}}
    again = repeat.command_words(record)
    assert planned(again, tmp_path).spec == first.spec
    assert len(again[again.index("--budget-scale") + 1]) <= len(repr(scale))


@pytest.mark.usefixtures("anywhere")
def test_options_of_a_leader_come_back(tmp_path: Path):
    words = ["supernet-bench", "run", "mt", "--methods", "int8-uniform", "--profile", "cpu-2core-avx512.v1"]
    run = planned([*words, "--option", "hat.after=inherit"], tmp_path)
    record, leader = (
        {"id": one.spec.id, "spec": one.spec.to_dict(), "provenance": {"data": {}}}
        for one in (run, run.first)
    )
    assert planned(repeat.command_words(record, {leader["id"]: leader}), tmp_path).spec.id == run.spec.id
    assert planned(repeat.command_words(record), tmp_path).spec.id != run.spec.id


def test_a_hostile_method_is_one_quoted_word():
    record = fake()
    record["spec"] |= {"method": "x; rm -rf ~", "options": {"a": 2}}
    assert "--methods 'x; rm -rf ~'" in repeat.repeat_command(record)


def line(record: dict[str, Any], field: str) -> str:
    """Return the problem of one field, or nothing."""
    found = [
        text for text in submission.find_problems(integrity.seal(record), SETTINGS) if text.startswith(field)
    ]
    return "\n".join(found)


@pytest.mark.parametrize(
    ("method", "fine"),
    [
        ({"word": "./mine.py:Mine"}, False),
        ({"word": "./mine.py:Mine", "url": "file:///home/me/mine.py"}, False),
        ({"word": "./mine.py:Mine", "url": "https://example.org/mine.py"}, True),
        ({"word": "./mine.py:Mine", "path": "mine.py", "repository": "https://e.org/r"}, True),
        ({"word": "hat", "package": "supernet-bench", "version": "0.1.0"}, True),
        ({"word": "hat", "package": "supernet-bench"}, False),
        ({"path": "mine.py", "repository": "https://e.org/r", "commit": "ab" * 20}, True),
        ("hat", False),
        (None, True),
    ],
)
def test_a_method_that_is_nowhere_to_be_had_is_refused(method: Any, fine: bool):
    record = good("hat")
    if method is not None:
        record["provenance"]["method"] = method
    said = line(record, "provenance.method")
    assert (said == "") == fine
    assert fine or 'url = "https://..."' in said


def test_an_old_record_of_a_method_that_is_not_installed_is_refused_unless_published():
    record = good("mine")
    assert "no installed method is 'mine'" in line(record, "provenance.method")
    known = {record["spec"]["method_sha256"]}
    assert not [
        p for p in submission.find_problems(record, SETTINGS, known) if p.startswith("provenance.method")
    ]


def test_a_release_stands_for_a_commit():
    record = good("hat")
    record["provenance"]["commit"] = None
    assert "installed release" in line(record, "provenance.commit")
    record["provenance"]["package"] = {"name": "supernet-bench", "version": "0.1.0"}
    assert line(record, "provenance.commit") == ""
    record["provenance"]["package"] = {"name": "supernet-bench"}
    assert "no package and version" in line(record, "provenance.commit")


def test_an_option_without_effect_is_refused():
    record = good("hat")
    record["spec"] |= {"method_sha256": registry.find("hat").sha256, "options": {"after": "scratch"}}
    assert "stands at its default" in line(record, "spec.options.after")
    record["spec"]["options"] = {"after": "foo"}
    assert "is not allowed" in line(record, "spec.options.after")
    record["spec"]["options"] = {"after": "inherit"}
    assert line(record, "spec.options") == ""
    record["message"] = "options it never asked for: after"
    assert "had no effect" in line(record, "message")


def validated(capsys: pytest.CaptureFixture[str], results: Path, *paths: Path) -> tuple[int, str]:
    code = main.main(["validate", *map(str, paths), "--results", str(results)])
    return code, capsys.readouterr().out


def test_a_record_of_another_name_or_folder_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    store = tmp_path / "results" / "records"
    source = next(path for path in records.paths(ROOT / "results" / "records"))
    place = store / source.relative_to(ROOT / "results" / "records")
    place.parent.mkdir(parents=True)
    shutil.copy(source, place)
    assert validated(capsys, tmp_path / "results", place)[0] == 0
    renamed = place.rename(place.with_name("best-run.json"))
    code, said = validated(capsys, tmp_path / "results", store)
    assert code == 1 and f"'best-run.json' would not be read: rename it to {place.name}" in said
    (store / "elsewhere").mkdir()
    renamed.rename(store / "elsewhere" / place.name)
    code, said = validated(capsys, tmp_path / "results", store)
    assert code == 1 and f"lies at records/{place.relative_to(store)}" in said


def git(folder: Path, *words: str) -> None:
    who = ["-c", "user.name=a", "-c", "user.email=a@b.org"]
    subprocess.run(["git", "-C", str(folder), *who, *words], check=True, capture_output=True)


def test_provenance_states_the_origin_of_a_method(tmp_path: Path):
    file = tmp_path / "mine.py"
    file.write_text("from baselines.hat import HAT\nclass Mine(HAT):\n    name = 'mine'\n")
    word = f"{file}:Mine"
    assert provenance.method(registry.find("hat")) == {
        "word": "hat", "package": "supernet-bench", "version": provenance.versions()["supernet-bench"],
    }  # fmt: skip
    assert provenance.method(registry.find(word)) == {"word": "./mine.py:Mine"}
    above = registry.find(f"{word}+int8-uniform")
    assert provenance.method(above)["word"] == "./mine.py:Mine+int8-uniform"
    example = registry.find(f"{ROOT / 'examples' / 'thrifty.py'}:Thrifty")
    assert provenance.method(example)["path"] == "examples/thrifty.py"
    git(tmp_path, "init", "-q")
    git(tmp_path, "remote", "add", "origin", "https://me:secret@example.org/r.git")
    assert "commit" not in provenance.method(registry.find(word)), "it is not committed"
    git(tmp_path, "add", "mine.py")
    git(tmp_path, "commit", "-qm", "m")
    found = provenance.method(registry.find(word))
    assert found["repository"] == "https://example.org/r.git" and len(found["commit"]) == 40
    file.write_text(file.read_text() + "# changed\n")
    assert "commit" not in provenance.method(registry.find(word)), "it was changed since"
    file.write_text(file.read_text() + "    url = 'https://example.org/mine.py'\n")
    assert provenance.method(registry.find(word))["url"] == "https://example.org/mine.py"


def test_a_plan_names_runs_that_cannot_be_published(tmp_path: Path):
    file = tmp_path / "mi,ne.py"
    file.write_text("from baselines.hat import HAT\nclass Mine(HAT):\n    name = 'mine'\n")
    words = [
        "plan",
        "mt",
        "--methods",
        f"hat,{file}:Mine,{file}:Mine+int8-uniform",
        "--profile",
        "undeclared",
    ]
    made = plans.build_plan(main.parser().parse_args([*words, "--results", str(tmp_path)]))[0]
    assert [run.spec.method for run in made.runs] == ["hat", "mine", "mine+int8-uniform"]
    (note,) = [note for note in made.notes if "could not be published" in note]
    assert note.startswith("records of mine could not")


def test_a_file_alone_can_be_built_upon(tmp_path: Path):
    file = tmp_path / "c++" / "mine.py"
    file.parent.mkdir()
    file.write_text("from baselines.hat import HAT\nclass Mine(HAT):\n    name = 'mine'\n")
    words = ["plan", "mt", "--methods", f"{file}:Mine+int8-uniform", "--profile", "undeclared"]
    made = plans.build_plan(main.parser().parse_args([*words, "--results", str(tmp_path)]))[0]
    assert [run.spec.method for run in made.runs] == ["mine", "mine+int8-uniform"]


def test_a_released_tree_is_distinct_from_an_editable_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    assert provenance.released() == (None, None), "the tests run an editable install"
    import base64
    import hashlib

    site = tmp_path / "site"
    (site / "benchmarks" / "records").mkdir(parents=True)
    code = site / "benchmarks" / "records" / "provenance.py"
    code.write_text("x = 1\n")
    digest = base64.urlsafe_b64encode(hashlib.sha256(code.read_bytes()).digest()).decode().rstrip("=")
    about = site / "some_bench-3.2.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: some-bench\nVersion: 3.2\n")
    (about / "RECORD").write_text(f"benchmarks/records/provenance.py,sha256={digest},6\n")
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.setattr(provenance, "__file__", str(code))
    assert provenance.released("some-bench") == ({"name": "some-bench", "version": "3.2"}, None)
    code.write_text("x = 2\n")
    package, changed = provenance.released("some-bench")
    assert package is not None and changed is not None
    assert provenance.released("no-such-bench") == (None, None)


@pytest.mark.parametrize(
    "value",
    [
        "(" * 200_000 + ")" * 200_000,
        "-" * 3000 + "1",
        "1" + "+1" * 2000,
        "a" + ".a" * 3000,
        "[" * 90 + "]" * 90,
    ],
)
def test_a_file_nested_too_deeply_is_one_message(tmp_path: Path, value: str):
    file = tmp_path / "deep.py"
    file.write_text(
        f"class M(api.Method):\n    name = 'm'\n    def search(self, lab):\n        return {value}\n"
    )
    if len(value) < 200:
        assert registry.find(f"{file}:M").name == "m"
        return
    with pytest.raises(registry.UsageError, match="nested too deeply|not valid Python"):
        registry.find(f"{file}:M")


def test_a_module_beside_a_method_that_is_no_python_is_one_message(tmp_path: Path):
    (tmp_path / "helper_of_it.py").write_text("def (:\n")
    file = tmp_path / "mine.py"
    file.write_text("import helper_of_it\n\nclass M(api.Method):\n    name = 'm'\n")
    said = r"a module (of|that) '.*mine.py'( brings)? is not valid Python"
    with pytest.raises(registry.UsageError, match=said):
        registry.find(f"{file}:M")


def test_scales_that_tiers_have_are_found_from_budgets():
    tier = get_task("mt-multi30k-en-de").tier("small", "cuda")
    for scale in (0.5, 0.44, 1 / 7, 3):
        spec = copy.deepcopy(fake()["spec"]) | {"task": "mt-multi30k-en-de", "tier": "small"}
        spec |= {"profile": "nvidia-h100.v1", "budget": scale_budget(tier.budget, scale)}
        assert scale_budget(tier.budget, repeat._scale(spec)) == spec["budget"]
