"""``supernet-bench study mt-gap-measure``: the trainings whose scores study mt-gap reads."""

from __future__ import annotations

import argparse

from benchmarks.cli.arguments import add_trainings, trainings

NAME = "mt-gap-measure"
SUMMARY = "train the supernets and networks of study mt-gap; goes on where it was stopped"


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    add_trainings(command, "mt-gap", "scores, one file a training", "training")
    command.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Measure the missing figures; return 0, or 75 where trainings are left to the next call."""
    from benchmarks.studies.mt_gap.measure import measure
    from benchmarks.studies.mt_gap.plan import REGISTERED, read_plan

    plan = read_plan(options.plan or REGISTERED)
    remaining = measure(plan, trainings(options))
    print(f"{remaining} trainings left" if remaining else "done: supernet-bench study mt-gap")
    return 75 if remaining else 0
