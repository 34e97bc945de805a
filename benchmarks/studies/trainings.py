"""Trainings of a study: side by side and within a time where asked for."""

from __future__ import annotations

import math
import multiprocessing
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TypeVar

import torch

from benchmarks.records.canonical import JsonObject, JsonView
from benchmarks.tasks import Stream
from benchmarks.tasks.datasets import Say
from supernet.train import Batch
from supernet.weights import WeightSource

Source = Callable[..., WeightSource]
J = TypeVar("J")


class Tokens:
    """Training batches until ``total`` target tokens, each counted once.

    Args:
        source: endless batches.
    """

    def __init__(self, source: Stream, total: float) -> None:
        self.source, self.total, self.spent = source, total, 0.0

    def __iter__(self) -> Iterator[Batch]:
        for batch in self.source:
            if self.spent + batch.tokens > self.total:
                return
            self.spent += batch.tokens
            yield batch

    def state(self) -> JsonObject:
        """Return the state for ``restore``."""
        return {"source": self.source.state(), "spent": self.spent}

    def restore(self, state: JsonView) -> None:
        """Continue from a ``state``."""
        self.source.restore(state["source"])
        self.spent = state["spent"]


@dataclass(frozen=True)
class Trainings:
    """Place, device and limits of the trainings of one command.

    Attributes:
        out: folder of their files, one each.
        cache: folder of prepared data.
        data_dir: folder of real data; None: it is downloaded.
        device: ``cpu`` or ``cuda``.
        minutes: no training is started after these; None for no limit.
        workers: trainings side by side, each in a process of its own, dealt to the GPUs in turn. Small
            networks leave a GPU idle for most of an update.
        say: prints a line.
    """

    out: Path
    cache: Path
    data_dir: Path | None
    device: str
    minutes: float | None = None
    workers: int = 1
    say: Say = lambda line: None
    began: float = field(default_factory=time.monotonic)

    def in_turn(self, work: Callable[[J], str], jobs: Sequence[J]) -> Iterator[str]:
        """Yield the results of ``work`` as they come, of the jobs that are started in time.

        Raises:
            Exception: the first one of a job, once the others have ended.
        """
        end = math.inf if self.minutes is None else self.began + 60 * self.minutes
        timely = partial(_timely, work, end)
        yield from (line for line in _results(timely, jobs, self.workers) if line is not None)


def _timely(work: Callable[[J], str], end: float, job: J) -> str | None:
    """Return the result of ``work``; None after ``end`` (monotonic)."""
    return None if time.monotonic() > end else work(job)


def _dealt(work: Callable[[J], str | None], number: int, job: J) -> str | None:
    """Return the result of ``work``, done on the GPU whose turn it is at job ``number``."""
    if torch.cuda.is_available():
        torch.cuda.set_device(number % torch.cuda.device_count())
    return work(job)


def _results(work: Callable[[J], str | None], jobs: Sequence[J], workers: int) -> Iterator[str | None]:
    """Yield the results of ``work`` as they come, each from a process of its own where there are several.

    Raises:
        Exception: the first one of a job, once the others have ended.
    """
    if workers == 1:
        yield from map(work, jobs)
        return
    context = multiprocessing.get_context("spawn")
    threads = max(1, len(os.sched_getaffinity(0)) // workers)
    failed: BaseException | None = None
    # A process whose device has failed runs nothing more.
    pool = ProcessPoolExecutor(workers, context, torch.set_num_threads, (threads,), max_tasks_per_child=1)
    with pool:
        begun = [pool.submit(_dealt, work, number, job) for number, job in enumerate(jobs)]
        for future in as_completed(begun):
            error = future.exception()
            if error is None:
                yield future.result()
            failed = failed or error
    if failed is not None:
        raise failed
