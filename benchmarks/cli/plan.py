"""``supernet-bench plan``: the runs that ``run`` would make, and an estimate of their cost."""

from __future__ import annotations

import argparse
import json
import sys
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

from benchmarks.api import ProfileMismatchError, UsageError
from benchmarks.cli.arguments import (
    add_data_dir,
    add_json,
    add_method_options,
    add_published,
    add_results,
    add_start_from,
    add_task_flags,
    published_folder,
)
from benchmarks.cli.configuration import Configuration, add_config, effective, located, to_yaml
from benchmarks.cli.console import print_json, print_table
from benchmarks.cli.selection import select_methods, select_tasks
from benchmarks.hardware import profiles, user_profiles
from benchmarks.hardware.probe import probe
from benchmarks.hardware.profiles import Profile
from benchmarks.options import parse
from benchmarks.records import provenance
from benchmarks.records.spec import SELF, TRIALS
from benchmarks.registry import MethodRef
from benchmarks.runs import published_runs, repeat, user_declarations
from benchmarks.runs.estimate import estimate_runs, format_duration
from benchmarks.runs.plan import (
    Folders,
    Plan,
    PlannedRun,
    PlanRequest,
    lay_out,
    parse_seeds,
    require_few,
    scale_budget,
)
from benchmarks.tasks import Task, code_digest, data_digest, prepare, starting

COLUMNS = ("method", "seed", "task", "run", "state", "estimate", "basis")
"""Columns of the table of runs."""


class PlannedSuite(NamedTuple):
    """A plan with the tasks and the hardware profile that its runs need."""

    plan: Plan
    tasks: Sequence[Task]
    profile: Profile


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    add_selection(command)
    add_published(command, "count published records of runs that would do the same as done")
    add_json(command)


def add_selection(command: argparse.ArgumentParser) -> None:
    """Add the arguments that select runs; ``plan`` and ``run`` share them."""
    command.add_argument("suite", nargs="?", help="suite, such as mt")
    add_config(command)
    command.add_argument(
        "--parallel-config",
        type=Path,
        metavar="FILE",
        help="engine that starts workers: YAML as benchopt's, backend local, submitit, script, k8s or ray",
    )
    command.add_argument(
        "--tier", default="smoke", help="smoke (minutes), small (real data) or paper (default: smoke)"
    )
    command.add_argument(
        "--task",
        metavar="T,T",
        help="tasks of the suite, or your own: text:FOLDER, mlm:FOLDER, images:FOLDER, FILE.py:Class"
        " (default: the tier's own)",
    )
    add_task_flags(command)
    command.add_argument(
        "--methods", metavar="M,M", help="methods, installed or path.py:Class (default: all installed)"
    )
    command.add_argument(
        "--seeds",
        metavar="N",
        help="number of seeds (3: seeds 1 to 3), or the seeds (1,4) (default: the tier's own)",
    )
    command.add_argument(
        "--profile",
        default="auto",
        help="hardware profile, a file of your own (supernet-bench profiles new), auto or undeclared"
        " (default: auto)",
    )
    add_data_dir(command)
    add_start_from(command)
    command.add_argument(
        "--budget-scale", type=float, default=1.0, metavar="X", help="multiply every allowance (default: 1)"
    )
    add_method_options(command)
    command.add_argument(
        "--ruleset",
        choices=("self", "external"),
        default="self",
        help="self: methods as they are; external: each method tries its declared options on 5 allowances"
        " (default: self)",
    )
    add_results(command)


def run(options: argparse.Namespace) -> int:
    """Print the plan; return 0."""
    planned = build_plans(options)
    plan, tasks, _ = planned[0]
    study = effective(options, plan, select_methods(options, tasks[0]))
    if options.json:
        plans = [each.plan.to_dict() for each in planned]
        print_json({"study": study, **(plans[0] if len(plans) == 1 else {"plans": plans})})
        return 0
    for each in planned:
        print_plan(each.plan, each.profile, runs=True)
    if options.parallel_config is not None:
        from benchmarks.cli import launching

        config = launching.read_config(options.parallel_config)
        print(f"engine {config.backend}: {launching.describe(launching.worker_groups(config, planned))}")
    if options.configuration is not None:
        print(f"study, as {options.configuration.path} and the command line have it:")
        print(textwrap.indent(to_yaml(study), "  "), end="")
    return 0


