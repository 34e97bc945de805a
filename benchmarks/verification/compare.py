"""Comparison of two records of one spec, with an answer for quality and one for latency. Pure; no torch.

Quality must lie where another run is expected, given the published one: in the 95 % interval by the spread of
the row's other published seeds (two or more), else by that over sentences of the second run. No figure of the
record in question widens it. A run that is equal to the bit reproduces. Latency is judged on the ratio to the
reference network that was timed in turns with it, never on milliseconds: within 2 % on the same machine, 10 %
on one alike, or the row's own interval or that spread where wider, up to 20 %. Rented machines of one kind
are alike and yet not the same: that is one not started anew in between. A latency from another kind of
machine, or taken while other programs worked, answers nothing.

Where the code that makes numbers differs from the published run's (``benchmarks.identity``), a figure within
its interval reproduces under other code; one outside answers nothing, as code or row may be the reason.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from benchmarks import identity
from benchmarks.records import integrity, selection
from benchmarks.records.canonical import JsonObject, JsonView, canonical
from benchmarks.records.probe_keys import shortened
from benchmarks.records.record import Candidate, Figure, Latency, Record
from benchmarks.records.text import sanitize
from benchmarks.stats.quantiles import DISTURBED

SCHEMA = "supernet-bench/verify/2"
SAME_MACHINE, ALIKE = 0.02, 0.10
"""Allowed relative difference of the latency ratio."""
WIDEST = 0.20
"""Largest relative difference of the latency ratio that an interval allows.

