"""``supernet-bench cost``: parameters, MACs and bytes of one architecture."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from benchmarks import registry
from benchmarks.api import UsageError
from benchmarks.cli.arguments import add_json, positive
from benchmarks.cli.console import print_json


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    command.add_argument(
        "architecture",
        type=Path,
        metavar="ARCHITECTURE.json",
        help="JSON object of field -> value; HAT's names of the fields are fine",
    )
    command.add_argument("--space", required=True, metavar="NAME", help="search space, such as hat-space1")
    command.add_argument(
        "--vocab",
        type=positive,
        nargs="+",
        default=[32000],
        metavar="N",
        help="vocabulary: one shared, or source and target (default: 32000)",
    )
    command.add_argument(
        "--source-len", type=positive, default=30, metavar="N", help="source tokens (default: 30)"
    )
    command.add_argument(
        "--target-len", type=positive, default=30, metavar="N", help="target tokens (default: 30)"
    )
    add_json(command)


def run(options: argparse.Namespace) -> int:
    """Print the cost of one architecture, by ``supernet.cost``; return 0.

    Raises:
        UsageError: no such search space, or the file is not an architecture of it.
    """
    from supernet.cost import cost
    from supernet.families import family_of
    from supernet.space import SPACES, from_hat, get_space

    if options.space not in SPACES:
        raise registry.unknown("space", options.space, SPACES, "one of the spaces above: --space NAME")
    if len(options.vocab) > 2:
        raise UsageError(f"--vocab takes one size (shared) or two (source, target), not {len(options.vocab)}")
    space = get_space(options.space)
    try:
        values = json.loads(options.architecture.read_text())
        if not isinstance(values, dict):
            raise UsageError(
                f"{options.architecture}: expected an object of field -> value, found {type(values).__name__}"
            )
        # An exported sub-network's file holds its architecture under this key.
        architecture = from_hat(space, values.get("architecture", values))
    except OSError as error:
        raise UsageError(f"cannot read '{options.architecture}': {error.strerror}") from None
    except (ValueError, TypeError, RecursionError) as error:
        raise UsageError(f"{options.architecture}: {error}") from None
    try:
        family = family_of(space, options.vocab)
    except ValueError as error:
        raise UsageError(f"{error}: --vocab {options.vocab[0]}") from None
    counts = cost(family, architecture, source_len=options.source_len, target_len=options.target_len)
    if options.json:
        counted = counts.to_dict()
        print_json({"space": options.space, "architecture": architecture.to_dict(), **counted})
        return 0
    body = "without embedding tables and output layer"
    print(f"space       {options.space}")
    print(f"key         {architecture.key()}")
    print(f"parameters  {counts.params:,} ({counts.params_body:,} {body})")
    print(f"MACs        {counts.macs:,} ({counts.macs_body:,} without output layer)")
    print(f"            at {options.source_len} source and {options.target_len} target tokens")
    print(f"bytes       {counts.bytes:,} (fp32)")
    return 0
