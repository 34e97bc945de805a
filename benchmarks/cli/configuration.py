"""Study files: the flags of ``run`` as YAML (``--config study.yml``), where a list is a sweep.

A flag on the command line replaces the file's value. Every mistake is reported with its line.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import yaml

from benchmarks.api import UsageError
from benchmarks.hardware.user_profiles import is_file_word
from benchmarks.options import checked, parse
from benchmarks.records.canonical import JsonObject, JsonView
from benchmarks.registry import MethodRef
from benchmarks.runs.plan import require_few
from benchmarks.runs.yaml_file import compose, pairs
from benchmarks.suggestions import suggest

if TYPE_CHECKING:
    from benchmarks.runs.plan import Plan

SWEPT = ("task", "methods", "seeds", "budget-scale", "profile")
"""Flags that take a list."""
OMITTED = ("config", "detach", "help", "hook", "json", "option")
"""Flags of ``run`` that a study file cannot set."""
EXAMPLE = "a study file has one flag of `supernet-bench run` a line, such as  tier: small"
METHODS = "write  methods: [hat, {mos-neuron: {experts: [2, 4]}}]"
NO_VALUE = "no value: write one, or leave the line out"


class Entry(NamedTuple):
    """A value of a study file, its line, and its text there, which for ``no`` is not that of its value."""

    value: str | int | float
    line: int
    text: str


@dataclass(frozen=True)
class Configuration:
    """A study file that has been read.

    Attributes:
        flags: flag without dashes -> its values.
        options: method -> option -> values of its sweep.
    """

    path: Path
    flags: Mapping[str, Sequence[Entry]] = field(default_factory=dict)
    options: Mapping[str, Mapping[str, Sequence[Entry]]] = field(default_factory=dict)

    def error(self, line: int, problem: str) -> UsageError:
        """Return the error of a line."""
        return UsageError(f"{self.path}:{line}: {problem}")

    def sweeps(self, methods: Mapping[str, MethodRef], given: JsonView) -> dict[str, list[JsonObject]]:
        """Return the sets of options of each method that has any: the product of its options' values.

        Args:
            methods: of the plan, by the words that select them; options of other methods are left out.
            given: method -> options of the command line, which replace the file's.

        Raises:
            UsageError: an option that its method does not declare so, with its line.
        """
        sets: dict[str, list[JsonObject]] = {}
        for word, method in methods.items():
            own = given.get(method.name, {})
            swept = {name: kept for name, kept in self.options.get(word, {}).items() if name not in own}
            for name, entries in swept.items():
                for value, line, _ in entries:
                    checked(method.name, method.options, {name: value}, f"{self.path}:{line}: {method.name}.")
            if swept:
                require_few(**{f"values of {name}": len(entries) for name, entries in swept.items()})
                values = ([entry.value for entry in entries] for entries in swept.values())
                sets[method.name] = [
                    dict(zip(swept, chosen, strict=True)) for chosen in itertools.product(*values)
                ]
        return sets


def add_config(command: argparse.ArgumentParser) -> None:
    """Add ``--config``; ``apply`` must be called with the options before they are used."""
    command.add_argument(
        "-C",
        "--config",
        type=Path,
        metavar="FILE",
        help="study file: flags of `run` as YAML, lists are sweeps; flags typed here win",
    )
    command.set_defaults(configuration=None)


def add_plan(command: argparse.ArgumentParser) -> None:
    """Add ``PLAN``, the study file of a command that works on the runs of one.

    All flags of ``run`` get their values from the file; the command may add some, which then win.
    """
    command.add_argument("config", type=Path, metavar="PLAN", help="study file, as for run --config")
    defaults = {action.dest: action.default for action in run_flags().values()}
    command.set_defaults(configuration=None, option=[], **defaults)


def apply(command: argparse.ArgumentParser, configuration: Configuration) -> None:
    """Make the values of a study file the defaults of a command; flags that it lacks are left out.

    Raises:
        UsageError: a value that the flag does not take.
    """
    known = run_flags()
    values = {known[flag].dest: _default(configuration, flag, known[flag]) for flag in configuration.flags}
    own = {action.dest for action in command._actions} | set(command._defaults)
    kept = {name: value for name, value in values.items() if name in own}
    command.set_defaults(configuration=configuration, **kept)


def run_flags() -> dict[str, argparse.Action]:
    """Return the flags of ``run`` that a study file may set, by name without dashes."""
    from benchmarks.cli import run

    parser = argparse.ArgumentParser()
    run.add_arguments(parser)
    flags = {}
    for action in parser._actions:
        longest = max(action.option_strings, key=len, default=action.dest).lstrip("-")
        if longest not in OMITTED:
            flags[longest] = action
    return flags


def read(path: Path) -> Configuration:
    """Return the study file at ``path``.

    Raises:
        UsageError: it cannot be read or is no YAML mapping; an unknown flag, a flag twice, or a list where
            one value belongs.
    """
    root = compose(path, EXAMPLE)
    flags: dict[str, list[Entry]] = {}
    options: dict[str, dict[str, list[Entry]]] = {}
    configuration = Configuration(path, flags, options)
    known = run_flags()
    for name, key, node in pairs(configuration.path, root, EXAMPLE):
        line = key.start_mark.line + 1
        if name not in known:
            raise configuration.error(line, _unknown(name, known))
        if name == "methods" and isinstance(node, yaml.MappingNode):
            raise configuration.error(line, f"methods: a list with an item for each method: {METHODS}")
        if isinstance(node, yaml.MappingNode) or (isinstance(node, yaml.SequenceNode) and name not in SWEPT):
            raise configuration.error(line, f"{name}: one value, such as  {name}: {_sample(known[name])}")
        if name == "methods":
            flags[name] = _read_methods(configuration, node, options)
        elif name == "seeds" and isinstance(node, yaml.SequenceNode):
            seeds = [str(entry.value) for entry in _values(configuration, node)]
            joined = ",".join(seeds) + "," * (len(seeds) == 1)
            flags[name] = [Entry(joined, line, joined)]
        else:
            flags[name] = _values(configuration, node)
    return configuration


def _read_methods(
    configuration: Configuration, node: yaml.Node, options: dict[str, dict[str, list[Entry]]]
) -> list[Entry]:
    """Return the methods of a study file, and put their options into ``options``.

    Raises:
        UsageError: an item is neither a name nor one name with options.
    """
    methods: list[Entry] = []
    for item in node.value if isinstance(node, yaml.SequenceNode) else [node]:
        line = item.start_mark.line + 1
        if isinstance(item, yaml.ScalarNode):
            methods.append(_entry(configuration, item))
            continue
        own_pairs = list(pairs(configuration.path, item, METHODS))
        if len(own_pairs) != 1:
            raise configuration.error(line, f"one method an item: {METHODS}")
        ((method, _, given),) = own_pairs
        if any(entry.value == method for entry in methods):
            raise configuration.error(line, f"{method} stands there twice: write its values as lists")
        methods.append(Entry(method, line, method))
        own = options.setdefault(method, {})
        for name, _, value in pairs(configuration.path, given, METHODS):
            own[name] = _values(configuration, value)
            if not own[name]:
                raise configuration.error(value.start_mark.line + 1, f"{method}.{name}: an empty list")
    if not methods:
        raise configuration.error(node.start_mark.line + 1, f"methods: none; {METHODS}")
    return methods


def _values(configuration: Configuration, node: yaml.Node) -> list[Entry]:
    """Return the scalar of a node, or the scalars of its list.

    Raises:
        UsageError: anything deeper than a list of scalars, or an empty list.
    """
    nodes = node.value if isinstance(node, yaml.SequenceNode) else [node]
    if not nodes:
        raise configuration.error(node.start_mark.line + 1, "an empty list: write at least one value")
    return [_entry(configuration, item) for item in nodes]


def _entry(configuration: Configuration, node: yaml.Node) -> Entry:
    """Return a scalar as Python has it: a text, number or truth value.

    Raises:
        UsageError: the node is a list, a mapping or of another type.
    """
    line = node.start_mark.line + 1
    if not isinstance(node, yaml.ScalarNode):
        raise configuration.error(line, "one value or a list of values, nothing deeper")
    try:
        value = yaml.SafeLoader("").construct_object(node)
    except (yaml.YAMLError, ValueError, OverflowError):
        raise configuration.error(line, f"{node.value!r} cannot be read: write it in quotes") from None
    if not isinstance(value, str | int | float):
        # Dates, and values left out.
        if node.value.strip() in ("", "~", "null", "Null", "NULL"):
            raise configuration.error(line, NO_VALUE)
        value = node.value
    return Entry(value, line, node.value)


def _unknown(name: str, known: Mapping[str, argparse.Action]) -> str:
    if name == "option":
        return "write options below their method: methods: [{mos-neuron: {experts: 4}}]"
    if name in OMITTED:
        return f"'{name}' belongs on the command line: --{name}"
    return f"no flag '{name}'. {suggest(name, known)}".rstrip() + f"\nknown: {' '.join(sorted(known))}"


def _sample(action: argparse.Action) -> str:
    """Return a value that a flag might have, for a message."""
    if action.nargs == 0:
        return "true"
    return str(next(iter(action.choices or ()), None) or action.default or action.metavar or "...")


def _default(configuration: Configuration, flag: str, action: argparse.Action) -> object:
    """Return a flag's value in the form that the command's parser gives it.

    Raises:
        UsageError: the parser would not take the value.
    """
    values = [_converted(configuration, flag, action, entry) for entry in configuration.flags[flag]]
    return values if flag in SWEPT and flag != "seeds" else values[0]


def _converted(configuration: Configuration, flag: str, action: argparse.Action, entry: Entry) -> object:
    value, line, written = entry
    if action.nargs == 0:
        if not isinstance(value, bool):
            raise configuration.error(line, f"{flag}: {value!r} is neither true nor false")
        return value
    if isinstance(value, bool):
        truth = f'{flag}: {written} is a truth value in YAML, not a text: write  {flag}: "{written}"'
        raise configuration.error(line, truth)
    text = str(value)
    if not text.strip():
        raise configuration.error(line, f"{flag}: {NO_VALUE}")
    if action.choices is not None and text not in action.choices:
        near = suggest(text, action.choices)
        allowed = " ".join(map(str, action.choices))
        raise configuration.error(line, f"{flag}: no '{text}'. {near}".rstrip() + f"\nallowed: {allowed}")
    convert = action.type if callable(action.type) else str
    try:
        return convert(text)
    except UsageError as error:
        raise configuration.error(line, str(error)) from None
    except (argparse.ArgumentTypeError, TypeError, ValueError) as error:
        reason = str(error) if isinstance(error, argparse.ArgumentTypeError) else f"'{text}' is no number"
        raise configuration.error(line, f"{flag}: {reason}") from None


def effective(options: argparse.Namespace, plan: Plan, methods: Mapping[str, MethodRef]) -> JsonObject:
    """Return the study that a plan was made from, every flag that selects runs with its value.

    Folders and files stand as they were typed, since a new process has no other word for them.

    Args:
        options: of the command, with the defaults of its study file.
        methods: of the plan, by the words that select them.
    """
    study, given = options.configuration, parse(options.option)
    listed: list[object] = []
    for word, method in methods.items():
        own = {
            name: [entry.value for entry in entries]
            for name, entries in (study.options.get(word, {}) if study else {}).items()
        }
        own |= {name: [value] for name, value in given.get(method.name, {}).items()}
        listed.append({word: {k: v if len(v) > 1 else v[0] for k, v in own.items()}} if own else word)
    task, profile = options.task, options.profile
    if task is None:
        task = list(dict.fromkeys(run.spec.task for run in plan.runs))
    if not isinstance(profile, list) and not is_file_word(profile):
        profile = plan.profile
    values: JsonObject = {
        "suite": options.suite,
        "task": task if isinstance(task, list) else [task],
        "source": options.source,
        "target": options.target,
        "task-settings": options.task_settings,
        "tier": options.tier,
        "methods": listed,
        "seeds": sorted({run.spec.seed for run in plan.runs}),
        "profile": profile,
        "ruleset": options.ruleset,
        "budget-scale": options.budget_scale,
        "results": options.results,
        "data-dir": options.data_dir,
        "start-from": options.start_from,
        "published": options.published,
    }
    return {k: str(v) if isinstance(v, Path) else v for k, v in values.items() if v is not None}


def to_yaml(study: JsonView) -> str:
    """Return a study as the text of a study file."""
    return str(yaml.safe_dump(dict(study), sort_keys=False, default_flow_style=None, width=100))


@contextmanager
def located(configuration: Configuration | None, flag: str, value: object) -> Iterator[None]:
    """Put file and line before the message of a ``UsageError`` about a value that a study file has set."""
    try:
        yield
    except UsageError as error:
        for entry in configuration.flags.get(flag, ()) if configuration else ():
            if configuration is not None and (entry.value == value or str(entry.value) == str(value)):
                raise type(error)(str(configuration.error(entry.line, str(error)))) from None
        raise
