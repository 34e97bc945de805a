"""``supernet-bench pack``: the records and runs of a suite in one file, for another machine."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from benchmarks.cli.arguments import add_json, add_results
from benchmarks.cli.console import print_json
from benchmarks.cli.selection import require_tier
from benchmarks.runs import archive
from benchmarks.runs.plan import Folders

EPILOG = "weights and checkpoints included, prepared data left out: the other machine prepares its own"


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    add_results(command)
    command.add_argument("suite", help="suite, such as mt")
    command.add_argument("--tier", default="smoke", help="tier (default: smoke)")
    command.add_argument(
        "--to", type=Path, metavar="FILE", help="new archive (default: ./SUITE-TIER.supernet-bench.tar)"
    )
    add_json(command)


def run(options: argparse.Namespace) -> int:
    """Write the archive; return 0.

    Raises:
        UsageError: nothing to pack, no such suite or tier, a run is in progress, or the file exists.
    """
    folders = Folders(options.results, options.suite, options.tier)
    if not folders.home.is_dir():
        require_tier(options.suite, options.tier)
    out = options.to or Path(f"{folders.home.name}.supernet-bench.tar")
    contents = archive.pack(folders, out)
    if options.json:
        print_json({"archive": str(out), "records": len(contents.records), "runs": contents.runs})
    else:
        print(f"{contents.summary()}\nwritten {os.path.relpath(out)}")
        print(f"there: supernet-bench unpack {out.name}, then the command that made the runs")
    return 0