def build_plans(options: argparse.Namespace) -> list[PlannedSuite]:
    """Return one plan for each profile that the options name, whatever this machine is.

    Raises:
        UsageError: an option names something that does not exist or is not allowed.
    """
    names = options.profile if isinstance(options.profile, list) else [options.profile]
    plans: dict[str, PlannedSuite] = {}
    for name in names:
        with located(options.configuration, "profile", name):
            profile = profiles.get(profiles.resolve(_declared(name)))
        plans.setdefault(profile.name, _plan_for(options, profile))
    return list(plans.values())


def _declared(word: str) -> str:
    """Return the name of a profile, which the word may give by its file."""
    return user_profiles.declare_file(word) if user_profiles.is_file_word(word) else word


def build_plan(options: argparse.Namespace) -> PlannedSuite:
    """Return the plan that the options select for this machine, with estimates.

    Raises:
        UsageError: an option names something that does not exist or is not allowed.
    """
    names = options.profile if isinstance(options.profile, list) else [options.profile]
    first: ProfileMismatchError | None = None
    for word in names:
        try:
            with located(options.configuration, "profile", word):
                profile = profiles.enforce(profiles.resolve(_declared(word)))
        except ProfileMismatchError as error:
            first = first or error
        else:
            return _plan_for(options, profile)
    assert first is not None
    raise first


def _plan_for(options: argparse.Namespace, profile: Profile) -> PlannedSuite:
    """Return the plan that the options select for machines of a profile."""
    study: Configuration | None = options.configuration
    scales = options.budget_scale if isinstance(options.budget_scale, list) else [options.budget_scale]
    for scale in scales:
        with located(study, "budget-scale", scale):
            scale_budget(dict.fromkeys(("tokens", "evaluations", "probes", "seconds"), 1.0), scale)
    tasks = select_tasks(options)
    with located(study, "start-from", options.start_from):
        tasks = [starting(task, options.start_from) for task in tasks]
    methods = select_methods(options, tasks[0])
    tier = tasks[0].tier(options.tier, profile.device)
    folders = Folders(options.results, options.suite, options.tier)
    with located(study, "seeds", options.seeds):
        seeds = parse_seeds(options.seeds or str(tier.seeds_default))
    given = parse(options.option)
    sweeps = study.sweeps(methods, given) if study else {}
    variants = sum(len(sweeps.get(method.name, [{}])) for method in methods.values())
    require_few(tasks=len(tasks), methods=variants, seeds=len(seeds), budgets=len(scales))
    request = PlanRequest(
        tasks=tasks,
        tier=options.tier,
        methods=list(methods.values()),
        seeds=seeds,
        profile=profile.name,
        device=profile.device,
        options=given,
        sweeps=sweeps,
        ruleset=options.ruleset,
        code={task.name: code_digest(task.name) for task in tasks},
        data={task.name: _data_digest(task, options, profile.device, folders.cache) for task in tasks},
    )
    plan = Plan(folders, profile.name, profile.device)
    for scale in dict.fromkeys(scales):
        scaled = replace(request, budget_scale=scale)
        part = lay_out(scaled, folders)
        estimate_runs(part, scaled)
        plan.runs += part.runs
        plan.notes += [note for note in part.notes if note not in plan.notes]
    _require_same_profile(plan, profile)
    _take_over_published(plan, options)
    for task in tasks:
        plan.notes += _data_notes(task, options, profile.device, folders.cache)
    if plan.pending:
        methods_by_source = {run.method.source: run.method for run in plan.pending}
        plan.notes += _unpublishable(methods_by_source.values())
    return PlannedSuite(plan, tasks, profile)


def _take_over_published(plan: Plan, options: argparse.Namespace) -> None:
    """Take over published records of equal runs and note why others are not, or offer ``--published``."""
    if not plan.pending:
        return
    published = published_runs.records_for(plan, published_folder(options))
    pairs = published_runs.equal_runs(plan, published)
    count = f"{len(pairs)} run{'s' * (len(pairs) != 1)}"
    if options.published is not None:
        published_runs.take_over(pairs)
        plan.notes.append(f"{count} of this plan taken over from published records")
        plan.notes += published_runs.reasons(plan, published)
    elif pairs:
        plan.notes.append(f"{count} of this plan are published already: --published takes their records")


