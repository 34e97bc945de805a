"""``supernet-bench study``: a question answered from data or records, without a run."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from types import ModuleType

from benchmarks.api import UsageError
from benchmarks.cli import bert_recipe, gpu_precision, mt_gap, retraining, simq_tables, training_overhead
from benchmarks.cli.arguments import add_data_dir, add_json, add_results
from benchmarks.cli.console import print_json, print_table
from benchmarks.records import study_files
from benchmarks.records.folders import PUBLISHED, readable
from benchmarks.records.provenance import source_state
from benchmarks.records.store import write_text
from benchmarks.records.study_files import StudyOutcome

MEASURED: tuple[ModuleType | retraining.Measuring, ...] = (
    mt_gap,
    *map(retraining.measuring, study_files.RETRAINING),
    training_overhead,
    gpu_precision,
    bert_recipe,
)
"""Commands that measure what studies read."""


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    add_json(command)
    names = command.add_subparsers(
        dest="name",
        metavar="NAME",
        help=f"study (default: list all studies), {simq_tables.NAME}, "
        + ", ".join(module.NAME for module in MEASURED[:-1])
        + f" or {MEASURED[-1].NAME}",
    )
    for name in study_files.STUDIES:
        study = names.add_parser(name)
        add_data_dir(study, "folder of real data")
        study.add_argument(
            "--weights", type=Path, metavar="DIR", help="folder of the supernets and held-out items of tables"
        )
        add_results(study, PUBLISHED, "folder of results; studies are written to its studies/")
        study.add_argument(
            "--rejudge",
            action="store_true",
            help="measure nothing: judge the published file again, by the rule of today",
        )
        study.add_argument(
            "--json", action="store_true", default=argparse.SUPPRESS, help="print JSON, for scripts"
        )
    tables = names.add_parser(simq_tables.NAME, description=simq_tables.SUMMARY)
    simq_tables.add_arguments(tables)
    for measured in MEASURED:
        measured.add_arguments(names.add_parser(measured.NAME, description=measured.SUMMARY))


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
            for module in (simq_tables, *MEASURED):
                print(f"supernet-bench study {module.NAME} --help    {module.SUMMARY}")
        return 0
    module = study_files.study_module(options.name)
    state = source_state()  # before: code that changes meanwhile is not what runs
    outcome = _rejudged(options, module) if options.rejudge else _answered(options, module)
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


def _rejudged(options: argparse.Namespace, module: ModuleType) -> StudyOutcome:
    """Return the outcome of the published file by the rule of today.

    Raises:
        UsageError: the study judges while it measures, or its file is not there or was changed.
    """
    if not hasattr(module, "rejudge"):
        able = [name for name in study_files.STUDIES if hasattr(study_files.study_module(name), "rejudge")]
        raise UsageError(
            f"study {options.name} keeps no measurements to judge again: run it without --rejudge\n"
            f"studies that do: {' '.join(able)}"
        )
    path = readable(options.results) / study_files.FOLDER / f"{options.name}.json"
    if not path.is_file():
        raise UsageError(f"no file {path} to judge again: --results names the folder above studies/")
    outcome: StudyOutcome = module.rejudge(path)
    return outcome


def _answered(options: argparse.Namespace, module: ModuleType) -> StudyOutcome:
    """Return the outcome of a study that runs now.

    Raises:
        UsageError: the folder that the study reads is not given.
    """
    sources = {
        "data": options.data_dir,
        "records": readable(options.results) / "records",
        "weights": options.weights,
        **{name: options.results / name for name in study_files.MEASURED},
    }
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

    outcome: StudyOutcome = module.run(source, say)
    return outcome
