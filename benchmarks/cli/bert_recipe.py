"""``supernet-bench study bert-recipe``: the pilots that rows, batch, rate and budget of BERT follow."""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks.cli.arguments import add_data_dir, positive
from benchmarks.cli.console import print_table

NAME = "bert-recipe"
SUMMARY = "train the pilots of BERT's recipe; goes on where it was stopped"


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    command.add_argument(
        "--out",
        type=Path,
        default=Path("results") / "bert-recipe",
        metavar="DIR",
        help="folder of the pilots' files, one each, and of parents' weights (default: results/bert-recipe)",
    )
    command.add_argument("--plan", type=Path, metavar="FILE", help="plan (default: the registered one)")
    command.add_argument(
        "--cache",
        type=Path,
        default=Path("results") / "local" / "cache",
        metavar="DIR",
        help="folder of prepared data (default: results/local/cache)",
    )
    add_data_dir(command)
    command.add_argument("--device", metavar="NAME", help="cpu or cuda (default: cuda if there is one)")
    command.add_argument(
        "--minutes", type=positive, metavar="N", help="start no pilot after N minutes (default: no limit)"
    )
    command.add_argument(
        "--workers",
        type=positive,
        default=1,
        metavar="N",
        help="pilots side by side, each in a process of its own (default: 1)",
    )
    command.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Measure the missing pilots and print the table; return 0, or 75 where pilots are left."""
    import torch

    from benchmarks.studies.bert_recipe import table
    from benchmarks.studies.bert_recipe.measure import measure
    from benchmarks.studies.bert_recipe.plan import REGISTERED, read_pilots

    device = options.device or ("cuda" if torch.cuda.is_available() else "cpu")
    pilots = read_pilots(options.plan or REGISTERED)
    remaining = measure(
        pilots, options.out, options.cache, options.data_dir, device, options.minutes, _say, options.workers
    )
    print_table(table.COLUMNS, table.rows(table.read(options.out, pilots)))
    print(f"{remaining} pilots left: the same command goes on" if remaining else "all pilots are there")
    return 75 if remaining else 0


def _say(line: str) -> None:
    print(line, flush=True)
