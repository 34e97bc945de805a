"""``supernet-bench test-task``: does a task do what every task must?"""

from __future__ import annotations

import argparse

from benchmarks.cli.arguments import add_data_dir, add_json, add_results, add_task_flags, task_flags
from benchmarks.cli.console import print_json
from benchmarks.cli.test_method import TIER, show_checks
from benchmarks.hardware.probe import require_linux
from benchmarks.runs.execution import exclusive

EPILOG = "exit code: 0 every check holds; 1 a check fails; 2 mistake"


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    command.add_argument(
        "task", metavar="TASK", help="a name, text:FOLDER, mlm:FOLDER, images:FOLDER or FILE.py:Class"
    )
    add_task_flags(command)
    command.add_argument("--tier", help=f"tier of the task (default: {TIER}, else its smallest)")
    add_data_dir(command, "folder of real data, if the task needs some")
    add_results(command)
    add_json(command)


def run(options: argparse.Namespace) -> int:
    """Test a task; return 1 if a check fails, else 0.

    Raises:
        UsageError: no such task, folder or tier.
    """
    require_linux()
    from benchmarks.conformance.checks import FAILED
    from benchmarks.conformance.task_checks import TaskTrial, check_task
    from benchmarks.tasks.folders.sources import find

    task = find(options.task, task_flags(options))
    tier = options.tier or (TIER if TIER in task.tiers() else task.tiers()[0])
    task.tier(tier, "cpu")
    home = options.results / "test-task"

    def say(line: str) -> None:
        if not options.json:
            print(line, flush=True)

    with exclusive(home):
        say(f"{task.name}, tier {tier}")
        trial = TaskTrial(task, tier, home / task.name, options.data_dir, say)
        checks = check_task(trial)
    notes = task.notes(trial.prepared) if hasattr(task, "notes") and trial.prepared is not None else []
    passed = not any(check.verdict == FAILED for check in checks)
    if options.json:
        listed = [check.to_dict() for check in checks]
        print_json({"task": task.name, "tier": tier, "ok": passed, "notes": notes, "checks": listed})
    else:
        for note in notes:
            print(f"note: {note}")
        show_checks(checks)
    return 0 if passed else 1