def _require_same_profile(plan: Plan, profile: Profile) -> None:
    """Refuse a profile of the user's that has changed since one of the plan's runs was made under it.

    Raises:
        UsageError: it has changed.
    """
    for run in plan.runs:
        if run.load is None:
            continue
        now = user_declarations.describe(run.spec.task, profile).get("profile")
        if run.declared_profile != (now and json.loads(json.dumps(now))):
            raise UsageError(
                f"profile '{profile.name}' has changed since {run.label} was run under it\n"
                "rename the file to its next version, such as mine.v2.toml"
            )


def _unpublishable(methods: Iterable[MethodRef]) -> list[str]:
    """Return notes on records that ``validate`` would refuse, before the runs that make them."""
    origin = {"commit": provenance.source_state()[0], "package": provenance.released()[0]}
    notes = [
        f"no record of this plan could be published: {field} {problem}"
        for field, problem in repeat.code_obstacles(origin)
    ]
    for ref in methods:
        if not repeat.is_obtainable(provenance.method(ref), origin):
            notes.append(
                f"records of {ref.name} could not be published: {ref.origin} is in no package,"
                f" commit or URL that is named. {repeat.HOW_TO_PUBLISH}"
            )
    return notes


def _data_digest(task: Task, options: argparse.Namespace, device: str, cache: Path) -> str:
    """Return the digest of a task's data; a reader's messages go to standard error."""
    tier = task.tier(options.tier, device)
    return data_digest(task, tier, cache, options.data_dir, lambda line: print(line, file=sys.stderr))


def _data_notes(task: Task, options: argparse.Namespace, device: str, cache: Path) -> list[str]:
    """Return how a task read its data, for tasks that state it."""
    if not hasattr(task, "notes"):
        return []
    tier = task.tier(options.tier, device)
    prepared = prepare(task, tier, cache, options.data_dir, lambda line: print(line, file=sys.stderr))
    return [f"{task.name}: {note}" for note in task.notes(prepared)]


def print_plan(plan: Plan, profile: Profile, *, runs: bool) -> None:
    """Print the head and the totals of a plan.

    Args:
        runs: print the table of all runs too.
    """
    named = profile.name != profiles.UNDECLARED
    match = " (this machine matches)" if named else " (never compared with declared ones)"
    if named and profiles.differences(profile, probe()):
        match = " (not this machine: left to workers that match)"
    tasks = ", ".join(dict.fromkeys(run.spec.task for run in plan.runs))
    head = [f"suite {plan.folders.suite}", f"tier {plan.folders.tier}", f"task {tasks}"]
    head.append(f"profile {profile.name}{match}")
    if (ruleset := plan.runs[0].spec.ruleset) != SELF:
        head.append(f"{ruleset} tuning, {TRIALS} allowances a run")
    print(" · ".join((f"supernet-bench {version('supernet-bench')}", *head)))
    for note in plan.notes:
        print(f"note: {note}")
    if runs:
        print_table(COLUMNS, [_row(run) for run in plan.runs])
    methods = len({run.spec.method for run in plan.runs})
    seeds = len({run.spec.seed for run in plan.runs})
    done = len(plan.runs) - len(plan.pending)
    allowances = " | ".join(
        (
            f"train {_range((run.spec.budget['tokens'] / 1e6 for run in plan.runs), '.3g')} M tokens",
            f"{_range(run.spec.budget['evaluations'] for run in plan.runs)} evaluations",
            f"{_range(run.spec.budget['probes'] for run in plan.runs)} probes",
            f"{_range(run.spec.budget['seconds'] for run in plan.runs)} s",
        )
    )
    remaining = f"about {format_duration(plan.seconds)}" if plan.pending else "nothing left to run"
    counts = f"{methods} method{'s' * (methods != 1)} x {seeds} seed{'s' * (seeds != 1)}"
    totals = f"plan: {counts} = {len(plan.runs)} runs, {done} done, {remaining}; each at most [{allowances}]"
    print(totals, flush=True)
    if plan.pending and not runs:
        print(f"estimate: {'; '.join(dict.fromkeys(run.basis for run in plan.pending))}", flush=True)


def _range(amounts: Iterable[float], form: str = "g") -> str:
    """Return the lowest and the highest of some amounts; the amount alone if all are equal."""
    values = list(amounts)
    return " to ".join(dict.fromkeys(f"{value:{form}}" for value in (min(values), max(values))))


def _row(run: PlannedRun) -> tuple[object, ...]:
    """Return the cells of ``COLUMNS`` for a run."""
    remaining = format_duration(run.estimate) if run.state != "done" else ""
    return (run.name, run.spec.seed, run.spec.task, run.spec.id, run.state, remaining, run.basis)
