"""Studies by name, and the outcome of one: tables, notes and facts that ``results/studies`` stores.

A study is a module of ``benchmarks.studies`` with ``SUMMARY``, ``READS`` (``data``, ``records``,
``weights``, or None) and ``run(folder, say) -> Outcome``; ``supernet-bench study NAME`` prints its outcome
and writes it to ``results/studies``. Its rule of decision is written down in its module.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

STUDIES = {
    "cpu-latency": "cpu_latency",
    "shape-latency": "shape_latency",
    "simq-fronts": "simq_fronts.study",
    "simq-fronts-accuracy": "simq_fronts.accuracy",
    "simq-search": "simq_search.study",
}
"""Name on the command line -> module."""


@dataclass(frozen=True)
class Outcome:
    """What a study found.

    Attributes:
        title, question: in words.
        rule: how its verdicts follow from its figures.
        columns, rows: its table, as texts.
        notes: what a reader must know of the figures.
        facts: all of it as plain JSON types.
        pictures: file ending (``png``, ``svg``) -> bytes.
    """

    title: str
    question: str
    rule: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str]
    facts: Mapping[str, Any]
    pictures: Mapping[str, bytes]

    def markdown(self, name: str) -> str:
        """The outcome as a page; ``name`` is that of its picture, without ending."""
        lines = [f"# {self.title}", "", self.question, "", f"Rule: {self.rule}", ""]
        lines += ["| " + " | ".join(self.columns) + " |", "|" + " :-- |" * len(self.columns)]
        lines += ["| " + " | ".join(row) + " |" for row in self.rows]
        lines += ["", *(f"- {note}" for note in self.notes), ""]
        lines += [f"![{self.title}]({name}.png)", ""]
        return "\n".join(lines)


def module(name: str) -> ModuleType:
    """The module of a study, by a name of ``STUDIES``."""
    from importlib import import_module

    return import_module(f"benchmarks.studies.{STUDIES[name]}")
