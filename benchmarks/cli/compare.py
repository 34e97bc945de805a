"""``supernet-bench compare``: the table of existing records of chosen methods."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from benchmarks import registry
from benchmarks.api import UsageError
from benchmarks.cli.arguments import add_json, add_results
from benchmarks.cli.console import print_json, print_rich
from benchmarks.records import store
from benchmarks.records.record import Record
from benchmarks.records.spec import ruleset_of
from benchmarks.registry import MethodRef
from benchmarks.runs.plan import Folders


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    command.add_argument("methods", nargs="+", metavar="METHOD", help="methods, installed or path.py:Class")
    command.add_argument("--suite", default="mt", help="suite of the records (default: mt)")
    command.add_argument("--tier", default="smoke", help="tier of the records (default: smoke)")
    command.add_argument("--task", metavar="T", help="task, needed if there are records of several")
    command.add_argument("--profile", help="hardware profile, needed if there are records of several")
    command.add_argument(
        "--ruleset", choices=("self", "external"), help="ruleset, needed if there are records of both"
    )
    command.add_argument(
        "--baseline", metavar="METHOD", help="method that the others are compared with (default: the first)"
    )
    add_results(command)
    add_json(command)


def run(options: argparse.Namespace) -> int:
    """Print the table of the chosen methods' records; return 0.

    Raises:
        UsageError: a method has no records, or the records cannot be compared with one another.
    """
    refs = [registry.find(name) for name in dict.fromkeys(options.methods)]
    folders = Folders(options.results, options.suite, options.tier)
    records = _selected(store.load_all(folders.store), folders, options)
    chosen = [record for ref in refs for record in _of_method(ref, records, folders, options)]
    baseline = registry.find(options.baseline).name if options.baseline else None
    from benchmarks.analysis.table import build_table
    from benchmarks.comparability.grouping import COUNTED
    from benchmarks.report.console import TerminalTable
    from benchmarks.report.data_formats import as_json

    table = build_table(chosen, baseline)  # refuses runs with unequal allowances
    if options.json:
        print_json(as_json(table))
        return 0
    print_rich(TerminalTable(table))
    budget = chosen[0]["spec"]["budget"]
    allowances = " | ".join(f"{budget[kind]:,.10g} {kind}" for kind in COUNTED if budget[kind] is not None)
    ruleset = ruleset_of(chosen[0]["spec"])
    print(f"\n equal budgets: all {len(chosen)} runs were allowed {allowances}, under {ruleset} tuning")
    return 0


def _selected(records: Sequence[Record], folders: Folders, options: argparse.Namespace) -> list[Record]:
    """Return the records of the task, profile and ruleset of the options.

    Raises:
        UsageError: no record has them, or several tasks or profiles are left to choose from.
    """
    selected = list(records)
    for field, value in (("task", options.task), ("profile", options.profile)):
        known = sorted({_stated(record, field) for record in selected})
        if value is not None and value not in known:
            raise registry.unknown(field, value, known, f"with records in {folders.store}")
        if value is None and len(known) > 1:
            raise UsageError(
                f"there are records of several {field}s: {' '.join(known)}\nname one: --{field} {known[0]}"
            )
        selected = [record for record in selected if value in (None, _stated(record, field))]
    if options.ruleset:
        selected = [record for record in selected if ruleset_of(record["spec"]) == options.ruleset]
    return selected


def _stated(record: Record, field: str) -> str:
    return record["spec"]["task"] if field == "task" else record["spec"]["profile"]


def _of_method(
    ref: MethodRef, records: Sequence[Record], folders: Folders, options: argparse.Namespace
) -> list[Record]:
    """Return the records of a method's present code.

    Raises:
        UsageError: there are none.
    """
    of_name = [record for record in records if record["spec"]["method"] == ref.name]
    of_code = [record for record in of_name if record["spec"]["method_sha256"] == ref.sha256]
    if of_code:
        return of_code
    why = "its records are of another version of its file" if of_name else "it has no records"
    methods = ",".join(options.methods)
    command = f"supernet-bench run {options.suite} --tier {options.tier} --methods {methods}"
    command += f" --task {options.task}" if options.task else ""
    command += f" --ruleset {options.ruleset}" if options.ruleset else ""
    raise UsageError(f"{ref.name}: {why} in {folders.store}\nrun it: {command}")
