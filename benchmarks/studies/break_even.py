"""Number of deployment targets from which a supernet costs less than training alone for the same quality.

A search for N targets costs ``shared / N + own`` a target. Shared are its supernet, teacher and probes; own
are the evaluations and the retraining of one target, from the phases of the ledgers. Networks trained alone
on several allowances give quality as a function of cost. A method breaks even at the smallest N at which a
target costs no more than training alone needs for the method's quality.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from benchmarks.api import UsageError
from benchmarks.records.canonical import JsonObject, JsonView
from benchmarks.records.phases import INHERITED, is_inherited, without_trial
from benchmarks.records.record import Record
from benchmarks.records.selection import deciding_metric, deciding_set, headline_candidates
from benchmarks.records.store import load_all
from benchmarks.records.study_files import StudyOutcome
from benchmarks.stats.rounding import finite_within
from benchmarks.tasks.datasets import Say

SUMMARY = "from how many targets a supernet pays: its cost a target against training alone at equal quality"
READS = "records"
KINDS = ("tokens", "seconds", "joules")
"""Kinds of cost for which a break-even is stated."""
SHARED = ("supernet", "teacher", "parent", INHERITED, "latency", "calibration")
"""Phases of a ledger that all targets share; every other phase is the targets' own."""
CONTROLS = ("scratch", "standard-transformer", "fairseq-transformer", "hand-designed")
"""Methods that train networks alone."""
DERIVED = "+"
"""Mark in the names of methods that only convert another run's networks."""
PASSED_OVER = ("smoke", "check")
"""Tiers that say nothing about methods."""
DRAWS, SEED, LEVEL = 1000, 1, 0.95
"""Bootstrap over runs: samples, seed and coverage of the interval."""
RULE = (
    "a method breaks even at the smallest number N of targets with shared / N + own no larger than the cost"
    " at which the curve of training alone reaches the method's mean quality. The curve joins the mean"
    " qualities of allowances over the logarithm of cost, and never falls. Beyond its ends its last cost"
    " stands in, and the number is a bound."
)
COLUMNS = (
    "task",
    "machine",
    "limit",
    "method",
    "against",
    "cost",
    "quality",
    "shared",
    "own",
    "breaks even at",
)
NOTES = (
    "Intervals: bootstrap over runs, 95 %. At least or at most: the method's quality lies outside the curve,"
    " whose allowances must span it (`supernet-bench run`, `--budget-scale`); a bound has no interval.",
    "The architectures of scratch come from hat. Their search is not in its cost, which favours training"
    " alone.",
)


@dataclass(frozen=True)
class RunPoint:
    """One run: quality of its headline network at a limit, and its cost by kind.

    ``shared`` and ``own`` map a kind of cost to its amount; ``own`` is that of one target.
    """

    budget: float
    quality: float
    shared: Mapping[str, float]
    own: Mapping[str, float]


@dataclass(frozen=True)
class BreakEven:
    """Targets from which a method is ahead of training alone.

    Attributes:
        n: number of targets, infinite if it is never ahead.
        low, high: ends of the interval; None of a bound, and with fewer than two runs of the method.
        bound: ``exact``; ``at most`` or ``at least`` if the method's quality lies outside the curve.
    """

    n: float
    low: float | None
    high: float | None
    bound: str

    def __str__(self) -> str:
        text = "never" if math.isinf(self.n) else f"N = {self.n:.1f}"
        if self.bound != "exact" and not math.isinf(self.n):
            text = f"N {self.bound} {self.n:.1f}"
        if self.low is None or self.high is None:
            return text
        return f"{text} [{_number(self.low)}, {_number(self.high)}]"


