"""``supernet-bench profiles``: declared hardware, this machine, latency predictors on tables of latencies."""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path

from benchmarks.api import UsageError
from benchmarks.cli.arguments import add_data_dir, add_json
from benchmarks.cli.console import print_json, print_table
from benchmarks.cli.list import print_rows, profile_rows
from benchmarks.hardware import user_profiles
from benchmarks.hardware.probe import probe
from benchmarks.records.store import write_text

EPILOG = "exit code: 0; 1 a table of --latency-table is left out; 2 mistake"


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    command.add_argument(
        "action", nargs="?", choices=("new",), help="new: write a profile of this machine as TOML"
    )
    command.add_argument(
        "--out", type=Path, metavar="FILE.toml", help="output of new; the file's name is the profile's"
    )
    command.add_argument(
        "--latency-table",
        type=Path,
        action="append",
        default=[],
        metavar="FILE.csv",
        help="latencies that you measured: features of the architecture and latency_ms; repeatable",
    )
    add_data_dir(command, "folder with published/*_latency_*.csv.gz")
    add_json(command)


def run(options: argparse.Namespace) -> int:
    """Print declared profiles, this machine and the predictors of tables, or write a profile.

    Raises:
        UsageError: the file to write exists, or has no proper name.
    """
    if options.action == "new":
        return _write_profile(options)
    from benchmarks.latency_tables import evaluation

    folder: Path | None = options.data_dir
    if folder is not None and not folder.is_dir():
        raise UsageError(f"no data folder '{folder}'\nname the one that holds published/: --data-dir FOLDER")
    rows, machine = profile_rows(), probe()
    left_out: list[str] = []
    evaluated = evaluation.evaluate_tables(folder, say=left_out.append) if folder else []
    problems: list[str] = []
    evaluated += evaluation.evaluate_own(options.latency_table, say=problems.append)
    if options.json:
        tables = [row.to_dict() for row in evaluated]
        print_json({"profiles": rows, "machine": machine, "tables": tables, "left_out": left_out + problems})
        return 1 if problems else 0
    print_rows(rows)
    gpus = ", ".join(gpu["name"] for gpu in machine["gpus"]) or "none"
    about = f"{machine['cpu']}, {machine['cpus']} threads, {machine['memory_gib']} GiB, GPU {gpus}"
    print(f"\nthis machine: {about}")
    if not any(row["this_machine"] for row in rows):
        print("it is none of these: write a profile of it, supernet-bench profiles new")
    if evaluated:
        print()
        print_table(evaluation.HEADER, evaluation.as_text(evaluated))
        print(evaluation.FOOTNOTE)
    elif not options.latency_table:
        print("predictors' errors on table profiles: --data-dir FOLDER with published/*_latency_*.csv.gz")
    print("\n".join([*left_out, *problems]), end="\n" if left_out or problems else "")
    return 1 if problems else 0


def _write_profile(options: argparse.Namespace) -> int:
    """Write the profile of this machine; return 0."""
    machine = probe()
    path: Path = options.out or Path(f"{user_profiles.suggested_name(machine)}.toml")
    name = path.name.removesuffix(".toml")
    if not (path.name.endswith(".toml") and user_profiles.NAME.fullmatch(name)):
        raise UsageError(f"--out {path}: name it in lower case, such as mine.v1.toml")
    try:
        _write_new(path, user_profiles.text_of(machine))
    except FileExistsError:
        raise UsageError(
            f"'{path}' is there already: a profile never changes once results under it exist\n"
            "write its next version: --out mine.v2.toml"
        ) from None
    if options.json:
        print_json({"profile": name, "file": str(path)})
    else:
        word = path if "/" in str(path) else f"./{path}"
        print(f"written: {path}\nread it, then: supernet-bench run mt --profile {word}")
    return 0


def _write_new(path: Path, text: str) -> None:
    """Write a new file in one step: it is complete or absent, also after a crash.

    Raises:
        FileExistsError: something of its name is there.
    """
    with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as folder:
        complete = Path(folder) / path.name
        write_text(complete, text)
        os.link(complete, path)  # a rename would replace what is there
