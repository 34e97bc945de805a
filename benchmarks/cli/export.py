"""``supernet-bench export``: a published row's network for another runtime, checked there."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from benchmarks.cli.arguments import add_data_dir, add_json, add_results, add_start_from
from benchmarks.cli.console import print_json
from benchmarks.cli.record_argument import find_record
from benchmarks.export.export import export_candidate
from benchmarks.export.request import ExportRequest
from benchmarks.export.source import find_candidate
from benchmarks.export.targets import TARGETS
from benchmarks.records import store
from benchmarks.records.folders import PUBLISHED
from benchmarks.runs.user_declarations import restored


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    command.add_argument("record", metavar="RECORD", help="a file, or the id of a record")
    command.add_argument(
        "--to",
        required=True,
        choices=tuple(TARGETS),
        help="target runtime",
    )
    command.add_argument(
        "--candidate",
        type=int,
        metavar="N",
        help="index of a candidate (default: the best at the last target)",
    )
    command.add_argument(
        "--precision",
        choices=("fp32", "int8"),
        help="precision of linear layers (default: as the candidate is deployed)",
    )
    command.add_argument(
        "--time", action="store_true", help="time it there, in turns with PyTorch, on one thread each"
    )
    command.add_argument(
        "--out", type=Path, metavar="DIR", help="new folder (default: exports/... in the local results)"
    )
    add_results(command, PUBLISHED, "folder of results, published ones or those of run --results")
    add_data_dir(command, "folder of real data, for the vocabulary")
    add_start_from(command)
    add_json(command)


def run(options: argparse.Namespace) -> int:
    """Export one candidate of a record, into a folder that appears complete or not at all; return 0.

    Raises:
        UsageError: no such record or candidate, or the target format cannot represent the network.
    """
    path = find_record(options.record, options.results)
    record = store.load(path)
    with restored(record, options.data_dir):
        stored = find_candidate(record, options.candidate, path, options.results)
        request = ExportRequest(
            stored,
            options.precision,
            options.time,
            options.results,
            options.data_dir,
            options.start_from,
            say=(lambda _: None) if options.json else print,
        )
        exported = export_candidate(request, options.to, options.out)
    latency = exported.latency_file
    if options.json:
        listed = [{"what": name, "value": value, "signature": by} for name, value, by in exported.checks]
        where = {"folder": str(exported.folder), "latency": latency and str(latency), "record": record["id"]}
        print_json(where | {"checks": listed})
    else:
        for name, value, by in exported.checks:
            print(f" {name:34} {value}" + (f"   {by}" if by else ""))
        for written in (exported.folder, latency):
            if written is not None:
                print(f" written {os.path.relpath(written)}")
    return 0
