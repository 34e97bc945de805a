"""``supernet-bench status``: how far a study is, from the files of its workers."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from html import escape
from pathlib import Path

from benchmarks.api import UsageError
from benchmarks.cli.arguments import add_json
from benchmarks.cli.configuration import add_plan
from benchmarks.cli.console import print_json, print_table
from benchmarks.cli.plan import build_plans
from benchmarks.records.store import write_text
from benchmarks.runs.estimate import format_duration
from benchmarks.runs.study_status import OPEN, StudyStatus, read_status

MOST_S = 86_400
"""Most seconds between two looks: a day."""
SHOWN = 40
"""Rows of a table; the rest is counted."""
ACTIVE = ("run", "task", "worker", "phase", "done", "seconds", "at risk")
WORKERS = ("worker", "machine", "profile", "jobs", "runs", "silent")
EPILOG = "exit code: 0 nothing has failed, 1 a run has failed, 2 mistake"


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    add_plan(command)
    command.add_argument("--results", type=Path, metavar="DIR", help="shared folder (default: the study's)")
    command.add_argument("--watch", action="store_true", help="show it anew until all runs have ended")
    command.add_argument(
        "--every", type=float, default=10.0, metavar="S", help="seconds between two looks (default: 10)"
    )
    command.add_argument(
        "--page", type=Path, metavar="FILE", help="write it as a page, too, which reloads itself"
    )
    add_json(command)


def run(options: argparse.Namespace) -> int:
    """Show the status once, or until all runs have ended; return 1 if a run has failed, else 0.

    Raises:
        UsageError: a page in place of the study, or seconds that are no time to wait.
    """
    if not 0 < options.every <= MOST_S:
        raise UsageError(
            f"--every {options.every:g}: seconds above zero, at most {MOST_S}, such as --every 10"
        )
    if options.page is not None and options.page.exists() and options.page.samefile(options.config):
        raise UsageError(f"--page {options.page}: is the study itself; name a new file, such as status.html")
    while True:
        plans = [planned.plan for planned in build_plans(options)]
        statuses = [read_status(plan) for plan in plans]
        remaining = any(part.counts[state] for part in statuses for state in OPEN)
        if options.page is not None:
            again = max(2, round(options.every)) if options.watch and remaining else None
            write_text(options.page, page(statuses, again))
        if options.json:
            print_json([asdict(part) for part in statuses])
        else:
            if options.watch:
                print("\x1b[2J\x1b[H", end="")
            for part in statuses:
                print_status(part)
        for home in dict.fromkeys(plan.folders.home for plan in plans):
            if not home.is_dir():
                note = "no run of this study has begun there; another folder: --results DIR"
                print(f"note: no folder {home}: {note}", file=sys.stderr)
        if not (options.watch and remaining):
            return int(any(part.counts["failed"] for part in statuses))
        time.sleep(max(0.5, options.every))


def headline(status: StudyStatus) -> str:
    """Return counts and estimate in one line."""
    counts = ", ".join(f"{count} {state}" for state, count in status.counts.items() if count)
    remaining = status.estimate_seconds
    ends = f"; about {format_duration(remaining)} left with the workers that live" if remaining else ""
    return f"{status.suite} {status.tier} on {status.profile}: {status.runs} runs: {counts}{ends}"


def active_rows(status: StudyStatus) -> list[tuple[str, ...]]:
    """Return the cells of ``ACTIVE``, runs at risk first."""
    rows = sorted(status.active, key=lambda run: not run.risk)
    return [
        (
            *(run.label, run.task, run.worker, run.phase, f"{run.share:.0%}"),
            *(f"{run.seconds:,.0f} of {run.allowed:,.0f}", run.risk),
        )
        for run in rows
    ]


def worker_rows(status: StudyStatus) -> list[tuple[str, ...]]:
    """Return the cells of ``WORKERS``."""
    return [
        (
            *(worker.name, worker.machine, worker.profile, str(worker.jobs), str(worker.runs)),
            f"{worker.silent_seconds:.0f} s" if worker.silent else "",
        )
        for worker in status.workers
    ]


def print_status(status: StudyStatus) -> None:
    """Print one profile's part of a study."""
    print(headline(status))
    for columns, rows in ((ACTIVE, active_rows(status)), (WORKERS, worker_rows(status))):
        if rows:
            print()
            print_table(columns, rows[:SHOWN])
            if len(rows) > SHOWN:
                print(f"and {len(rows) - SHOWN} more")
    for label, message in status.failed[:SHOWN]:
        print(f"failed: {label}: {message}")
    if status.others:
        print(f"{status.others} runs of another study, or of other code, have leases in this folder, too")


def page(statuses: Sequence[StudyStatus], again: int | None) -> str:
    """Return a page of the status that needs no server.

    Args:
        again: seconds after which a browser reloads it; None: never.
    """
    parts = []
    for status in statuses:
        done = 100 * (status.runs - sum(status.counts[s] for s in OPEN))
        parts.append(f"<h2>{escape(headline(status))}</h2>")
        parts.append(f'<progress max="{100 * max(1, status.runs)}" value="{done}"></progress>')
        for columns, rows in ((ACTIVE, active_rows(status)), (WORKERS, worker_rows(status))):
            if rows:
                head = "".join(f"<th>{escape(name)}</th>" for name in columns)
                lines = ("".join(f"<td>{escape(cell)}</td>" for cell in row) for row in rows)
                body = "".join(f"<tr>{line}</tr>\n" for line in lines)
                parts.append(f"<table><tr>{head}</tr>\n{body}</table>")
        parts += [f"<p>failed: {escape(label)}: {escape(why)}</p>" for label, why in status.failed]
    reload = f'<meta http-equiv="refresh" content="{again}">' if again else ""
    style = (
        "body{font:15px system-ui,sans-serif;margin:2rem;color-scheme:light dark}td,th{text-align:left;"
        "padding:.15rem .8rem .15rem 0}progress{width:100%}h2{font-size:1.1rem}"
    )
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8">{reload}<title>supernet-bench status'
        f"</title><style>{style}</style></head><body>\n" + "\n".join(parts) + "\n</body></html>\n"
    )
