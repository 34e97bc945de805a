"""``supernet-bench leaderboard``: rebuild or check the leaderboard of the published records."""

from __future__ import annotations

import argparse
import os

from benchmarks.cli.arguments import add_results
from benchmarks.records.folders import PUBLISHED, require_records


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    add_results(command, PUBLISHED, "folder with records/ in it")
    command.add_argument(
        "--check", action="store_true", help="change nothing; exit code 2 if it is out of date"
    )


def run(options: argparse.Namespace) -> int:
    """Write every page of the leaderboard, or check that each follows from the records; return 0.

    Raises:
        UsageError: there are no records; with ``--check``, a page does not follow from the records.
    """
    from benchmarks.leaderboard import build as board

    require_records(options.results)
    if options.check:
        board.require_current(options.results)
        print("the leaderboard follows from the records")
        return 0
    for path in board.build(options.results).values():
        print(os.path.relpath(path))
    return 0
