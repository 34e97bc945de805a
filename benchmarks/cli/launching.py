"""Start of workers elsewhere: on the engine of a parallel configuration, or detached from the terminal."""

from __future__ import annotations

import argparse
import hashlib
import math
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.api import UsageError
from benchmarks.cli.configuration import effective, to_yaml
from benchmarks.cli.console import print_json
from benchmarks.cli.plan import PlannedSuite
from benchmarks.cli.selection import select_methods
from benchmarks.engines import parallel_config, processes, scripts
from benchmarks.engines.parallel_config import ParallelConfig, WorkerGroup
from benchmarks.records.folders import results_flag
from benchmarks.records.store import write_text
from benchmarks.runs.estimate import format_duration

RECORD_BYTES = 81_000
"""Bytes of a record: the mean of the published ones in 2026."""
STARTS_A_MINUTE = 10
"""Job starts a minute above which sites ask their users to bundle."""


def worker_groups(config: ParallelConfig, planned: Sequence[PlannedSuite]) -> list[WorkerGroup]:
    """Return the workers for all plans of a study.

    Raises:
        UsageError: an override of a method that does not exist.
    """
    parallel_config.require_methods(config, [each.plan for each in planned])
    return [group for each in planned for group in parallel_config.groups(config, each.plan)]


def describe(groups: Sequence[WorkerGroup]) -> str:
    """Return runs, workers, hours, storage and job starts of some groups in one line."""
    runs, count = sum(group.runs for group in groups), sum(group.count for group in groups)
    parts = [f"{runs} runs", f"{count} workers of {groups[0].config.hours:g} h" if groups else "no workers"]
    seconds = [group.seconds for group in groups]
    if None not in seconds:
        total = math.fsum(s for s in seconds if s is not None)
        parts.append(f"{format_duration(total)} of runs one at a time")
    parts.append(f"about {runs * RECORD_BYTES / 1e6:,.0f} MB of records")
    rate = max((starts_a_minute(group) for group in groups), default=0.0)
    warning = f", above {STARTS_A_MINUTE}: give workers more hours" if rate > STARTS_A_MINUTE else ""
    parts.append(f"{rate:.2g} job starts a minute{warning}")
    return ", ".join(parts)


def starts_a_minute(group: WorkerGroup) -> float:
    """Return the mean number of job starts a minute while a group works."""
    side_by_side = min(group.count, group.config.parallelism or group.count)
    waves = math.ceil(group.count / side_by_side)
    return group.count / (waves * group.config.hours * 60)


def write_study(options: argparse.Namespace, planned: PlannedSuite) -> Path:
    """Write the study, with the flags of this command, where workers read it; return its path."""
    study = effective(options, planned.plan, select_methods(options, planned.tasks[0]))
    study["results"] = str(Path(study["results"]).absolute())
    text = to_yaml(study)
    name = hashlib.sha256(text.encode()).hexdigest()[:12]
    path = planned.plan.folders.home.absolute() / "studies" / f"{name}.yml"
    write_text(path, text)
    return path


def start(options: argparse.Namespace, config: ParallelConfig, planned: Sequence[PlannedSuite]) -> int:
    """Start the workers of a study, or print what starts them; return the exit code.

    Raises:
        UsageError: the engine is not installed, or the configuration lacks what it needs.
    """
    groups = worker_groups(config, planned)
    if not groups:
        print("nothing left to run", file=sys.stderr)
        return 0
    study = write_study(options, planned[0])
    home = planned[0].plan.folders.home
    print(f"# {describe(groups)}", file=sys.stderr)
    watch = f"supernet-bench status {study} --watch"
    if config.backend == "script":
        for number, script in enumerate(text for group in groups for text in scripts.sbatch(study, group)):
            path = study.with_suffix(f".{number}.sbatch")
            write_text(path, script)
            print(script)
            print(f"# submit it: sbatch {path}; then: {watch}", file=sys.stderr)
    elif config.backend == "k8s":
        print(scripts.kubernetes(study, groups))
        print(f"# submit it: kubectl apply -f -; then: {watch}", file=sys.stderr)
    elif config.backend == "submitit":
        folder = home / "engine"
        jobs = [job for group in groups for job in processes.submit(study, group, folder)]
        ids = sorted({str(job.job_id).partition("_")[0] for job in jobs})
        print(f"{len(jobs)} workers submitted: {' '.join(ids)}; logs: {folder}\nwatch: {watch}")
        if config.other.get("cluster") in ("local", "debug"):
            return int(any(job.exception() is not None for job in jobs))
    else:
        codes = processes.run_on_ray(study, groups)
        folders = planned[0].plan.folders
        report = f"supernet-bench report {folders.suite} --tier {folders.tier}{results_flag(folders.results)}"
        print(f"{len(codes)} workers have ended; then: {report}")
    return 0


def detach(options: argparse.Namespace, planned: PlannedSuite, words: Sequence[str]) -> int:
    """Start this command in the background, out of reach of the terminal; print where to look.

    Args:
        words: of the command; ``--detach`` is left out.
    """
    study = write_study(options, planned)
    log = study.with_suffix(".txt")
    kept = [word for word in words if word != "--detach"]
    with log.open("ab") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks", *kept],
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            start_new_session=True,
        )
    launched = {"pid": process.pid, "log": str(log), "study": str(study)}
    if options.json:
        print_json(launched)
    else:
        print(f"runs in process {process.pid}; log: {log}\nwatch: supernet-bench status {study} --watch")
        print(f"stop, saving all runs: kill -USR1 {process.pid}")
    return 0


def read_config(path: Path) -> ParallelConfig:
    """Return a parallel configuration for the command line.

    Raises:
        UsageError: a mistake in it.
    """
    config = parallel_config.read(path)
    if config.backend == "local" and config.overrides:
        raise UsageError(f"{path}: overrides are for engines, not for backend local")
    return config
