"""What tables keep of a record: two thousand bytes of figures instead of a tree of some hundred thousand.

Every table is made of ``Run``s. The record itself stays within reach only where ``keep`` says so: on boards
of a hundred thousand records it does not fit into memory.
"""

from __future__ import annotations

import json
import math
import sys
from array import array
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from benchmarks import records as store
from benchmarks.records import Record
from benchmarks.report import comparable, rows
from benchmarks.report.rows import P90_FROM, Limit, plain

if TYPE_CHECKING:
    import pandas as pd

FIGURES = (
    "limit_ms", "valid_loss", "p50", "p90", "ratio", "ratio_low", "ratio_high", "reference_p50", "params",
    "macs", "bytes", "peak_bytes", "spent_seconds",
)  # fmt: skip
"""Of a headline, in this order; the last is what its search had spent when it was proposed."""
SPENT = ("tokens", "evaluations", "probes", "seconds", "joules")
"""Of a run, in this order: shares of the allowance, then seconds and joules."""

Measured = Mapping[tuple[str, float | None], float | Mapping[str, float] | None]
"""(measure, limit) -> what a claim of the papers finds in a record (``benchmarks.claims``)."""


class Headline(NamedTuple):
    """The candidate that speaks for a run at one limit; figures that it lacks are NaN."""

    number: int
    """Index of the candidate in its record."""
    limit: Limit
    origin: str
    figures: array[float]
    """``FIGURES``."""
    recipes: tuple[tuple[str, str], ...]
    """Metric and signature of each score."""
    scores: array[float]
    """Value, low and high of each of ``recipes`` on the deciding test set."""
    latency: str | None
    """Signature."""
    timed: int
    """Inferences."""
    memory: str | None
    """Source."""
    untimed: str
    """Why it has no latency, where the record says so."""
    candidate: Mapping[str, Any] | None
    """The whole of it; None where the record was not kept."""

    def score(self, metric: str) -> tuple[float, float, float]:
        """Value, low and high of one metric."""
        for i, (name, _) in enumerate(self.recipes):
            if name == metric:
                return self.scores[3 * i], self.scores[3 * i + 1], self.scores[3 * i + 2]
        return math.nan, math.nan, math.nan


class Run(NamedTuple):
    """One record, as far as tables and claims need it."""

    id: str
    method: str
    source: str
    """sha256 of the method's source."""
    options: Mapping[str, Any]
    seed: int
    follows: bool
    """Whether it took its architectures from another run."""
    jobs: int
    """Runs that shared its machine, itself among them."""
    status: str
    message: str
    ended: str
    facts: Mapping[str, str]
    """What two runs must have in common to stand in one table."""
    tokens: float | None
    """Allowed."""
    fingerprint: Any
    """Of its machine."""
    spent: array[float]
    """``SPENT``; NaN where not measured."""
    energy_source: str | None
    harness_seconds: float
    """Scoring and timing, off the clock."""
    others_cpu: float
    """The most processors that other programs took while a candidate of it was timed."""
    metric: str | None
    """The metric that decides, as far as this run has one."""
    headlines: tuple[Headline, ...]
    """Tightest limit first, no limit last."""
    place: int
    """Its number among all records of a leaderboard."""
    measured: Measured | None
    """None where no claim looks at such runs."""
    record: Record | None
    """None where it was not kept."""


def of(record: Record, *, keep: bool, place: int = 0, measured: Measured | None = None) -> Run:
    """What tables need of a valid record; with ``keep`` the record itself as well."""
    spec, ledger, made = record["spec"], record["ledger"], record["provenance"]
    totals, share, energy = ledger["totals"], ledger["share"], record["energy"] or {}
    joules = energy.get("joules")
    spent = [share.get(kind, 0.0) for kind in SPENT[:3]]
    timed = [(c.get("latency") or {}).get("others_cpu") or 0.0 for c in record["candidates"]]
    return Run(
        id=record["id"],
        method=sys.intern(spec["method"]),
        source=sys.intern(spec["method_sha256"]),
        options=_shared(store.canonical(spec["options"])) if spec["options"] else {},
        seed=spec["seed"],
        follows=bool(spec.get("follows")),
        jobs=made.get("jobs") or 1,
        status=sys.intern(record["status"]),
        message=plain(record["message"]),
        ended=made["ended"],
        facts=comparable.facts(record),
        tokens=spec["budget"].get("tokens"),
        fingerprint=made["machine"].get("fingerprint"),
        spent=_figures([*spent, totals.get("seconds"), joules]),
        energy_source=sys.intern(plain(energy["source"], 120)) if joules is not None else None,
        harness_seconds=sum(ledger.get("harness_seconds", {}).values()),
        others_cpu=max(timed, default=0.0),
        metric=rows.deciding_metric([record]),
        headlines=tuple(
            _headline(limit, c, keep) for limit, c in rows.by_limit(record["candidates"]).items()
        ),
        place=place,
        measured=measured,
        record=record if keep else None,
    )


