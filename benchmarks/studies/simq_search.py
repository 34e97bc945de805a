"""Which search finds most with how many measurements? On tables of every point of a joint space.

Each searcher runs with the same seeds on tables in which every (architecture, precision policy) was measured,
so that the true front is known and a run takes seconds. What counts is hypervolume of loss, bytes of the
weights and predicted latency, two or all three of them, as a share of the true front's, from a reference
point that the table alone decides.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks import stats
from benchmarks.api import UsageError
from benchmarks.data import Say
from benchmarks.registry import arena
from benchmarks.studies import Outcome

SUMMARY = "joint searches of architecture and precision on tables of whole spaces; needs no data"
READS = None
Array = NDArray[np.float64]
Run = tuple[str, int, int]
"""Searcher, seed and evaluations."""
OBJECTIVES = (("loss", "bytes"), ("loss", "latency"), ("loss", "bytes", "latency"))
"""What is searched for; the first decides claims, those with latencies where a table has them."""
PUBLIC = ("linas-as-published", "linas-as-published-0.5")
SKIPPED = {OBJECTIVES[1]: PUBLIC, OBJECTIVES[2]: (*PUBLIC, "bayes-joint")}
"""What is not searched for by which: the slowest, so that the study takes minutes."""
BUDGETS = (50, 100, 200, 400)
DECIDES = 200
"""Evaluations after which searches are compared."""
SEEDS = 10
POPULATION = 50
MARGIN = 0.1
"""Of the true front's range, by which the reference point lies beyond it."""
REACHED = 0.95
CHUNK = 5
"""Searches that a process takes at a time."""

ASKED_MORE = ("linas", "linas-as-published")
"""Searches by predictors that are also run with as many predictions as the public code makes at most."""
COMPARISONS = (
    ("linas", "linas-as-published"),
    ("linas", "nsga2-joint"),
    ("linas-as-published", "nsga2-joint"),
    ("nsga2-joint", "random-joint"),
    ("linas", "arch-then-quant"),
    ("linas", "quant-then-arch"),
    ("bayes-joint", "linas"),
)
"""Stated before any was looked at."""

RULE = (
    f"of two searches one is better where Student's t-test over supernets, of the difference after {DECIDES}"
    f" evaluations, is below {stats.ALPHA:g} after Holm over the comparisons. The value of a supernet is the mean"
    " over the seeds of the search on its table: more seeds say more of the search on that table and nothing of"
    " another supernet. The supernets are of four families, which are no exchangeable draws, so that the"
    " intervals are the least doubt there is."
)


@dataclass(frozen=True)
class Plan:
    """How much is run; what is less than the default is for tests."""

    seeds: int = SEEDS
    budgets: tuple[int, ...] = BUDGETS
    decides: int = DECIDES
    population: int = POPULATION
    inner: int = 2_000
    """Predictions between two batches: of spaces of 24,000 points. The public code takes 5,000 to 20,000, for
    spaces of 10**20 and more."""
    full: int = 20_000
    """Predictions between two batches, with which those in ``ASKED_MORE`` are run once more."""
    searchers: tuple[str, ...] = ()
    """Empty: all."""
    jobs: int = 0
    """Processes; 0: as many as there are cores."""


@dataclass(frozen=True)
class Judged:
    """One table and what was searched for: what each search had reached at each budget.

    Attributes:
        head: of the table.
        objectives: names of its columns.
        shares: searcher -> ``[seeds, budgets]`` of the true front's hypervolume.
        held: searcher -> ``[seeds]``, of the last budget's front with the losses of the held-out data, as a
            share of the volume of the held-out data's own front.
        curves: searcher -> ``[seeds, evaluations]``.
        uniform: precision -> share of the front of all points in that precision.
    """

    head: Mapping[str, Any]
    objectives: tuple[str, ...]
    shares: Mapping[str, Array]
    held: Mapping[str, Array]
    curves: Mapping[str, Array]
    uniform: Mapping[str, float]

    @property
    def name(self) -> str:
        """Of the table, with the objectives where they are not the first ones."""
        told = "" if self.objectives == OBJECTIVES[0] else f" ({', '.join(self.objectives)})"
        return f"{self.head['name']}{told}"


def run(data_dir: Path | None, say: Say = lambda line: None) -> Outcome:
    """The study over the tables that come along.

    Raises:
        UsageError: none do.
    """
    paths = arena().tables()
    if not paths:
        raise UsageError(
            "no table comes along yet: make them with python -m tests.bench.tabulate --cache FOLDER --out"
            " simq/tables"
        )
    return study(list(paths.values()), Plan(), say)


