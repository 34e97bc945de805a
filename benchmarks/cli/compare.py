"""``supernet-bench compare``: the table of existing records of chosen methods."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence

from benchmarks import identity, suggestions
from benchmarks.api import UsageError
from benchmarks.cli.arguments import add_json, add_published, add_results, published_folder
from benchmarks.cli.console import print_json, print_rich
from benchmarks.cli.record_argument import find_method, suite_records
from benchmarks.cli.selection import require_tier
from benchmarks.comparability import published_rows
from benchmarks.hardware import profiles
from benchmarks.records.folders import results_flag
from benchmarks.records.matching import of_method
from benchmarks.records.record import Record
from benchmarks.records.spec import ruleset_of
from benchmarks.registry import MethodRef
from benchmarks.runs.estimate import format_duration
from benchmarks.runs.plan import Folders
from benchmarks.tasks import code_digest, get_task


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
    add_published(
        command, "use published rows of equal task, tier, profile, allowance, settings, code and data"
    )
    add_json(command)


def run(options: argparse.Namespace) -> int:
    """Print the table of the chosen methods' records; return 0.

    Raises:
        UsageError: a method has no records, there is no such suite or tier, or the records cannot be compared
            with one another.
    """
    folders = Folders(options.results, options.suite, options.tier)
    refs = [find_method(name, folders) for name in dict.fromkeys(options.methods)]
    lacking: list[str] = []
    if options.published:
        chosen, lacking = _with_published(refs, folders, options)
    else:
        records = suite_records(folders)
        if not records:
            require_tier(options.suite, options.tier)
        records = _selected(records, folders, options)
        chosen = [record for ref in refs for record in _of_method(ref, records, folders, options)]
    baseline: str | None = options.baseline
    if baseline is not None and ".py" in baseline:
        baseline = find_method(baseline, folders).name
    from benchmarks.analysis.table import build_table
    from benchmarks.comparability.grouping import COUNTED
    from benchmarks.report.console import TerminalTable
    from benchmarks.report.data_formats import as_json

    table = build_table(chosen, baseline)  # refuses runs with unequal allowances
    if options.json:
        print_json({**as_json(table), **({"missing": lacking} if options.published else {})})
        return 0
    print_rich(TerminalTable(table))
    budget = chosen[0]["spec"]["budget"]
    allowances = " | ".join(f"{budget[kind]:,.10g} {kind}" for kind in COUNTED if budget[kind] is not None)
    ruleset = ruleset_of(chosen[0]["spec"])
    runs = "the run was" if len(chosen) == 1 else f"all {len(chosen)} runs were"
    print(f"\n equal budgets: {runs} allowed {allowances}, under {ruleset} tuning")
    for line in lacking:
        print(f" {line}")
    return 0


def _with_published(
    refs: Sequence[MethodRef], folders: Folders, options: argparse.Namespace
) -> tuple[list[Record], list[str]]:
    """Return own and published records of one table, and a line for each that is missing.

    Raises:
        UsageError: no record of the methods is here.
    """
    theirs = suite_records(Folders(published_folder(options), options.suite, options.tier))
    mine = suite_records(folders)
    both = [_narrowed(records, options) for records in (mine, theirs)]
    here = options.profile or profiles.resolve("auto")
    conditions = published_rows.choose_conditions(refs, both[0], both[1], here)
    if conditions is None:
        require_tier(options.suite, options.tier)
        names = ", ".join(ref.name for ref in refs)
        raise UsageError(
            f"no record of {names} in {folders.store} or in {published_folder(options)}\n"
            f"run one: supernet-bench run {options.suite} --tier {options.tier}"
            f" --methods {','.join(dict.fromkeys(options.methods))}{results_flag(options.results)}"
        )
    rows = published_rows.gather(refs, conditions, both[0], both[1])
    about = f"{conditions['task']} {conditions['tier']} on {conditions['profile']}"
    lines = [f"published runs: {rows.published} of {len(rows.records)}, of {about}"]
    other = _other_code(conditions)
    if other:
        lines.append(f"a run of today's code would not share this table, whose code is another: {other}")
    if rows.earlier:
        names = ", ".join(rows.earlier)
        lines.append(
            f"rows of an earlier version of the code: {names}; a new run of it may give other numbers"
        )
    words = dict(zip((ref.name for ref in refs), dict.fromkeys(options.methods), strict=True))
    for name, seeds in rows.missing.items():
        seconds = published_rows.seconds_of(name, conditions, [*mine, *theirs])
        cost = f"about {format_duration(seconds * len(seeds))}" if seconds else "of unknown cost"
        why = f" ({rows.reasons[name]})" if name in rows.reasons else ""
        line = f"missing: {name}, {len(seeds)} seed{'s' * (len(seeds) != 1)}{why}"
        if not other:
            command = _run_command(options, conditions, [words[name]], seeds)
            line += f", {cost}: {command}"
        lines.append(line)
    if other and rows.missing:
        all_seeds = sorted({record["spec"]["seed"] for record in rows.records})
        command = _run_command(options, conditions, [*words.values()], all_seeds)
        lines.append(f"no run of today can fill them; a table of today's code takes all runs: {command}")
    return rows.records, lines


def _run_command(
    options: argparse.Namespace, conditions: Mapping[str, str], words: Sequence[str], seeds: Sequence[int]
) -> str:
    """Return the command that makes runs of a table."""
    ruleset = f" --ruleset {conditions['ruleset']}" if "ruleset" in conditions else ""
    return (
        f"supernet-bench run {options.suite} --task {conditions['task']} --tier {options.tier}"
        f" --methods {','.join(words)} --seeds {','.join(map(str, seeds))}{',' * (len(seeds) == 1)}"
        f" --profile {conditions['profile']}{ruleset}{results_flag(options.results)}"
    )


def _other_code(conditions: Mapping[str, str]) -> str:
    """Return the parts of today's code that differ from a table's, in words; empty if none does."""
    name, on = conditions["task"], profiles.get(conditions["profile"]).device
    try:
        settings, code = get_task(name).tier(conditions["tier"], on).sha256, code_digest(name)
    except UsageError:
        return f"task {name} is not installed, and its code"
    today = {
        "settings_sha256": settings,
        "task_sha256": identity.equivalent(identity.TASK, code, on),
        "substrate_sha256": identity.equivalent(identity.SUBSTRATE_KIND, identity.substrate(), on),
    }
    differing = [name for name, digest in today.items() if digest[:12] != conditions[name]]
    return ", ".join(published_rows.NAMES[name] for name in differing)


def _narrowed(records: Sequence[Record], options: argparse.Namespace) -> list[Record]:
    """Return the records of the task, profile and ruleset that the options name."""
    return [
        record
        for record in records
        if options.task in (None, record["spec"]["task"])
        and options.profile in (None, record["spec"]["profile"])
        and options.ruleset in (None, ruleset_of(record["spec"]))
    ]


def _selected(records: Sequence[Record], folders: Folders, options: argparse.Namespace) -> list[Record]:
    """Return the records of the task, profile and ruleset of the options.

    Raises:
        UsageError: no record has them, or several tasks or profiles are left to choose from.
    """
    selected = list(records)
    for field, value in (("task", options.task), ("profile", options.profile)):
        known = sorted({_stated(record, field) for record in selected})
        if value is not None and value not in known:
            raise suggestions.unknown(field, value, known, f"with records in {folders.store}")
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
    of_code = of_method(ref, of_name)
    if of_code:
        return of_code
    why = "its records are of another version of its file" if of_name else "it has no records"
    methods = ",".join(options.methods)
    command = f"supernet-bench run {options.suite} --tier {options.tier} --methods {methods}"
    command += f" --task {options.task}" if options.task else ""
    command += f" --ruleset {options.ruleset}" if options.ruleset else ""
    command += results_flag(options.results)
    raise UsageError(f"{ref.name}: {why} in {folders.store}\nrun it: {command}")
