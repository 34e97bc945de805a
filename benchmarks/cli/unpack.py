"""``supernet-bench unpack``: add the records and runs of another machine's archive to the results here."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from benchmarks.cli.arguments import add_json, add_results
from benchmarks.cli.console import print_json
from benchmarks.records.folders import results_flag
from benchmarks.runs import archive


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    command.add_argument("archive", type=Path, metavar="FILE", help="file of supernet-bench pack")
    add_results(command)
    add_json(command)


def run(options: argparse.Namespace) -> int:
    """Unpack the archive; return 0.

    Raises:
        UsageError: the archive is not in order, or a run is here with other content.
    """
    contents, folders = archive.unpack(options.archive, options.results)
    if options.json:
        print_json({"folder": str(folders.home), "records": len(contents.records), "runs": contents.runs})
    else:
        print(f"{contents.summary()}\nunpacked into {os.path.relpath(folders.home)}")
        flag = results_flag(options.results)
        print(f"table: supernet-bench report {folders.suite} --tier {folders.tier}{flag}")
    return 0
