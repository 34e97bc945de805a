"""``supernet-bench test-method``: does a method do what every method must?"""

from __future__ import annotations

import argparse
import os
import shutil
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

from benchmarks import registry, suggestions
from benchmarks.cli.arguments import (
    add_data_dir,
    add_json,
    add_method_options,
    add_results,
    add_task_flags,
    task_flags,
)
from benchmarks.cli.console import print_json, print_table
from benchmarks.hardware.probe import require_linux
from benchmarks.options import checked, parse
from benchmarks.runs.execution import exclusive

if TYPE_CHECKING:
    from benchmarks.conformance.checks import Check

TASK, TIER = "mt-synthetic-en-de", "check"
"""Default task; tier that is preferred if the task has it."""
PARAGRAPH_COLUMNS = 100
"""Width of an explanation, in characters."""

SCOPE = (
    "These checks find accidents: charges that are missed, draws that do not repeat, a look at private parts."
    " They find no deceit: a method that means to cheat can tell a test from a run. What contains and shows"
    " that is docs/integrity.md."
)
"""Scope of the checks, for people."""


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    command.add_argument("methods", nargs="+", metavar="METHOD", help="methods, installed or path.py:Class")
    command.add_argument("--task", metavar="T", help=f"task of the test runs (default: {TASK})")
    add_task_flags(command)
    command.add_argument("--tier", help=f"tier of the task (default: {TIER}, else its smallest)")
    add_method_options(command)
    add_data_dir(command, "folder of real data, if the task needs some")
    add_results(command)
    add_json(command)


def run(options: argparse.Namespace) -> int:
    """Test methods one after the other; return 1 if one of them fails a check, else 0.

    Raises:
        UsageError: no such method, task or option, or a method that does not apply to the task.
    """
    require_linux()
    refs = [registry.find(word) for word in dict.fromkeys(options.methods)]
    given = parse(options.option)
    for name in set(given) - {ref.name for ref in refs}:
        then = "an option is METHOD.NAME=VALUE"
        raise suggestions.unknown("tested method", name, [r.name for r in refs], then)
    chosen = {ref.name: checked(ref.name, ref.options, given.get(ref.name, {})) for ref in refs}
    from benchmarks.runs.executor import Executor
    from benchmarks.tasks import prepare
    from benchmarks.tasks.folders.sources import find

    task = find(options.task or TASK, task_flags(options))
    tier_name = options.tier or (TIER if TIER in task.tiers() else task.tiers()[0])
    tier = task.tier(tier_name, "cpu")
    executor = Executor()
    executor.warm_up()
    from benchmarks.conformance.checks import FAILED, judge
    from benchmarks.conformance.suite import UNDISTURBED, run_suite

    home = options.results / "test-method"
    shown = []
    with exclusive(home):
        say = _silent if options.json else print
        prepared = prepare(task, tier, options.results / "cache", options.data_dir, say)
        for ref in refs:
            if not options.json:
                print(f"{ref.name} ({ref.origin}) on {task.name}, tier {tier_name}", flush=True)
            own = home / ref.name
            checks = judge(run_suite(ref, task, tier_name, prepared, own, chosen[ref.name], executor))
            about = {"method": ref.name, "sha256": ref.sha256, "task": task.name, "tier": tier_name}
            about["ok"] = not any(check.verdict == FAILED for check in checks)
            shown.append(about | {"checks": [check.to_dict() for check in checks]})
            if not options.json:
                show_checks(checks, os.path.relpath(own / UNDISTURBED / "log.txt"))
    if options.json:
        print_json(shown)
    else:
        print(textwrap.fill(SCOPE, min(shutil.get_terminal_size().columns, PARAGRAPH_COLUMNS)))
    return 0 if all(about["ok"] for about in shown) else 1


def _silent(_line: str) -> None:
    """For ``--json``: nothing but JSON is printed."""


def show_checks(checks: Sequence[Check], log: str | None = None) -> None:
    """Print the table of checks, and a paragraph for each failure; ``log`` is the path of the log, if any."""
    failed = [check for check in checks if check.verdict == "FAILED"]
    print_table(("check", "verdict", "what was seen"), [(c.name, c.verdict, c.observed) for c in checks])
    width = min(shutil.get_terminal_size().columns, PARAGRAPH_COLUMNS)
    for check in failed:
        print("\n" + textwrap.fill(f"{check.name}: {check.observed}. {check.reason} {check.fix}", width))
    unjudged = len(checks) - len(failed) - sum(check.verdict == "ok" for check in checks)
    if failed:
        print(f"\n{len(failed)} failed, {unjudged} not judged" + (f"; log: {log}\n" if log else "\n"))
    elif unjudged:
        print(f"\nnothing failed, {unjudged} not judged\n")
    else:
        print("\nall checks passed\n")