def whole(records: Iterable[Record]) -> list[Run]:
    """A run for each record, with the record."""
    return [of(record, keep=True) for record in records]


def finished(records: Iterable[Record]) -> list[Record]:
    """Of each (method label, seed) the record that counts, without those that failed."""
    latest = comparable.latest(whole(records))
    return records_of(run for run in latest if run.status != "failed")


def records_of(runs: Iterable[Run]) -> list[Record]:
    """The records of runs that were kept with theirs."""
    return [run.record for run in runs if run.record is not None]


def _headline(limit: Limit, c: Mapping[str, Any], keep: bool) -> Headline:
    scores = (c.get("test") or {}).get(rows.deciding_set(c) or "", {})
    latency, cost, memory = c.get("latency") or {}, c.get("cost") or {}, c.get("memory") or {}
    p90 = latency.get("p90") if latency.get("n", 0) >= P90_FROM else None
    figures = [c["limit_ms"], c["valid"]["loss"], latency.get("p50"), p90]
    figures += [latency.get(k) for k in ("ratio", "ratio_low", "ratio_high", "reference_p50")]
    figures += [cost.get(k) for k in ("params", "macs", "bytes")]
    figures += [memory.get("peak_bytes"), c.get("spent", {}).get("seconds")]
    signature, source = latency.get("signature"), memory.get("source")
    return Headline(
        number=c["index"],
        limit=limit,
        origin=sys.intern(plain(c["origin"], 30)),
        figures=_figures(figures),
        recipes=_recipes(tuple((name, figure["signature"]) for name, figure in scores.items())),
        scores=_figures([f.get(k) for f in scores.values() for k in ("value", "low", "high")]),
        latency=None if signature is None else sys.intern(signature),
        timed=latency.get("n", 0),
        memory=None if source is None else sys.intern(source),
        untimed=plain(c.get("not_measured") or ""),
        candidate=c if keep else None,
    )


def _figures(values: Sequence[float | None]) -> array[float]:
    return array("d", [math.nan if value is None else value for value in values])


@lru_cache(maxsize=4096)
def _recipes(recipes: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
    """The same object for equal recipes."""
    return recipes


@lru_cache(maxsize=4096)
def _shared(canonical: bytes) -> Any:
    """The same object for equal texts; nobody changes it."""
    return json.loads(canonical)


SCORES = ("quality", "low", "high", "chrf", "chrf_low", "chrf_high")


def headlines(runs: Sequence[Run], named: Mapping[str, str], metric: str) -> pd.DataFrame:
    """One line per (method, seed, limit): names, ``SCORES`` and ``FIGURES``; what is lacking is NaN.

    ``headline`` is the line's ``Headline``, ``candidate`` the whole candidate where the record was kept.

    Args:
        runs: at most one for each method and seed.
        named: of ``comparable.labels``.
        metric: that decides.
    """
    import pandas as pd

    there = [(run, head) for run in runs for head in run.headlines]
    texts = {
        "method": [named[run.id] for run, _ in there],
        "seed": [run.seed for run, _ in there],
        "limit": [head.limit for _, head in there],
        "origin": [head.origin for _, head in there],
        "headline": [head for _, head in there],
        "candidate": [head.candidate for _, head in there],
    }
    numbers = np.empty((len(there), len(SCORES) + len(FIGURES)))
    for line, (_, head) in zip(numbers, there, strict=True):
        line[:3], line[3:6], line[6:] = head.score(metric), head.score("chrf"), head.figures
    figures = pd.DataFrame(numbers, columns=[*SCORES, *FIGURES])
    return pd.concat([pd.DataFrame(texts, dtype=object), figures], axis=1)
