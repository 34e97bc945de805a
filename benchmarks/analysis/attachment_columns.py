"""Columns of a table from files beside its records: verdicts of second runs, latencies in other runtimes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypedDict

from benchmarks.analysis.number_format import NONE, Row, ranged
from benchmarks.api import InvalidRecordError
from benchmarks.comparability.run_summary import RunSummary, labelled
from benchmarks.records import runtime_latencies
from benchmarks.records.attachments import date
from benchmarks.records.record import Record
from benchmarks.records.runtime_latencies import StoredLatency
from benchmarks.records.text import sanitize
from benchmarks.stats import intervals, quantities
from benchmarks.verification import verdict_files
from benchmarks.verification.verdict_files import StoredCheck, StoredVerdict

if TYPE_CHECKING:
    import pandas as pd


NOT_VERIFIED = verdict_files.NOT_YET
"""Text for a row that no second run has verified."""


class AttachedFiles(NamedTuple):
    """Record id -> paths of the files about that record, of each kind."""

    verdicts: Mapping[str, tuple[Path, ...]] = {}
    latencies: Mapping[str, tuple[Path, ...]] = {}


class Attached(NamedTuple):
    """Checked contents of the files about one record, the newest first."""

    verdicts: Sequence[StoredVerdict] = ()
    latencies: Sequence[StoredLatency] = ()


def find_attached(root: Path, published: Iterable[str]) -> AttachedFiles:
    """Return all such files under a folder of results; every one must be about a published record.

    Args:
        root: folder of results.
        published: ids of the published records.

    Raises:
        InvalidRecordError: a file is about no published record, or its name is not of the expected form.
    """
    files = AttachedFiles(verdict_files.VERDICTS.paths(root), runtime_latencies.LATENCIES.paths(root))
    known = {*published} if any(files) else set()
    for kind in files:
        for record, paths in kind.items():
            if record not in known:
                raise InvalidRecordError(f"{paths[0]}: field record: no published record {record}: remove it")
    return files


def read_attached(record: Record, files: AttachedFiles) -> Attached:
    """Read and check the files about one record.

    Raises:
        InvalidRecordError: a file is damaged, misplaced, or does not fit the record.
    """
    name = record["id"]
    return Attached(
        verdict_files.VERDICTS.of_record(record, files.verdicts.get(name, ())),
        runtime_latencies.LATENCIES.of_record(record, files.latencies.get(name, ())),
    )


@dataclass(frozen=True)
class RuntimeFigure:
    """Latency of one row's network in another runtime: over the row's runs, or of the one that was timed."""

    runs: int
    """Runs of the row that were timed in that runtime."""
    of: int
    """All runs of the row."""
    ratio: float
    """Times the latency of the same network in PyTorch."""
    others_cpu: float
    """The most processors that other programs took during a timing."""
    ms: float
    ms_low: float
    """End of the 95 % interval; NaN if there is none."""
    ms_high: float
    interval: str
    """``seeds`` or ``timings``: what the interval is over."""


RuntimeColumn = dict[tuple[str, str], RuntimeFigure]
"""(method, limit in words) -> figure."""


def runtime_columns(
    latest: Sequence[RunSummary],
    named: Mapping[str, str],
    attached: Mapping[str, Attached],
    obstacles: Mapping[str, str] | None = None,
) -> tuple[dict[str, RuntimeColumn], dict[str, str]]:
    """Return, by heading, the column and the signature of each runtime, policy and profile with timings.

    Args:
        latest: runs of the table.
        named: of ``grouping.labels``.
        attached: record id -> contents of the files about it.
        obstacles: of ``grouping.obstacles``.
    """
    if not any(files.latencies for files in attached.values()):
        return {}, {}
    timed: dict[str, dict[tuple[str, str], list[StoredLatency]]] = {}
    signatures: dict[str, set[str]] = {}
    runs: dict[tuple[str, str], int] = {}
    for run in latest:
        for label, head in labelled(run, named[run.id], run.id in (obstacles or {})):
            key = label, str(head.limit)
            runs[key] = runs.get(key, 0) + 1
            headings = set()
            for stored in attached.get(run.id, Attached()).latencies:
                heading = runtime_latencies.heading(stored, run.facts["profile"])
                if stored["candidate"] != head.number or heading in headings:
                    continue  # of another candidate, or measured anew since
                headings.add(heading)
                timed.setdefault(heading, {}).setdefault(key, []).append(stored)
                signatures.setdefault(heading, set()).add(sanitize(stored["latency"]["signature"]))
    columns = {
        heading: {key: _mean(stored, runs[key]) for key, stored in rows.items()}
        for heading, rows in sorted(timed.items())
    }
    return columns, {heading: "  and  ".join(sorted(texts)) for heading, texts in sorted(signatures.items())}


def _mean(stored: Sequence[StoredLatency], of: int) -> RuntimeFigure:
    """Return one row's figure: over its runs, or of the one that was timed."""
    latencies = [entry["latency"] for entry in stored]
    runs = len(latencies)
    ratio = sum(latency["ratio"] for latency in latencies) / runs
    load = max(latency["others_cpu"] for latency in latencies)
    if runs > 1:
        over = intervals.interval([latency["p50"] for latency in latencies], quantities.FIGURES["p50"])
        low, high = (math.nan if end is None else end for end in (over.low, over.high))
        return RuntimeFigure(runs, of, ratio, load, over.mean, low, high, "seeds")
    (latency,) = latencies
    ends = latency["p50_low"], latency["p50_high"]
    return RuntimeFigure(runs, of, ratio, load, latency["p50"], *ends, "timings")


