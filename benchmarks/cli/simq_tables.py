"""``supernet-bench study simq-tables``: build the tables on which the studies of SimQ search."""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.api import UsageError
from benchmarks.cli.arguments import add_data_dir, add_device, device_of, positive
from benchmarks.suggestions import unknown

if TYPE_CHECKING:
    from benchmarks.studies.simq_tables.build import TableForm

NAME = "simq-tables"
SUMMARY = "build the tables on which the studies simq-search and simq-fronts search"


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Add the steps ``build``, ``held-out`` and ``latencies`` with their arguments."""
    steps = command.add_subparsers(title="steps", metavar="STEP", required=True)

    build = steps.add_parser("build", help="train supernets and evaluate every point of their spaces")
    _add_sources(build)
    add_device(build)
    build.add_argument("--commit", metavar="HASH", help="commit of this code (default: the checkout's)")
    build.add_argument("--seed", type=positive, default=1, metavar="N", help="seed (default: 1)")
    build.add_argument(
        "--tokens",
        action="append",
        default=[],
        metavar="TABLE=N",
        help="tokens of a supernet's training, all passes counted; repeatable",
    )
    build.add_argument(
        "--precisions", metavar="LIST", help="such as fp32,int8s (default: the family's own); names the table"
    )
    build.add_argument(
        "--linear",
        action="store_true",
        help="a precision for each linear layer or convolution; with --sampled",
    )
    build.add_argument(
        "--sampled", type=positive, metavar="N", help="measure N random points and fit a surrogate to them"
    )
    build.add_argument(
        "--supernets",
        type=Path,
        metavar="DIR",
        help="folder of trained supernets, which are not trained again",
    )
    build.add_argument(
        "--teacher", type=Path, metavar="FILE", help="supernet that teaches vit-kd (default: resnet's in OUT)"
    )
    build.add_argument("--prepare-only", action="store_true", help="prepare the data, which needs no GPU")
    build.set_defaults(run=run_build)

    held_out = steps.add_parser("held-out", help="write the held-out data that study simq-fronts reads")
    _add_sources(held_out)
    held_out.set_defaults(run=run_held_out)

    latencies = steps.add_parser("latencies", help="fit the latency model of each table on this machine")
    latencies.add_argument(
        "--weights", type=Path, required=True, metavar="DIR", help="folder of the supernets, NAME.safetensors"
    )
    latencies.add_argument(
        "--tables", type=Path, metavar="DIR", help="folder of NAME.npz (default: simq/tabular/data)"
    )
    latencies.add_argument(
        "--fitted", type=positive, default=96, metavar="N", help="networks to fit to (default: 96)"
    )
    latencies.add_argument(
        "--held-out", type=positive, default=32, metavar="N", help="networks to test on (default: 32)"
    )
    latencies.add_argument(
        "--rounds", type=positive, default=25, metavar="N", help="inferences of each network (default: 25)"
    )
    latencies.set_defaults(run=run_latencies)


def _add_sources(step: argparse.ArgumentParser) -> None:
    step.add_argument(
        "tables",
        nargs="*",
        metavar="TABLE",
        help="vit, vit-kd, resnet, text, vl or minilm (default: all that need no --start-from)",
    )
    step.add_argument("--cache", type=Path, required=True, metavar="DIR", help="folder of prepared data")
    step.add_argument(
        "--out", type=Path, default=Path("."), metavar="DIR", help="folder of the files (default: .)"
    )
    add_data_dir(step)
    step.add_argument(
        "--start-from",
        type=Path,
        metavar="DIR",
        help="folder of a trained encoder of transformers, from which table minilm starts",
    )
    step.add_argument("--tiny", action="store_true", help="generated data and tiny networks, for tests")


def run_build(options: argparse.Namespace) -> int:
    """Build tables, or only prepare their data; return 0.

    Raises:
        UsageError: there is no such table or precision, ``--tokens`` is not TABLE=N of a table that is
            trained, an option does not apply to these tables, or a table of a precision a linear is to have
            all points.
    """
    from benchmarks.records.provenance import source_state
    from benchmarks.studies.simq_tables.build import build, prepare
    from benchmarks.studies.simq_tables.sources import SourceOptions

    tables = _known(options.tables)
    _check_start(tables, options.start_from)
    _check_points(tables, options)
    tokens = _training_tokens(tables, options)
    _check_teacher(tables, options)
    device = "cpu" if options.prepare_only else device_of(options)
    form = _form(options)
    source = SourceOptions(
        *(options.cache, options.data_dir, device, options.seed, options.tiny),
        teacher=options.teacher,
        start_from=options.start_from,
    )
    if options.prepare_only:
        prepare(tables, source, _say)
        return 0
    commit = options.commit or source_state()[0] or "unknown"
    build(tables, source, options.out, commit, tokens, _say, form)
    return 0


def _form(options: argparse.Namespace) -> TableForm:
    from benchmarks.studies.simq_tables.build import TableForm
    from supernet.quantization.precisions import PRECISIONS

    names = tuple(options.precisions.split(",")) if options.precisions else ()
    for name in names:
        if name not in PRECISIONS:
            raise UsageError(f"--precisions {name}: choose from {', '.join(PRECISIONS)}")
    if len(set(names)) != len(names):
        raise UsageError(f"--precisions {options.precisions}: each precision once")
    if options.linear and not options.sampled:
        raise UsageError("--linear makes a space too large for all of its points: add --sampled N")
    return TableForm(names, options.linear, options.sampled or 0, options.supernets)


def run_held_out(options: argparse.Namespace) -> int:
    """Write the held-out data of tables; return 0.

    Raises:
        UsageError: there is no such table, or none that starts from an encoder.
    """
    from benchmarks.studies.simq_tables.held_out import write_held_out
    from benchmarks.studies.simq_tables.sources import SourceOptions

    tables = _known(options.tables)
    _check_start(tables, options.start_from)
    source = SourceOptions(options.cache, options.data_dir, tiny=options.tiny, start_from=options.start_from)
    write_held_out(tables, source, options.out, _say)
    return 0


def run_latencies(options: argparse.Namespace) -> int:
    """Fit latency models; return 1 if the error of one is too large, else 0.

    Raises:
        UsageError: no table has a supernet, a file is damaged, or a table has too few points.
    """
    from benchmarks.studies.simq_tables.latencies import fit_tables

    counts = options.fitted, options.held_out, options.rounds
    return int(not fit_tables(options.weights, options.tables, counts, _say))


def _known(tables: Iterable[str]) -> list[str]:
    from benchmarks.studies.simq_tables.recipes import RECIPES

    for table in tables:
        if table not in RECIPES:
            raise unknown("table", table, RECIPES, f"all of them: supernet-bench study {NAME} build")
    return list(tables) or [key for key, recipe in RECIPES.items() if not recipe.starts]


def _check_start(tables: Sequence[str], start_from: Path | None) -> None:
    """Refuse an encoder that no table starts from."""
    from benchmarks.studies.simq_tables.recipes import RECIPES

    if start_from is not None and not any(RECIPES[table].starts for table in tables):
        able = " or ".join(key for key, recipe in RECIPES.items() if recipe.starts)
        raise UsageError(f"--start-from {start_from}: none of these tables starts from an encoder: {able}")


def _check_points(tables: Sequence[str], options: argparse.Namespace) -> None:
    """Refuse all points of a space that is too large for them."""
    from benchmarks.studies.simq_tables.recipes import RECIPES

    large = [table for table in tables if RECIPES[table].starts]
    if large and not options.sampled and not options.prepare_only:
        raise UsageError(f"table {large[0]} has too many points to measure all: add --sampled N")


def _check_teacher(tables: Sequence[str], options: argparse.Namespace) -> None:
    """Refuse a teacher of supernets that are not trained by one."""
    from benchmarks.studies.simq_tables.recipes import RECIPES

    if options.teacher is None:
        return
    if options.supernets is not None:
        raise UsageError(f"--teacher {options.teacher}: --supernets trains nothing: give one of the two")
    if not any(RECIPES[table].teacher for table in tables):
        able = " or ".join(key for key, recipe in RECIPES.items() if recipe.teacher)
        raise UsageError(f"--teacher {options.teacher}: none of these tables has a teacher: {able}")


def _training_tokens(tables: Sequence[str], options: argparse.Namespace) -> dict[str, float]:
    """Return table -> tokens of its supernet's training, of the tables that have an own number."""
    if options.tokens and options.supernets is not None:
        raise UsageError(f"--tokens {options.tokens[0]}: --supernets trains nothing: give one of the two")
    numbers = {}
    for text in options.tokens:
        table, tokens = _tokens(text)
        if table not in tables:
            raise UsageError(f"--tokens {text}: table {table} is not built, only {', '.join(tables)}")
        numbers[table] = tokens
    return numbers


def _tokens(text: str) -> tuple[str, float]:
    table, _, number = text.partition("=")
    try:
        tokens = float(number)
    except ValueError:
        tokens = math.nan
    if not 0 < tokens < math.inf:
        raise UsageError(f"--tokens {text}: TABLE=N, a finite N above 0, such as --tokens vit=1.8e9")
    return _known([table])[0], tokens


def _say(line: str) -> None:
    print(line, flush=True)
