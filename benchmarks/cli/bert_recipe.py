"""``supernet-bench study bert-recipe``: the pilots that rows, batch, rate and budget of BERT follow."""

from __future__ import annotations

import argparse

from benchmarks.cli.arguments import add_trainings, trainings
from benchmarks.cli.console import print_table

NAME = "bert-recipe"
SUMMARY = "train the pilots of BERT's recipe; goes on where it was stopped"


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    add_trainings(command, "bert-recipe", "the pilots' files, one each, and of parents' weights", "pilot")
    command.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Measure the missing pilots and print the table; return 0, or 75 where pilots are left."""
    from benchmarks.studies.bert_recipe import table
    from benchmarks.studies.bert_recipe.measure import measure
    from benchmarks.studies.bert_recipe.plan import REGISTERED, read_pilots

    pilots = read_pilots(options.plan or REGISTERED)
    remaining = measure(pilots, trainings(options))
    print_table(table.COLUMNS, table.rows(table.read(options.out, pilots)))
    print(f"{remaining} pilots left: the same command goes on" if remaining else "all pilots are there")
    return 75 if remaining else 0
