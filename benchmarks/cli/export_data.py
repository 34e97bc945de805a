"""``supernet-bench export-data``: a translation task's prepared data as a fairseq data-bin."""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path

from benchmarks.cli.arguments import add_data_dir, add_json, add_results, add_task_flags, task_flags
from benchmarks.cli.console import print_json
from benchmarks.cli.import_network import require_new_folder
from benchmarks.tasks.folders.sources import find


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    command.add_argument("task", metavar="TASK", help="a translation task, or text:FOLDER")
    command.add_argument("--to", required=True, type=Path, metavar="FOLDER", help="new folder, the data-bin")
    command.add_argument(
        "--tier", default="small", help="tier whose data and vocabulary are written (default: small)"
    )
    add_task_flags(command)
    add_data_dir(command)
    add_results(command)
    add_json(command)


def run(options: argparse.Namespace) -> int:
    """Write a data-bin with the ids that networks here are trained on; return 0.

    Raises:
        UsageError: the task is no translation, or the folder exists.
    """
    from benchmarks.tasks import fairseq_data

    task = fairseq_data.require_translation(find(options.task, task_flags(options)))
    languages = task.languages
    tier = task.tier(options.tier, "cpu")
    require_new_folder(options.to)

    def say(line: str) -> None:
        print(line, file=sys.stderr)

    prepared = task.prepare(tier, options.results / "cache", options.data_dir, say)
    tests = fairseq_data.export(prepared, languages, options.to)
    splits = {f"test{number or ''}": name for number, name in enumerate(tests)}
    if options.json:
        print_json({"folder": str(options.to), "languages": languages, "tests": splits})
        return 0
    listed = ", ".join(f"{split} ({name})" for split, name in splits.items())
    print(f"written to {options.to}: train, valid, {listed}")
    decode = tier.decode
    words = ["fairseq-generate", str(options.to), "-s", languages[0], "-t", languages[1]]
    words += ["--path", "CHECKPOINT", "--gen-subset", "test", "--post-process", "sentencepiece"]
    words += ["--beam", str(decode["beam"]), "--lenpen", str(decode["lenpen"])]
    words += ["--max-len-a", str(decode["max_len_a"]), "--max-len-b", str(decode["max_len_b"])]
    print("decoded as here: " + shlex.join([*words, "--scoring", "sacrebleu"]))
    return 0