def study(paths: Sequence[Path], plan: Plan, say: Say = lambda line: None) -> Outcome:
    """The study over some tables."""
    from benchmarks.studies import search_plot

    cases = [(path, asked) for asked in OBJECTIVES for path in paths if _has(path, asked)]
    runs = [(*case, run) for case in cases for run in _runs(*case, plan)]
    say(f"{len(runs)} searches of up to {max(plan.budgets)} evaluations on {len(paths)} tables")
    again = [(path, OBJECTIVES[0], run) for path in paths for run in _asked_more(plan)]
    with _workers(plan) as each:
        # One list of all, so that no process waits for the last search on a table.
        orders = dict(zip(runs, each(partial(_one, plan), runs), strict=True))
        fuller = dict(zip(again, each(partial(_one, replace(plan, inner=plan.full)), again), strict=True))
    found = [judge(*case, plan, {run: orders[*case, run] for run in _runs(*case, plan)}) for case in cases]
    more = {
        key: values
        for (path, asked), one in zip(cases, found, strict=True)
        if asked == OBJECTIVES[0]
        for key, values in asked_more(
            one, path, plan, {run: fuller[path, asked, run] for run in _asked_more(plan)}
        ).items()
    }
    compared = [compare(judged, plan) for judged in found]
    place = arena()
    facts = {
        "study": "simq-search", "rule": RULE, "objectives": list(map(list, OBJECTIVES)), "margin": MARGIN,
        "seeds": plan.seeds, "budgets": list(plan.budgets), "decides": plan.decides,
        "population": plan.population, "inner": plan.inner,
        "latencies": {place.head(path)["name"]: place.latency(path) for path in paths},
        "tables": [_facts(j, c) for j, c in zip(found, compared, strict=True)],
        "inner_full": plan.full,
        "with_inner_full": {key: _rounded(values) for key, values in more.items()},
        "paired": {key: pair for judged in found for key, pair in paired(judged, plan).items()},
    }  # fmt: skip
    return Outcome(
        title="Which search of architecture and precision finds most?",
        question="Loss and bytes of every network of a closed space were measured once, and its latency was"
        " predicted; how much of the true front's hypervolume does each search find with how many"
        " measurements?",
        rule=RULE,
        columns=(
            *("table", "search", *(f"after {b}, % [95 %]" for b in plan.budgets)),
            *("held out, %", "to 95 %"),
        ),
        rows=[row for judged in found for row in _rows(judged, plan)],
        notes=_notes(found, compared, plan, [place.latency(path) for path in paths], more),
        facts=facts,
        pictures=search_plot.pictures(found, plan),
    )


def _has(path: Path, objectives: Sequence[str]) -> bool:
    return "latency" not in objectives or bool(arena().latency(path))


@contextmanager
def _workers(plan: Plan) -> Iterator[Callable[..., Any]]:
    """A ``map`` over as many processes as the plan says; each has one thread of linear algebra."""
    jobs = plan.jobs or len(os.sched_getaffinity(0))
    if jobs == 1:
        yield map
        return
    with ProcessPoolExecutor(jobs, initializer=_alone) as pool:
        yield partial(pool.map, chunksize=CHUNK)


def _alone() -> None:
    import scipy.linalg  # noqa: F401  # its own BLAS is limited too
    from threadpoolctl import threadpool_limits

    threadpool_limits(1)


def _searchers(objectives: tuple[str, ...], plan: Plan) -> tuple[str, ...]:
    skipped = SKIPPED.get(objectives, ())
    return plan.searchers or tuple(name for name in arena().searchers if name not in skipped)


def _runs(path: Path, objectives: tuple[str, ...], plan: Plan) -> list[Run]:
    """What runs on a table for some objectives: searchers that plan ahead with each budget."""
    return [
        (name, seed, budget)
        for name in _searchers(objectives, plan)
        for budget in (plan.budgets if name in arena().planned else (max(plan.budgets),))
        for seed in range(1, plan.seeds + 1)
    ]


def judge(
    path: Path, objectives: tuple[str, ...], plan: Plan, found: Mapping[Run, NDArray[np.int64]]
) -> Judged:
    """What each search on a table has reached, from the places that it measured."""
    place = arena()
    head, whole = place.head(path), place.whole(path, objectives)
    held = place.whole(path, ("held_loss", *objectives[1:]))
    names, last, seeds = _searchers(objectives, plan), max(plan.budgets), range(1, plan.seeds + 1)
    reference, volume = bounds(whole)
    held_reference, held_volume = bounds(held)
    curves: dict[str, Array] = {}
    shares: dict[str, Array] = {}
    outside: dict[str, Array] = {}
    for name in names:
        mine = [found[name, seed, last] for seed in seeds]
        curves[name] = np.stack([anytime(whole[order], reference, last) / volume for order in mine])
        shares[name] = curves[name][:, np.array(plan.budgets) - 1]
        if name in place.planned:
            ends = [
                [area(whole[found[name, seed, budget]], reference) for budget in plan.budgets]
                for seed in seeds
            ]
            shares[name] = np.array(ends) / volume
        fronts = [order[nondominated(whole[order])] for order in mine]
        outside[name] = np.array([area(held[f], held_reference) / held_volume for f in fronts])
    uniform = {
        precision: area(whole[places], reference) / volume
        for precision, places in place.uniform(path).items()
    }
    return Judged(head, objectives, shares, outside, curves, uniform)


