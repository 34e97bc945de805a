"""Searches of architecture and precision compared on tables of every point of a joint space.

Each search runs with the same seeds on tables in which every (architecture, precision policy) was measured,
so that the true front is known and a run takes seconds. The figure is the hypervolume of loss and bytes, or
of loss and predicted latency, as a share of the true front's, from a reference point that the table alone
decides. One value a supernet, the mean over seeds, enters every comparison.
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

from benchmarks.api import UsageError
from benchmarks.records.studies import Outcome
from benchmarks.registry import arena
from benchmarks.stats import intervals
from benchmarks.tasks.datasets import Say

SUMMARY = "joint searches of architecture and precision on tables of whole spaces; needs no data"
READS = None
Array = NDArray[np.float64]
Run = tuple[str, int, int]
"""Arm, seed and evaluations."""
OBJECTIVES = (("loss", "bytes"), ("loss", "latency"))
"""What is searched for; the first decides claims, the second where a table has latencies."""
DYNAMIC = ("simq-resnet",)
"""Tables whose INT8 latencies are those of convolutions with ranges of each input, which nobody deploys: they
are searched for no latency until INT8 is static."""
PAPER = ("fp32", "int8")
"""Precisions of the paper; W4 is ours."""
BUDGETS = (50, 100, 200)
DECIDES = 200
"""Evaluations after which searches are compared."""
SEEDS = 20
FULL_SEEDS = 1
"""Seeds of searches with ``Plan.full`` predictions."""
MARGIN = 0.1
"""Of the true front's range, by which the reference point lies beyond it."""
REACHED = 0.95
CHUNK = 5
"""Searches that a process takes at a time."""


@dataclass(frozen=True)
class Arm:
    """A searcher with its settings.

    Attributes:
        searcher: its name in the arena.
        population: points of its first batch, random in every search.
        predict_all: predict also what can be counted, as the public code does.
    """

    searcher: str
    population: int = 50
    predict_all: bool = False


ARMS: dict[str, Arm] = {
    "random-joint": Arm("random-joint"),
    **{f"nsga2-joint, population {n}": Arm("nsga2-joint", n) for n in (50, 20, 10)},
    "linas-as-published": Arm("linas-as-published"),
    "linas": Arm("linas", 25),
    "linas, batches of 50": Arm("linas"),
    "linas, bytes predicted": Arm("linas", 25, predict_all=True),
    "linas, bytes predicted, batches of 50": Arm("linas", predict_all=True),
    "bayes-joint": Arm("bayes-joint"),
    "arch-then-quant": Arm("arch-then-quant", 25),
    "quant-then-arch": Arm("quant-then-arch", 25),
}
"""Name -> what runs. ``bayes-joint`` starts from half of its population, as ``linas`` does."""
FEWER = (
    *("random-joint", "nsga2-joint, population 50", "nsga2-joint, population 10", "linas", "bayes-joint"),
    *("arch-then-quant", "quant-then-arch"),
)
"""Arms of objectives with latency."""
SIMPLE = ("random-joint", "nsga2-joint, population 10", "linas")
"""Arms in the paper's alphabet, where one precision has nearly all of the front."""
ASKED_MORE = ("linas", "linas-as-published")
"""Arms that are also run with as many predictions as the public code makes at most."""
COMPARISONS = (
    ("linas", "nsga2-joint, population 10"),
    ("linas", "nsga2-joint, population 20"),
    ("linas", "nsga2-joint, population 50"),
    ("linas, batches of 50", "nsga2-joint, population 50"),
    ("linas, batches of 50", "linas-as-published"),
    ("linas, bytes predicted, batches of 50", "linas-as-published"),
    ("linas", "linas, bytes predicted"),
    ("linas-as-published", "nsga2-joint, population 50"),
    ("nsga2-joint, population 10", "nsga2-joint, population 50"),
    ("nsga2-joint, population 50", "random-joint"),
    ("linas", "arch-then-quant"),
    ("linas", "quant-then-arch"),
    ("bayes-joint", "linas"),
)
"""Stated before this study ran, when an audit had computed some of the figures with fewer seeds."""

RULE = (
    f"of two searches one is better where Student's t-test over supernets, of the difference after {DECIDES}"
    f" evaluations, is below {intervals.ALPHA:g} after Holm over the comparisons. The value of"
    f" a supernet is the"
    " mean over the seeds of the search on its table: more seeds say more of the search on that table and"
    " nothing of another supernet. The supernets are of four families, which are no exchangeable draws, so"
    " that the intervals are the least doubt there is."
)


