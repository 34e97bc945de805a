"""``supernet-bench plan`` and ``run``."""

from __future__ import annotations

import argparse
import fcntl
import json
import shutil
import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from benchmarks import registry
from benchmarks.api import UsageError
from benchmarks.cli.list import table
from benchmarks.hardware import profiles
from benchmarks.hardware.probe import usable_cpus
from benchmarks.hardware.profiles import Profile
from benchmarks.options import parse
from benchmarks.records import provenance
from benchmarks.records.rulesets import SELF, TRIALS
from benchmarks.registry import MethodRef
from benchmarks.runs import repeat
from benchmarks.runs.estimate import duration, estimate
from benchmarks.runs.plan import Folders, Plan, Request, build, parse_seeds, scaled
from benchmarks.tasks import code_digest, data_digest, get_task, prepare, starting, task_names

if TYPE_CHECKING:
    from benchmarks.runs.task_context import Ready

EXACT = "this machine matches"


def plan(options: argparse.Namespace) -> int:
    """Print what a run would do."""
    made, _, profile = _planned(options)
    if options.json:
        print(json.dumps(made.to_dict(), indent=1))
    else:
        _say_plan(made, profile, whole=True)
    return 0


def run(options: argparse.Namespace) -> int:
    """Run all that is not done yet, then report on the whole plan.

    1 where a run failed, or where nothing comparable is left.
    """
    if options.dry_run:
        return plan(options)
    if not options.checkpoint_seconds >= 0:
        raise UsageError(f"--checkpoint-seconds {options.checkpoint_seconds:g}: zero or more")
    made, tasks, profile = _planned(options)
    quiet = options.json
    if not quiet:
        _say_plan(made, profile, whole=False)
    if made.pending:
        with alone(made.folders.home):
            if options.fresh:
                for planned in made.pending:
                    shutil.rmtree(made.folders.runs / planned.spec.id, ignore_errors=True)
            execute(options, made, tasks, profile, ["supernet-bench", *sys.argv[1:]])
    return _report(made, options, quiet)


def _planned(options: argparse.Namespace) -> tuple[Plan, Sequence[Any], Profile]:
    """The plan that the options ask for.

    Raises:
        UsageError: an option names something that does not exist or must not be.
    """
    scaled(dict.fromkeys(("tokens", "evaluations", "probes", "seconds"), 1.0), options.budget_scale)
    tasks = [starting(task, options.start_from) for task in _tasks(options)]
    names = named(options.methods) if options.methods else sorted(registry.installed())
    methods = [registry.find(name) for name in dict.fromkeys(names)]
    if not options.methods:
        meant = (tasks[0].suite,) if getattr(tasks[0], "own_methods", False) else (None, tasks[0].suite)
        methods = [method for method in methods if method.suite in meant]
    if not methods:
        raise UsageError("--methods: none given, and none installed\nlist them: supernet-bench list methods")
    profile = profiles.enforce(profiles.resolve(options.profile))
    tier = tasks[0].tier(options.tier, profile.device)
    folders = Folders(options.results, options.suite, options.tier)
    request = Request(
        tasks=tasks,
        tier=options.tier,
        methods=methods,
        seeds=parse_seeds(options.seeds or str(tier.seeds_default)),
        profile=profile.name,
        device=profile.device,
        budget_scale=options.budget_scale,
        options=parse(options.option),
        ruleset=options.ruleset,
        code={task.name: code_digest(task.name) for task in tasks},
        data={task.name: _data(task, options, profile.device, folders.cache) for task in tasks},
    )
    made = build(request, folders)
    estimate(made, request)
    if made.pending:
        made.notes += _unpublishable({run.method.source: run.method for run in made.pending}.values())
    return made, tasks, profile


def named(text: str) -> list[str]:
    """Return the methods of ``--methods M,M``; the path of a file that is there may have commas."""
    names: list[str] = []
    parts = text.split(",")
    while parts:
        longest = 1
        for count in range(len(parts), 1, -1):
            path, _, class_name = ",".join(parts[:count]).rpartition(":")
            if "," not in class_name and path.endswith(".py") and Path(path.strip()).expanduser().is_file():
                longest = count
                break
        names.append(",".join(parts[:longest]).strip())
        parts = parts[longest:]
    return [name for name in names if name]


