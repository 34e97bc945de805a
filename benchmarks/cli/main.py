"""``supernet-bench``: the parser, and who answers which command. Imports nothing heavy.

Mistakes of the user end in ``error: ...`` and exit code 2; Ctrl-C in 130, and nothing is lost.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.api import UsageError

INTERRUPTED = 130
USAGE = 2
FAILED = 1

TOP = """\
Compare methods that search for fast, small Transformers: equal budgets, one harness, honest records.

  supernet-bench run mt --tier smoke                    all methods on generated data, minutes
  supernet-bench run mt --tier small --task mt-multi30k-en-de --data-dir DIR --seeds 3
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; its exit code."""
    options = parser().parse_args(arguments)
    try:
        module = importlib.import_module(f"benchmarks.cli.{options.module}")
        answer: int = getattr(module, options.function)(options)
        return answer
    except UsageError as error:
        print(f"error: {error}", file=sys.stderr)
        return USAGE
    except KeyboardInterrupt:
        print("\ninterrupted: type the same command again, it goes on where it was", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # such as `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def parser() -> argparse.ArgumentParser:
    """All commands and options."""
    top = argparse.ArgumentParser(
        prog="supernet-bench", description=TOP, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    top.add_argument("--version", action="version", version=_version())
    commands = top.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def add(name: str, module: str, summary: str, function: str = "") -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=summary, description=summary)
        command.set_defaults(module=module, function=function or name)
        return command

    _listing(add("list", "list", "what there is: methods, tasks or profiles", "listing"))
    plan = add("plan", "run", "show what `run` would do, and what it would cost")
    _what(plan)
    _json(plan)
    run = add("run", "run", "run a suite: every method on every task with every seed, then the report")
    _what(run)
    _how(run)
    _comparing(add("compare", "report", "print the table of existing records of some methods"))
    report = add("report", "report", "write tables, plots and the page of existing records again")
    _where(report)
    report.add_argument("suite", nargs="?", default="mt", help="suite (default: mt)")
    report.add_argument("--tier", default="smoke", help="tier (default: smoke)")
    report.add_argument("--baseline", metavar="METHOD", help="what the others are compared with")
    _json(report)
    board = add("leaderboard", "report", "rebuild the leaderboard from the published records")
    board.add_argument(
        "--results", type=Path, default=Path("results"), metavar="DIR", help="default: results"
    )
    board.add_argument("--check", action="store_true", help="change nothing; exit 1 where it is out of date")
    judged = add("claims", "report", "what the records say of each claim of the papers")
    judged.add_argument(
        "--results",
        type=Path,
        default=Path("results"),
        metavar="DIR",
        help="a folder of records, or one with records/ in it (default: results)",
    )
    judged.add_argument("--markdown", action="store_true", help="print Markdown")
    _json(judged)
    _testing(add("test-method", "test_method", "try whether methods keep the rules", "test_methods"))
    verify = add("verify", "verify", "run a published record again: does it reproduce?", "run")
    _verifying(verify)
    _exporting(add("export", "export", "write a row's network for another runtime, checked there", "run"))
    validate = add("validate", "validate", "check records that are to be published, or a folder of them")
    validate.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="a record, or a folder of them")
    validate.add_argument(
        "--results",
        type=Path,
        default=Path("results"),
        metavar="DIR",
        help="whose records are published already (default: results)",
    )
    _json(validate)
    _importing(
        add(
            "import", "import_network", "take a network from a checkpoint of fairseq or HAT", "import_network"
        )
    )
    _data(
        add(
            "export-data",
            "import_network",
            "write a task's prepared data as a fairseq data-bin",
            "export_data",
        )
    )
    profiles = add(
        "profiles", "doctor", "declared hardware, this machine, and latency predictors on table profiles"
    )
    profiles.add_argument(
        "--data-dir", type=Path, metavar="DIR", help="folder with published/*_latency_*.csv.gz"
    )
    _json(profiles)
    study = add("study", "study", "hold a claim against data that others published; no run is needed")
    study.add_argument("name", nargs="?", metavar="NAME", help="which (default: list them)")
    study.add_argument("--data-dir", type=Path, metavar="DIR", help="folder of real data")
    study.add_argument(
        "--weights", type=Path, metavar="DIR", help="folder of the supernets and held-out items of tables"
    )
    study.add_argument(
        "--results", type=Path, default=Path("results"), metavar="DIR", help="default: results, in studies/"
    )
    _json(study)
    doctor = add("doctor", "doctor", "check this environment: versions, threads, profile, disk, data")
    doctor.add_argument("--data-dir", type=Path, metavar="DIR", help="folder of real data to look at")
    doctor.add_argument(
        "--results", type=Path, default=Path("results/local"), metavar="DIR", help="default: results/local"
    )
    _json(doctor)
    cost = add("cost", "doctor", "parameters, MACs and bytes of one architecture")
    cost.add_argument(
        "architecture", type=Path, metavar="ARCHITECTURE.json", help="field -> value; HAT's names are fine"
    )
    cost.add_argument("--space", required=True, metavar="NAME", help="search space, such as hat-space1")
    cost.add_argument(
        "--vocab",
        type=_positive,
        nargs="+",
        default=[32000],
        metavar="N",
        help="vocabulary: one shared, or source and target (default: 32000)",
    )
    cost.add_argument(
        "--source-len", type=_positive, default=30, metavar="N", help="source tokens (default: 30)"
    )
    cost.add_argument(
        "--target-len", type=_positive, default=30, metavar="N", help="target tokens (default: 30)"
    )
    _json(cost)
    return top


def _listing(command: argparse.ArgumentParser) -> None:
    command.add_argument("what", choices=("methods", "tasks", "profiles"), help="what to list")
    _json(command)


def _what(command: argparse.ArgumentParser) -> None:
    """What to run: shared by ``plan`` and ``run``."""
    command.add_argument("suite", help="suite, such as mt")
    command.add_argument(
        "--tier", default="smoke", help="smoke (minutes), small (real data) or paper (default: smoke)"
    )
    command.add_argument("--task", metavar="T,T", help="tasks of the suite (default: the tier's own)")
    command.add_argument(
        "--methods", metavar="M,M", help="methods, installed or path.py:Class (default: all installed)"
    )
    command.add_argument(
        "--seeds", metavar="N", help="how many (3: seeds 1 to 3), or which (1,4) (default: the tier's own)"
    )
    command.add_argument(
        "--profile", default="auto", help="hardware profile, auto or undeclared (default: auto)"
    )
    command.add_argument(
        "--data-dir", type=Path, metavar="DIR", help="folder of real data, where nothing is downloaded"
    )
    _start(command)
    command.add_argument(
        "--budget-scale", type=float, default=1.0, metavar="X", help="multiply every allowance (default: 1)"
    )
    command.add_argument(
        "--option",
        action="append",
        default=[],
        metavar="METHOD.NAME=VALUE",
        help="an option of a method (supernet-bench list methods); repeatable",
    )
    command.add_argument(
        "--ruleset",
        choices=("self", "external"),
        default="self",
        help="self: as they are; external: each tries its declared options on 5 allowances (default: self)",
    )
    _where(command)


def _how(command: argparse.ArgumentParser) -> None:
    """How to run."""
    command.epilog = (
        "exit code: 0 all runs ended (those that their seconds stopped are compared with none); 1 a run"
        " failed, or nothing comparable is left; 2 mistake; 130 interrupted"
    )
    command.add_argument(
        "--dry-run", action="store_true", help="print the plan with a cost estimate; run nothing"
    )
    command.add_argument(
        "--jobs",
        type=_positive,
        default=1,
        metavar="N",
        help="runs at a time; their seconds are then shared (default: 1)",
    )
    command.add_argument(
        "--checkpoint-seconds",
        type=float,
        default=30.0,
        metavar="S",
        help="between two saves of a training (default: 30)",
    )
    command.add_argument(
        "--fresh", action="store_true", help="discard what unfinished runs of this plan have left"
    )
    _json(command)


def _comparing(command: argparse.ArgumentParser) -> None:
    command.add_argument("methods", nargs="+", metavar="METHOD", help="methods, installed or path.py:Class")
    command.add_argument("--suite", default="mt", help="default: mt")
    command.add_argument("--tier", default="smoke", help="default: smoke")
    command.add_argument("--task", metavar="T", help="where there are records of several tasks")
    command.add_argument("--profile", help="where there are records of several profiles")
    command.add_argument(
        "--ruleset", choices=("self", "external"), help="where there are records of both rulesets"
    )
    command.add_argument(
        "--baseline", metavar="METHOD", help="what the others are compared with (default: the first)"
    )
    _where(command)
    _json(command)


def _testing(command: argparse.ArgumentParser) -> None:
    command.add_argument("methods", nargs="+", metavar="METHOD", help="methods, installed or path.py:Class")
    command.add_argument("--task", metavar="T", help="task to try them on (default: mt-synthetic-en-de)")
    command.add_argument("--tier", help="tier of the task (default: check, else its smallest)")
    command.add_argument(
        "--option",
        action="append",
        default=[],
        metavar="METHOD.NAME=VALUE",
        help="an option of a method (supernet-bench list methods); repeatable",
    )
    command.add_argument(
        "--data-dir", type=Path, metavar="DIR", help="folder of real data, where the task needs some"
    )
    _where(command)
    _json(command)


def _verifying(command: argparse.ArgumentParser) -> None:
    command.epilog = (
        "exit code: 0 quality and latency each reproduce, or cannot be told (with the reason); 1 quality does"
        " not reproduce; 3 latency alone does not; 2 mistake"
    )
    command.add_argument(
        "record",
        nargs="?",
        metavar="RECORD",
        help="a file, or the id of a record under results/records (default: a smoke record drawn at random)",
    )
    command.add_argument(
        "--results",
        type=Path,
        default=Path("results"),
        metavar="DIR",
        help="published records, and where the verdict goes (default: results)",
    )
    command.add_argument(
        "--data-dir", type=Path, metavar="DIR", help="folder of real data, where nothing is downloaded"
    )
    command.add_argument(
        "--method", metavar="PATH.py:CLASS", help="the method's file, where it is not installed"
    )
    _start(command)
    _json(command)


def _exporting(command: argparse.ArgumentParser) -> None:
    command.add_argument("record", metavar="RECORD", help="a file, or the id of a record")
    command.add_argument(
        "--to", required=True, choices=("onnx", "ctranslate2", "huggingface", "fairseq"), help="which runtime"
    )
    command.add_argument(
        "--candidate", type=int, metavar="N", help="index of one (default: the best at the last target)"
    )
    command.add_argument(
        "--precision",
        choices=("fp32", "int8"),
        help="of linear layers (default: as the candidate is deployed)",
    )
    command.add_argument(
        "--time", action="store_true", help="time it there, in turns with PyTorch, on one thread each"
    )
    command.add_argument("--out", type=Path, metavar="DIR", help="default: RESULTS/local/exports/...")
    command.add_argument(
        "--results", type=Path, default=Path("results"), metavar="DIR", help="records (default: results)"
    )
    command.add_argument(
        "--data-dir", type=Path, metavar="DIR", help="folder of real data, for the vocabulary"
    )
    _start(command)
    _json(command)


def _importing(command: argparse.ArgumentParser) -> None:
    command.add_argument("kind", choices=("fairseq", "hat"), help="whose checkpoint")
    command.add_argument(
        "checkpoint", type=Path, metavar="CHECKPOINT", help="read without executing anything"
    )
    command.add_argument(
        "--to", required=True, type=Path, metavar="FOLDER", help="new folder for the exported network"
    )
    command.add_argument(
        "--config",
        type=Path,
        metavar="YAML",
        help="HAT's file of a sub-network (default: as the checkpoint was trained)",
    )
    command.add_argument(
        "--data",
        type=Path,
        metavar="DATA-BIN",
        help="its data: the dictionaries must fit, and the loss on its valid split is told",
    )
    _json(command)


def _data(command: argparse.ArgumentParser) -> None:
    command.add_argument("task", metavar="TASK", help="a translation task, such as mt-multi30k-en-de")
    command.add_argument("--to", required=True, type=Path, metavar="FOLDER", help="new folder, the data-bin")
    command.add_argument("--tier", default="small", help="whose data and vocabulary (default: small)")
    command.add_argument(
        "--data-dir", type=Path, metavar="DIR", help="folder of real data, where nothing is downloaded"
    )
    _where(command)
    _json(command)


def _where(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--results",
        type=Path,
        default=Path("results/local"),
        metavar="DIR",
        help="where results stand (default: results/local)",
    )


def _start(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--start-from",
        type=Path,
        metavar="DIR",
        help="local model of transformers that all networks start from, with its vocabulary (suite bert)",
    )


def _json(command: argparse.ArgumentParser) -> None:
    command.add_argument("--json", action="store_true", help="print JSON, for scripts")


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text}: at least 1")
    return number


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return f"supernet-bench {version('supernet-bench')}"
    except PackageNotFoundError:
        return "supernet-bench (not installed)"


if __name__ == "__main__":
    sys.exit(main())