def _one(plan: Plan, asked: tuple[Path, tuple[str, ...], Run]) -> NDArray[np.int64]:
    path, objectives, (name, seed, budget) = asked
    found: NDArray[np.int64] = arena().run(path, objectives, name, budget, seed, plan.population, plan.inner)
    return found


def _asked_more(plan: Plan) -> list[Run]:
    names = [name for name in ASKED_MORE if name in _searchers(OBJECTIVES[0], plan)]
    return [(name, seed, plan.decides) for name in names for seed in range(1, plan.seeds + 1)]


def asked_more(
    judged: Judged, path: Path, plan: Plan, orders: Mapping[Run, NDArray[np.int64]]
) -> dict[str, Array]:
    """What more predictions between two batches are worth on one table, by what is said of it: differences of
    shares ``[seeds]``, of each search to itself, and of the searches to each other."""
    whole = arena().whole(path, OBJECTIVES[0])
    reference, volume = bounds(whole)
    shares: dict[str, list[float]] = {}
    for run in _asked_more(plan):
        shares.setdefault(run[0], []).append(area(whole[orders[run]], reference) / volume)
    after = f"after {plan.decides}"
    found = {
        f"{judged.name}: {name} with {plan.full:,} predictions between two batches minus {plan.inner:,},"
        f" {after}": np.array(values) - judged.shares[name][:, plan.budgets.index(plan.decides)]
        for name, values in shares.items()
    }
    if len(shares) == len(ASKED_MORE):
        ours, theirs = (np.array(shares[name]) for name in ASKED_MORE)
        said = " minus ".join(ASKED_MORE)
        found[f"{judged.name}: {said}, both with {plan.full:,} predictions, {after}"] = ours - theirs
    return found


def bounds(whole: Array) -> tuple[Array, float]:
    """Reference point of a table and the volume of its true front: the worst of the front in each objective,
    ``MARGIN`` of the front's range beyond it."""
    front = whole[nondominated(whole)]
    low, high = front.min(axis=0), front.max(axis=0)
    reference: Array = high + MARGIN * (high - low)
    return reference, area(front, reference)


def nondominated(rows: Array) -> NDArray[np.bool_]:
    """Which rows no other beats."""
    import moocore

    kept: NDArray[np.bool_] = moocore.is_nondominated(rows, keep_weakly=True)
    return kept


def area(rows: Array, reference: Array) -> float:
    """Hypervolume of rows whose figures are to be small."""
    import moocore

    return float(moocore.hypervolume(rows, ref=reference))


def anytime(rows: Array, reference: Array, evaluations: int) -> Array:
    """Hypervolume ``[evaluations]`` after each row; a search that ended before keeps what it had."""
    found, front, last = np.zeros(evaluations), rows[:0], 0.0
    for i in range(evaluations):
        if i < len(rows) and not (front <= rows[i]).all(axis=1).any():
            front = np.vstack([front[~(rows[i] <= front).all(axis=1)], rows[i]])
            last = area(front, reference)
        found[i] = last
    return found


@dataclass(frozen=True)
class Compared:
    """One of ``COMPARISONS`` on one table: mean difference of shares with its interval, and the test."""

    ours: str
    theirs: str
    difference: stats.Interval
    p: float
    verdict: str


def compare(judged: Judged, plan: Plan) -> list[Compared]:
    """Those comparisons of which both searches ran."""
    at = plan.budgets.index(plan.decides)
    pairs = [(a, b) for a, b in COMPARISONS if {a, b} <= set(judged.shares)]
    figures = {(a, b): (judged.shares[a][:, at].tolist(), judged.shares[b][:, at].tolist()) for a, b in pairs}
    raw = {f"{a} {b}": stats.sign_flip(*figures[a, b]) for a, b in pairs}
    adjusted = stats.holm(raw)
    found = []
    for a, b in pairs:
        ours, theirs = figures[a, b]
        difference = stats.t_interval([x - y for x, y in zip(ours, theirs, strict=True)])
        p = adjusted[f"{a} {b}"]
        found.append(Compared(a, b, difference, p, stats.verdict(p, len(ours), len(pairs))))
    return found


