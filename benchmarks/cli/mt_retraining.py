"""``supernet-bench study mt-retraining-measure``: the trainings whose scores study mt-retraining reads."""

from __future__ import annotations

import argparse

from benchmarks.cli.arguments import add_trainings, trainings

NAME = "mt-retraining-measure"
SUMMARY = "train the supernets and networks of study mt-retraining; goes on where it was stopped"


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    add_trainings(command, "mt-retraining", "scores, one file a curve", "curve")
    command.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Measure the missing curves; return 0, or 75 where some are left to the next call."""
    from benchmarks.studies.mt_retraining.measure import measure
    from benchmarks.studies.mt_retraining.plan import REGISTERED, read_plan

    plan = read_plan(options.plan or REGISTERED)
    remaining = measure(plan, trainings(options))
    print(f"{remaining} curves left" if remaining else "done: supernet-bench study mt-retraining")
    return 75 if remaining else 0
