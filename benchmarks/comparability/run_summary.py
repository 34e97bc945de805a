"""Summaries of records for tables: two thousand bytes of figures instead of some hundred thousand.

Every table is made of ``RunSummary`` objects. A summary refers to its record only if it was made with
``keep``: the records of a board of a hundred thousand do not fit into memory.
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

from benchmarks.comparability import grouping
from benchmarks.records import selection
from benchmarks.records.canonical import canonical
from benchmarks.records.record import Candidate, Record
from benchmarks.records.selection import P90_FROM, Limit
from benchmarks.records.text import sanitize
from benchmarks.stats.task_units import TaskUnits

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
"""(measure, limit) -> what a claim of the papers finds in a record (``benchmarks.claims.judge``)."""


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
    candidate: Candidate | None
    """The whole of it; None where the record was not kept."""

    def score(self, metric: str) -> tuple[float, float, float]:
        """Value, low and high of one metric."""
        for i, (name, _) in enumerate(self.recipes):
            if name == metric:
                return self.scores[3 * i], self.scores[3 * i + 1], self.scores[3 * i + 2]
        return math.nan, math.nan, math.nan


class RunSummary(NamedTuple):
    """One record, as far as tables and claims need it."""

    id: str
    method: str
    source: str
    """sha256 of the method's source."""
    options: Mapping[str, Any]
    seed: int
    follows: str
    """Id of the run that it took its architectures from; empty where it follows none."""
    inherits: bool
    """Whether it was charged what that run had spent, because it took its weights."""
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
    units: TaskUnits
    """Metrics, test item and loss unit of its task."""
    metric: str | None
    """Deciding metric; None if nothing was scored."""
    headlines: tuple[Headline, ...]
    """Tightest limit first, no limit last."""
    earlier: tuple[Headline, ...]
    """Networks of other origins, proposed before those (``rows.earlier_origins``)."""
    place: int
    """Its number among all records of a leaderboard."""
    measured: Measured | None
    """None where no claim looks at such runs."""
    record: Record | None
    """None where it was not kept."""


def summarize(record: Record, *, keep: bool, place: int = 0, measured: Measured | None = None) -> RunSummary:
    """What tables need of a valid record; with ``keep`` the record itself as well."""
    spec, ledger, made = record["spec"], record["ledger"], record["provenance"]
    totals, share, energy = ledger["totals"], ledger["share"], record["energy"]
    joules = energy["joules"] if energy is not None else None
    spent = [share.get(kind, 0.0) for kind in SPENT[:3]]
    timed = [(c.get("latency") or {}).get("others_cpu") or 0.0 for c in record["candidates"]]
    return RunSummary(
        id=record["id"],
        method=sys.intern(spec["method"]),
        source=sys.intern(spec["method_sha256"]),
        options=_shared(canonical(spec["options"])) if spec["options"] else {},
        seed=spec["seed"],
        follows=spec.get("follows") or "",
        inherits=any(e["phase"] == "inherited" and e["amount"] > 0 for e in ledger["entries"]),
        jobs=made.get("jobs") or 1,
        status=sys.intern(record["status"]),
        message=sanitize(record["message"]),
        ended=made["ended"],
        facts=grouping.facts(record),
        tokens=spec["budget"].get("tokens"),
        fingerprint=made["machine"].get("fingerprint"),
        spent=_figures([*spent, totals.get("seconds"), joules]),
        energy_source=sys.intern(sanitize(energy["source"], 120)) if energy and joules is not None else None,
        harness_seconds=sum(ledger.get("harness_seconds", {}).values()),
        others_cpu=max(timed, default=0.0),
        units=selection.units_of(record),
        metric=selection.deciding_metric(record),
        headlines=tuple(
            _headline(limit, c, keep)
            for limit, c in selection.headline_candidates(record["candidates"]).items()
        ),
        earlier=tuple(
            _headline(limit, c, keep) for limit, c in selection.earlier_origins(record["candidates"])
        ),
        place=place,
        measured=measured,
        record=record if keep else None,
    )


def summarize_all(records: Iterable[Record]) -> list[RunSummary]:
    """A run for each record, with the record."""
    return [summarize(record, keep=True) for record in records]


def finished(records: Iterable[Record]) -> list[Record]:
    """Of each (method label, seed) the record that counts, without those that are not comparable."""
    latest = grouping.latest(summarize_all(records))
    obstacles = grouping.obstacles(latest)
    return records_of(run for run in latest if run.id not in obstacles)


