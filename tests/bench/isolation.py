"""Cost of isolation and oversight, ``python -m tests.bench.isolation``: ratios taken inside one process.

A search steps through training with its books kept by itself, and, in turns, reported over a pipe to a
supervisor of another process, which writes the journal and samples this process as it does every search.
Namespaces cost nothing in a step, but a start: empty processes are started with and without, in turns.

Predicted: a charge is one message of some bytes a step of milliseconds, below 1 %; a start some dozens of
milliseconds more.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import statistics
import sys
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path

import torch

from benchmarks.lab.journal import Journal
from benchmarks.lab.ledger import Clock, Ledger
from benchmarks.runs.books import Books
from benchmarks.runs.channel import Channel, ReportedClock, ReportedJournal, ReportedLedger
from benchmarks.runs.executor import Executor
from benchmarks.runs.isolation import View
from benchmarks.runs.job import IsolationJob
from benchmarks.runs.process_tree import ProcessTree
from benchmarks.runs.supervisor import do_nothing
from tests.robustness import figures

ALLOWANCE = {"tokens": 1e12, "evaluations": 1e9, "probes": 1e9, "seconds": 1e9}
LIMIT = 1.03
"""Ratio of a step's time, above which the bench fails on an idle machine."""
EVALUATE_EVERY = 20
"""Steps between two answers in the journal."""


def supervise(folder: Path, connection: Connection, pid: int) -> None:
    """Keep the books of a process, and sample it, until it hangs up."""
    tree = ProcessTree(pid)
    books = Books(folder, ALLOWANCE, {}, tree.cpu_seconds)
    books.follow(connection)
    books.close()
    tree.close()


class Work:
    """Training steps of a small network, charged and answered through given books."""

    def __init__(self, width: int) -> None:
        self.network = torch.nn.Sequential(*(torch.nn.Linear(width, width) for _ in range(6)))
        self.optimizer = torch.optim.Adam(self.network.parameters(), 1e-4)
        self.rows = torch.randn(64, width)

    def steps(self, count: int, ledger: Ledger, journal: Journal) -> tuple[float, float]:
        """Return the seconds of ``count`` steps, and this process's processor seconds."""
        began, began_cpu = time.perf_counter(), time.process_time()
        for step in range(count):
            ledger.charge("tokens", 384)
            loss = (self.network(self.rows) - self.rows).square().mean()
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            if step % EVALUATE_EVERY == 0:
                ledger.charge("evaluations", 1)
                journal.record("evaluate", "key", loss=float(loss.detach()), at=ledger.clock.now())
        return time.perf_counter() - began, time.process_time() - began_cpu


def stepping(rounds: int, steps: int, width: int) -> dict[str, float]:
    """Return the ratio of reported steps to those of books of one's own, with quartiles over rounds."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "own").mkdir()
        ours, theirs = multiprocessing.Pipe()
        supervisor = multiprocessing.get_context("fork").Process(
            target=supervise, args=(folder, theirs, os.getpid()), daemon=True
        )
        supervisor.start()
        theirs.close()
        channel = Channel(ours)
        reported = ReportedLedger(channel, ALLOWANCE, ReportedClock(channel), 1)
        own = Ledger(ALLOWANCE, Clock())
        own_journal = Journal(folder / "own/journal.jsonl")
        reported_journal = ReportedJournal(channel, folder / "none.jsonl")
        work, ratios, cpu, plain = Work(width), list[float](), list[float](), list[float]()
        work.steps(steps, own, own_journal)
        for number in range(rounds):
            pair = [(own, own_journal), (reported, reported_journal)]
            times = [work.steps(steps, *books) for books in (pair if number % 2 else pair[::-1])]
            alone, overseen = times if number % 2 else times[::-1]
            ratios.append(overseen[0] / alone[0])
            cpu.append(overseen[1] / alone[1])
            plain.append(alone[0] / steps)
        own_journal.close()
        ours.close()
        supervisor.join(10)
    low, middle, high = statistics.quantiles(ratios, n=4)
    return {
        "ratio": round(middle, 4),
        "cpu_ratio": round(statistics.median(cpu), 4),
        "ratio_quartiles": [round(low, 4), round(high, 4)],  # type: ignore[dict-item]
        "step_ms": round(1e3 * statistics.median(plain), 3),
        "rounds": rounds,
    }


def starting(rounds: int) -> dict[str, float]:
    """Return the milliseconds by which isolation lengthens the start and end of a process, and the ratio."""
    executor, times = Executor(), {True: list[float](), False: list[float]()}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for number in range(2 * rounds + 2):
            isolated = bool(number % 2)
            view = View((), (folder,), ()).resolved() if isolated else None
            began = time.perf_counter()
            process = executor.start_guarded(do_nothing, IsolationJob(folder), folder / "log.txt", view)
            process.join()
            if number > 1:  # the first ones start the server
                times[isolated].append(time.perf_counter() - began)
            process.report()
    ratios = [isolated / bare for isolated, bare in zip(times[True], times[False], strict=True)]
    more = [1e3 * (a - b) for a, b in zip(times[True], times[False], strict=True)]
    return {"ratio": round(statistics.median(ratios), 3), "more_ms": round(statistics.median(more), 1)}


def main() -> int:
    """Print the figures; 1 where a step costs more than the limit."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rounds", type=int, default=40, help="pairs of blocks of steps (default: 40)")
    options.add_argument("--steps", type=int, default=100, help="steps of a block (default: 100)")
    options.add_argument("--width", type=int, default=256, help="of the network (default: 256)")
    options.add_argument("--out", type=Path, help="JSON file for the figures")
    chosen = options.parse_args()
    torch.set_num_threads(1)
    measured: dict[str, object] = {
        "step": stepping(chosen.rounds, chosen.steps, chosen.width),
        "start": starting(max(3, chosen.rounds // 4)),
        "limit": LIMIT,
    }
    text = json.dumps(measured, indent=1)
    print(text)
    if chosen.out:
        figures.store(chosen.out, "cost", measured)
    return int(measured["step"]["ratio"] > LIMIT)  # type: ignore[index]


if __name__ == "__main__":
    sys.exit(main())
