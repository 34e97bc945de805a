"""``supernet-bench report``: tables, plots and the page of existing records. Also ends ``run``."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.analysis import carbon
from benchmarks.analysis.carbon import CarbonDeclaration
from benchmarks.api import UsageError
from benchmarks.cli.arguments import add_carbon, add_json, add_results
from benchmarks.cli.console import print_json, print_rich
from benchmarks.cli.record_argument import records_folder, suite_records
from benchmarks.cli.selection import require_tier
from benchmarks.records.folders import results_flag
from benchmarks.records.record import Record
from benchmarks.runs.plan import Folders

if TYPE_CHECKING:
    from benchmarks.analysis.table import Table
    from benchmarks.comparability.run_summary import RunSummary

PLOTS = ("pareto.png", "hypervolume.png", "budget.png", "search.png", "performance.png")
"""Plots whose paths are printed, in this order."""


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    add_results(command)
    command.add_argument("suite", nargs="?", default="mt", help="suite (default: mt)")
    command.add_argument("--tier", default="smoke", help="tier (default: smoke)")
    command.add_argument("--baseline", metavar="METHOD", help="method that the others are compared with")
    command.add_argument(
        "--out", type=Path, metavar="DIR", help="folder for tables, plots and pages (default: the results)"
    )
    command.add_argument(
        "--format", choices=("png", "pdf"), default="png",
        help="pdf: also figures one column wide and a LaTeX table, for a paper (default: png)",
    )  # fmt: skip
    add_carbon(command)
    add_json(command)


def run(options: argparse.Namespace) -> int:
    """Write and print the reports of all records of a suite and tier; return 0.

    Raises:
        UsageError: there are no records, no such suite or tier, or no table that compares the baseline.
    """
    emissions = carbon.declared(options.carbon_intensity, options.pue)
    folders = Folders(options.results, options.suite, options.tier)
    problems: list[str] = []
    records = suite_records(folders, problems)
    for problem in problems:
        print(f"left out: {problem}", file=sys.stderr)
    if not records:
        require_tier(options.suite, options.tier)
        flag = results_flag(options.results)
        raise UsageError(
            f"no records in {folders.store}\n"
            f"make some: supernet-bench run {options.suite} --tier {options.tier}{flag}"
        )
    source = records_folder(folders)
    if options.out:
        folders = Folders(options.out, options.suite, options.tier)
    write_reports(
        records, folders, source, as_json=options.json, baseline=options.baseline, emissions=emissions,
        paper=options.format == "pdf",
    )  # fmt: skip
    return 0


def write_reports(
    records: Sequence[Record],
    folders: Folders,
    source: Path,
    *,
    as_json: bool,
    baseline: str | None,
    emissions: CarbonDeclaration | None = None,
    paper: bool = False,
) -> None:
    """Write one report for each group of comparable records, and a site of all; print tables and paths.

    Args:
        folders: of the reports.
        source: folder that the records were read from, which pages name in their commands.

    Raises:
        UsageError: no table compares the baseline; then nothing is written.
    """
    from benchmarks.claims import judge
    from benchmarks.comparability import grouping, run_summary
    from benchmarks.leaderboard import local_site
    from benchmarks.report import data_formats, files
    from benchmarks.report.console import TerminalTable

    runs = [
        run_summary.summarize(record, keep=True, place=place, measured=judge.measured(record))
        for place, record in enumerate(records)
    ]
    groups = grouping.groups(runs)
    documents: list[object] = []
    comparisons: list[local_site.ShownTable] = []
    for number, (group, table) in enumerate(zip(groups, _tables(groups, baseline), strict=True), 1):
        table = replace(table, carbon=emissions)
        home = folders.home
        if len(groups) > 1:
            home = home / "reports" / f"{number}-{table.shared['task']}-{table.shared['profile']}"
        written = files.write_report(table, home)
        images = {name: written[name].read_bytes() for name in written if name.endswith(".svg")}
        comparisons.append(local_site.ShownTable(group, table, images))
        paths = {name: os.path.relpath(path) for name, path in written.items()}
        for_paper = files.write_paper(table, home / "paper") if paper else {}
        paths |= {f"paper/{name}": os.path.relpath(path) for name, path in for_paper.items()}
        if as_json:
            paths["index.html"] = os.path.relpath(folders.site / "index.html")
            documents.append({"paths": paths, **data_formats.as_json(table)})
            continue
        print()
        print_rich(TerminalTable(table))
        plots = "  ".join(paths[name] for name in PLOTS if name in paths)
        print(f"\n table   {paths['table.md']}  {paths['table.csv']}")
        print(f" plots   {plots}  (and .svg)" if plots else " plots   none: nothing to draw")
        if for_paper:
            print(" paper   " + "  ".join(map(os.path.relpath, for_paper.values())))
    page = local_site.write_site(folders.site, runs, comparisons, source.as_posix())
    if as_json:
        print_json(documents[0] if len(documents) == 1 else documents)
    else:
        print(f" page    {os.path.relpath(page)}")


def _tables(groups: Sequence[Sequence[RunSummary]], baseline: str | None) -> list[Table]:
    """Return the table of each group; those that lack the baseline have their usual one, and a note on it.

    Raises:
        UsageError: all tables that compare methods lack it.
    """
    from benchmarks.analysis.table import UnknownBaselineError, build_from_runs

    tables: list[Table] = []
    refusals: list[str] = []
    for group in groups:
        try:
            tables.append(build_from_runs(group, baseline))
        except UnknownBaselineError as error:
            refusals.append(str(error))
            table = build_from_runs(group)
            note = f"{baseline} is not compared in this table: {table.baseline} stands in its place"
            tables.append(replace(table, notes=[*table.notes, note]))
    if refusals and len(refusals) == sum(table.baseline is not None for table in tables):
        raise UsageError("\n".join(refusals))
    return tables
