"""Options of methods: declared once, checked before anything runs, complete where they are read."""

from __future__ import annotations

import json
from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest

from benchmarks import registry
from benchmarks.api import Need, Option, UsageError
from benchmarks.claims import hypotheses
from benchmarks.cli import list as list_command
from benchmarks.cli import main
from benchmarks.cli import plan as plans
from benchmarks.options import Options, checked, completed, parse
from benchmarks.records import store
from tests import ROOT

DECLARED = (
    Option("after", str, "scratch", choices=("scratch", "continue", "inherit"), help="winners"),
    Option("experts", int, 2, low=1, high=64, help="copies"),
    Option("constant", bool, False, idle=("experts", 1), help="an ablation"),
    Option("share", float, 0.5, low=0, high=1, help="a share"),
    Option("batch", int, None, low=2, help="computed"),
)


def given(*words: str) -> dict[str, Any]:
    """Return what a method ``m`` is given by words of the command line."""
    return checked("m", DECLARED, parse([f"m.{word}" for word in words]).get("m", {}))


@pytest.mark.parametrize("text", ["False", "false", "no", "No", "off", "OFF", "0"])
def test_every_word_for_no_means_no(text: str):
    assert given(f"constant={text}") == {}
    declared = (Option("on", bool, True, help="on"),)
    assert checked("m", declared, {"on": text}) == {"on": False}


@pytest.mark.parametrize("text", ["True", "yes", "on", "1"])
def test_every_word_for_yes_means_yes(text: str):
    assert given(f"constant={text}") == {"constant": True}


def test_values_have_the_declared_type():
    assert given("experts=4", "share=1", "after=inherit") == {"experts": 4, "share": 1.0, "after": "inherit"}
    assert isinstance(given("share=1")["share"], float)


def test_options_at_their_default_are_left_out():
    assert given("after=scratch", "experts=2", "constant=false", "share=0.50") == {}


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("aftr=scratch", "declares no option 'aftr'. Did you mean 'after'?"),
        ("zzz=1", "options of m: after (scratch | continue | inherit); experts"),
        ("after=foo", "'foo' is not allowed"),
        ("after=scrtch", "Did you mean 'scratch'?"),
        ("experts=2.5", "allowed: whole number, at least 1, at most 64 (default: 2)"),
        ("experts=2.0", "'2.0' is not allowed"),
        ("experts=0", "at least 1"),
        ("experts=1000", "at most 64"),
        ("experts=NaN", "'NaN' is not allowed"),
        ("experts=true", "'true' is not allowed"),
        ("experts=", "'' is not allowed"),
        ("share=nan", "'nan' is not allowed"),
        ("share=Infinity", "'Infinity' is not allowed"),
        ("share=1e999", "'1e999' is not allowed"),
        ("constant=maybe", "true | false"),
        ("constant=2", "true | false"),
        ("batch=1", "default: computed"),
    ],
)
def test_undeclared_options_are_refused_with_the_declared_ones(word: str, said: str):
    with pytest.raises(UsageError) as error:
        given(word)
    assert f"--option m.{word}" in str(error.value) and said in str(error.value)


def test_an_option_that_another_makes_idle_is_refused():
    with pytest.raises(UsageError, match="constant=true changes nothing where experts is 1"):
        given("experts=1", "constant=yes")
    assert given("experts=3", "constant=yes") == {"experts": 3, "constant": True}


def test_words_of_another_form_and_two_values_are_refused():
    for bad in ("hat", "hat.after", "hat=3", ".a=1"):
        with pytest.raises(UsageError, match=r"METHOD\.NAME=VALUE"):
            parse([bad])
    with pytest.raises(UsageError, match="two values, 'a' and 'b'"):
        parse(["hat.after=a", "hat.after=b"])
    assert parse(["mos-layer.path=a=b.c"]) == {"mos-layer": {"path": "a=b.c"}}