def spent_by_leaders(every: Iterable[RunSummary]) -> dict[str, tuple[float, float]]:
    """Run id -> seconds and joules that those which it follows had spent; NaN where one is not here."""
    by_id = {run.id: run for run in every}

    def spent(run: RunSummary, known: frozenset[str] = frozenset()) -> tuple[float, float]:
        if not run.follows:
            return 0.0, 0.0
        leader = by_id.get(run.follows)
        if leader is None or leader.id in known:
            return math.nan, math.nan
        earlier = spent(leader, known | {leader.id})
        own = leader.spent[SPENT.index("seconds")], leader.spent[SPENT.index("joules")]
        return earlier[0] + own[0], earlier[1] + own[1]

    return {run.id: spent(run) for run in by_id.values()}


def records_of(runs: Iterable[RunSummary]) -> list[Record]:
    """The records of runs that were kept with theirs."""
    return [run.record for run in runs if run.record is not None]


def _headline(limit: Limit, c: Candidate, keep: bool) -> Headline:
    scores = (c.get("test") or {}).get(selection.deciding_set(c) or "", {})
    latency, cost, memory = c.get("latency") or {}, c.get("cost") or {}, c.get("memory") or {}
    p90 = latency.get("p90") if latency.get("n", 0) >= P90_FROM else None
    figures = (
        c["limit_ms"], c["valid"]["loss"], latency.get("p50"), p90,
        latency.get("ratio"), latency.get("ratio_low"), latency.get("ratio_high"),
        latency.get("reference_p50"), cost.get("params"), cost.get("macs"), cost.get("bytes"),
        memory.get("peak_bytes"), c.get("spent", {}).get("seconds"),
    )  # fmt: skip
    signature, source = latency.get("signature"), memory.get("source")
    return Headline(
        number=c["index"],
        limit=limit,
        origin=sys.intern(sanitize(c["origin"], 30)),
        figures=_figures(figures),
        recipes=_recipes(tuple((name, figure["signature"]) for name, figure in scores.items())),
        scores=_figures([x for f in scores.values() for x in (f.get("value"), f.get("low"), f.get("high"))]),
        latency=None if signature is None else sys.intern(signature),
        timed=latency.get("n", 0),
        memory=None if source is None else sys.intern(source),
        untimed=sanitize(c.get("not_measured") or ""),
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


def labelled(run: RunSummary, name: str, stopped: bool) -> list[tuple[str, Headline]]:
    """The rows that a run has a part in: the method's own, and beneath it one for each earlier origin; of a
    stopped run one apart from all others.

    Args:
        run: with its headlines.
        name: of ``comparable.labels``.
        stopped: whether it is not comparable.
    """
    if stopped:
        return [(f"{name}, stopped", head) for head in run.headlines]
    own = [(name, head) for head in run.headlines]
    return own + [(f"{name}, {head.origin}", head) for head in run.earlier]


def headlines(
    runs: Sequence[RunSummary],
    named: Mapping[str, str],
    metric: str,
    obstacles: Mapping[str, str] | None = None,
) -> pd.DataFrame:
    """One line per (method, seed, limit): names, ``SCORES`` and ``FIGURES``; what is lacking is NaN.

    ``headline`` is the line's ``Headline``, ``candidate`` the whole candidate where the record was kept.
    ``of`` is the method whose run it is, ``method`` the row that it has a part in (``labelled``);
    ``compared`` whether it may be compared, ranked or drawn: the product of a comparable run.

    Args:
        runs: at most one for each method and seed.
        named: of ``comparable.labels``.
        metric: that decides.
        obstacles: of ``comparable.obstacles``.
    """
    import pandas as pd

    stopped = obstacles or {}
    lines = [
        (run, label, head) for run in runs for label, head in labelled(run, named[run.id], run.id in stopped)
    ]
    texts = {
        "method": [label for _, label, _ in lines],
        "of": [named[run.id] for run, _, _ in lines],
        "seed": [run.seed for run, _, _ in lines],
        "limit": [head.limit for _, _, head in lines],
        "origin": [head.origin for _, _, head in lines],
        "headline": [head for _, _, head in lines],
        "candidate": [head.candidate for _, _, head in lines],
    }
    numbers = np.empty((len(lines), len(SCORES) + len(FIGURES)))
    for line, (_, _, head) in zip(numbers, lines, strict=True):
        line[:3], line[3:6], line[6:] = head.score(metric), head.score("chrf"), head.figures
    figures = pd.DataFrame(numbers, columns=[*SCORES, *FIGURES])
    compared = [label == named[run.id] for run, label, _ in lines]
    frame = pd.DataFrame(texts, dtype=object).assign(compared=np.array(compared, dtype=bool))
    return pd.concat([frame, figures], axis=1)
