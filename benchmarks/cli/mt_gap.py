"""``supernet-bench study mt-gap-measure``: the trainings whose scores study mt-gap reads."""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks.cli.arguments import add_data_dir, positive

NAME = "mt-gap-measure"
SUMMARY = "train the supernets and networks of study mt-gap; goes on where it was stopped"


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    command.add_argument(
        "--out",
        type=Path,
        default=Path("results") / "mt-gap",
        metavar="DIR",
        help="folder of scores, one file a training (default: results/mt-gap)",
    )
    command.add_argument("--plan", type=Path, metavar="FILE", help="plan (default: the registered one)")
    command.add_argument(
        "--cache",
        type=Path,
        default=Path("results") / "local" / "cache",
        metavar="DIR",
        help="folder of prepared data (default: results/local/cache)",
    )
    add_data_dir(command)
    command.add_argument("--device", metavar="NAME", help="cpu or cuda (default: cuda if there is one)")
    command.add_argument(
        "--minutes", type=positive, metavar="N", help="start no training after N minutes (default: no limit)"
    )
    command.add_argument(
        "--workers",
        type=positive,
        default=1,
        metavar="N",
        help="trainings side by side, each in a process of its own (default: 1)",
    )
    command.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Measure the missing figures; return 0, or 75 where trainings are left to the next call."""
    import torch

    from benchmarks.studies.mt_gap.measure import measure
    from benchmarks.studies.mt_gap.plan import REGISTERED, read_plan

    device = options.device or ("cuda" if torch.cuda.is_available() else "cpu")
    plan = read_plan(options.plan or REGISTERED)
    remaining = measure(
        plan, options.out, options.cache, options.data_dir, device, options.minutes, _say, options.workers
    )
    print(f"{remaining} trainings left" if remaining else "done: supernet-bench study mt-gap")
    return 75 if remaining else 0


def _say(line: str) -> None:
    print(line, flush=True)