def _unpublishable(methods: Iterable[MethodRef]) -> list[str]:
    """Return notes on what ``validate`` would refuse of the records, before they are made."""
    made = {"commit": provenance.source_state()[0], "package": provenance.released()[0]}
    notes = [
        f"no record of this plan could be published: {field} {said}" for field, said in repeat.code(made)
    ]
    for ref in methods:
        if not repeat.obtainable(provenance.method(ref), made):
            notes.append(
                f"records of {ref.name} could not be published: {ref.origin} is in no package,"
                f" commit or URL that is named. {repeat.PLACES}"
            )
    return notes


def _data(task: Any, options: argparse.Namespace, device: str, cache: Path) -> str:
    """Return the digest of a task's data; a plug-in's words while it reads them disturb no table."""
    tier = task.tier(options.tier, device)
    return data_digest(task, tier, cache, options.data_dir, lambda line: print(line, file=sys.stderr))


def _tasks(options: argparse.Namespace) -> Sequence[Any]:
    """The tasks asked for, else those that call the tier their own."""
    known = {name: get_task(name) for name in task_names()}
    suites = sorted({task.suite for task in known.values()})
    then = "list them: supernet-bench list tasks"
    if options.suite not in suites:
        raise registry.unknown("suite", options.suite, suites, then)
    ours = {name: task for name, task in known.items() if task.suite == options.suite}
    tiers = sorted({tier for task in ours.values() for tier in task.tiers()})
    if options.tier not in tiers:
        raise registry.unknown("tier", options.tier, tiers, then)
    if not options.task:
        first = next(task for task in ours.values() if options.tier in task.tiers())
        return [first]
    found = []
    for name in dict.fromkeys(word.strip() for word in options.task.split(",")):
        if name not in ours:
            raise registry.unknown("task", name, ours, then)
        if options.tier not in ours[name].tiers():
            raise UsageError(
                f"task '{name}' has no tier '{options.tier}'; it has: {' '.join(ours[name].tiers())}"
            )
        found.append(ours[name])
    return found


def _say_plan(made: Plan, profile: Profile, *, whole: bool) -> None:
    match = f" ({EXACT})" if profile.name != profiles.UNDECLARED else " (never compared with declared ones)"
    tasks = ", ".join(dict.fromkeys(run.spec.task for run in made.runs))
    suite, tier = made.folders.suite, made.folders.tier
    what = [f"suite {suite}", f"tier {tier}", f"task {tasks}", f"profile {profile.name}{match}"]
    if (ruleset := made.runs[0].spec.ruleset) != SELF:
        what.append(f"{ruleset} tuning, {TRIALS} allowances a run")
    print(" · ".join((f"supernet-bench {version('supernet-bench')}", *what)))
    for note in made.notes:
        print(f"note: {note}")
    if whole:
        columns = ("method", "seed", "task", "run", "state", "estimate", "basis")
        table(columns, [dict(zip(columns, _row(run), strict=True)) for run in made.runs])
    methods = len({run.spec.method for run in made.runs})
    seeds = len({run.spec.seed for run in made.runs})
    done = len(made.runs) - len(made.pending)
    budget = made.runs[0].spec.budget
    each = " | ".join(
        (
            f"train {budget['tokens'] / 1e6:.3g} M tokens",
            f"{budget['evaluations']:g} evaluations",
            f"{budget['probes']:g} probes",
            f"{budget['seconds']:g} s",
        )
    )
    left = f"about {duration(made.seconds)}" if made.pending else "nothing left to run"
    shape = f"{methods} method{'s' * (methods != 1)} x {seeds} seed{'s' * (seeds != 1)}"
    print(f"plan: {shape} = {len(made.runs)} runs, {done} done, {left}; each at most [{each}]", flush=True)
    if made.pending and not whole:
        print(f"estimate: {'; '.join(dict.fromkeys(run.basis for run in made.pending))}", flush=True)


def _row(run: Any) -> tuple[Any, ...]:
    left = duration(run.estimate) if run.state != "done" else ""
    return (run.spec.method, run.spec.seed, run.spec.task, run.spec.id, run.state, left, run.basis)


