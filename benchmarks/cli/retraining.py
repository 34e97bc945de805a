"""``supernet-bench study mt-retraining-measure``, ``bert-retraining-measure``: the studies' trainings."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from benchmarks.cli.arguments import add_trainings, trainings


class Measuring(NamedTuple):
    """Command that measures the curves of one retraining study, with the names of a command's module."""

    NAME: str
    SUMMARY: str
    add_arguments: Callable[[argparse.ArgumentParser], None]


def measuring(study: str) -> Measuring:
    """Return the command of a study."""
    summary = f"train the supernets and networks of study {study}; goes on where it was stopped"
    return Measuring(f"{study}-measure", summary, partial(_add_arguments, study))


def _add_arguments(study: str, command: argparse.ArgumentParser) -> None:
    add_trainings(command, study, "scores, one file a curve", "curve")
    command.set_defaults(run=partial(_run, study))


def _run(study: str, options: argparse.Namespace) -> int:
    """Measure the missing curves; return 0, or 75 where some are left to the next call."""
    from benchmarks.studies.retraining.measure import measure
    from benchmarks.studies.retraining.plan import REGISTERED, read_plan

    plan = read_plan(options.plan or REGISTERED[study])
    remaining = measure(study, plan, trainings(options))
    print(f"{remaining} curves left" if remaining else f"done: supernet-bench study {study}")
    return 75 if remaining else 0
