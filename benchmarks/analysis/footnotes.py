"""Footnotes of a table: runs that did not end well, and how its figures were made."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import pandas as pd

from benchmarks.comparability import run_summary
from benchmarks.comparability.run_summary import RunSummary
from benchmarks.records.text import sanitize
from benchmarks.stats import intervals
from benchmarks.stats.quantiles import DISTURBED


def troubles(
    latest: Sequence[RunSummary], named: dict[str, str], obstacles: Mapping[str, str], superseded: int
) -> list[str]:
    """A line for each run that is not compared, with the reason, and how many records were left out."""
    told = [f"{named[run.id]}, seed {run.seed}: {obstacles[run.id]}" for run in latest if run.id in obstacles]
    if superseded:
        told.append(f"{superseded} earlier record(s) of the same method and seed are left out")
    return told


def untimed(lines: pd.DataFrame) -> list[str]:
    """Why rows have no latency, memory and energy, each reason once with its methods."""
    found: dict[str, set[str]] = {}
    for method, head in zip(lines["method"], lines["headline"], strict=True):
        if head.untimed:
            found.setdefault(head.untimed, set()).add(sanitize(method, 60))
    return [
        f"Not timed: {', '.join(sorted(methods))}: {reason}." for reason, methods in sorted(found.items())
    ]


REFERENCES = ("hat", "uniform-int8")
"""Methods that others are compared with where they have runs."""


def _words(origins: str) -> list[str]:
    """The names in ``inherited 2, retrained 1``."""
    return [part.split(" ")[0] for part in origins.split(", ")]


def notes(table: pd.DataFrame, latest: Sequence[RunSummary]) -> list[str]:
    """Footnotes about the whole table."""
    told = []
    if (table["n"] > 1).any():
        told.append(
            "Intervals are 95 % t-intervals over seeds around the mean, those of times, ratios, losses, bytes"
            " and energy on a log scale and those of percentages on a logit scale, so that none leaves the"
            " range of its figure; none is shown where seeds do not differ. Differences: plain t-intervals."
        )
    told.append(
        "Each row is, of the networks that a run proposed last at that limit (its product), the one with the"
        " best validation score, scored once on the sealed test split."
    )
    earlier = ~table["compared"] & ~table["stopped"]
    if earlier.any():
        origins = sorted({origin for part in table["origin"][earlier] for origin in _words(part)})
        told.append(
            f"Rows named after a comma ({', '.join(origins)}): networks that the run above them proposed"
            " before its product; shown, not compared, in no plot; their cost is in the row above."
        )
    own = sum(run.harness_seconds for run in latest)
    spent = sum(s for run in latest if not math.isnan(s := run.spent[run_summary.SPENT.index("seconds")]))
    if own:
        told.append(f"Harness scoring and timing, off the clock: {own / (own + spent):.0%} of all run time.")
    load = max((run.others_cpu for run in latest), default=0.0)
    if load > DISTURBED:
        told.append(
            f"Some timings were disturbed: other programs took up to {load:.1f} processors meanwhile."
        )
    if (table["n"][table["compared"]] < intervals.SIGNIFICANT_FROM).any():
        told.append(f"No claim of significance is made below {intervals.SIGNIFICANT_FROM} paired seeds.")
    products = set(table["of"][table["compared"]])
    if len(products) > 1 and not products & set(REFERENCES):
        told.append(f"None of {', '.join(REFERENCES)} has a comparable run here to compare with.")
    tier = latest[0].facts["tier"]
    if tier in ("smoke", "check"):
        told.append(
            f"This is a {tier} run: it shows that the pipeline works and says nothing about the methods."
        )
    return told
