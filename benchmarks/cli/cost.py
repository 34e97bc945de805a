"""``supernet-bench cost``: parameters, MACs and bytes of one architecture."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from benchmarks import suggestions
from benchmarks.api import UsageError
from benchmarks.cli.arguments import add_json, positive
from benchmarks.cli.console import print_json

YAML = (".yml", ".yaml")
"""Endings of HAT's configurations."""
ARCHITECTURE = "architecture"
"""Key under which an exported sub-network's file holds its architecture."""


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    command.add_argument(
        "architecture",
        type=Path,
        nargs="?",
        metavar="ARCHITECTURE",
        help="JSON or HAT's YAML of field -> value; HAT's names of the fields are fine",
    )
    command.add_argument("--space", required=True, metavar="NAME", help="search space, such as hat-space1")
    command.add_argument(
        "--vocab",
        nargs="+",
        default=["32000"],
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
    from supernet.interop.hat import read_config
    from supernet.space import SPACES, from_hat, get_space

    if options.space not in SPACES:
        raise suggestions.unknown("space", options.space, SPACES, "one of the spaces above: --space NAME")
    path, vocab = _path_and_vocabulary(options)
    space = get_space(options.space)
    try:
        values: object = read_config(path) if path.suffix in YAML else json.loads(path.read_text())
        place = str(path)
        if isinstance(values, dict) and ARCHITECTURE in values:
            place, values = f"{path}, {ARCHITECTURE}", values[ARCHITECTURE]
        if not isinstance(values, dict):
            raise UsageError(f"{place}: expected an object of field -> value, found {type(values).__name__}")
        architecture = from_hat(space, values)
    except OSError as error:
        raise UsageError(f"cannot read '{path}': {error.strerror}") from None
    except (ValueError, TypeError, RecursionError) as error:
        raise UsageError(f"{path}: {error}") from None
    try:
        family = family_of(space, vocab)
    except ValueError as error:
        raise UsageError(f"{error}: --vocab {vocab[0]}") from None
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


def _path_and_vocabulary(options: argparse.Namespace) -> tuple[Path, list[int]]:
    """Return the file of the architecture, and one size of a vocabulary or two.

    Typed in the order of the usage, the file comes after ``--vocab``, which takes it for a size.

    Raises:
        UsageError: there is no file, or a size is none.
    """
    path: Path | None = options.architecture
    words = list(options.vocab)
    if path is None and not words[-1].isdigit():
        path = Path(words.pop())
    if path is None:
        raise UsageError("no architecture: name its file, JSON or HAT's YAML")
    try:
        sizes = [positive(word) for word in words or ["32000"]]
    except (ValueError, argparse.ArgumentTypeError):
        raise UsageError(f"--vocab {' '.join(words)}: sizes are whole numbers, at least 1") from None
    if len(sizes) > 2:
        raise UsageError(f"--vocab takes one size (shared) or two (source, target), not {len(sizes)}")
    return path, sizes
