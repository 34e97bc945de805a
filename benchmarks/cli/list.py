"""``supernet-bench list``: methods, tasks and profiles."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence

from benchmarks import registry
from benchmarks.api import Option, UsageError
from benchmarks.cli.arguments import add_json
from benchmarks.cli.console import print_json, print_table
from benchmarks.options import typed

OPTION_COLUMNS = ("method", "name", "type", "default", "allowed", "help")
"""Columns of the table of options."""

Row = Mapping[str, object]
"""Column -> value of plain JSON types."""


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    command.add_argument("what", choices=("methods", "tasks", "profiles"), help="kind to list")
    add_json(command)


def run(options: argparse.Namespace) -> int:
    """Print all entries of one kind; return 0."""
    if options.what == "methods":
        _print_methods(as_json=options.json)
        return 0
    rows = task_rows() if options.what == "tasks" else profile_rows()
    if options.json:
        print_json(rows)
    else:
        print_rows(rows)
    return 0


def print_rows(rows: Sequence[Row]) -> None:
    """Print rows that share their columns; only ``name`` if there are none."""
    columns = list(rows[0]) if rows else ["name"]
    print_table(columns, [[_budget(row[name]) for name in columns] for row in rows])


def _print_methods(*, as_json: bool) -> None:
    """Print every installed method with its options."""
    methods = registry.methods()
    options = {
        name: [] if isinstance(ref, UsageError) else [option_row(option) for option in ref.options]
        for name, ref in methods.items()
    }
    rows = {name: method_row(name, ref) for name, ref in methods.items()}
    if as_json:
        digests = {name: "" if isinstance(ref, UsageError) else ref.sha256 for name, ref in methods.items()}
        print_json([{**row, "sha256": digests[n], "options": options[n]} for n, row in rows.items()])
        return
    print_rows([*rows.values()])
    print()
    cells = []
    for name, declared in options.items():
        for option in declared:
            default = "computed" if option["default"] is None else typed(option["default"])
            values = option | {"method": name, "default": default}
            cells.append([values[column] for column in OPTION_COLUMNS])
    print_table(OPTION_COLUMNS, cells)
    print("\nto give one: --option METHOD.NAME=VALUE")
    print("your own: --methods ./mine.py:Class (see CONTRIBUTING.md)")


def method_row(name: str, ref: registry.MethodRef | UsageError) -> Row:
    """Return the row of a method; the summary of a broken one is its error."""
    if isinstance(ref, UsageError):
        blank = dict.fromkeys(("version", "follows", "tasks", "from"), "")
        return {"name": name, **blank, "summary": f"broken: {ref}"}
    return {
        "name": name,
        "version": ref.version,
        "follows": ref.follows or "",
        "tasks": (f"suite {ref.suite}" if ref.suite else "all") + ", checked when run" * ref.selective,
        "from": ref.origin,
        "summary": ref.summary,
    }


def option_row(option: Option) -> dict[str, object]:
    """Return one declared option as plain JSON types."""
    return {
        "name": option.name,
        "type": option.kind.__name__,
        "default": option.default,
        "allowed": option.allowed,
        "help": option.help,
    }


def task_rows() -> list[Row]:
    """Return one row a task and tier."""
    from benchmarks.tasks import DEVICES, tasks_by_name

    rows: list[Row] = []
    for name, task in tasks_by_name().items():
        if isinstance(task, UsageError):
            rows.append({"name": name, **dict.fromkeys(("suite", "tier", "space", "metric"), "")})
            rows[-1] = {**rows[-1], "budget": f"broken: {task}"}
            continue
        for tier_name in task.tiers():
            tiers = {device: task.tier(tier_name, device) for device in DEVICES}
            budgets = {device: tier.budget for device, tier in tiers.items()}
            row = {"name": name, "suite": task.suite, "tier": tier_name, "space": tiers["cpu"].space}
            rows.append(row | {"metric": task.metric, "budget": budgets})
    return rows


def profile_rows() -> list[Row]:
    """Return one row a declared hardware profile, with whether this machine matches it."""
    from benchmarks.hardware import profiles as declared

    here = declared.matching()
    rows: list[Row] = []
    for name in declared.names():
        profile = declared.get(name)
        row = {"name": name, "device": profile.device, "threads": profile.threads, "summary": profile.summary}
        rows.append(row | {"this_machine": name == here})
    return rows


def _budget(value: object) -> object:
    """Return a budget as text: device -> kind -> allowance; other values as they are."""
    if not isinstance(value, Mapping):
        return value
    return "; ".join(
        f"{device}: " + ", ".join(f"{amount:g} {kind}" for kind, amount in kinds.items())
        for device, kinds in value.items()
    )