@dataclass(frozen=True)
class Case:
    """A question to searches: a table, what is searched for, and the precisions that there are.

    Attributes:
        alphabet: the only precisions; empty: all of the table.
    """

    path: Path
    objectives: tuple[str, ...]
    alphabet: tuple[str, ...] = ()

    def __str__(self) -> str:
        parts = [] if self.objectives == OBJECTIVES[0] else [", ".join(self.objectives)]
        parts += ["in " + " and ".join(self.alphabet)] if self.alphabet else []
        return " ".join([str(arena().head(self.path)["name"]), *(f"({part})" for part in parts)])


@dataclass(frozen=True)
class Plan:
    """How much is run; what is less than the default is for tests.

    Attributes:
        seeds: of the search, averaged within a supernet.
        population: of all arms; 0: each its own.
        inner: predictions between two batches. The public code makes 5,000 to 20,000, for spaces of 10**20
            points and more; these have 24,000.
        full, full_seeds: predictions between two batches, and seeds, of the arms in ``ASKED_MORE`` run again.
        arms: names of ``ARMS``; empty: all.
        jobs: processes; 0: as many as there are cores.
    """

    seeds: int = SEEDS
    budgets: tuple[int, ...] = BUDGETS
    decides: int = DECIDES
    population: int = 0
    inner: int = 2_000
    full: int = 20_000
    full_seeds: int = FULL_SEEDS
    arms: tuple[str, ...] = ()
    jobs: int = 0

    def first_batch(self, arm: str) -> int:
        """Return the random points that a search starts from."""
        population = self.population or ARMS[arm].population
        return population // 2 if arm == "bayes-joint" else population


@dataclass(frozen=True)
class Judged:
    """One case: what each search had reached at each budget.

    Attributes:
        head: of the table.
        shares: arm -> ``[seeds, budgets]`` of the true front's hypervolume.
        held: arm -> ``[seeds]``, of the last budget's front with the losses of the held-out data, as a
            share of the volume of the held-out data's own front.
        curves: arm -> ``[seeds, evaluations]``.
        uniform: precision -> share of the front of all points in that precision.
    """

    case: Case
    head: Mapping[str, Any]
    shares: Mapping[str, Array]
    held: Mapping[str, Array]
    curves: Mapping[str, Array]
    uniform: Mapping[str, float]

    @property
    def name(self) -> str:
        """Table, and what differs from the first question."""
        return str(self.case)

    @property
    def family(self) -> str:
        """Architecture family of the table, such as ``vit``."""
        return str(self.head["name"]).removeprefix("simq-").partition("-")[0]


def run(data_dir: Path | None, say: Say = lambda line: None) -> Outcome:
    """The study over the tables that come along.

    Raises:
        UsageError: none do.
    """
    paths = arena().tables()
    if not paths:
        raise UsageError(
            "no table comes along yet: make them with python -m tests.bench.tabulate --cache FOLDER --out"
            " simq/tabular/data"
        )
    return study(list(paths.values()), Plan(), say)


def study(paths: Sequence[Path], plan: Plan, say: Say = lambda line: None) -> Outcome:
    """The study over some tables."""
    from benchmarks.studies.simq_search import report

    cases = [Case(path, asked) for asked in OBJECTIVES for path in paths if _has(path, asked)]
    cases += [Case(path, OBJECTIVES[0], PAPER) for path in paths if set(PAPER) < set(arena().uniform(path))]
    runs = [(case, run) for case in cases for run in _runs(case, plan)]
    say(f"{len(runs)} searches of up to {max(plan.budgets)} evaluations on {len(paths)} tables")
    again = [(Case(path, OBJECTIVES[0]), run) for path in paths for run in _asked_more(plan)]
    with _workers(plan) as each:
        # One list of all, so that no process waits for the last search on a table.
        orders = dict(zip(runs, each(partial(_one, plan), runs), strict=True))
        fuller = dict(zip(again, each(partial(_one, replace(plan, inner=plan.full)), again), strict=True))
    judged = [judge(case, plan, {run: orders[case, run] for run in _runs(case, plan)}) for case in cases]
    more = {
        one.name: asked_more(one, plan, {run: fuller[one.case, run] for run in _asked_more(plan)})
        for one in judged
        if one.case == Case(one.case.path, OBJECTIVES[0])
    }
    return report.outcome(judged, more, plan)


