"""What stands under a table: runs that did not end well, and what a reader must know of its figures."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pandas as pd

from benchmarks import stats
from benchmarks.percentiles import DISTURBED
from benchmarks.report import rows, runs
from benchmarks.report.figures import item
from benchmarks.report.runs import Run


def troubles(latest: Sequence[Run], named: dict[str, str], superseded: int) -> list[str]:
    """A line for each run that is not done, and how many records were left out."""
    told = [
        f"{named[run.id]}, seed {run.seed}: {run.status}: {run.message}"
        for run in latest
        if run.status != "done"
    ]
    if superseded:
        told.append(f"{superseded} earlier record(s) of the same method and seed are left out")
    return told


def untimed(lines: pd.DataFrame) -> list[str]:
    """Why rows have no latency, memory and energy, each reason once with its methods."""
    found: dict[str, set[str]] = {}
    for method, head in zip(lines["method"], lines["headline"], strict=True):
        if head.untimed:
            found.setdefault(head.untimed, set()).add(rows.plain(method, 60))
    return [
        f"Not timed: {', '.join(sorted(methods))}: {reason}." for reason, methods in sorted(found.items())
    ]


def notes(table: pd.DataFrame, latest: Sequence[Run]) -> list[str]:
    """What a reader must know of the whole table."""
    told = []
    if (table["interval"] == "seeds").any():
        told.append("Intervals are 95 % t-intervals over seeds.")
    if (table["interval"] == "sentences").any():
        one = item(latest[0].facts["task"])
        how = "Wilson's" if one == "image" else "a bootstrap"
        told.append(
            f"s: one seed only; the 95 % interval is {how} over test {one}s and leaves out"
            " the spread between seeds. t: the same over the timings of that one network. The other figures"
            " of one seed have nothing to take an interval over."
        )
    told.append(
        "Each row is the candidate with the best validation score at that limit, scored once on the sealed"
        " test split."
    )
    own = sum(run.harness_seconds for run in latest)
    spent = sum(s for run in latest if not math.isnan(s := run.spent[runs.SPENT.index("seconds")]))
    if own:
        told.append(f"Harness scoring and timing, off the clock: {own / (own + spent):.0%} of all run time.")
    load = max((run.others_cpu for run in latest), default=0.0)
    if load > DISTURBED:
        told.append(
            f"Some timings were disturbed: other programs took up to {load:.1f} processors meanwhile."
        )
    if (table["n"] < stats.SIGNIFICANT_FROM).any():
        told.append(f"No claim of significance is made below {stats.SIGNIFICANT_FROM} paired seeds.")
    tier = latest[0].facts["tier"]
    if tier in ("smoke", "check"):
        told.append(
            f"This is a {tier} run: it shows that the pipeline works and says nothing about the methods."
        )
    return told