def run(folder: Path, say: Say = lambda line: None) -> StudyOutcome:
    """Run the study over the records in ``folder``.

    Raises:
        UsageError: no task has both a method with a supernet and a control.
    """
    from benchmarks.report.plots.style import render
    from benchmarks.studies import break_even_plot

    groups = collect(load_all(folder))
    results: list[JsonObject] = []
    for (task, machine, limit), methods in sorted(groups.items()):
        controls = {name: points for name, points in methods.items() if name in CONTROLS}
        for method, points in sorted(methods.items()):
            if method in CONTROLS or not any(p.shared.get("tokens") for p in points):
                continue
            for control, alone in sorted(controls.items()):
                for kind in KINDS:
                    usable = [p for p in points if kind in p.own or kind in p.shared]
                    curve = [p for p in alone if kind in p.own or kind in p.shared]
                    if len(usable) < len(points) or len(curve) < len(alone):
                        continue
                    results.append(
                        {
                            "task": task,
                            "machine": machine,
                            "limit": limit,
                            "method": method,
                            "against": control,
                        }
                        | judge(usable, curve, kind)
                    )
    if not results:
        raise UsageError(
            f"{folder}: no task has records of a supernet and of training alone ({', '.join(CONTROLS)}):"
            " supernet-bench run mt --methods hat,scratch"
        )
    return StudyOutcome(
        title="From how many targets does a supernet pay?",
        question="How many deployment targets must share a supernet before a target costs less than"
        " training a network of the same quality alone?",
        rule=RULE,
        columns=COLUMNS,
        rows=[_row(result) for result in results],
        notes=NOTES,
        facts={"study": "break-even", "results": [finite_within(result) for result in results]},
        pictures=render(lambda: break_even_plot.draw(results)),
    )


def collect(records: Iterable[Record]) -> dict[tuple[str, str, str], dict[str, list[RunPoint]]]:
    """Return (task and tier, profile, limit) -> method with its options -> its runs that ended well."""
    groups: dict[tuple[str, str, str], dict[str, list[RunPoint]]] = defaultdict(lambda: defaultdict(list))
    for record in records:
        metric, spec = deciding_metric(record), record["spec"]
        if record["status"] != "done" or metric is None or spec["tier"] in PASSED_OVER:
            continue
        best = headline_candidates(record["candidates"])
        shared, own = phases(record)
        each = {kind: amount / len(best) for kind, amount in own.items()}
        if DERIVED in spec["method"]:
            continue
        options = " ".join(f"{k}={v}" for k, v in sorted(spec["options"].items()))
        name = f"{spec['method']} ({options})" if options else spec["method"]
        for limit, candidate in best.items():
            place, scores = deciding_set(candidate), candidate.get("test")
            value = scores[place][metric]["value"] if scores and place else None
            if value is None:
                continue
            point = RunPoint(float(spec["budget"]["tokens"]), float(value), shared, each)
            groups[f"{spec['task']} {spec['tier']}", spec["profile"], str(limit)][name].append(point)
    return groups


def phases(record: Record) -> tuple[dict[str, float], dict[str, float]]:
    """Return the shared and the own cost of a run by kind, from its ledger's phases; of inherited weights the
    tokens alone are known."""
    shared: dict[str, float] = {}
    own: dict[str, float] = {}
    entries = record["ledger"]["entries"]
    # Of inherited weights the ledger has the tokens, not the seconds and joules that they cost.
    inherited = any(is_inherited(entry["phase"]) for entry in entries)
    for entry in entries:
        if entry["kind"] in (KINDS[:1] if inherited else KINDS):
            side = shared if without_trial(entry["phase"]) in SHARED else own
            side[entry["kind"]] = side.get(entry["kind"], 0.0) + float(entry["amount"])
    return shared, own


def judge(points: Sequence[RunPoint], alone: Sequence[RunPoint], kind: str) -> JsonObject:
    """Return the break-even of one method against one control, for one kind of cost."""
    curve = curve_of(alone, kind)
    quality, shared, own = _means(points, kind)
    cost, bound = cost_for(curve, quality)
    drawn = _bootstrap(points, alone, kind) if len(points) > 1 and bound == "exact" else []
    ends = (1 - LEVEL) / 2, (1 + LEVEL) / 2
    # Of infinite numbers no quantile can be interpolated.
    low, high = (float(x) for x in np.quantile(drawn, ends, method="nearest")) if drawn else (None, None)
    even = BreakEven(targets(cost, shared, own), low, high, bound)
    return {
        "cost": kind,
        "quality": quality,
        "shared": shared,
        "own": own,
        "curve": [list(pair) for pair in curve],
        "cost_alone": cost,
        "break_even": asdict(even),
        "text": str(even),
    }


