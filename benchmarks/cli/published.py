"""``supernet-bench published``: unpack the published records that came with an installed release."""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks.cli.arguments import add_json
from benchmarks.cli.console import print_json
from benchmarks.records.folders import PUBLISHED
from benchmarks.records.release import unpack


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    command.add_argument(
        "folder",
        nargs="?",
        type=Path,
        default=PUBLISHED,
        metavar="DIR",
        help=f"folder, which every command then reads; no file in it is changed (default: {PUBLISHED})",
    )
    add_json(command)


def run(options: argparse.Namespace) -> int:
    """Unpack the records; return 0.

    Raises:
        UsageError: none came with this installation, or they are damaged.
    """
    files, kept = unpack(options.folder)
    if options.json:
        print_json({"folder": str(options.folder), "files": files, "kept": kept})
    else:
        print(f"{files} files in {options.folder}: records, verdicts, latencies of other runtimes, studies")
        if kept:
            print(f"{kept} of them differ from those that came, and were left as they are")
    return 0
