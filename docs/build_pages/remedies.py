"""Remedies of messages that have none of their own, by the place that raises them."""

from __future__ import annotations

BY_PLACE = {
    "baselines": "`supernet-bench list methods` shows what each method takes",
    "benchmarks": "`supernet-bench COMMAND --help` explains every flag",
    "benchmarks.analysis": "name a folder with records in it: `--results DIR`",
    "benchmarks.analysis.carbon": "`supernet-bench run --help` has the units of both flags",
    "benchmarks.class_facts": "compare the file with the method in `docs/method.md`; `test-method` checks it",
    "benchmarks.code_files": "compare the file with the method in `docs/method.md`; `test-method` checks it",
    "benchmarks.engines": "compare the file with the examples in `docs/scaling.md`",
    "benchmarks.export": "take another candidate or target: `supernet-bench export --help`",
    "benchmarks.hardware": "compare the file with one that `supernet-bench profiles new` writes",
    "benchmarks.latency_tables": "`docs/own.md` describes the columns of a latency table",
    "benchmarks.leaderboard": "compare the file with the example in `docs/publish.md`",
    "benchmarks.options": "`supernet-bench list methods` shows each method's options",
    "benchmarks.records": "a record is never edited: take its published file, or run it again",
    "benchmarks.registry": "compare the file with the method in `docs/method.md`; `test-method` checks it",
    "benchmarks.runs": "`supernet-bench run --help` explains every flag; `docs/scaling.md` has study files",
    "benchmarks.scoring": "remove `cache/` in the results and type the command again",
    "benchmarks.stats": "a record is never edited: take its published file, or run it again",
    "benchmarks.studies": "`supernet-bench study NAME --help` names the files that the study reads",
    "benchmarks.tasks": "the file is not the published one: remove it and fetch it again",
    "benchmarks.tasks.finetuning": "take the official files of GLUE, as `docs/own.md` says",
    "benchmarks.tasks.folders": "`docs/own.md` shows folder and task.toml; `test-task` checks them",
    "benchmarks.tasks.glue": "take the official files of GLUE, as `docs/own.md` says",
    "benchmarks.verification": "verify with the data that the record states: `--data-dir DIR`",
    "mos": "`supernet-bench list methods` shows what each method takes",
    "simq": "`supernet-bench list methods` shows what each method takes",
    "supernet": "export the network again from its record: `supernet-bench export RECORD`",
    "supernet.interop": "take another target or model: `docs/interop.md` lists what each can represent",
    "supernet_bench": "`results.frame()` lists all records",
}
"""Module or package -> the remedy of its messages that state none."""


def remedy_of(module: str) -> str:
    """Return the remedy of the nearest place around a module.

    Raises:
        KeyError: no place around the module is listed.
    """
    place = module
    while place not in BY_PLACE and "." in place:
        place = place.rpartition(".")[0]
    return BY_PLACE[place]
