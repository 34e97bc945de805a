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

from benchmarks import identity
from benchmarks.api import OptionValues
from benchmarks.comparability import grouping
from benchmarks.comparability.flags import Conduct, conduct_of
from benchmarks.records import phases, selection
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
"""Figures of a headline, in this order; the last is the search's seconds up to its proposal."""
PRECISION_WORDS = {"int8": "int8 dynamic", "int8s": "int8 static"}
"""Precision of a policy -> its words, where they differ."""
SPENT = ("tokens", "evaluations", "probes", "updates", "seconds", "joules")
"""Spending of a run, in this order: shares of the allowance, then amounts."""

Measured = Mapping[tuple[str, float | None], float | Mapping[str, float] | None]
"""Measure and limit -> the figure of a record that a claim is about (``benchmarks.claims.measures``)."""


class Headline(NamedTuple):
    """Headline candidate of a run at one limit; figures that it lacks are NaN."""

    number: int
    """Index of the candidate in its record."""
    limit: Limit
    origin: str
    precision: str
    """Precisions of its layers, as its scores' signatures state them; ``fp32`` without a policy."""
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
    """Reason why it has no latency, as its record states it; else empty."""
    candidate: Candidate | None
    """The candidate itself; None if the record was not kept."""

    def score(self, metric: str) -> tuple[float, float, float]:
        """Return value, low and high of one metric; NaN if it was not scored."""
        for i, (name, _) in enumerate(self.recipes):
            if name == metric:
                return self.scores[3 * i], self.scores[3 * i + 1], self.scores[3 * i + 2]
        return math.nan, math.nan, math.nan


class RunSummary(NamedTuple):
    """Summary of one record: all that tables and claims need."""

    id: str
    method: str
    source: str
    """sha256 of the method's source."""
    code: str
    """The same, or the digest that stands for all those that are declared equal to it."""
    options: OptionValues
    seed: int
    follows: str
    """Id of the run that it took its architectures from; empty where it follows none."""
    inherits: bool
    """True if it was charged the spending of the run that it follows, because it took its weights."""
    jobs: int
    """Runs that shared its machine, itself among them."""
    status: str
    message: str
    ended: str
    facts: Mapping[str, str]
    """Facts that two runs of one table share."""
    tokens: float | None
    """Allowed."""
    fingerprint: str | None
    """Fingerprint of its machine; None in old records."""
    spent: array[float]
    """``SPENT``; NaN where not measured."""
    energy_source: str | None
    harness_seconds: float
    """Scoring and timing, off the clock."""
    others_cpu: float
    """Largest number of processors that other programs used while one of its candidates was timed."""
    units: TaskUnits
    """Metrics, test item and loss unit of its task."""
    metric: str | None
    """Deciding metric; None if nothing was scored."""
    headlines: tuple[Headline, ...]
    """Tightest limit first, no limit last."""
    earlier: tuple[Headline, ...]
    """Networks of earlier origins (``selection.products_and_earlier``)."""
    conduct: Conduct
    """Its isolation and its work, measured from outside."""
    place: int
    """Its number among all records of a leaderboard."""
    measured: Measured | None
    """None if no claim is about such runs."""
    record: Record | None
    """None if it was not kept."""


def summarize(record: Record, *, keep: bool, place: int = 0, measured: Measured | None = None) -> RunSummary:
    """Return the summary of a valid record; with ``keep`` it refers to the record."""
    spec, ledger, provenance = record["spec"], record["ledger"], record["provenance"]
    totals, share, energy = ledger["totals"], ledger["share"], record["energy"]
    joules = energy["joules"] if energy is not None else None
    spent = [share.get(kind, 0.0) for kind in SPENT[:3]]
    timed = [(c.get("latency") or {}).get("others_cpu") or 0.0 for c in record["candidates"]]
    products, earlier = selection.products_and_earlier(record["candidates"])
    return RunSummary(
        id=record["id"],
        method=sys.intern(spec["method"]),
        source=sys.intern(spec["method_sha256"]),
        code=sys.intern(identity.of_record(record).method),
        options=_shared(canonical(spec["options"])) if spec["options"] else {},
        seed=spec["seed"],
        follows=spec.get("follows") or "",
        inherits=any(phases.is_inherited(e["phase"]) and e["amount"] > 0 for e in ledger["entries"]),
        jobs=provenance.get("jobs") or 1,
        status=sys.intern(record["status"]),
        message=sanitize(record["message"]),
        ended=provenance["ended"],
        facts=grouping.facts(record),
        tokens=spec["budget"].get("tokens"),
        fingerprint=provenance["machine"].get("fingerprint"),
        spent=_figures([*spent, totals.get("updates"), totals.get("seconds"), joules]),
        energy_source=sys.intern(sanitize(energy["source"], 120)) if energy and joules is not None else None,
        harness_seconds=sum(ledger.get("harness_seconds", {}).values()),
        others_cpu=max(timed, default=0.0),
        units=selection.units_of(record),
        metric=selection.deciding_metric(record),
        headlines=tuple([_headline(limit, c, keep) for limit, c in products.items()]),
        earlier=tuple([_headline(limit, c, keep) for limit, c in earlier]),
        conduct=conduct_of(record),
        place=place,
        measured=measured,
        record=record if keep else None,
    )


