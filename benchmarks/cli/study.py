"""``supernet-bench study``: a question answered from data or records, without a run."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from benchmarks.api import UsageError
from benchmarks.cli import simq_tables
from benchmarks.cli.arguments import add_data_dir, add_json, add_results
from benchmarks.cli.console import print_json, print_table
from benchmarks.records import study_files
from benchmarks.records.folders import PUBLISHED
from benchmarks.records.provenance import source_state
from benchmarks.records.store import write_text


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    add_json(command)
    names = command.add_subparsers(
        dest="name", metavar="NAME", help=f"study (default: list all studies), or {simq_tables.NAME}"
    )
    for name in study_files.STUDIES:
        study = names.add_parser(name)
        add_data_dir(study, "folder of real data")
        study.add_argument(
            "--weights", type=Path, metavar="DIR", help="folder of the supernets and held-out items of tables"
        )
        add_results(study, PUBLISHED, "folder of results; studies are written to its studies/")
        study.add_argument(
            "--json", action="store_true", default=argparse.SUPPRESS, help="print JSON, for scripts"
        )
    tables = names.add_parser(simq_tables.NAME, description=simq_tables.SUMMARY)
    simq_tables.add_arguments(tables)


def run(options: argparse.Namespace) -> int:
    """Print a study's table and write it as Markdown, JSON and pictures; return 0.

    Without a name list all studies.

    Raises:
        UsageError: the folder that the study reads is not given.
    """
    if options.name is None:
        rows = [
            {"name": name, "summary": study_files.study_module(name).SUMMARY} for name in study_files.STUDIES
        ]
        if options.json:
            print_json(rows)
        else:
            print_table(("name", "summary"), [[row["name"], row["summary"]] for row in rows])
            print(f"\nsupernet-bench study {rows[0]['name']}")
            print(f"supernet-bench study {simq_tables.NAME} --help    {simq_tables.SUMMARY}")
        return 0
    module = study_files.study_module(options.name)
    sources = {"data": options.data_dir, "records": options.results / "records", "weights": options.weights}
    source = sources.get(module.READS)
    if source is None and module.READS == "weights":
        raise UsageError(
            f"study {options.name} runs trained supernets: supernet-bench study {options.name} --weights"
            " FOLDER with NAME.safetensors and NAME.items.safetensors"
        )
    if source is None and module.READS == "data":
        raise UsageError(
            f"study {options.name} reads published tables: supernet-bench study {options.name} --data-dir"
            " FOLDER with published/"
        )

    def say(line: str) -> None:
        print(line, file=sys.stderr)

    state = source_state()  # before: code that changes meanwhile is not what runs
    outcome = module.run(source, say)
    folder = options.results / study_files.FOLDER
    files = study_files.to_files(options.name, outcome, *state)
    for ending, content in files.items():
        write_text(folder / f"{options.name}.{ending}", content)
    if options.json:
        print_json(outcome.facts)
        return 0
    print(f"{outcome.title}\n{outcome.question}\n")
    print_table(outcome.columns, outcome.rows)
    print(f"\nRule: {outcome.rule}")
    for note in outcome.notes:
        print(f"- {note}")
    written = "  ".join(os.path.relpath(folder / f"{options.name}.{ending}") for ending in files)
    print(f"\nwritten: {written}")
    return 0
