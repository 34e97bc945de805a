"""``supernet-bench study``: a question answered from data or records, without a run."""

from __future__ import annotations

import argparse
import json
import os
import sys

from benchmarks import registry
from benchmarks.api import UsageError
from benchmarks.cli.list import table
from benchmarks.records import studies
from benchmarks.records import study_files as stored
from benchmarks.records.provenance import source_state
from benchmarks.records.store import write_text


def study(options: argparse.Namespace) -> int:
    """Print a study's table and write it as Markdown, JSON and pictures; without a name list the studies."""
    if options.name is None:
        rows = [{"name": name, "summary": studies.module(name).SUMMARY} for name in studies.STUDIES]
        if options.json:
            print(json.dumps(rows, indent=1))
        else:
            table(("name", "summary"), rows)
            print(f"\nsupernet-bench study {rows[0]['name']} --data-dir DIR")
        return 0
    if options.name not in studies.STUDIES:
        raise registry.unknown("study", options.name, studies.STUDIES, "list them: supernet-bench study")
    asked = studies.module(options.name)
    sources = {"data": options.data_dir, "records": options.results / "records", "weights": options.weights}
    source = sources.get(asked.READS)
    if source is None and asked.READS == "weights":
        raise UsageError(
            f"study {options.name} runs trained supernets: supernet-bench study {options.name} --weights"
            " FOLDER with NAME.safetensors and NAME.items.safetensors"
        )
    if source is None and asked.READS == "data":
        raise UsageError(
            f"study {options.name} reads published tables: supernet-bench study {options.name} --data-dir"
            " FOLDER with published/"
        )

    def say(line: str) -> None:
        print(line, file=sys.stderr)

    state = source_state()  # before: code that changes meanwhile is not what runs
    outcome = asked.run(source, say)
    folder = options.results / stored.FOLDER
    files = stored.files(options.name, outcome, *state)
    for ending, content in files.items():
        write_text(folder / f"{options.name}.{ending}", content)
    if options.json:
        print(json.dumps(outcome.facts, indent=1))
        return 0
    print(f"{outcome.title}\n{outcome.question}\n")
    table(outcome.columns, [dict(zip(outcome.columns, row, strict=True)) for row in outcome.rows])
    print(f"\nRule: {outcome.rule}")
    for note in outcome.notes:
        print(f"- {note}")
    written = "  ".join(os.path.relpath(folder / f"{options.name}.{ending}") for ending in files)
    print(f"\nwritten: {written}")
    return 0