def spent_by_leaders(every: Iterable[RunSummary]) -> dict[str, tuple[float, float]]:
    """Return run id -> seconds and joules of the runs that it follows; NaN if one of them is missing."""
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
    """Return the records of summaries that refer to theirs."""
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
    recipes = {name: figure["signature"] for name, figure in scores.items()}
    return Headline(
        number=c["index"],
        limit=limit,
        origin=_origin(c["origin"]),
        precision=_precision(_precisions(c.get("policy") or {}, (signature, *recipes.values()))),
        figures=_figures(figures),
        recipes=_recipes(tuple(recipes.items())),
        scores=_figures([x for f in scores.values() for x in (f.get("value"), f.get("low"), f.get("high"))]),
        latency=None if signature is None else sys.intern(signature),
        timed=latency.get("n", 0),
        memory=None if source is None else sys.intern(source),
        untimed=sanitize(c.get("not_measured") or ""),
        candidate=c if keep else None,
    )


def _figures(values: Sequence[float | None]) -> array[float]:
    return array("d", [math.nan if value is None else value for value in values])


def _precisions(policy: Mapping[str, str], signatures: Iterable[str | None]) -> tuple[str, ...]:
    """Return the precisions of a network under a policy, whose layers in fp32 the policy leaves out."""
    for signature in signatures if policy else ():
        for part in (signature or "").split("|"):
            if part.startswith("prec:"):
                return tuple(sorted(part.removeprefix("prec:").split("+")))
    return tuple(sorted(set(policy.values())))


@lru_cache(maxsize=256)
def _origin(text: str) -> str:
    return sys.intern(sanitize(text, 30))


@lru_cache(maxsize=256)
def _precision(names: tuple[str, ...]) -> str:
    return sys.intern(sanitize(" + ".join(PRECISION_WORDS.get(name, name) for name in names), 60) or "fp32")


@lru_cache(maxsize=4096)
def _recipes(recipes: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
    """Return one object for equal recipes."""
    return recipes


@lru_cache(maxsize=4096)
def _shared(canonical: bytes) -> Any:
    """Return one object for equal texts; it is never changed."""
    return json.loads(canonical)


SCORES = ("quality", "low", "high", "chrf", "chrf_low", "chrf_high")


def labelled(run: RunSummary, name: str, stopped: bool) -> list[tuple[str, Headline]]:
    """Return label and headline of each row that a run contributes to.

    These are the method's own row and one for each earlier origin. A stopped run has a row of its own.

    Args:
        run: with its headlines.
        name: its label, of ``grouping.labels``.
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
    """Return one line per method, seed and limit: names, ``SCORES`` and ``FIGURES``; NaN if lacking.

    ``headline`` is the line's ``Headline``, ``candidate`` the candidate if the record was kept. ``of`` is the
    run's method and ``method`` the row that it contributes to (``labelled``). ``learnt`` is false for a
    network below ``selection.LEARNT_FROM``. ``compared`` is true for the product of a comparable run, which
    may be compared, ranked and drawn, in rows of which every network has learnt: a mean over the others
    would be one over the seeds that went well.

    Args:
        runs: at most one for each method and seed.
        named: of ``grouping.labels``.
        metric: the deciding one.
        obstacles: of ``grouping.obstacles``.
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
        "precision": [head.precision for _, _, head in lines],
        "headline": [head for _, _, head in lines],
        "candidate": [head.candidate for _, _, head in lines],
    }
    numbers = array("d")
    for _, _, head in lines:
        numbers.extend((*head.score(metric), *head.score("chrf"), *head.figures))
    columns = [*SCORES, *FIGURES]
    figures = pd.DataFrame(np.array(numbers).reshape(len(lines), len(columns)), columns=columns)
    learning, least = selection.LEARNT_FROM
    learnt = [not head.score(learning)[0] < least for _, _, head in lines]
    keys = [(label, head.limit) for _, label, head in lines]
    idle = {key for key, has in zip(keys, learnt, strict=True) if not has}
    compared = [
        label == named[run.id] and key not in idle for (run, label, _), key in zip(lines, keys, strict=True)
    ]
    flags = {"learnt": np.array(learnt, dtype=bool), "compared": np.array(compared, dtype=bool)}
    return pd.concat([pd.DataFrame(texts, dtype=object).assign(**flags), figures], axis=1)
