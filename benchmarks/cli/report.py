"""``supernet-bench report``: tables, plots and the page of existing records. Also ends ``run``."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence

from benchmarks.api import UsageError
from benchmarks.cli.arguments import add_json, add_results
from benchmarks.cli.console import print_json, print_rich
from benchmarks.records import store
from benchmarks.records.record import Record
from benchmarks.runs.plan import Folders

PLOTS = ("pareto.png", "hypervolume.png", "budget.png", "search.png", "performance.png")
"""Plots whose paths are printed, in this order."""


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    add_results(command)
    command.add_argument("suite", nargs="?", default="mt", help="suite (default: mt)")
    command.add_argument("--tier", default="smoke", help="tier (default: smoke)")
    command.add_argument("--baseline", metavar="METHOD", help="method that the others are compared with")
    add_json(command)


def run(options: argparse.Namespace) -> int:
    """Write and print the reports of all records of a suite and tier; return 0.

    Raises:
        UsageError: there are no records.
    """
    folders = Folders(options.results, options.suite, options.tier)
    problems: list[str] = []
    records = store.load_all(folders.store, problems)
    for problem in problems:
        print(f"left out: {problem}")
    if not records:
        raise UsageError(
            f"no records in {folders.store}\n"
            f"make some: supernet-bench run {options.suite} --tier {options.tier}"
        )
    write_reports(records, folders, as_json=options.json, baseline=options.baseline)
    return 0


def write_reports(
    records: Sequence[Record], folders: Folders, *, as_json: bool, baseline: str | None
) -> None:
    """Write one report for each group of comparable records; print the tables and the paths."""
    from benchmarks import report as reports
    from benchmarks.comparability import grouping, run_summary

    groups = grouping.groups(run_summary.summarize_all(records))
    documents: list[object] = []
    for number, comparable in enumerate(groups, 1):
        group = run_summary.records_of(comparable)
        spec, home = group[0]["spec"], folders.home
        if len(groups) > 1:
            home = home / "reports" / f"{number}-{spec['task']}-{spec['profile']}"
        written = reports.render(group, home, baseline=baseline)
        paths = {name: os.path.relpath(path) for name, path in written.items()}
        if as_json:
            documents.append({"paths": paths, **reports.as_json(group, baseline=baseline)})
            continue
        print()
        print_rich(reports.terminal(group, baseline=baseline))
        plots = "  ".join(paths[name] for name in PLOTS if name in paths)
        print(f"\n table   {paths['table.md']}  {paths['table.csv']}")
        print(f" plots   {plots}  (and .svg)" if plots else " plots   none: nothing to draw")
        print(f" report  {paths['index.html']}")
    if as_json:
        print_json(documents[0] if len(documents) == 1 else documents)
