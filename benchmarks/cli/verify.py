"""``supernet-bench verify``: run a published record again and report whether it reproduces."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.cli.arguments import add_data_dir, add_json, add_results, add_start_from
from benchmarks.cli.console import print_json
from benchmarks.cli.record_argument import find_record, store_of
from benchmarks.hardware.probe import require_linux
from benchmarks.records import store
from benchmarks.records.folders import PUBLISHED, local_results, readable
from benchmarks.records.record import Record
from benchmarks.records.text import sanitize

if TYPE_CHECKING:
    from benchmarks.verification.compare import Verdict

EPILOG = (
    "exit code: 0 quality and latency each reproduce, or cannot be judged (with the reason); 1 quality does"
    " not reproduce; 3 latency alone does not; 2 mistake"
)
QUALITY, LATENCY = 1, 3
"""Exit codes if quality does not reproduce, and if latency alone does not."""
SHOWN = 12
"""Differing fields of provenance that the terminal lists."""


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    command.add_argument(
        "record",
        nargs="?",
        metavar="RECORD",
        help="a file, or the id of a record under results/records (default: a smoke record drawn at random)",
    )
    add_results(command, PUBLISHED, "published records, and the folder for the verdict")
    add_data_dir(command)
    command.add_argument(
        "--method", metavar="PATH.py:CLASS", help="file and class of a method that is not installed"
    )
    command.add_argument(
        "--task", metavar="PATH.py:CLASS", help="file and class of a task that is not installed"
    )
    add_start_from(command)
    add_json(command)


def run(options: argparse.Namespace) -> int:
    """Verify one record; return ``QUALITY`` or ``LATENCY`` if that does not reproduce, else 0.

    Raises:
        UsageError: no such record.
    """
    require_linux()
    from rich.console import Console

    from benchmarks.tasks.folders.sources import TaskFlags, find
    from benchmarks.verification import compare, verdict_files
    from benchmarks.verification.reproduce import reproduce

    if options.task:
        find(options.task, TaskFlags())
    published = store.load_all(readable(options.results) / "records", [])
    chosen = _choose(options, published)
    if chosen is None:
        return 0
    record, beside = chosen
    if not options.json:
        spec = record["spec"]
        print(
            f"verifying {record['id']}: {spec['method']} seed {spec['seed']}, {spec['task']} {spec['tier']}"
        )
    verdict, again = reproduce(
        record,
        [*{r["id"]: r for r in [*published, *beside]}.values()],
        options.results,
        Console(file=sys.stderr if options.json else sys.stdout),
        data_dir=options.data_dir,
        method=options.method,
        start_from=options.start_from,
    )
    path = None
    if again is not None:
        stored = verdict_files.to_attachment(record, again, verdict)
        # The verdict on a record drawn at random checks the code; to publish a verdict, name the record.
        home = options.results if options.record else local_results(options.results)
        path = verdict_files.VERDICTS.write(home, stored)
    if options.json:
        print_json(verdict_files.to_attachment(record, again, verdict) | {"path": path and str(path)})
    else:
        _print_verdict(verdict, path)
        print(f" => {verdict_files.describe(verdict_files.to_fields(verdict))}")
    if verdict.quality == compare.NO:
        return QUALITY
    return LATENCY if verdict.latency == compare.NO else 0


def _choose(
    options: argparse.Namespace, published: Sequence[Record]
) -> tuple[Record, Sequence[Record]] | None:
    """Return the named record, else a drawn one, with the records of its store; None if there is none."""
    from benchmarks.verification import reproduce

    folder = readable(options.results) / "records"
    if options.record:
        path = find_record(options.record, options.results)
        record = store.load(path)
        return record, [] if folder in path.parents else store_of(path, record)
    drawn = reproduce.draw(published)
    if drawn is None:
        reason = f"nothing to verify: no {reproduce.TIER} records under {folder}"
        if options.json:
            print_json({"answer": None, "reasons": [reason]})
        else:
            print(reason)
        return None
    record, count, seed = drawn
    if not options.json:
        print(f"drawn from {count} {reproduce.TIER} records that fit this code best, with seed {seed}")
    return record, []


def _print_verdict(verdict: Verdict, path: Path | None) -> None:
    """Print a verdict for people; every text of a record is sanitised."""
    for check in verdict.checks:
        word = {True: "holds", False: "DOES NOT HOLD", None: "cannot tell"}[check.holds]
        span = "" if check.low is None or check.high is None else f" in [{check.low:.4g}, {check.high:.4g}]"
        values = f"published {_figure(check.published)}   now {_figure(check.now)}{span}"
        print(f" {check.what:14} limit {check.limit:10} {values}   {word} ({sanitize(check.how, 120)})")
    if verdict.checks:
        if verdict.identical:
            bits = "identical candidates, weights, translations and ledger"
        else:
            bits = f"differ, first in {sanitize(verdict.first_difference, 80)}"
        timings = "the published timings" if verdict.repeated_timings else "timings of its own"
        print(f" {'bits':14} {bits}; latencies of the search: {timings}")
    for part, before, today in verdict.code:
        print(
            f" {'code':14} of the {part} differs: published {sanitize(before, 19)}, now {sanitize(today, 19)}"
        )
    for name, old, new in verdict.differences[:SHOWN]:
        print(f" {'differs':14} {sanitize(name, 60)}: published {sanitize(old, 60)}, now {sanitize(new, 60)}")
    if len(verdict.differences) > SHOWN:
        print(f" {'':14} and {len(verdict.differences) - SHOWN} more fields: see --json")
    for reason in verdict.reasons:
        first, *rest = (sanitize(line, 240) for line in reason.splitlines())
        print(f" because        {first}" + "".join(f"\n{'':16}{line}" for line in rest))
    if path is not None:
        print(f" written        {os.path.relpath(path)}")


def _figure(value: float | None) -> str:
    return "none" if value is None else f"{value:.4g}"