def execute(
    options: argparse.Namespace,
    made: Plan,
    tasks: Sequence[Any],
    profile: Profile,
    command: Sequence[str],
    before: Callable[[Ready], Ready] = lambda ready: ready,
    timed: Mapping[str, Sequence[Any]] | None = None,
) -> None:
    """Do what is pending in a plan.

    Args:
        options: ``json``, ``jobs``, ``data_dir`` and ``checkpoint_seconds`` of them are used.
        command: for the records.
        before: looks at what a task's runs share, and may change it.
        timed: see ``Runner``.
    """
    from benchmarks.hardware import energy
    from benchmarks.runs.executor import Executor

    signal.signal(signal.SIGTERM, _as_ctrl_c)
    from rich.console import Console

    from benchmarks.hardware import load
    from benchmarks.runs.progress import Display

    seen, threads = load.look(), options.jobs * (profile.threads or usable_cpus())
    console = Console(file=sys.stderr if options.json else sys.stdout)
    display = Display(console, made, options.jobs, seen.slowdown(threads))
    display.note(seen.line(threads))
    names = {run.spec.task for run in made.pending}
    wanted = [task for task in tasks if task.name in names]
    tier, cache = made.folders.tier, made.folders.cache
    prepared = [
        prepare(task, task.tier(tier, profile.device), cache, options.data_dir, display.note)
        for task in wanted
    ]
    executor = Executor()
    executor.warm_up()
    energy.warm_up(profile)
    # What the report will need is imported now, while the server imports torch on the other processor.
    import benchmarks.report.html
    import benchmarks.report.plots.pareto  # noqa: F401
    from benchmarks.runs.runner import Runner
    from benchmarks.runs.task_context import make_ready

    ready = {
        task.name: before(make_ready(task, data, made, profile, executor))
        for task, data in zip(wanted, prepared, strict=True)
    }
    with display:
        Runner(
            made,
            ready,
            profile,
            executor,
            display,
            jobs=options.jobs,
            checkpoint_seconds=options.checkpoint_seconds,
            command=command,
            timed=timed,
        ).run()


def _report(made: Plan, options: argparse.Namespace, quiet: bool) -> int:
    """The table, and where everything stands."""
    from benchmarks.cli.report import show

    records = [run.record for run in made.runs if run.record is not None]
    # A finished record that a run of this plan builds on belongs to the comparison's story, not to its table.
    failed = [run for run in made.runs if run.state not in ("done", "skipped", "stopped")]
    stopped = [run for run in made.runs if run.state == "stopped"]
    comparable = any(run.record is not None and run.record["status"] == "done" for run in made.runs)
    if records:
        show(records, made.folders, as_json=quiet, baseline=None)
    elif not quiet:
        print("no records: every run was skipped")
    out = sys.stderr if quiet else sys.stdout
    if stopped:
        print(f"\n{_stopped(stopped)}", file=out)
    if failed:
        again = "typed again, this command runs them again"
        print(f"\n{len(failed)} of {len(made.runs)} runs failed; {again}", file=out)
    if not comparable:
        print("nothing comparable is left: every run failed, was stopped or was skipped", file=out)
    if not (quiet or failed or stopped) and (made.folders.tier, made.folders.suite) == ("smoke", "mt"):
        print(" next    supernet-bench run mt --task mt-multi30k-en-de --tier small --data-dir DIR --seeds 3")
    return 1 if failed or not comparable else 0


def _stopped(runs: Sequence[Any]) -> str:
    """Say in one line which runs their seconds stopped, why, and what to type."""
    names = ", ".join(f"{run.label} ({_use(run.record)})" for run in runs)
    return (
        f"stopped by their seconds, shown and compared with none: {names}."
        " Type the same command again when the machine is freer: these alone run again"
    )


def _use(record: Mapping[str, Any]) -> str:
    """The processor time that a search had of its seconds."""
    ledger, allowed = record["ledger"], record["spec"]["budget"]["seconds"]
    used = ledger.get("cpu_seconds", {}).get("search")
    had = "" if used is None else f", in which it had {used:,.0f} s of a processor"
    return f"after {ledger['totals'].get('seconds', allowed):,.0f} s{had}"


def _as_ctrl_c(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


@contextmanager
def alone(home: Path) -> Iterator[None]:
    """One command at a time in one results folder."""
    home.mkdir(parents=True, exist_ok=True)
    with (home / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UsageError(
                f"another supernet-bench works in {home}: wait for it, or write elsewhere: --results DIR"
            ) from None
        yield
