"""Workers that submitit or Ray start: each runs ``supernet-bench work`` as a process of its own."""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from benchmarks.api import UsageError
from benchmarks.engines.parallel_config import WorkerGroup
from benchmarks.records.canonical import JsonObject

SAVED = 75
"""Exit code of a worker that was asked to stop and has given its runs back."""
CLUSTERS = ("slurm", "local", "debug")
"""Executors of submitit."""
RETRIES = -1
"""Restarts of a Ray actor whose machine is lost: as often as needed."""


class WorkerCall:
    """A call that runs one worker; submitit pickles it, and asks for a checkpoint before its time is over."""

    def __init__(self, words: Sequence[str]) -> None:
        self.words = list(words)
        self._process: subprocess.Popen[bytes] | None = None

    def __call__(self) -> int:
        """Run the worker to its end; return its exit code."""
        self._process = subprocess.Popen(self.words, preexec_fn=_end_with_parent)
        code = self._process.wait()
        if code not in (0, SAVED):
            raise RuntimeError(f"the worker ended with exit code {code}")
        return code

    def checkpoint(self) -> object:
        """Let the worker save and give back its runs; return the submission that goes on, for submitit.

        It is called in a signal handler, inside the wait of ``__call__``, which holds the process's lock.
        """
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGUSR1)
            with contextlib.suppress(ChildProcessError):  # ended, and collected by the call
                # Takes no lock, and leaves the exit code to the call.
                os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOWAIT)
        return importlib.import_module("submitit").helpers.DelayedSubmission(WorkerCall(self.words))

    def __getstate__(self) -> JsonObject:
        return {"words": self.words, "_process": None}


def words(study: Path, group: WorkerGroup) -> list[str]:
    """Return the words of one worker's command, in the interpreter of this process."""
    return [sys.executable, "-m", "benchmarks", "work", str(study.absolute()), *group.arguments]


def _end_with_parent() -> None:
    """Let a worker save and stop when the process ends that started it."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, int(signal.SIGTERM), 0, 0, 0)


def submit(study: Path, group: WorkerGroup, folder: Path) -> list[Any]:
    """Submit the workers of a group through submitit, as one job array; return its jobs.

    Raises:
        UsageError: submitit is not installed, or refuses a parameter.
    """
    submitit = _imported("submitit", "slurm")
    cluster = str(group.config.other.get("cluster", "slurm"))
    if cluster not in CLUSTERS:
        raise UsageError(f"{group.config.path}: cluster: no '{cluster}'\nallowed: {' '.join(CLUSTERS)}")
    try:
        executor = submitit.AutoExecutor(folder, cluster=cluster, **_retries(cluster))
        given = {f"slurm_{k}": v for k, v in group.config.slurm.items() if k != "time"}
        if cluster != "slurm":
            given = {}
        minutes = max(1, round(group.config.hours * 60))
        executor.update_parameters(timeout_min=minutes, name="supernet-bench", **given)
    except (NameError, TypeError, RuntimeError, ValueError) as error:
        raise UsageError(f"{group.config.path}: submitit: {error}") from None
    with executor.batch():
        jobs = [executor.submit(WorkerCall(words(study, group))) for _ in range(group.count)]
    return jobs


def _retries(cluster: str) -> dict[str, int]:
    return {"slurm_max_num_timeout": 20} if cluster == "slurm" else {}


def run_on_ray(study: Path, groups: Sequence[WorkerGroup]) -> list[int]:
    """Run all workers as actors of a Ray cluster, until each has ended; return their exit codes.

    Raises:
        UsageError: Ray is not installed.
    """
    ray = _imported("ray", "ray")
    if not ray.is_initialized():
        ray.init(address=groups[0].config.other.get("address"), log_to_driver=False)
    calls = []
    for group in groups:
        other = group.config.other
        actor = ray.remote(
            num_cpus=other.get("cpus", 1), num_gpus=other.get("gpus", 0), max_restarts=RETRIES,
            max_task_retries=RETRIES,
        )(RayWorker)  # fmt: skip
        actors = [actor.remote(words(study, group)) for _ in range(group.count)]
        calls += [(actor, actor.run.remote()) for actor in actors]
    return [int(code) for code in ray.get([call for _, call in calls])]


class RayWorker:
    """Actor around one worker."""

    def __init__(self, worker_words: Sequence[str]) -> None:
        self._call = WorkerCall(worker_words)

    def run(self) -> int:
        """Run the worker to its end; return its exit code."""
        return self._call()


def _imported(name: str, extra: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ImportError:
        raise UsageError(
            f"{name} is not installed: python -m pip install 'supernet-bench[{extra}]'"
        ) from None
