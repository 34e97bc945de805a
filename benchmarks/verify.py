"""Does a published row hold? Two records of one spec compared: pure functions, no torch.

Quality must lie where one more run of the row is expected: the 95 % prediction interval over the published
runs of its group (three or more), else the row's own interval over sentences. Latency is judged on the
ratio to the reference network that was timed in turns with it, never on milliseconds: within 2 % on the
same machine, 10 % on the same profile, or the row's own interval where that is wider. Rented machines of one
kind are alike and yet not the same: the same is one that was not started anew in between.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from benchmarks import records as store
from benchmarks.records import Record
from benchmarks.report import rows

SCHEMA = "supernet-bench/verify/1"
SAME_MACHINE, SAME_PROFILE = 0.02, 0.10
"""Allowed relative difference of the latency ratio."""
RUNS = 3
"""Published runs from which they, and not the sentences of one, give the interval."""
YES, NO, UNKNOWN = "reproduces", "does not reproduce", "cannot tell"


@dataclass(frozen=True)
class Check:
    """One figure of the row: ``holds`` is None where it cannot be told."""

    what: str
    """``quality`` or ``latency ratio``."""
    limit: str
    published: float | None
    now: float | None
    low: float | None
    high: float | None
    how: str
    """What the interval is over, or why there is no answer."""
    holds: bool | None


@dataclass(frozen=True)
class Verdict:
    """What comes of comparing."""

    answer: str
    """``reproduces``, ``does not reproduce`` or ``cannot tell``."""
    reasons: list[str] = field(default_factory=list)
    """Why not, or why it cannot be told; with what to type where there is something."""
    checks: list[Check] = field(default_factory=list)
    identical: bool = False
    """The same candidates, weights, translations and ledger, to the bit."""
    first_difference: str | None = None
    """The first field in which the results differ."""
    repeated_timings: bool = False
    """The search was told the published timings, so that it decides as it did."""
    differences: list[tuple[str, Any, Any]] = field(default_factory=list)
    """Field of the provenance, published, now."""

    @property
    def latency_alone(self) -> bool:
        """It does not reproduce, and nothing but latencies is to blame."""
        blamed = {c.what for c in self.checks if c.holds is False}
        # One reason for every check that does not hold; the bits have a reason and no check.
        return blamed == {"latency ratio"} and len(self.reasons) == sum(not c.holds for c in self.checks)


def cannot_tell(*reasons: str) -> Verdict:
    """The verdict where nothing was run."""
    return Verdict(UNKNOWN, list(reasons))


def flat(value: Any, name: str = "") -> dict[str, Any]:
    """Every leaf by its path; lists of texts stay whole."""
    if not isinstance(value, Mapping):
        return {name: value}
    return {k: v for key in value for k, v in flat(value[key], f"{name}.{key}" if name else key).items()}


def provenance_differences(published: Record, again: Record) -> list[tuple[str, Any, Any]]:
    """Every field of provenance, and what of the spec may differ, with both values; times and which start of
    the machine it was left out."""

    def told(record: Record) -> dict[str, Any]:
        kept = {k: v for k, v in record["provenance"].items() if k not in ("started", "ended", "command")}
        kept["machine"] = {k: v for k, v in kept["machine"].items() if k != "boot"}
        spec = {
            k: record["spec"][k] for k in ("profile", "method_sha256", "method_version", "settings_sha256")
        }
        return flat(kept) | flat(spec, "spec")

    ours, theirs = told(again), told(published)
    names = sorted({*ours, *theirs})
    return [(n, theirs.get(n), ours.get(n)) for n in names if ours.get(n) != theirs.get(n)]


def outcome(record: Record) -> dict[str, Any]:
    """What a run found, to the bit, wherever it ran: no times, no provenance."""
    kept = store.digested_part(record)
    return {k: v for k, v in kept.items() if k not in ("schema", "id", "spec", "provenance")}


def first_difference(one: Any, other: Any, path: str = "") -> str | None:
    """The path of the first place where two JSON values differ, or None."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        pairs = [(f"{path}.{k}".lstrip("."), one.get(k), other.get(k)) for k in sorted({*one, *other})]
    elif isinstance(one, list) and isinstance(other, list):
        if len(one) != len(other):
            return path
        pairs = [(f"{path}[{i}]", a, b) for i, (a, b) in enumerate(zip(one, other, strict=True))]
    else:
        return None if store.canonical(one) == store.canonical(other) else path
    return next((found for p, a, b in pairs if (found := first_difference(a, b, p)) is not None), None)


