"""Records and tables as data frames."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

import pandas as pd

from benchmarks.analysis.table import build_from_runs
from benchmarks.api import UsageError
from benchmarks.comparability import grouping, run_summary
from benchmarks.comparability.run_summary import RunSummary
from benchmarks.records import folders, selection, store
from benchmarks.records.canonical import canonical
from benchmarks.records.record import Candidate, Record

COLUMNS = {
    "id": "run: first 16 hex digits of the SHA-256 of its specification",
    "task": "name of the task", "tier": "size of the task: data, networks and allowances",
    "profile": "hardware profile",
    "suite": "suite of the task",
    "method": "search method", "method_version": "version that the method states",
    "options": "options that are not default, as JSON",
    "seed": "seed of the run", "status": "done, budget (stopped) or failed",
    "ended": "end of the run, ISO time",
    "candidate": "index of the candidate in its run",
    "origin": "training of its weights, such as inherited, continued or scratch",
    "limit": "target of the search: share of the reference's latency, milliseconds or parameters",
    "headline": "true for the network that stands for its run at this limit",
    "metric": "deciding metric of the task", "quality": "deciding metric on the sealed test split",
    "quality_low": "lower end of its 95 % interval over test items",
    "quality_high": "upper end of its 95 % interval over test items",
    "signature": "recipe of the metric", "valid_loss": "validation loss",
    "latency_ms": "median latency, milliseconds",
    "latency_ratio": "latency over that of the reference network",
    "parameters": "parameters, embeddings included", "macs": "multiply-accumulates of one inference",
    "bytes": "bytes of the weights as deployed", "joules": "joules of one inference",
    "tokens": "training tokens that the run spent", "evaluations": "validation evaluations that it spent",
    "probes": "latency probes that it spent", "updates": "steps of optimisers in its trainings",
    "seconds": "seconds of its search",
    "commit": "commit or version of the code that made it",
}  # fmt: skip
"""Column of ``frame`` -> its meaning and unit."""
SPEC: tuple[Literal["task", "tier", "profile", "suite", "method", "method_version", "seed"], ...] = (
    "task", "tier", "profile", "suite", "method", "method_version", "seed",
)  # fmt: skip
"""Columns that are fields of a record's specification."""
NUMBERS = (
    "quality", "quality_low", "quality_high", "valid_loss", "latency_ms", "latency_ratio", "joules", "tokens",
    "evaluations", "probes", "updates", "seconds", "parameters", "macs", "bytes",
)  # fmt: skip
"""Columns of numbers; NaN where nothing was measured."""


def records(folder: Path | None = None) -> list[Record]:
    """Return the records of a folder of results, by default the published ones.

    Raises:
        UsageError: there is no such folder.
    """
    place = folders.readable(folders.PUBLISHED if folder is None else folder)
    if not place.is_dir():
        raise UsageError(f"no folder '{place}' of results")
    below = place / "records"
    return store.load_all(below if below.is_dir() else place)


def frame(kept: Sequence[Record]) -> pd.DataFrame:
    """Return one row for each candidate; a run without candidates has one row without figures."""
    rows = [row for record in kept for row in _rows(record)]
    table = pd.DataFrame(rows, columns=[*COLUMNS])
    for name in NUMBERS:
        table[name] = table[name].astype("float64")
    table["candidate"] = table["candidate"].astype("Int64")
    table["headline"] = table["headline"].astype(bool)
    return table


def _rows(record: Record) -> Iterator[dict[str, object]]:
    spec, origin, totals = record["spec"], record["provenance"], record["ledger"]["totals"]
    package = origin.get("package")
    about: dict[str, object] = {
        "id": record["id"],
        **{name: spec[name] for name in SPEC},
        "options": canonical(spec["options"]).decode(),
        "status": record["status"],
        "ended": origin["ended"],
        "metric": selection.metric_of(record),
        **{name: totals.get(name) for name in ("tokens", "evaluations", "probes", "updates", "seconds")},
        "commit": origin.get("commit") or (package["version"] if isinstance(package, dict) else None),
    }
    heads = {candidate["index"] for candidate in selection.headline_candidates(record["candidates"]).values()}
    for candidate in record["candidates"]:
        yield about | _figures(candidate, str(about["metric"])) | {"headline": candidate["index"] in heads}
    if not record["candidates"]:
        yield about | {"headline": False}


def _figures(candidate: Candidate, metric: str) -> dict[str, object]:
    latency, cost = candidate.get("latency") or {}, candidate.get("cost") or {}
    energy = candidate.get("energy") or {}
    chosen = selection.deciding_set(candidate)
    scores = (candidate.get("test") or {}).get(chosen, {}) if chosen is not None else {}
    score = scores.get(metric) or {}
    return {
        "candidate": candidate["index"],
        "origin": candidate["origin"],
        "limit": str(selection.limit_of(candidate)),
        "quality": score.get("value"),
        "quality_low": score.get("low"),
        "quality_high": score.get("high"),
        "signature": score.get("signature"),
        "valid_loss": candidate["valid"]["loss"],
        "latency_ms": latency.get("p50"),
        "latency_ratio": latency.get("ratio"),
        "parameters": cost.get("params"),
        "macs": cost.get("macs"),
        "bytes": cost.get("bytes"),
        "joules": energy.get("joules_per_sentence"),
    }


def groups(kept: Sequence[Record]) -> list[list[RunSummary]]:
    """Return the runs of every table."""
    return grouping.groups(run_summary.summarize(record, keep=True) for record in kept)


def tables(kept: Sequence[Record]) -> pd.DataFrame:
    """Return one row for each table: task, tier, profile, tokens, and its numbers of methods and runs."""
    rows = [
        {name: group[0].facts[name] for name in ("task", "tier", "profile")}
        | {"tokens": group[0].tokens, "methods": len({run.method for run in group}), "runs": len(group)}
        for group in groups(kept)
    ]
    return pd.DataFrame(rows, columns=["task", "tier", "profile", "tokens", "methods", "runs"])


def table(
    kept: Sequence[Record],
    task: str | None = None,
    tier: str | None = None,
    profile: str | None = None,
    baseline: str | None = None,
) -> pd.DataFrame:
    """Return the rows of the only table of a task, tier and profile; None leaves one of them open.

    Raises:
        UsageError: no table, or several, are such; lists them.
    """
    wanted = {"task": task, "tier": tier, "profile": profile}
    matching = [
        group
        for group in groups(kept)
        if all(value in (None, group[0].facts[name]) for name, value in wanted.items())
    ]
    if len(matching) > 1:
        # The table with most runs stands for its conditions, as on the leaderboard's first place.
        same = {tuple(group[0].facts[name] for name in wanted) for group in matching}
        if len(same) == 1:
            matching = [max(matching, key=len)]
    if len(matching) != 1:
        listed = tables(kept).to_string(index=False)
        raise UsageError(f"{len(matching)} tables are of {wanted}: name task, tier and profile\n{listed}")
    rows = build_from_runs(matching[0], baseline).rows.drop(columns="energy_sources")
    return rows.reset_index(drop=True).astype({"limit": str}).convert_dtypes()
