"""Generated pages hold all of what they are generated from."""

import ast
import importlib
import inspect
import json
import re
import sys
from collections import Counter
from functools import cache

import pytest

from benchmarks import registry
from benchmarks.api import UsageError
from benchmarks.cli.main import COMMANDS, parser
from tests import ROOT

pytestmark = pytest.mark.docs
sys.path.insert(0, str(ROOT / "docs"))
docutils = pytest.importorskip("docutils", reason="pip install supernet-bench[docs]")
PACKAGES = ("benchmarks", "supernet", "mos", "simq", "baselines", "supernet_bench")


@cache
def page(name: str) -> str:
    return importlib.import_module(f"build_pages.{name}").page()


def test_every_method_has_its_facts_and_no_other_has() -> None:
    methods = importlib.import_module("build_pages.methods")
    assert set(methods.declared_facts()) == set(methods.described())
    for name, facts in methods.declared_facts().items():
        assert set(facts) <= {"equation", "where", "paper", "deviations"}, name
        assert len(set(facts.get("deviations", ()))) == len(facts.get("deviations", ())), name
        assert ("equation" in facts) == ("where" in facts), name
        assert facts["paper"].endswith("."), name


def test_every_option_of_every_method_is_on_the_page() -> None:
    text = page("methods")
    for name, ref in registry.methods().items():
        if isinstance(ref, UsageError) or ref.source.split(".")[0] not in ("baselines", "mos", "simq"):
            continue
        assert f"\n## {name}\n" in f"\n{text}"
        for option in ref.options:
            assert f"--option {name}.{option.name}=" in text
    spent: Counter[str] = Counter()
    for path in (ROOT / "results" / "records").glob("*/*/hat/*.json"):
        record = json.loads(path.read_text("utf-8"))
        for entry in record["ledger"]["entries"]:
            of_allowance = entry["amount"] / record["spec"]["budget"]["tokens"]
            spent[entry["phase"]] += of_allowance if entry["kind"] == "tokens" else 0  # type: ignore[assignment]
    share = f"supernet {spent['supernet'] / spent.total():.0%}"
    assert share in re.search(r"(?s)## hat\n.*?\n## ", text)[0]


def test_every_flag_is_on_the_page() -> None:
    text = page("commands")
    (subparsers,) = (a.choices for a in parser()._actions if a.choices)
    for name in COMMANDS:
        section = re.search(rf"(?s)\n## {name}\n(.*?)(?=\n## |\Z)", text)
        assert section, name
        for action in subparsers[name]._actions:
            for flag in action.option_strings:
                assert f"`{flag}`" in section[1] or flag in ("-h", "--help") or action.help == "==SUPPRESS=="


def test_every_raised_error_for_users_is_on_the_page() -> None:
    errors = importlib.import_module("build_pages.errors")
    collected = errors.messages()
    modules = {message.module for message in collected}
    raising = set()
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                call = node.exc if isinstance(node, ast.Raise) else None
                if isinstance(call, ast.Call) and errors.called(call.func) == "UsageError":
                    if isinstance(call.args[0], ast.Constant | ast.JoinedStr):
                        raising.add(
                            ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
                        )
    assert raising - modules <= set(), raising - modules
    assert len(collected) > 250
    words = " ".join(message.problem for message in collected)
    assert "no folder '‹folder›' with the files" in words
    rows = re.findall(r"(?m)^\| (.*) \| (.*) \| `[\w.]+` \|$", errors.page())
    assert len(rows) >= len(collected) and all(remedy.strip() for _, remedy in rows)
    assert errors.parted("a.csv: no such column: name another") == ("a.csv: no such column", "name another")
    assert errors.parted("cannot read 'x': ‹error›") == ("cannot read 'x': ‹error›", "")


def test_every_task_and_tier_and_record_field_is_on_its_page() -> None:
    from benchmarks.tasks import tasks_by_name

    text = page("tiers")
    for name, task in tasks_by_name().items():
        if type(task).__module__.startswith("benchmarks."):
            assert all(f"### {name} {tier}\n" in text for tier in task.tiers())
    for key in ("batch_tokens", "predictor_probes", "limits", "learning_rates"):
        assert key in text
    assert "`stopped_by`" in page("schema") and "**`ledger`**" in page("schema")


def documented() -> list[tuple[str, str]]:
    """Place and text of every docstring of modules, classes and functions."""
    found = []
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                    if text := ast.get_docstring(node):
                        name = getattr(node, "name", "module")
                        found.append((f"{path.relative_to(ROOT)}:{name}", text))
    return found


def test_docstrings_render_without_warnings() -> None:
    """Napoleon makes reStructuredText of them, which must be sound."""
    import docutils.core
    from docutils.parsers.rst import roles
    from sphinx.ext.napoleon import Config, GoogleDocstring

    for role in ("class", "func", "meth", "mod", "attr", "obj", "exc", "data"):
        roles.register_generic_role(role, docutils.nodes.literal)
    from docutils.parsers.rst import Directive, directives

    class Ignored(Directive):
        optional_arguments, final_argument_whitespace, has_content = 1, True, True
        option_spec = {"type": directives.unchanged, "no-index": directives.flag, "noindex": directives.flag}

        def run(self) -> list:
            self.state.nested_parse(self.content, self.content_offset, docutils.nodes.container())
            return []

    for name in ("attribute", "method", "rubric", "py:attribute"):
        directives.register_directive(name, Ignored)
    wrong = []
    settings = {"report_level": 2, "halt_level": 5, "warning_stream": False, "file_insertion_enabled": False}
    for where, text in documented():
        lines = str(GoogleDocstring(inspect.cleandoc(text), Config(napoleon_use_ivar=True)))
        tree = docutils.core.publish_doctree(lines, settings_overrides=settings)
        for message in tree.findall(docutils.nodes.system_message):
            if message["level"] >= settings["report_level"]:
                wrong.append(f"{where}: {message.astext()}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    ("method", "differences"),
    [
        ("hat", ("ridge", "no BERT", "start from nothing")),
        ("mos-layer", ("parent", "offsets", "dropout", "Two experts", "three passes", "clipped")),
        ("supershaper", ("parent", "200 trees", "evaluated")),
        ("nas-bert", ("number of epochs", "layer at their place", "kernel size", "latency would empty")),
        ("autodistil", ("labels", "softmax", "two sub-spaces", "unmasked", "4e-5")),
    ],
)
def test_known_differences_from_the_papers_are_listed(method: str, differences: tuple[str, ...]) -> None:
    """Each difference that an audit against papers and public code found, by words of its sentence."""
    facts = importlib.import_module("build_pages.methods").declared_facts()
    listed = " ".join(facts[method]["deviations"])
    for words in differences:
        assert words in listed, (method, words)