def curve_of(alone: Sequence[RunPoint], kind: str) -> list[tuple[float, float]]:
    """Return (mean cost, mean quality) of each allowance of training alone, cheapest first; quality never
    falls."""
    budgets: dict[float, list[RunPoint]] = defaultdict(list)
    for point in alone:
        budgets[point.budget].append(point)
    pairs = []
    for points in budgets.values():
        quality, shared, own = _means(points, kind)
        pairs.append((shared + own, quality))
    return rising(pairs)


def rising(pairs: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return (cost, quality) by cost, each quality replaced by the best so far."""
    best, curve = -math.inf, []
    for cost, quality in sorted(pairs):
        best = max(best, quality)
        curve.append((cost, best))
    return curve


def cost_for(curve: Sequence[tuple[float, float]], quality: float) -> tuple[float, str]:
    """Return the smallest cost at which the curve reaches ``quality``, and whether that is exact.

    Beyond the best quality the largest cost is returned, and the number of targets is at most that; below the
    least, the smallest, and the number is at least that.
    """
    if quality > curve[-1][1]:
        return curve[-1][0], "at most"
    if quality < curve[0][1]:
        return curve[0][0], "at least"
    if quality == curve[0][1]:
        return curve[0][0], "exact"
    for (cheap, low), (dear, high) in zip(curve, curve[1:], strict=False):
        if low < quality <= high:
            share = (quality - low) / (high - low)
            return math.exp((1 - share) * math.log(cheap) + share * math.log(dear)), "exact"
    raise AssertionError("a curve that never falls passes every quality between its ends")


def targets(cost_alone: float, shared: float, own: float) -> float:
    """Return the number of targets, at least 1, from which ``shared / N + own`` is at most ``cost_alone``."""
    if own >= cost_alone:
        return math.inf
    return max(1.0, shared / (cost_alone - own))


def _means(points: Sequence[RunPoint], kind: str) -> tuple[float, float, float]:
    """Return mean quality, shared and own cost."""
    return (
        float(np.mean([p.quality for p in points])),
        float(np.mean([p.shared.get(kind, 0.0) for p in points])),
        float(np.mean([p.own.get(kind, 0.0) for p in points])),
    )


def _bootstrap(points: Sequence[RunPoint], alone: Sequence[RunPoint], kind: str) -> list[float]:
    """Return the break-even of each of ``DRAWS`` samples of the method's runs and of each allowance's."""
    rng = np.random.default_rng(SEED)

    def sampled(runs: Sequence[RunPoint]) -> list[list[float]]:
        values = np.array([(p.quality, p.shared.get(kind, 0.0), p.own.get(kind, 0.0)) for p in runs])
        means: list[list[float]] = values[rng.integers(len(runs), size=(DRAWS, len(runs)))].mean(1).T.tolist()
        return means

    method = sampled(points)
    budgets = [
        sampled([p for p in alone if p.budget == budget]) for budget in sorted({p.budget for p in alone})
    ]
    drawn = []
    for i in range(DRAWS):
        curve = rising((shared[i] + own[i], quality[i]) for quality, shared, own in budgets)
        drawn.append(targets(cost_for(curve, method[0][i])[0], method[1][i], method[2][i]))
    return drawn


def _row(result: JsonView) -> list[str]:
    texts = [result[key] for key in ("task", "machine", "limit", "method", "against", "cost")]
    amounts = [f"{result[key]:,.0f}" for key in ("shared", "own")]
    return [*texts, f"{result['quality']:.2f}", *amounts, result["text"]]


def _number(value: float) -> str:
    return "never" if math.isinf(value) else f"{value:.1f}"