def most_disturbed(columns: Iterable[RuntimeColumn]) -> float:
    """Return the most processors that other programs took during any timing of these columns."""
    return max((figure.others_cpu for column in columns for figure in column.values()), default=0.0)


def runtime_cell(column: RuntimeColumn, row: Row) -> str:
    """Return ``1.23 [1.20, 1.27] t, 0.45 x PyTorch``, with the number of runs unless all were timed."""
    figure = figure_of_row(column, row)
    if figure is None:
        return NONE
    text = ranged(figure.ms, figure.ms_low, figure.ms_high, "sig", figure.interval)
    text += f", {figure.ratio:.2f} x PyTorch"
    return text if figure.runs == figure.of else f"{text} ({figure.runs} of {figure.of} runs)"


def figure_of_row(column: RuntimeColumn, row: Row) -> RuntimeFigure | None:
    """Return the figure of a table's row; None if it has none."""
    return column.get((str(row["method"]), str(row["limit"])))


class VerdictTexts(TypedDict):
    """One verdict of a second run as plain texts."""

    answer: str
    quality: str
    date: str
    machine: str
    differing: str
    reasons: list[str]
    checks: list[str]


class VerdictLine(VerdictTexts):
    """A verdict with the run that it is about."""

    method: str
    seed: int
    record: str


Verdicts = Mapping[str, Sequence[StoredVerdict]]
"""Record id -> the checked verdicts on it, newest first; a record without an entry was never verified."""


def verified_column(
    rows: pd.DataFrame, latest: Sequence[RunSummary], named: Mapping[str, str], verdicts: Verdicts
) -> list[str]:
    """Return, for each row of a table, the answer of second runs and from how many of its runs."""
    of_method: dict[str, dict[str, str]] = {}
    for run in latest:
        of_method.setdefault(named[run.id], {})[str(run.seed)] = run.id
    column = []
    for method, row, seeds in zip(rows["of"], rows["method"], rows["seeds"], strict=True):
        mine = of_method[method]
        if row != method:
            column.append(NONE)  # a second run is judged by its product
            continue
        ids = [mine[seed] for seed in seeds.split()] or list(mine.values())
        column.append(verdict_files.row_status([verdicts.get(i, ()) for i in ids]))
    return column


def verdict_lines(
    latest: Sequence[RunSummary], named: Mapping[str, str], verdicts: Verdicts
) -> list[VerdictLine]:
    """Return every verdict on the runs of a table as plain texts, newest first for each run."""
    return [
        {
            "method": named[run.id],
            "seed": run.seed,
            "record": run.id,
            **verdict_texts(stored, run.fingerprint),
        }
        for run in latest
        for stored in verdicts.get(run.id, ())
    ]


def verdict_texts(stored: StoredVerdict, fingerprint: object) -> VerdictTexts:
    """Return one verdict as plain texts; ``fingerprint``: of the machine of the published run."""
    return {
        "answer": verdict_files.describe(stored),
        "quality": stored["quality"],
        "date": date(stored),
        "machine": verdict_files.describe_machine(stored, fingerprint),
        "differing": verdict_files.describe_differences(stored),
        "reasons": [sanitize(reason) for reason in stored["reasons"][:20]],
        "checks": [_check(check) for check in stored["checks"]],
    }


def _check(check: StoredCheck) -> str:
    """Return one figure, published and now, in one line."""
    word = {True: "holds", False: "does not hold", None: "cannot tell"}[check["holds"]]
    known = ["none" if v is None else f"{v:.4g}" for v in (check["published"], check["now"])]
    span = "" if check["low"] is None else f" in [{check['low']:.4g}, {check['high']:.4g}]"
    return (
        f"{check['what']} at limit {sanitize(check['limit'], 40)}: published {known[0]},"
        f" now {known[1]}"
        f"{span}: {word} ({sanitize(check['how'], 120)})"
    )
