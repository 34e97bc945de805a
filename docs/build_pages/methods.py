"""Reference of the methods, from declarations, docstrings, ``methods.toml`` and published records."""

from __future__ import annotations

import ast
import inspect
import tomllib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import benchmarks
from benchmarks import class_facts, registry
from benchmarks.api import UsageError
from benchmarks.records import store
from build_pages.markup import code, table, text

ROOT = Path(benchmarks.__file__).parents[1]
FACTS = Path(__file__).with_name("methods.toml")
OURS = ("baselines", "mos", "simq")
"""Packages whose methods stand on the page; those of a stranger's package do not."""


def page() -> str:
    """Return the page: one section a method."""
    lines = []
    spent = spending()
    for name, ref in described().items():
        facts = declared_facts()[name]
        lines += [f"## {name}", "", text(ref.summary[0].upper() + ref.summary[1:]) + ".", ""]
        lines += ["**Mechanism.** " + mechanism(ref.source), ""]
        if "equation" in facts:
            lines += ["$$", facts["equation"].strip(), "$$", "", facts["where"].strip(), ""]
        lines += ["**Paper.** " + facts["paper"], ""]
        deviations = facts.get("deviations", [])
        lines += ["**Deliberate deviations.** " + ("" if deviations else "None known."), ""]
        lines += [*(f"- {deviation}" for deviation in deviations), ""]
        lines += options(name, ref)
        lines += tokens(spent.get(name, {}))
        lines += [f"Code: `{ref.source}`, version {ref.version}.", ""]
    return "\n".join(lines)


def described() -> dict[str, registry.MethodRef]:
    """Return our installed methods by name."""
    refs = registry.methods()
    ours = {
        name: ref
        for name, ref in refs.items()
        if not isinstance(ref, UsageError) and ref.source.split(".")[0] in OURS
    }
    return ours


@cache
def declared_facts() -> Mapping[str, Mapping[str, Any]]:
    """Return equation, paper and deviations of every method: what no declaration holds."""
    return tomllib.loads(FACTS.read_text(encoding="utf-8"))


def mechanism(source: str) -> str:
    """Return the docstring of a method's class as Markdown, without importing it."""
    module, _, class_name = source.partition(":")
    file = class_facts.module_file(module)
    assert file is not None
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef) and node.name == class_name:
            words = inspect.cleandoc(ast.get_docstring(node) or "")
            return words.replace("``", "`").replace("    *", "*")
    raise LookupError(source)


def options(name: str, ref: registry.MethodRef) -> list[str]:
    """Return the lines about a method's options and needs."""
    if not ref.options:
        return ["**Options.** None.", ""]
    rows = [
        (
            code(f"--option {name}.{option.name}="),
            code("computed" if option.default is None else str(option.default)),
            text(option.allowed),
            text(option.help),
        )
        for option in ref.options
    ]
    return ["**Options.**", "", *table(("option", "default", "allowed", "meaning"), rows)]


def tokens(phases: Mapping[str, float]) -> list[str]:
    """Return the lines about the phases that a method's tokens go to."""
    if not phases:
        return ["**Tokens by phase.** No published record yet.", ""]
    total = sum(phases.values())
    shares = [f"{text(name)} {amount / total:.0%}" for name, amount in phases.items() if amount]
    return ["**Tokens by phase** (mean of its published runs): " + ", ".join(shares) + ".", ""]


@cache
def spending() -> dict[str, dict[str, float]]:
    """Return method -> phase -> tokens over all published runs that are done."""
    spent: dict[str, dict[str, float]] = {}
    for path in sorted((ROOT / "results" / "records").rglob("*.json")):
        record = store.load(path)
        if record["status"] != "done":
            continue
        phases = spent.setdefault(record["spec"]["method"].rpartition("+")[2], {})
        for entry in record["ledger"]["entries"]:
            if entry["kind"] == "tokens":
                share = entry["amount"] / record["spec"]["budget"]["tokens"]
                phases[entry["phase"]] = phases.get(entry["phase"], 0.0) + share
    return spent