Undisturbed ratios of two published seeds of one row, networks of their own each, differ by less than 18 %.
"""
RUNS = 2
"""Fewest other seeds of the row whose spread gives the interval."""
YES, NO, UNKNOWN = "reproduces", "does not reproduce", "cannot tell"


@dataclass(frozen=True)
class FigureCheck:
    """One figure of the row; ``holds`` is None if it cannot be judged."""

    what: str
    """``quality`` or ``latency ratio``."""
    limit: str
    published: float | None
    now: float | None
    low: float | None
    high: float | None
    how: str
    """Origin of the interval, or the reason why there is no answer."""
    holds: bool | None


@dataclass(frozen=True)
class Verdict:
    """Two answers, each ``reproduces``, ``does not reproduce`` or ``cannot tell``, and their grounds."""

    quality: str
    latency: str
    reasons: list[str] = field(default_factory=list)
    """Reasons against an answer, with the command that helps, if any."""
    checks: list[FigureCheck] = field(default_factory=list)
    identical: bool = False
    """True if candidates, weights, translations and ledger are equal to the bit."""
    first_difference: str | None = None
    """The first field in which the results differ."""
    repeated_timings: bool = False
    """True if the search was given the published timings, so that it decides as before."""
    differences: list[tuple[str, object, object]] = field(default_factory=list)
    """Field of the provenance, published, now."""
    code: list[tuple[str, str, str]] = field(default_factory=list)
    """``task`` or ``substrate`` if its code differs, with the digests published and now."""


def cannot_tell(*reasons: str) -> Verdict:
    """Return the verdict of a verification that ran nothing."""
    return Verdict(UNKNOWN, UNKNOWN, list(reasons))


def flat(value: object, name: str = "") -> JsonObject:
    """Return every leaf by its path; lists stay unbroken."""
    if not isinstance(value, Mapping):
        return {name: value}
    return {k: v for key in value for k, v in flat(value[key], f"{name}.{key}" if name else key).items()}


def provenance_differences(published: Record, again: Record) -> list[tuple[str, object, object]]:
    """Return field, published and present value of each difference in provenance.

    Fields of the spec that may differ are included; times and the start of the machine are not.
    """

    def leaves(record: Record) -> JsonObject:
        provenance: JsonView = record["provenance"]
        kept = {k: v for k, v in provenance.items() if k not in ("started", "ended", "command")}
        kept["machine"] = {k: v for k, v in kept["machine"].items() if k != "boot"}
        names = ("profile", "method_sha256", "method_version", "settings_sha256")
        spec = {k: v for k, v in record["spec"].items() if k in names}
        return flat(kept) | flat(spec, "spec")

    ours, theirs = leaves(again), leaves(published)
    names = sorted({*ours, *theirs})
    return [(n, theirs.get(n), ours.get(n)) for n in names if ours.get(n) != theirs.get(n)]


def outcome(record: Record) -> JsonObject:
    """Return the result of a run without times and provenance: equal to the bit wherever it ran."""
    kept = integrity.digested_part(record)
    return {k: v for k, v in kept.items() if k not in ("schema", "id", "spec", "provenance")}


def _of_metrics_in(other: JsonObject, result: JsonObject, demanded: Collection[str] = ()) -> JsonObject:
    """Return a result without the test metrics that another result lacks; ``demanded`` ones stay."""

    def kept(candidate: JsonObject, counterpart: JsonObject) -> JsonObject:
        scores, known = candidate.get("test"), counterpart.get("test")
        if not isinstance(scores, Mapping) or not isinstance(known, Mapping):
            return candidate
        test = {
            name: {k: v for k, v in score.items() if k in known[name] or k in demanded}
            if isinstance(score, Mapping) and isinstance(known.get(name), Mapping)
            else score
            for name, score in scores.items()
        }
        return {**candidate, "test": test}

    pairs = zip(result["candidates"], other["candidates"], strict=False)
    rest = result["candidates"][len(other["candidates"]) :]
    return {**result, "candidates": [*(kept(*pair) for pair in pairs), *rest]}


def _first_different_result(published: Record, again: Record) -> str | None:
    """Return the path of the first difference of two results; None if they are equal to the bit.

    Metrics that only one of them has are no difference: TER is younger than some records, and not every
    machine has the models of COMET and spBLEU. The task's declared metrics stay those of the published run.
    """
    before, now = outcome(published), outcome(again)
    declared = selection.units_of(published).metrics
    return first_difference(_of_metrics_in(now, before, declared), _of_metrics_in(before, now))


def first_difference(first: object, second: object, path: str = "") -> str | None:
    """Return the path of the first difference of two JSON values; None if they are equal."""
    if isinstance(first, Mapping) and isinstance(second, Mapping):
        names = sorted({*first, *second})
        pairs = [(f"{path}.{k}".lstrip("."), first.get(k), second.get(k)) for k in names]
    elif isinstance(first, list) and isinstance(second, list):
        if len(first) != len(second):
            return path
        pairs = [(f"{path}[{i}]", a, b) for i, (a, b) in enumerate(zip(first, second, strict=True))]
    else:
        return None if canonical(first) == canonical(second) else path
    return next((place for p, a, b in pairs if (place := first_difference(a, b, p)) is not None), None)


def siblings(published: Record, others: Sequence[Record]) -> list[Record]:
    """Return the finished runs of the row's other seeds, one a seed: equal specs, code and data.

    The record in question is none of them, or it would widen the interval that judges it. Of several runs of
    a seed the last to end counts, as on the board. Digests in specs count as what they are equivalent to, so
    that runs from before and after a refactoring that changes no number are runs of one row.
    """
    apart = ("seed", "follows", "method_sha256", "task_sha256", "data_sha256", "substrate_sha256")

    def kind(record: Record) -> bytes:
        spec = {k: v for k, v in record["spec"].items() if k not in apart}
        spec["budget"] = {k: v for k, v in record["spec"]["budget"].items() if k != "seconds"}  # a safety net
        return canonical([spec, record["provenance"]["data"], identity.of_record(record)])

    own, seed = kind(published), published["spec"]["seed"]
    runs = [record for record in others if record["status"] == "done" and record["spec"]["seed"] != seed]
    runs.sort(key=lambda record: (record["provenance"]["ended"], record["id"]))
    return [*{record["spec"]["seed"]: record for record in runs if kind(record) == own}.values()]


def largest_difference(values: Sequence[float]) -> float:
    """Return the largest difference of two further draws at probability 0.95, by Student's t.

    The published and the second run are both draws: their difference has twice the variance of ``values``.
    """
    from scipy.stats import t

    n = len(values)
    mean = math.fsum(values) / n
    variance = math.fsum((v - mean) ** 2 for v in values) / (n - 1)
    return float(t.ppf(0.975, n - 1)) * math.sqrt(2 * variance)


def compare(
    published: Record,
    again: Record,
    others: Sequence[Record] = (),
    code: Sequence[tuple[str, str, str]] = (),
) -> Verdict:
    """Judge a row by a second run of it.

    Args:
        published: the record in question.
        again: the record of the run made from it, here; under another profile where this machine is another.
        others: published records, of which those of the same row give the interval.
        code: of what makes numbers, the parts that are not the published run's (``Verdict.code``).
    """
    if published["status"] == "failed":
        return cannot_tell("the published run failed: it has no figures to compare")
    differences = provenance_differences(published, again)

    def nothing(quality: str, reason: str) -> Verdict:
        return Verdict(quality, UNKNOWN, [reason], differences=differences, code=list(code))

    if again["status"] == "failed":
        return nothing(UNKNOWN if code else NO, f"the second run failed: {sanitize(again['message'])}")
    if (
        again["status"] == "budget"
        and published["status"] == "done"
        and again["message"].startswith("seconds")
    ):
        why = "the second run ran out of its seconds, which the published one did not: try an idle machine"
        return nothing(UNKNOWN, why)
    if published["provenance"]["data"] != again["provenance"]["data"]:
        return nothing(UNKNOWN, "the data are not the published ones")
    runs = siblings(published, others)
    ours, theirs = (selection.headline_candidates(r["candidates"]) for r in (again, published))
    if not theirs:
        return nothing(UNKNOWN, "the published run has no candidates")
    metric = selection.metric_of(published)
    checks = [_quality(limit, theirs[limit], ours.get(limit), runs, metric) for limit in theirs]
    timed = [limit for limit in theirs if not theirs[limit].get("not_measured")]
    checks += [_latency(limit, published, again, runs) for limit in timed]
    place = _first_different_result(published, again)
    repeated = _repeated(published, again)
    if code:
        checks = [_under_other_code(check) for check in checks]
    reasons = [f"{c.what} at limit {c.limit}: {c.how}" for c in checks if c.holds is None]
    reasons += [
        f"{c.what} at limit {c.limit}: {_shown(c.now)} is outside [{_shown(c.low)}, {_shown(c.high)}]"
        for c in checks
        if c.holds is False
    ]
    reasons += [] if timed else ["latency: the published run was not timed"]
    quality = answer([c.holds for c in checks if c.what == "quality"])
    # Another commit with the same code is no difference; neither is how that code's digest was once taken.
    alike = {name for name, *_ in differences} <= {"commit", "dirty_sha256", "spec.method_sha256"}
    if place is not None and repeated and alike and not code and not _on_gpus(published):
        reasons.append(f"equal machine, versions and timings on the processor, but {place} differs")
        quality = NO
    return Verdict(
        quality,
        answer([c.holds for c in checks if c.what == "latency ratio"]),
        reasons,
        checks,
        identical=place is None,
        first_difference=place,
        repeated_timings=repeated,
        differences=differences,
        code=list(code),
    )


def answer(holds: Sequence[bool | None]) -> str:
    """Return the answer that checks give together; without a check there is no answer."""
    return NO if False in holds else UNKNOWN if None in holds or not holds else YES


def _on_gpus(record: Record) -> bool:
    return bool(record["provenance"]["machine"].get("gpus"))


def _under_other_code(check: FigureCheck) -> FigureCheck:
    if check.holds is not False:
        return check
    outside = f"{_shown(check.now)} is outside [{_shown(check.low)}, {_shown(check.high)}]"
    return replace(check, holds=None, how=f"{outside}, and other code or the row may be the reason")


def _repeated(published: Record, again: Record) -> bool:
    """Return whether both searches were given the same timings."""
    timings = [shortened(record.get("timings")) for record in (published, again)]
    return timings[0] is not None and timings[0] == timings[1]


def published_figures(record: Record) -> dict[tuple[str, str], float | None]:
    """Return kind of check and limit -> the published figure, for every figure that ``compare`` checks."""
    figures: dict[tuple[str, str], float | None] = {}
    metric = selection.metric_of(record)
    for limit, candidate in selection.headline_candidates(record["candidates"]).items():
        figures["quality", str(limit)] = _figure(candidate, metric).get("value")
        if not candidate.get("not_measured"):
            figures["latency ratio", str(limit)] = (candidate.get("latency") or {}).get("ratio")
    return figures


def _figure(candidate: Candidate | None, metric: str) -> Figure:
    if candidate is None:
        return {}
    scores = (candidate.get("test") or {}).get(selection.deciding_set(candidate) or "", {})
    return scores.get(metric) or {}


def _quality(
    limit: selection.Limit,
    published: Candidate,
    now: Candidate | None,
    runs: Sequence[Record],
    metric: str,
) -> FigureCheck:
    value, ours = _figure(published, metric).get("value"), _figure(now, metric)
    measured, least, most = ours.get("value"), ours.get("low"), ours.get("high")
    low, high, how = None, None, "95 % over the sentences of the second run"
    spread = _by_spread(runs, limit, lambda c: _figure(c, metric).get("value"))
    if value is not None and spread is not None:
        low, high, how = value - spread[0], value + spread[0], spread[1]
    elif value is not None and measured is not None and least is not None and most is not None:
        low, high = value - (most - measured), value + (measured - least)
    if measured is None:
        holds: bool | None = False if now is None else None
        how = "the second run has no candidate at this limit" if now is None else "not measured"
    elif measured == value:
        holds = True
    elif low is None or high is None:
        holds, how = None, "the published row has no figure, or the second run no interval"
    else:
        holds = low <= measured <= high
    return FigureCheck("quality", str(limit), value, measured, low, high, how, holds)


def _latency(limit: selection.Limit, published: Record, again: Record, runs: Sequence[Record]) -> FigureCheck:
    theirs, ours = (_timed(record, limit) for record in (published, again))
    value, measured = theirs.get("ratio"), ours.get("ratio")

    def check(
        holds: bool | None, how: str, low: float | None = None, high: float | None = None
    ) -> FigureCheck:
        return FigureCheck("latency ratio", str(limit), value, measured, low, high, how, holds)

    profiles = [r["spec"]["profile"] for r in (published, again)]
    if profiles[0] != profiles[1]:
        return check(None, f"measured under {profiles[0]}, this machine is {profiles[1]}")
    if not _equal(published, again, "fingerprint"):
        return check(None, "measured on another kind of machine")
    if value is None or not value > 0:
        return check(None, "the published row has no ratio to the reference network")
    if measured is None:
        return check(None, "not measured now")
    for latency, when in ((theirs, "when it was published"), (ours, "now")):
        load = latency.get("others_cpu") or 0.0
        if load >= DISTURBED:
            return check(None, f"disturbed {when}: other programs took {load:.1f} processors meanwhile")
    same_machine = _equal(published, again, "boot")
    allowed = SAME_MACHINE if same_machine else ALIKE
    where = "on the same machine" if same_machine else "on a machine alike or after another start"
    low, high, how = value * (1 - allowed), value * (1 + allowed), f"{allowed:.0%} allowed {where}"
    own_low, own_high = theirs.get("ratio_low"), theirs.get("ratio_high")
    spread = _by_spread(runs, limit, lambda c: (c.get("latency") or {}).get("ratio"))
    if own_low is not None and own_high is not None and own_high - own_low > high - low:
        low, high, how = own_low, own_high, "the row's own interval"
    if spread is not None and 2 * spread[0] > high - low:
        low, high, how = value - spread[0], value + spread[0], spread[1]
    least, most = value * (1 - WIDEST), value * (1 + WIDEST)
    if low < least or high > most:
        low, high, how = max(low, least), min(high, most), f"{how}, up to {WIDEST:.0%}"
    return check(low <= measured <= high, how, low, high)


def _timed(record: Record, limit: selection.Limit) -> Latency:
    candidate = selection.headline_candidates(record["candidates"]).get(limit)
    return (candidate.get("latency") if candidate is not None else None) or {}


def _equal(published: Record, again: Record, key: str) -> bool:
    """Return whether both records state the same value for a field of their machine."""
    first, second = (r["provenance"]["machine"].get(key) for r in (published, again))
    return first is not None and bool(first == second)


def _by_spread(
    runs: Sequence[Record], limit: selection.Limit, read: Callable[[Candidate], float | None]
) -> tuple[float, str] | None:
    """Return ``largest_difference`` by other seeds, and its origin; None if they are few or do not differ."""
    chosen = [selection.headline_candidates(run["candidates"]).get(limit) for run in runs]
    values = [read(c) for c in chosen if c is not None]
    known = [v for v in values if v is not None]
    if len(known) < RUNS or len({*known}) == 1:
        return None
    how = f"95 % for another run, by the spread of {len(known)} other published seeds"
    return largest_difference(known), how


def _shown(value: float | None) -> str:
    return "none" if value is None else f"{value:.4g}"