def test_a_method_reads_complete_options_and_no_others():
    options = Options(DECLARED, {"experts": 4, "share": 0.1})
    assert options["experts"] == 4 and options["after"] == "scratch" and options["batch"] is None
    assert options.ignored == ["share"], "defaults that nobody read are no matter"
    with pytest.raises(UsageError, match=r"lab\.options\['other'\].*declare it"):
        options.get("other", 5)
    with pytest.raises(UsageError, match="'other' is not declared"):
        completed(DECLARED, {"other": 1})
    with pytest.raises(UsageError, match="experts=True: allowed is whole number"):
        completed(DECLARED, {"experts": True})


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": "Bad Name"},
        {"kind": list},
        {"help": ""},
        {"help": "a\nb"},
        {"default": "other"},
        {"kind": int, "default": True, "choices": ()},
        {"kind": float, "default": float("nan"), "choices": ()},
    ],
)
def test_a_declaration_that_no_value_could_meet_is_refused(wrong: dict[str, Any]):
    with pytest.raises(ValueError, match="option|allowed"):
        Option(**{"name": "a", "kind": str, "default": "x", "choices": ("x",), "help": "h"} | wrong)


MINE = """
from benchmarks.api import Method, Need, Option
from elsewhere_options import COUNTS

KINDS = ("a", "b")
SIZE = Option("size", int, None, low=2, help="how many")

class Base(Method):
    options = (Option("kind", str, "a", choices=KINDS, help="which"), SIZE)

    def search(self, lab):
        return ()

class Mine(Base):
    name = "mine"
    options = (*Base.options, Option("count", int, 4, choices=COUNTS, help="n"))
    needs = (Need("probes", 8, why="samples"),)

class Heir(Base):
    name = "heir"

class Silent(Method):
    name = "silent"

    def search(self, lab):
        return ()
"""


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "elsewhere_options.py").write_text("COUNTS = (4, 8)\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    file = tmp_path / "mine.py"
    file.write_text(MINE)
    return file


def test_declarations_are_read_without_executing_the_file_and_are_those_of_the_class(mine: Path):
    for name in ("Mine", "Heir", "Silent"):
        ref, kind = registry.find(f"{mine}:{name}"), registry.load(f"{mine}:{name}")
        assert ref.options == kind.options and ref.needs == kind.needs
    assert [option.name for option in registry.find(f"{mine}:Mine").options] == ["kind", "size", "count"]
    assert registry.find(f"{mine}:Mine").needs == (Need("probes", 8, why="samples"),)
    assert registry.find(f"{mine}:Silent").options == ()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("options = tuple(x for x in ())", "write literals"),
        ("options = (Option('a', int, 2.5, help='h'),)", "a=2.5: allowed is whole number"),
        ("options = (Option('a', int, 2),)", 'option a: help takes one line: help="..."'),
        (
            "options = (Option('tries', int, 'three'),)",
            "option tries: default tries=three: allowed is whole number; help takes one line",
        ),
        (
            "options = Option('a', int, 2, help='h')",
            r"a tuple is needed, with a comma at its end: \(Option.*,\)",
        ),
        ("options = (Option('a', int, 2))", r"a tuple is needed, with a comma at its end: \(Option"),
        ("needs = Need('probes', 2, why='w')", r"a tuple is needed, with a comma at its end: \(Need"),
        ("options = (Option('a', int, 2, help='h', most=3),)", "most"),
        ("options = (Option('a', int, 2, help='h'),) * 2", "write literals"),
        ("options = (3,)", r"a tuple of Option\(...\)"),
        ("options = (Option('a', int, 2, help='h'), Option('a', int, 2, help='h'))", "two of one name"),
        ("options = (Option('a', int, 2, help='h', idle=('b', 1)),)", "idle names no option"),
        ("needs = (Need('seconds', 2, why='w'),)", "evaluations or probes"),
        ("needs = (Need('probes', 2),)", "a reason"),
        ("needs = (Need('probes', {'s': 0}, why='w'),)", "at least 1"),
    ],
)
def test_a_declaration_that_cannot_be_read_is_one_message(tmp_path: Path, text: str, said: str):
    file = tmp_path / "m.py"
    file.write_text(f"from benchmarks.api import *\nclass M(Method):\n    name = 'm'\n    {text}\n")
    with pytest.raises(UsageError, match=rf"'m.py', line 4: (options|needs): (.|\n)*{said}"):
        registry.find(f"{file}:M")