def paired(judged: Judged, plan: Plan) -> dict[str, Any]:
    """``TABLE: OURS - THEIRS`` -> differences of shares over the seeds, for claims.

    ``uniform-int8`` is no search: it is what all points in that precision have together.
    """
    at = plan.budgets.index(plan.decides)
    shares = {name: found[:, at] for name, found in judged.shares.items()}
    if "int8" in judged.uniform:
        shares["uniform-int8"] = np.full(plan.seeds, judged.uniform["int8"])
    return {
        f"{judged.name}: {a} - {b}": {
            "values": _rounded(shares[a] - shares[b]),
            "unit": "share of hypervolume",
        }
        for a, b in (*COMPARISONS, ("linas", "uniform-int8"))
        if {a, b} <= set(shares)
    }


def _percent(interval: stats.Interval, signed: bool = False) -> str:
    form = "+.1f" if signed else ".1f"
    if interval.low is None or interval.high is None:
        return f"{100 * interval.mean:{form}}"
    return f"{100 * interval.mean:{form}} [{100 * interval.low:{form}}, {100 * interval.high:{form}}]"


def _rows(judged: Judged, plan: Plan) -> list[tuple[str, ...]]:
    last = max(plan.budgets)
    order = sorted(judged.shares, key=lambda name: -float(judged.shares[name][:, -1].mean()))
    found = []
    for name in order:
        times = sorted(
            int(np.argmax(curve >= REACHED)) + 1 if (curve >= REACHED).any() else last + 1
            for curve in judged.curves[name]
        )
        middle = times[(len(times) - 1) // 2]
        found.append(
            (
                judged.name,
                name,
                *(_percent(stats.t_interval(column.tolist())) for column in judged.shares[name].T),
                f"{100 * float(judged.held[name].mean()):.1f}",
                f"> {last}" if middle > last else str(middle),
            )
        )
    return found


def _notes(
    found: Sequence[Judged],
    compared: Sequence[Sequence[Compared]],
    plan: Plan,
    latencies: Sequence[Mapping[str, Any]],
    more: Mapping[str, Array],
) -> list[str]:
    notes = [
        "Share of the true front's hypervolume of loss and bytes, or of what is named; mean of"
        f" {plan.seeds} seeds with a 95 % t-interval. Reference point: the worst of the true front,"
        f" {MARGIN:.0%} of its range beyond it. Held out: the last front's, with losses over data that"
        " no search saw, of the front of those losses. To 95 %: evaluations, median over seeds (the"
        " lower of the middle two).",
        "linas-as-published: the public code on pymoo since 0.6.1; with -0.5, its crossover up to 0.6.0.1."
        " Their support vector regressions try seven of the public code's hundred values of C.",
        "A sequential search spends half of its evaluations on each half of the genes: each of its figures is"
        " that of a search with just that budget; the picture has the one of the largest, under way.",
        "One supernet a table: differences between supernets are not in the intervals.",
    ]
    notes += [
        f"{one['table']}: latency is predicted by an operator table, in units of the largest network in"
        f" fp32; median error {100 * one['median_error']:.1f} % over {one['held_out']} policies that"
        f" were measured and not fitted ({one['signature']})."
        for one in latencies
        if one
    ]
    for judged, results in zip(found, compared, strict=True):
        name = judged.name
        told = "; ".join(f"{precision} {100 * share:.1f}" for precision, share in judged.uniform.items())
        notes.append(f"{name}: the front of one precision everywhere has, in % of the true front: {told}.")
        for one in results:
            notes.append(
                f"{name}: {one.ours} minus {one.theirs} after {plan.decides}:"
                f" {_percent(one.difference, signed=True)}, p {one.p:.3g} ({one.verdict})."
            )
    for said, values in more.items():
        notes.append(f"{said}: {_percent(stats.t_interval(values.tolist()), signed=True)}.")
    return notes


def _facts(judged: Judged, compared: Sequence[Compared]) -> dict[str, Any]:
    kept = ("name", "task", "commit", "recipe", "points", "weights_sha256", "validation", "device")
    return {
        "table": {key: judged.head[key] for key in kept if key in judged.head},
        "objectives": list(judged.objectives),
        "shares": {name: _rounded(shares) for name, shares in judged.shares.items()},
        "held_out": {name: _rounded(shares) for name, shares in judged.held.items()},
        "uniform": {name: float(f"{share:.6g}") for name, share in judged.uniform.items()},
        "comparisons": [
            {
                "ours": c.ours, "theirs": c.theirs, "p_holm": float(f"{c.p:.6g}"), "verdict": c.verdict,
                "mean": float(f"{c.difference.mean:.6g}"), "low": _short(c.difference.low),
                "high": _short(c.difference.high),
            }
            for c in compared
        ],
    }  # fmt: skip


def _short(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.6g}")


def _rounded(figures: Array) -> Any:
    """To six digits: the last bits depend on the machine's linear algebra."""
    return np.round(figures, 6).tolist()
