"""``supernet-bench study training-overhead-measure``: the timings that study training-overhead reads."""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

from benchmarks.cli.arguments import add_data_dir, add_device, device_of

NAME = "training-overhead-measure"
SUMMARY = "time updates of each kind of supernet on this machine, for study training-overhead"
FOLDER = Path("results") / "training-overhead"
CACHE = Path("results") / "local" / "cache"
TASK, TIER = "mt-multi30k-en-de", "small"


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    command.add_argument("--task", default=TASK, metavar="NAME", help=f"task (default: {TASK})")
    command.add_argument("--tier", default=TIER, metavar="NAME", help=f"tier of the task (default: {TIER})")
    command.add_argument(
        "--out", type=Path, default=FOLDER, metavar="DIR", help=f"folder of timings (default: {FOLDER})"
    )
    command.add_argument(
        "--cache", type=Path, default=CACHE, metavar="DIR", help=f"folder of prepared data (default: {CACHE})"
    )
    add_data_dir(command)
    add_device(command)
    command.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Time the updates on this machine and write them; return 0."""
    from benchmarks.studies.supernets import Setting
    from benchmarks.studies.training_overhead.measure import measure

    def say(line: str) -> None:
        print(line, flush=True)

    prepare = partial(
        Setting.prepared_for, options.task, options.tier, options.cache, options.data_dir, say=say
    )
    path = measure(prepare, options.out, device_of(options), say)
    say(f"written: {path}; supernet-bench study training-overhead")
    return 0
