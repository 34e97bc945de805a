"""Command-line arguments that several commands share. Imports nothing heavy."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from benchmarks.studies.trainings import Trainings
    from benchmarks.tasks.folders.sources import TaskFlags

from benchmarks.analysis import carbon
from benchmarks.api import UsageError
from benchmarks.records.folders import PUBLISHED, VARIABLE, local_results, readable


def add_json(command: argparse.ArgumentParser) -> None:
    """Add ``--json``."""
    command.add_argument("--json", action="store_true", help="print JSON, for scripts")


def add_results(
    command: argparse.ArgumentParser, default: Path | None = None, help: str = "folder of the results"
) -> None:
    """Add ``--results``; the help text gets the default appended.

    Args:
        default: None for this machine's results, ``local_results``.
    """
    shown = str(default) if default else f"${VARIABLE}, else {PUBLISHED / 'local'}"
    command.add_argument(
        "--results",
        type=Path,
        default=default or local_results(),
        metavar="DIR",
        help=f"{help} (default: {shown})",
    )


def add_data_dir(
    command: argparse.ArgumentParser, help: str = "folder of real data, where nothing is downloaded"
) -> None:
    """Add ``--data-dir``."""
    command.add_argument("--data-dir", type=Path, metavar="DIR", help=help)


def add_published(command: argparse.ArgumentParser, help: str) -> None:
    """Add ``--published``, a folder with published records, or nothing for those that are here."""
    command.add_argument(
        "--published",
        nargs="?",
        type=Path,
        const=PUBLISHED,
        metavar="DIR",
        help=f"{help} (default of DIR: {PUBLISHED})",
    )


def published_folder(options: argparse.Namespace) -> Path:
    """Return the folder that ``--published`` names, by default that of the published records here."""
    named: Path | None = options.published
    return readable(PUBLISHED if named is None else named)


def add_task_flags(command: argparse.ArgumentParser) -> None:
    """Add the options of ``--task text:FOLDER`` and its like."""
    command.add_argument("--source", metavar="LANG", help="language of the source side of text:FOLDER")
    command.add_argument("--target", metavar="LANG", help="language of the target side of text:FOLDER")
    command.add_argument(
        "--task-settings",
        type=Path,
        metavar="FILE",
        help="TOML with settings of a task of your own (default: task.toml in its folder)",
    )


def task_flags(options: argparse.Namespace) -> TaskFlags:
    """Return the values of ``add_task_flags``."""
    from benchmarks.tasks.folders.sources import TaskFlags

    return TaskFlags(options.source, options.target, options.task_settings)


def add_start_from(command: argparse.ArgumentParser) -> None:
    """Add ``--start-from``, the pre-trained model of a task."""
    command.add_argument(
        "--start-from",
        type=Path,
        metavar="DIR",
        help="local BERT or DistilBERT of transformers, with its vocabulary, from which all networks start"
        " (suite bert); nothing: all start untrained, also where the tier has a parent",
    )


def add_method_options(command: argparse.ArgumentParser) -> None:
    """Add ``--option``, parsed by ``benchmarks.options.parse``."""
    command.add_argument(
        "--option",
        action="append",
        default=[],
        metavar="METHOD.NAME=VALUE",
        help="an option of a method (supernet-bench list methods); repeatable",
    )


def add_carbon(command: argparse.ArgumentParser) -> None:
    """Add ``--carbon-intensity`` and ``--pue``."""
    command.add_argument(
        "--carbon-intensity",
        type=carbon.intensity,
        metavar="G",
        help="g CO2e a kWh of your grid: the report shows emissions, apart from joules",
    )
    command.add_argument("--pue", type=carbon.pue, metavar="X", help="power usage effectiveness (default: 1)")


def add_hook(command: argparse.ArgumentParser) -> None:
    """Add ``--hook``, the names of installed hooks."""
    command.add_argument(
        "--hook",
        action="append",
        default=[],
        metavar="NAME",
        help="installed hook that follows the runs, such as a tracker; repeatable",
    )


def add_trainings(command: argparse.ArgumentParser, folder: str, content: str, noun: str) -> None:
    """Add the arguments of a study that trains networks of a plan, and goes on where it was stopped.

    Args:
        folder: of its files under ``results``.
        content: of that folder, in words.
        noun: word for one training.
    """
    out = Path("results") / folder
    command.add_argument(
        "--out", type=Path, default=out, metavar="DIR", help=f"folder of {content} (default: {out})"
    )
    command.add_argument("--plan", type=Path, metavar="FILE", help="plan (default: the registered one)")
    cache = Path("results") / "local" / "cache"
    command.add_argument(
        "--cache", type=Path, default=cache, metavar="DIR", help=f"folder of prepared data (default: {cache})"
    )
    add_data_dir(command)
    add_device(command)
    command.add_argument(
        "--minutes", type=positive, metavar="N", help=f"start no {noun} after N minutes (default: no limit)"
    )
    command.add_argument(
        "--workers",
        type=positive,
        default=1,
        metavar="N",
        help=f"{noun}s side by side, each in a process of its own (default: 1)",
    )


def add_device(command: argparse.ArgumentParser) -> None:
    """Add ``--device``."""
    command.add_argument("--device", metavar="NAME", help="cpu or cuda (default: cuda if there is one)")


def device_of(options: argparse.Namespace) -> str:
    """Return the device that ``--device`` names, or the one that this machine has.

    Raises:
        UsageError: torch cannot use it.
    """
    import torch

    devices = ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]
    if options.device not in (None, *devices):
        why = "torch sees no GPU here" if options.device == "cuda" else f"choose of {', '.join(devices)}"
        raise UsageError(f"--device {options.device}: {why}; without --device it is {devices[-1]}")
    return options.device or devices[-1]


def trainings(options: argparse.Namespace) -> Trainings:
    """Return the trainings that the arguments of ``add_trainings`` select."""
    from benchmarks.studies.trainings import Trainings

    return Trainings(
        options.out, options.cache, options.data_dir, device_of(options), options.minutes, options.workers,
        lambda line: print(line, flush=True),
    )  # fmt: skip


def positive(text: str) -> int:
    """Return the positive integer of an argument.

    Raises:
        argparse.ArgumentTypeError: the number is below 1.
        ValueError: ``text`` is not an integer.
    """
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text}: at least 1")
    return number


def not_negative(text: str) -> float:
    """Return the number of an argument, zero or more.

    Raises:
        argparse.ArgumentTypeError: the number is below zero, or none.
        ValueError: ``text`` is not a number.
    """
    number = float(text)
    if not number >= 0:
        raise argparse.ArgumentTypeError(f"{text}: zero or more")
    return number


def split_words(text: str, exists: Callable[[str], bool]) -> list[str]:
    """Return the words of ``A,B``; a word for which ``exists`` holds may contain commas.

    Args:
        text: words joined by commas.
        exists: whether a word with commas in it is one word, such as the path of an existing file.
    """
    words: list[str] = []
    parts = text.split(",")
    while parts:
        counts = range(len(parts), 1, -1)
        longest = next((n for n in counts if exists(",".join(parts[:n]).strip())), 1)
        words.append(",".join(parts[:longest]).strip())
        parts = parts[longest:]
    return [word for word in words if word]
