"""``supernet-bench profiles``: declared hardware, this machine, latency predictors on published tables."""

from __future__ import annotations

import argparse

from benchmarks.cli.arguments import add_data_dir, add_json
from benchmarks.cli.console import print_json, print_table
from benchmarks.cli.list import print_rows, profile_rows
from benchmarks.hardware.probe import probe


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    add_data_dir(command, "folder with published/*_latency_*.csv.gz")
    add_json(command)


def run(options: argparse.Namespace) -> int:
    """Print declared profiles, this machine and, with data, the predictors of table profiles; return 0."""
    from benchmarks.latency_tables import evaluation

    rows, machine = profile_rows(), probe()
    left_out: list[str] = []
    evaluated = evaluation.evaluate_tables(options.data_dir, say=left_out.append) if options.data_dir else []
    if options.json:
        tables = [row.to_dict() for row in evaluated]
        print_json({"profiles": rows, "machine": machine, "tables": tables})
        return 0
    print_rows(rows)
    gpus = ", ".join(gpu["name"] for gpu in machine["gpus"]) or "none"
    own = f"{machine['cpu']}, {machine['cpus']} threads, {machine['memory_gib']} GiB, GPU {gpus}"
    print(f"\nthis machine: {own}")
    if evaluated:
        print()
        print_table(evaluation.HEADER, evaluation.as_text(evaluated))
        print("\n".join([evaluation.FOOTNOTE, *left_out]))
    else:
        print("predictors' errors on table profiles: --data-dir FOLDER with published/*_latency_*.csv.gz")
    return 0
