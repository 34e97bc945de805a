"""Searches of architecture and precision compared on tables of every point of a joint space.

Each search runs with the same seeds on tables in which every (architecture, precision policy) was measured,
so that the true front is known and a run takes seconds. The score is the hypervolume of loss and bytes, or
of loss and predicted latency, as a share of the true front's. The table alone determines the reference
point. One value a supernet, the mean over seeds, enters every comparison.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.api import UsageError
from benchmarks.records.study_files import StudyOutcome
from benchmarks.studies.simq_search.plan import (
    ARMS,
    DYNAMIC,
    FULL_ARMS,
    OBJECTIVES,
    PAPER,
    Case,
    Run,
    SearchPlan,
)
from benchmarks.studies.simq_search.report import outcome
from benchmarks.studies.simq_search.score import CaseResult, reference_volume, score_case
from benchmarks.tasks.datasets import Say
from simq.pareto import hypervolume
from simq.searchers.search import SEQUENTIAL
from simq.tabular.latency import load_table
from simq.tabular.search import search_table
from simq.tabular.table import shipped_tables

SUMMARY = "joint searches of architecture and precision on tables of whole spaces; needs no data"
READS = None
CHUNK = 5
"""Searches that a process takes at a time."""

Rows = NDArray[np.int64]
"""Rows of a table that a search evaluated, in order."""
Task = tuple[Case, Run]
ParallelMap = Callable[[Callable[[Task], Rows], Sequence[Task]], Iterable[Rows]]


def run(data_dir: Path | None, say: Say = lambda line: None) -> StudyOutcome:
    """Run the study over the shipped tables.

    Raises:
        UsageError: there are none.
    """
    paths = shipped_tables()
    if not paths:
        raise UsageError(
            "no table in simq/tabular/data: make them with supernet-bench study simq-tables build --cache"
            " FOLDER --out simq/tabular/data"
        )
    return study(list(paths.values()), SearchPlan(), say)


def study(paths: Sequence[Path], plan: SearchPlan, say: Say = lambda line: None) -> StudyOutcome:
    """Run the study over some tables."""
    cases = [Case(path, pair) for pair in OBJECTIVES for path in paths if _searchable(path, pair)]
    cases += [
        Case(path, OBJECTIVES[0], PAPER) for path in paths if set(PAPER) < set(load_table(path).uniform)
    ]
    tasks = [(case, run) for case in cases for run in _runs(case, plan)]
    say(f"{len(tasks)} searches of up to {max(plan.budgets)} evaluations on {len(paths)} tables")
    full_tasks = [(Case(path, OBJECTIVES[0]), run) for path in paths for run in _full_runs(plan)]
    with _parallel_map(plan) as parallel:
        # One list of all, so that no process waits for the last search on a table.
        orders = dict(zip(tasks, parallel(partial(_search, plan), tasks), strict=True))
        full_plan = replace(plan, inner=plan.full)
        full_orders = dict(zip(full_tasks, parallel(partial(_search, full_plan), full_tasks), strict=True))
    results = [
        score_case(case, plan, {run: orders[case, run] for run in _runs(case, plan)}) for case in cases
    ]
    gains = {
        result.name: prediction_gains(
            result, plan, {run: full_orders[result.case, run] for run in _full_runs(plan)}
        )
        for result in results
        if result.case == Case(result.case.path, OBJECTIVES[0])
    }
    return outcome(results, gains, plan)


def _searchable(path: Path, objectives: Sequence[str]) -> bool:
    return "latency" not in objectives or bool(load_table(path).latency_model) and path.stem not in DYNAMIC


@contextmanager
def _parallel_map(plan: SearchPlan) -> Iterator[ParallelMap]:
    """Provide a ``map`` over the plan's processes, each with one thread of linear algebra."""
    jobs = plan.jobs or len(os.sched_getaffinity(0))
    if jobs == 1:
        yield map
        return
    with ProcessPoolExecutor(jobs, initializer=_limit_threads) as pool:
        yield partial(pool.map, chunksize=CHUNK)


def _limit_threads() -> None:
    import scipy.linalg  # noqa: F401  # its own BLAS is limited too
    from threadpoolctl import threadpool_limits

    threadpool_limits(1)


def _runs(case: Case, plan: SearchPlan) -> list[Run]:
    """Return the searches of a case; a sequential one is run anew for each budget."""
    return [
        (name, seed, budget)
        for name in case.arms(plan)
        for budget in (plan.budgets if ARMS[name].searcher in SEQUENTIAL else (max(plan.budgets),))
        for seed in range(1, plan.seeds + 1)
    ]


def _full_runs(plan: SearchPlan) -> list[Run]:
    names = [name for name in FULL_ARMS if not plan.arms or name in plan.arms]
    seeds = range(1, min(plan.seeds, plan.full_seeds) + 1)
    return [(name, seed, plan.decides) for name in names for seed in seeds]


def _search(plan: SearchPlan, task: Task) -> Rows:
    case, (name, seed, budget) = task
    arm = ARMS[name]
    return search_table(
        load_table(case.path),
        case.objectives,
        arm.searcher,
        budget,
        seed,
        plan.population or arm.population,
        plan.inner,
        predict_all=arm.predict_all,
        alphabet=case.alphabet,
    )


def prediction_gains(result: CaseResult, plan: SearchPlan, orders: Mapping[Run, Rows]) -> dict[str, float]:
    """Return the effect of more predictions between two batches on one table.

    Mean differences of shares over the same seeds: of each arm to itself, and of the arms to each other.
    """
    values = load_table(result.case.path).values(result.case.objectives)
    reference, volume = reference_volume(values)
    shares: dict[str, list[float]] = {}
    for run in _full_runs(plan):
        shares.setdefault(run[0], []).append(hypervolume(values[orders[run]], reference) / volume)
    at = plan.budgets.index(plan.decides)
    gains = {
        f"{name} with {plan.full:,} predictions minus {plan.inner:,}": float(
            np.mean(of_seeds - result.shares[name][: len(of_seeds), at])
        )
        for name, of_seeds in shares.items()
    }
    if len(shares) == len(FULL_ARMS):
        ours, theirs = (np.mean(shares[name]) for name in FULL_ARMS)
        gains[f"{' minus '.join(FULL_ARMS)}, both with {plan.full:,} predictions"] = float(ours - theirs)
    return gains
