"""What lies beside published records and is shown with their rows: verdicts of second runs, and latencies in
other runtimes, which have columns of their own.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.analysis.number_format import NONE, Row, ranged
from benchmarks.api import InvalidRecord
from benchmarks.comparability.run_summary import RunSummary, labelled
from benchmarks.records import runtime_latencies
from benchmarks.records.attachments import Attachment, date
from benchmarks.records.record import Record
from benchmarks.records.text import sanitize
from benchmarks.stats import intervals, quantities
from benchmarks.verification import verdict_files


class Files(NamedTuple):
    """Record id -> the files about it, of each kind."""

    verdicts: Mapping[str, tuple[Path, ...]] = {}
    latencies: Mapping[str, tuple[Path, ...]] = {}


class Beside(NamedTuple):
    """What was found about one record, checked, the newest first."""

    verdicts: Sequence[Attachment] = ()
    latencies: Sequence[Attachment] = ()


def files(root: Path, published: Sequence[Path]) -> Files:
    """All such files under a folder of results; every one must be about a published record.

    Raises:
        InvalidRecord: one is not, or is not named as they are.
    """
    found = Files(verdict_files.paths(root), runtime_latencies.paths(root))
    known = {path.stem for path in published} if any(found) else set()
    for kind in found:
        for record, there in kind.items():
            if record not in known:
                raise InvalidRecord(f"{there[0]}: field record: no published record {record}: remove it")
    return found


def of_record(record: Record, there: Files) -> Beside:
    """What lies beside one record.

    Raises:
        InvalidRecord: a file is damaged, misplaced, or does not fit the record.
    """
    name = record["id"]
    return Beside(
        verdict_files.of_record(record, there.verdicts.get(name, ())),
        runtime_latencies.of_record(record, there.latencies.get(name, ())),
    )


Figure = dict[str, Any]
"""Of a row: ``ms`` with ``ms_low`` and ``ms_high``, over ``interval``; ``ratio`` to the
same network in PyTorch; ``runs`` of the row that it is a mean over; ``of``, all that it has."""
Column = dict[tuple[str, str], Figure]
"""(method, limit in words) -> its figure."""


def columns(
    latest: Sequence[RunSummary],
    named: Mapping[str, str],
    beside: Mapping[str, Beside],
    obstacles: Mapping[str, str] | None = None,
) -> tuple[dict[str, Column], dict[str, str]]:
    """Heading -> the column of each runtime, policy and profile that any run of a table was timed in, and
    heading -> signature.

    Args:
        latest: runs of the table.
        named: of ``comparable.labels``.
        beside: record id -> what lies beside it.
        obstacles: of ``comparable.obstacles``.
    """
    timed: dict[str, dict[tuple[str, str], list[Attachment]]] = {}
    signatures: dict[str, set[str]] = {}
    runs: dict[tuple[str, str], int] = {}
    for run in latest:
        for label, head in labelled(run, named[run.id], run.id in (obstacles or {})):
            key = label, str(head.limit)
            runs[key] = runs.get(key, 0) + 1
            seen = set()
            for made in beside.get(run.id, Beside()).latencies:
                title = runtime_latencies.heading(made, run.facts["profile"])
                if made["candidate"] != head.number or title in seen:
                    continue  # of another candidate, or measured anew since
                seen.add(title)
                timed.setdefault(title, {}).setdefault(key, []).append(made)
                signatures.setdefault(title, set()).add(sanitize(made["latency"]["signature"]))
    found = {
        title: {key: _mean(made, runs[key]) for key, made in there.items()}
        for title, there in sorted(timed.items())
    }
    return found, {title: "  and  ".join(sorted(told)) for title, told in sorted(signatures.items())}


def _mean(there: Sequence[Attachment], of: int) -> dict[str, Any]:
    """One row's figure: over its runs, or of the one that was timed."""
    latencies = [made["latency"] for made in there]
    figure = {"runs": len(there), "of": of, "ratio": sum(x["ratio"] for x in latencies) / len(there)}
    figure["others_cpu"] = max(x["others_cpu"] for x in latencies)
    if len(there) > 1:
        over = intervals.interval([x["p50"] for x in latencies], quantities.FIGURES["p50"])
        low, high = (math.nan if end is None else end for end in (over.low, over.high))
        return figure | {"ms": over.mean, "ms_low": low, "ms_high": high, "interval": "seeds"}
    (one,) = latencies
    ends = {"ms_low": one["p50_low"], "ms_high": one["p50_high"]}
    return figure | {"ms": one["p50"], **ends, "interval": "timings"}


def disturbed(columns: Iterable[Column]) -> float:
    """The most processors that other programs took during any timing of these columns."""
    return max((figure["others_cpu"] for column in columns for figure in column.values()), default=0.0)


def cell(column: Column, row: Row) -> str:
    """``1.23 [1.20, 1.27] t, 0.45 x PyTorch``, and of how many runs where not of all."""
    figure = figure_of(column, row)
    if figure is None:
        return NONE
    text = ranged(figure["ms"], figure["ms_low"], figure["ms_high"], "sig", figure["interval"])
    text += f", {figure['ratio']:.2f} x PyTorch"
    return text if figure["runs"] == figure["of"] else f"{text} ({figure['runs']} of {figure['of']} runs)"


def figure_of(column: Column, row: Row) -> Figure | None:
    """The figure of a table's row, if it has one."""
    return column.get((str(row["method"]), str(row["limit"])))


def texts(made: Attachment, profile: str) -> dict[str, Any]:
    """One latency as plain data for a row's page."""
    latency, told = made["latency"], made["provenance"]
    return {
        "what": runtime_latencies.heading(made, profile),
        "candidate": made["candidate"],
        "p50": [latency[k] for k in ("p50", "p50_low", "p50_high")],
        "p90": latency["p90"],
        "times PyTorch": [latency[k] for k in ("ratio", "ratio_low", "ratio_high")],
        "PyTorch, ms": latency["pytorch_p50"],
        "other programs meanwhile, processors": latency["others_cpu"],
        "made as": sanitize(latency["signature"]),
        "profile": made["profile"],
        "on": date(made),
        "compared": [
            f"{sanitize(x['what'], 60)}: {sanitize(x['value'], 60)} ({sanitize(x['signature'], 160)})"
            for x in made["checks"]
        ],
        "commit": sanitize(told["commit"] or "none", 64),
    }
