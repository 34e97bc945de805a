"""``supernet-bench list``: methods, tasks and profiles."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from typing import Any

from benchmarks import registry
from benchmarks.api import Option, UsageError
from benchmarks.options import typed
from benchmarks.records.text import sanitize


def listing(options: argparse.Namespace) -> int:
    """Print what there is of one kind."""
    rows = {"methods": methods, "tasks": tasks, "profiles": profiles}[options.what]()
    if options.json:
        print(json.dumps(rows, indent=1))
        return 0
    table([name for name in rows[0] if name not in ("sha256", "options")] if rows else ["name"], rows)
    if options.what == "methods":
        print()
        table(
            OPTION, [{"method": row["name"], **_plain(option)} for row in rows for option in row["options"]]
        )
        print("\nto give one: --option METHOD.NAME=VALUE")
        print("your own: --methods ./mine.py:Class (see CONTRIBUTING.md)")
    return 0


def methods() -> Sequence[dict[str, Any]]:
    """One row a method; a broken one says what is wrong with it."""
    found: Sequence[dict[str, Any]] = [
        {
            "name": name,
            "version": "",
            "follows": "",
            "tasks": "",
            "from": "",
            "summary": f"broken: {ref}",
            "sha256": "",
            "options": [],
        }
        if isinstance(ref, UsageError)
        else {
            "name": name,
            "version": ref.version,
            "follows": ref.follows or "",
            "tasks": (f"suite {ref.suite}" if ref.suite else "all") + ", asked when run" * ref.selective,
            "from": ref.origin,
            "summary": ref.summary,
            "sha256": ref.sha256,
            "options": [described(option) for option in ref.options],
        }
        for name, ref in registry.methods().items()
    ]
    return found


OPTION = ("method", "name", "type", "default", "allowed", "help")
"""Columns of the table of options."""


def described(option: Option) -> dict[str, Any]:
    """Return one declared option as plain data."""
    return {
        "name": option.name,
        "type": option.kind.__name__,
        "default": option.default,
        "allowed": option.allowed,
        "help": option.help,
    }


def _plain(described: dict[str, Any]) -> dict[str, Any]:
    """Return a described option with its default as it is typed."""
    return described | {
        "default": "computed" if described["default"] is None else typed(described["default"])
    }


def tasks() -> Sequence[dict[str, Any]]:
    """One row a task and tier."""
    from benchmarks.tasks import DEVICES, get_task, task_names

    rows = []
    for name in sorted(task_names()):
        task = get_task(name)
        for tier_name in task.tiers():
            tiers = {device: task.tier(tier_name, device) for device in DEVICES}
            row = {
                "name": name,
                "suite": task.suite,
                "tier": tier_name,
                "space": tiers["cpu"].space,
                "metric": task.metric,
            }
            rows.append(row | {"budget": {device: tier.budget for device, tier in tiers.items()}})
    return rows


def profiles() -> Sequence[dict[str, Any]]:
    """One row a declared profile, and which one this machine is."""
    from benchmarks.hardware import profiles as declared

    here = declared.matching()
    rows = []
    for name in declared.names():
        profile = declared.get(name)
        row = {"name": name, "device": profile.device, "threads": profile.threads, "summary": profile.summary}
        rows.append(row | {"this_machine": name == here})
    return rows


def table(columns: Sequence[str], rows: Sequence[dict[str, Any]]) -> None:
    """Print rows under their columns, as wide as they are: it may go through a pipe."""
    cells = [[_cell(row[name]) for name in columns] for row in rows]
    widths = [max(len(line[i]) for line in [[*columns], *cells]) for i in range(len(columns))]
    for line in [[*columns], *cells]:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else ""
    if isinstance(value, dict):
        return "  ".join(
            f"{device}: " + ", ".join(f"{v:g} {k}" for k, v in kinds.items())
            for device, kinds in value.items()
        )
    return sanitize(value, 200)  # a stranger's file says it