def test_every_installed_method_declares_the_facts_of_its_class():
    for name, ref in registry.methods().items():
        assert not isinstance(ref, UsageError), ref
        kind = registry.load(ref.source)
        assert (ref.options, ref.needs) == (kind.options, kind.needs), name


def test_the_list_of_methods_shows_every_option(capsys: pytest.CaptureFixture[str]):
    list_command.run(Namespace(what="methods", json=False))
    shown = capsys.readouterr().out
    (line,) = [line for line in shown.splitlines() if line.startswith("mos-neuron") and "experts" in line]
    for part in ("int", "2", "whole number, at least 1", "copies of every mixed linear"):
        assert part in line
    list_command.run(Namespace(what="methods", json=True))
    listed = {row["name"]: row["options"] for row in json.loads(capsys.readouterr().out)}
    assert listed["scratch"] == [] and [option["name"] for option in listed["hat"]] == [
        "after",
        "space",
        "share",
    ]
    assert listed["hat"][0] == {
        "name": "after",
        "type": "str",
        "default": "scratch",
        "allowed": "inherit | continue | scratch",
        "help": listed["hat"][0]["help"],
    }


def planned(tmp_path: Path, *words: str) -> Any:
    """Return the plan of a command, made as the command line makes it."""
    options = main.parser().parse_args(
        ["plan", *words, "--results", str(tmp_path), "--profile", "undeclared"]
    )
    return plans.build_plan(options)[0]


def test_the_plan_refuses_and_canonicalises_options(tmp_path: Path):
    plain = planned(tmp_path, "mt", "--methods", "hat,mos-neuron")
    same = planned(
        tmp_path, "mt", "--methods", "hat,mos-neuron", "--option", "hat.after=scratch",
        "--option", "mos-neuron.constant=no",
    )  # fmt: skip
    assert [run.spec.id for run in plain.runs] == [run.spec.id for run in same.runs]
    for word, said in {
        "hat.aftr=scratch": "Did you mean 'after'",
        "hat.after=foo": "'foo' is not allowed",
        "hat.experts=4": "hat declares no option 'experts'",
        "mos-neuron.experts=2.5": "whole number",
        "mos-neuron.experts=NaN": "whole number",
        "scratch.after=continue": "scratch declares no option 'after'\\.\noptions of scratch: none",
    }.items():
        with pytest.raises(UsageError, match=said):
            planned(tmp_path, "mt", "--methods", "hat,mos-neuron,scratch", "--option", word)


def test_options_of_published_records_and_claims_are_declared_and_had_an_effect():
    folder = ROOT / "results" / "records"
    specs = [(r["spec"]["method"], r["spec"]["options"]) for r in store.load_all(folder)]
    for claim in hypotheses.claims():
        specs += [(claim.method, claim.method_options), (claim.against, claim.against_options)]
    assert sum(bool(options) for _, options in specs) > 20
    for method, options in specs:
        if method:
            assert checked(method, registry.find(method).options, options) == dict(options), method


def test_trials_are_checked_by_the_declaration(tmp_path: Path):
    file = tmp_path / "t.py"
    head = "from baselines.hat import HAT\nclass T(HAT):\n    name = 't'\n    trials = "
    for trials, said in {
        "({'after': 'scratch'}, {'aftr': 'x'})": "t, trial 2: aftr=x: t declares no option 'aftr'",
        "({'after': 'foo'}, {})": "t, trial 1: after=foo: 'foo' is not allowed",
        "({'after': 'scratch'}, {})": "trials 1 and 2 are the same run",
    }.items():
        file.write_text(head + trials + "\n")
        with pytest.raises(UsageError, match=said):
            planned(tmp_path, "mt", "--methods", f"{file}:T", "--ruleset", "external")
