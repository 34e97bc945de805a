"""``supernet-bench run``: make all runs of a plan, then report on the whole plan."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from benchmarks.analysis import carbon
from benchmarks.analysis.carbon import CarbonDeclaration
from benchmarks.cli import launching
from benchmarks.cli import plan as plan_command
from benchmarks.cli.arguments import add_carbon, add_hook, add_json, add_published, not_negative, positive
from benchmarks.cli.report import write_reports
from benchmarks.hardware.probe import require_linux
from benchmarks.records.canonical import JsonView
from benchmarks.records.folders import results_flag
from benchmarks.runs import hooks
from benchmarks.runs.execution import execute, shared
from benchmarks.runs.options import RunOptions
from benchmarks.runs.plan import Plan, PlannedRun

EPILOG = (
    "exit code: 0 all runs ended (runs stopped by their seconds are compared with none); 1 a run failed, or"
    " nothing comparable is left; 2 mistake; 130 interrupted"
)
REPORT_MODULES = ("benchmarks.report.files", "benchmarks.leaderboard.local_site")
"""Modules that the report needs, imported while the fork server starts."""


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    plan_command.add_selection(command)
    command.add_argument(
        "--dry-run", action="store_true", help="print the plan with a cost estimate; run nothing"
    )
    command.add_argument(
        "-j",
        "--jobs",
        type=positive,
        metavar="N",
        help="runs at a time, which then share their seconds (default: 1)",
    )
    command.add_argument(
        "--checkpoint-seconds",
        type=not_negative,
        default=30.0,
        metavar="S",
        help="seconds between two checkpoints of a training (default: 30)",
    )
    command.add_argument(
        "--fresh", action="store_true", help="discard the state of this plan's unfinished runs"
    )
    command.add_argument(
        "--resume-changed",
        action="store_true",
        help="go on with runs begun under another torch, Python or processor count; records name both",
    )
    add_hook(command)
    command.add_argument(
        "--detach", action="store_true", help="go on in the background; watch it with status"
    )
    add_carbon(command)
    add_published(command, "take over published records of runs that would do the same")
    add_json(command)


def run(options: argparse.Namespace) -> int:
    """Make all pending runs and report; return 1 if a run failed or nothing comparable is left, else 0.

    Raises:
        UsageError: an option names something that does not exist or is not allowed.
    """
    hooks.require(options.hook)
    emissions = carbon.declared(options.carbon_intensity, options.pue)
    if options.dry_run:
        return plan_command.run(options)
    if options.parallel_config is not None:
        config = launching.read_config(options.parallel_config)
        if config.backend != "local":
            return launching.start(options, config, plan_command.build_plans(options))
        options.jobs = options.jobs or config.jobs
    require_linux()
    if options.detach:
        return launching.detach(options, plan_command.build_plan(options), sys.argv[1:])
    plan, tasks, profile = plan_command.build_plan(options)
    if not options.json:
        plan_command.print_plan(plan, profile, runs=False)
    if plan.pending:
        from rich.console import Console

        run_options = RunOptions(
            command=["supernet-bench", *sys.argv[1:]],
            data_dir=options.data_dir,
            jobs=options.jobs or 1,
            checkpoint_seconds=options.checkpoint_seconds,
            resume_changed=options.resume_changed,
            fresh=options.fresh,
            hooks=options.hook,
        )
        console = Console(file=sys.stderr if options.json else sys.stdout)
        with shared(plan.folders.home):
            execute(plan, tasks, profile, run_options, console, preload=REPORT_MODULES)
    return report(plan, as_json=options.json, emissions=emissions)


def report(plan: Plan, *, as_json: bool, emissions: CarbonDeclaration | None = None) -> int:
    """Print the tables of a plan's records and its unfinished runs; return the exit code."""
    records = [record for run in plan.runs if (record := run.record) is not None]
    failed = [run for run in plan.runs if run.state not in ("done", "skipped", "stopped")]
    stopped = [run for run in plan.runs if run.state == "stopped"]
    comparable = any(record["status"] == "done" for record in records)
    if records:
        write_reports(
            records, plan.folders, plan.folders.store, as_json=as_json, baseline=None, emissions=emissions
        )
    elif not as_json:
        print("no records: every run was skipped")
    out = sys.stderr if as_json else sys.stdout
    if stopped:
        print(f"\n{_stopped(stopped)}", file=out)
    if failed:
        again = "typed again, this command runs them again"
        print(f"\n{len(failed)} of {len(plan.runs)} runs failed; {again}", file=out)
    if not comparable:
        print("nothing comparable is left: every run failed, was stopped or was skipped", file=out)
    if not (as_json or failed or stopped) and (plan.folders.tier, plan.folders.suite) == ("smoke", "mt"):
        command = "supernet-bench run mt --task mt-multi30k-en-de --tier small --data-dir DIR --seeds 3"
        print(f" next    {command}{results_flag(plan.folders.results)}")
    return 1 if failed or not comparable else 0


def _stopped(runs: Sequence[PlannedRun]) -> str:
    """Return one line that lists the runs stopped by their seconds, and the command that repeats them."""
    names = ", ".join(f"{run.label} ({_processor_time(record)})" for run in runs if (record := run.record))
    return (
        f"stopped by their seconds, shown and compared with none: {names}."
        " Type the same command again when the machine is freer: these alone run again"
    )


def _processor_time(record: JsonView) -> str:
    """Return the seconds of a search, with the processor seconds that it got in them."""
    ledger, allowed = record["ledger"], record["spec"]["budget"]["seconds"]
    used = ledger.get("cpu_seconds", {}).get("search")
    share = "" if used is None else f", in which it had {used:,.0f} s of a processor"
    return f"after {ledger['totals'].get('seconds', allowed):,.0f} s{share}"