def siblings(published: Record, others: Sequence[Record]) -> list[Record]:
    """The finished published runs of the row: equal specs and data, any seed; ``published`` is the first."""

    def kind(record: Record) -> bytes:
        spec = {k: v for k, v in record["spec"].items() if k not in ("seed", "follows")}
        return store.canonical([spec, record["provenance"]["data"]])

    found = {published["id"]: published}
    for record in others:
        if record["status"] != "failed" and kind(record) == kind(published):
            found.setdefault(record["id"], record)
    return list(found.values())


def prediction_interval(values: Sequence[float], level: float = 0.95) -> tuple[float, float]:
    """Where one more draw is expected with probability ``level``, by Student's t (normal figures)."""
    from scipy.stats import t

    n = len(values)
    mean = math.fsum(values) / n
    spread = math.sqrt(math.fsum((v - mean) ** 2 for v in values) / (n - 1))
    half = float(t.ppf((1 + level) / 2, n - 1)) * spread * math.sqrt(1 + 1 / n)
    return mean - half, mean + half


def compare(published: Record, again: Record, others: Sequence[Record] = ()) -> Verdict:
    """Judge a row by a second run of it.

    Args:
        published: the record in question.
        again: the record of the run made from it, here; under another profile where this machine is another.
        others: published records, of which those of the same row give the interval.
    """
    if published["status"] == "failed":
        return cannot_tell("the published run failed: it has no figures to compare")
    differences = provenance_differences(published, again)
    if again["status"] == "failed":
        said = rows.plain(again["message"])
        return Verdict(NO, [f"the second run failed: {said}"], differences=differences)
    if (
        again["status"] == "budget"
        and published["status"] == "done"
        and again["message"].startswith("seconds")
    ):
        why = "the second run ran out of its seconds, which the published one did not: try an idle machine"
        return Verdict(UNKNOWN, [why], differences=differences)
    if published["provenance"]["data"] != again["provenance"]["data"]:
        return Verdict(UNKNOWN, ["the data are not the published ones"], differences=differences)
    runs = siblings(published, others)
    ours, theirs = (rows.by_limit(r["candidates"]) for r in (again, published))
    metric = rows.metric_of([published])
    checks = [_quality(limit, theirs[limit], ours.get(limit), runs, metric) for limit in theirs]
    timed = [limit for limit in theirs if not theirs[limit].get("not_measured")]
    checks += [_latency(limit, published, again, runs) for limit in timed]
    place = first_difference(outcome(published), outcome(again))
    reasons = [f"{c.what} at limit {c.limit}: {c.how}" for c in checks if c.holds is None]
    reasons += [
        f"{c.what} at limit {c.limit}: {_shown(c.now)} is outside [{_shown(c.low)}, {_shown(c.high)}]"
        for c in checks
        if c.holds is False
    ]
    repeated = _repeated(published, again)
    holds = [c.holds for c in checks]
    if (
        place is not None
        and repeated
        and not differences
        and not published["provenance"]["machine"].get("gpus")
    ):
        reasons.append(f"equal machine, versions and timings on the processor, but {place} differs")
        holds.append(False)
    answer = NO if False in holds else UNKNOWN if None in holds or not holds else YES
    return Verdict(
        answer,
        reasons or ([] if holds else ["the published run has no candidates"]),
        checks,
        identical=place is None,
        first_difference=place,
        repeated_timings=repeated,
        differences=differences,
    )


def _repeated(published: Record, again: Record) -> bool:
    """Whether all that the second search was told of time is what the first was told."""
    told = [r.get("timings") for r in (published, again)]
    return told[0] is not None and told[0] == told[1]


