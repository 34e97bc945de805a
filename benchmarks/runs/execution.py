"""Execution of a plan: prepare data and reference networks, then work through the runs."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.api import UsageError
from benchmarks.hardware.file_lock import lock
from benchmarks.hardware.probe import usable_cpus
from benchmarks.hardware.profiles import Profile
from benchmarks.records.provenance import provenance
from benchmarks.runs.interruption import raise_at_once
from benchmarks.runs.leases import refuse_if_active
from benchmarks.runs.options import RunOptions
from benchmarks.runs.plan import Plan
from benchmarks.tasks import Task, prepare

if TYPE_CHECKING:
    from rich.console import Console

    from benchmarks.runs.task_context import TaskContext


def execute(
    plan: Plan,
    tasks: Sequence[Task],
    profile: Profile,
    options: RunOptions,
    console: Console,
    *,
    adapt: Callable[[TaskContext], TaskContext] = lambda ready: ready,
    preload: Sequence[str] = (),
) -> None:
    """Make all pending runs of a plan.

    Args:
        tasks: at least the tasks of the pending runs.
        console: for progress.
        adapt: checks or changes the context that a task's runs share.
        preload: modules imported while the fork server imports torch on another processor.

    Raises:
        UsageError: a run was begun in an environment that may give other numbers; data or a reference network
            cannot be had.
        KeyboardInterrupt: after all active runs have saved and ended.
    """
    from benchmarks.hardware import energy, load
    from benchmarks.runs import origins
    from benchmarks.runs.display import Display
    from benchmarks.runs.executor import Executor

    executor = Executor()  # sets the environment of its workers, which the provenance states
    command_provenance = provenance(command=list(options.command))
    if not (options.resume_changed or options.fresh or options.shared):
        # A run that its seconds stopped starts afresh.
        resumed = [run for run in plan.pending if run.state != "stopped"]
        folders = [(run.label, plan.folders.runs / run.spec.id) for run in resumed]
        origins.check(folders, origins.origin_of(command_provenance))
    raise_at_once()
    machine_load, threads = load.measure_load(), options.jobs * (profile.threads or usable_cpus())
    display = Display(console, plan, options.jobs, machine_load.slowdown(threads), options.hooks)
    display.note(machine_load.line(threads))
    names = {run.spec.task for run in plan.pending}
    pending = [task for task in tasks if task.name in names]
    prepared = [
        prepare(
            task,
            task.tier(plan.folders.tier, profile.device),
            plan.folders.cache,
            options.data_dir,
            display.note,
        )
        for task in pending
    ]
    executor.warm_up()
    energy.warm_up(profile)
    for module in preload:
        importlib.import_module(module)
    from benchmarks.runs.runner import Runner
    from benchmarks.runs.task_context import prepare_task_context

    contexts = {
        task.name: adapt(prepare_task_context(task, data, plan, profile, executor))
        for task, data in zip(pending, prepared, strict=True)
    }
    with display:
        Runner(plan, contexts, profile, executor, display, options, command_provenance).run()


@contextmanager
def shared(folder: Path) -> Iterator[None]:
    """Work in a results folder beside other workers; the folder is created if needed.

    Raises:
        UsageError: a command holds the folder alone.
    """
    with _locked(folder, alone=False):
        yield


@contextmanager
def exclusive(folder: Path) -> Iterator[None]:
    """Hold a results folder alone; it is created if needed.

    Raises:
        UsageError: another command or worker uses it.
    """
    with _locked(folder, alone=True):
        refuse_if_active(folder)
        yield


@contextmanager
def _locked(folder: Path, *, alone: bool) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("a") as file:
        try:
            lock(file, wait=False, shared=not alone)
        except BlockingIOError:
            raise UsageError(
                f"another supernet-bench works in {folder}: wait for it, or write elsewhere: --results DIR"
            ) from None
        except UsageError:
            if alone:  # leases keep workers apart without any lock
                raise
        yield