def _has(path: Path, objectives: Sequence[str]) -> bool:
    return "latency" not in objectives or bool(arena().latency(path)) and path.stem not in DYNAMIC


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


def _arms(case: Case, plan: Plan) -> tuple[str, ...]:
    kept = SIMPLE if case.alphabet else FEWER if "latency" in case.objectives else tuple(ARMS)
    return tuple(name for name in kept if not plan.arms or name in plan.arms)


def _runs(case: Case, plan: Plan) -> list[Run]:
    """What runs on a case: searchers that plan ahead with each budget."""
    return [
        (name, seed, budget)
        for name in _arms(case, plan)
        for budget in (plan.budgets if ARMS[name].searcher in arena().planned else (max(plan.budgets),))
        for seed in range(1, plan.seeds + 1)
    ]


def judge(case: Case, plan: Plan, found: Mapping[Run, NDArray[np.int64]]) -> Judged:
    """What each search on a table has reached, from the places that it measured."""
    place = arena()
    head, every = place.head(case.path), place.whole(case.path, case.objectives)
    held = place.whole(case.path, ("held_loss", *case.objectives[1:]))
    inside = place.within(case.path, case.alphabet) if case.alphabet else np.arange(len(every))
    last, seeds = max(plan.budgets), range(1, plan.seeds + 1)
    reference, volume = bounds(every[inside])
    held_reference, held_volume = bounds(held[inside])
    curves: dict[str, Array] = {}
    shares: dict[str, Array] = {}
    outside: dict[str, Array] = {}
    for name in _arms(case, plan):
        mine = [found[name, seed, last] for seed in seeds]
        curves[name] = np.stack([anytime(every[order], reference, last) / volume for order in mine])
        shares[name] = curves[name][:, np.array(plan.budgets) - 1]
        if ARMS[name].searcher in place.planned:
            ends = [
                [area(every[found[name, seed, budget]], reference) for budget in plan.budgets]
                for seed in seeds
            ]
            shares[name] = np.array(ends) / volume
        fronts = [order[nondominated(every[order])] for order in mine]
        outside[name] = np.array([area(held[f], held_reference) / held_volume for f in fronts])
    uniform = {
        precision: area(every[places], reference) / volume
        for precision, places in place.uniform(case.path).items()
        if not case.alphabet or precision in case.alphabet
    }
    return Judged(case, head, shares, outside, curves, uniform)


def _one(plan: Plan, asked: tuple[Case, Run]) -> NDArray[np.int64]:
    case, (name, seed, budget) = asked
    arm = ARMS[name]
    order: NDArray[np.int64] = arena().run(
        case.path, case.objectives, arm.searcher, budget, seed, plan.population or arm.population, plan.inner,
        predict_all=arm.predict_all, alphabet=case.alphabet,
    )  # fmt: skip
    return order


def _asked_more(plan: Plan) -> list[Run]:
    names = [name for name in ASKED_MORE if not plan.arms or name in plan.arms]
    seeds = range(1, min(plan.seeds, plan.full_seeds) + 1)
    return [(name, seed, plan.decides) for name in names for seed in seeds]


def asked_more(judged: Judged, plan: Plan, orders: Mapping[Run, NDArray[np.int64]]) -> dict[str, float]:
    """What more predictions between two batches are worth on one table: mean differences of shares over the
    same seeds, of each arm to itself, and of the arms to each other."""
    every = arena().whole(judged.case.path, judged.case.objectives)
    reference, volume = bounds(every)
    shares: dict[str, list[float]] = {}
    for run in _asked_more(plan):
        shares.setdefault(run[0], []).append(area(every[orders[run]], reference) / volume)
    at = plan.budgets.index(plan.decides)
    found = {
        f"{name} with {plan.full:,} predictions minus {plan.inner:,}": float(
            np.mean(values - judged.shares[name][: len(values), at])
        )
        for name, values in shares.items()
    }
    if len(shares) == len(ASKED_MORE):
        ours, theirs = (np.mean(shares[name]) for name in ASKED_MORE)
        found[f"{' minus '.join(ASKED_MORE)}, both with {plan.full:,} predictions"] = float(ours - theirs)
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