def published_figures(record: Record) -> dict[tuple[str, str], float | None]:
    """(what, limit) -> the published figure of everything that ``compare`` checks."""
    found, metric = {}, rows.metric_of([record])
    for limit, candidate in rows.by_limit(record["candidates"]).items():
        found["quality", str(limit)] = _figure(candidate, metric).get("value")
        found["latency ratio", str(limit)] = (candidate.get("latency") or {}).get("ratio")
    return found


def _figure(candidate: Mapping[str, Any] | None, metric: str) -> Mapping[str, Any]:
    if candidate is None:
        return {}
    scores = (candidate.get("test") or {}).get(rows.deciding_set(candidate) or "", {})
    found: Mapping[str, Any] = scores.get(metric) or {}
    return found


def _quality(
    limit: rows.Limit,
    published: Mapping[str, Any],
    now: Mapping[str, Any] | None,
    runs: Sequence[Record],
    metric: str,
) -> Check:
    figure, ours = _figure(published, metric), _figure(now, metric)
    value, found = figure.get("value"), ours.get("value")
    low, high, how = figure.get("low"), figure.get("high"), "95 % over the sentences of this row"
    spread = _over_runs(runs, limit, lambda c: _figure(c, metric).get("value"))
    if spread is not None:
        low, high, how = *spread, f"95 % for one more run, from {len(runs)} published ones"
    if found is None:
        holds: bool | None = False if now is None else None
        how = "the second run has no candidate at this limit" if now is None else "not measured"
    elif found == value:
        holds = True
    elif low is None or high is None:
        holds, how = None, "the published row has no interval"
    else:
        holds = low <= found <= high
    return Check("quality", str(limit), value, found, low, high, how, holds)


def _latency(limit: rows.Limit, published: Record, again: Record, runs: Sequence[Record]) -> Check:
    theirs, ours = (
        (rows.by_limit(r["candidates"]).get(limit) or {}).get("latency") or {} for r in (published, again)
    )
    value, found = theirs.get("ratio"), ours.get("ratio")

    def check(holds: bool | None, how: str, low: float | None = None, high: float | None = None) -> Check:
        return Check("latency ratio", str(limit), value, found, low, high, how, holds)

    alike, same_boot = (_equal(published, again, key) for key in ("fingerprint", "boot"))
    same_machine = alike and same_boot
    profiles = [r["spec"]["profile"] for r in (published, again)]
    if profiles[0] != profiles[1]:
        return check(None, f"measured under {profiles[0]}, this machine is {profiles[1]}")
    if not alike and profiles[0] == "undeclared":
        return check(None, "measured on an undeclared machine, which this is not")
    if value is None or not value > 0:
        return check(None, "the published row has no ratio to the reference network")
    if found is None:
        return check(False if not ours else None, "not measured now")
    allowed = SAME_MACHINE if same_machine else SAME_PROFILE
    where = "on the same machine" if same_machine else "on another machine or after another start"
    low, high, how = value * (1 - allowed), value * (1 + allowed), f"{allowed:.0%} allowed {where}"
    own = theirs.get("ratio_low"), theirs.get("ratio_high")
    over_runs = _over_runs(runs, limit, lambda c: (c.get("latency") or {}).get("ratio"))
    for name, spread in (("the row's own interval", own), (f"{len(runs)} published runs", over_runs)):
        if spread and spread[0] is not None and spread[1] is not None and spread[1] - spread[0] > high - low:
            low, high, how = spread[0], spread[1], name
    return check(low <= found <= high, how, low, high)


def _equal(published: Record, again: Record, key: str) -> bool:
    """Whether both tell the same of their machine, and tell it."""
    first, second = (r["provenance"]["machine"].get(key) for r in (published, again))
    return first is not None and bool(first == second)


def _over_runs(runs: Sequence[Record], limit: rows.Limit, read: Any) -> tuple[float, float] | None:
    chosen = [rows.by_limit(run["candidates"]).get(limit) for run in runs]
    values = [read(c) for c in chosen if c is not None]
    known = [v for v in values if v is not None]
    return prediction_interval(known) if len(known) >= RUNS else None


def _shown(value: float | None) -> str:
    return "none" if value is None else f"{value:.4g}"
