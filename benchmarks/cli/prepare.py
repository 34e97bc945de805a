"""``supernet-bench prepare``: data and vocabularies of a study, where there is network."""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks.cli.configuration import add_plan
from benchmarks.cli.plan import build_plans
from benchmarks.tasks import prepare


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    add_plan(command)
    command.add_argument("--results", type=Path, metavar="DIR", help="shared folder (default: the study's)")
    command.add_argument("--data-dir", type=Path, metavar="DIR", help="folder of real data")


def run(options: argparse.Namespace) -> int:
    """Prepare the data of all tasks of a study, and check them where they are prepared; return 0.

    Raises:
        UsageError: data are missing or differ from their checksums.
    """
    for plan, tasks, profile in build_plans(options):
        for task in tasks:
            tier = task.tier(plan.folders.tier, profile.device)
            ready = prepare(task, tier, plan.folders.cache, options.data_dir, print)
            print(f"{task.name} {plan.folders.tier}: ready, {len(ready.digests)} files of known checksum")
    return 0
