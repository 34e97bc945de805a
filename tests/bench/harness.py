"""Overhead of the harness: no-op runs of the smoke tier, end to end, ``python -m tests.bench.harness``.

Predicted: a command pays once for importing torch (in the fork server) and drawing the report, some
seconds; a run pays for a fork, a few small files and a record, a quarter of a second.

And what a search of 400 evaluations on a table costs: a lookup for each, so that its own arithmetic is all.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

LIMIT_S = 1.5
"""A run, of ten in one command."""
SEARCHES = ("nsga2-joint", "linas", "linas-as-published", "bayes-joint", "arch-then-quant")
METHOD = Path(__file__).parents[1] / "e2e" / "no_op.py"


def seconds(count: int, results: Path) -> float:
    """Wall clock of one command with ``count`` no-op runs, report included."""
    words = ["run", "mt", "--methods", f"{METHOD}:NoOp", "--seeds", str(count)]
    words += ["--profile", "undeclared", "--results", str(results)]
    began = time.perf_counter()
    done = subprocess.run([sys.executable, "-m", "benchmarks", *words], capture_output=True, text=True)
    # Exit code 1: a method that proposes nothing has failed, and is run again each time.
    if done.returncode != 1 or f"{count} of {count} runs failed" not in done.stdout:
        raise SystemExit(done.stdout + done.stderr)
    return time.perf_counter() - began


def searches(seeds: int = 2) -> dict[str, float]:
    """Processor seconds of a search on the first table, with the study's settings, by searcher."""
    from benchmarks.studies.simq_search.plan import OBJECTIVES, SearchPlan
    from simq.tabular.latency import load_table
    from simq.tabular.search import search_table
    from simq.tabular.table import shipped_tables

    plan, population, costs = SearchPlan(), 50, {}
    table = load_table(next(iter(shipped_tables().values())))
    for name in SEARCHES:
        search_table(table, OBJECTIVES[0], name, 2 * population, 0, population, plan.inner)  # warm up
        began = time.process_time()
        for seed in range(1, seeds + 1):
            search_table(table, OBJECTIVES[0], name, max(plan.budgets), seed, population, plan.inner)
        costs[name] = (time.process_time() - began) / seeds
    return costs


def main() -> int:
    """Print the figures; 1 where a run of ten costs more than the limit."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--runs", type=int, default=10, help="no-op runs in one command (default: 10)")
    options.add_argument("--json", action="store_true", help="print JSON, for scripts")
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        seconds(1, Path(folder))  # prepares the data, compiles what Python compiles
        one, many = seconds(1, Path(folder)), seconds(chosen.runs, Path(folder))
    found = {
        "runs": chosen.runs,
        "per_run_s": many / chosen.runs,
        "single_s": one,
        "each_further_run_s": (many - one) / max(1, chosen.runs - 1),
        "limit_s": LIMIT_S,
        "search_s": searches(),
    }
    if chosen.json:
        print(json.dumps(found))
    else:
        print(
            f"no-op run, {chosen.runs} in one command: {found['per_run_s']:.2f} s each (at most {LIMIT_S} s)"
        )
        for name, each in found["search_s"].items():
            print(f"search on a table, {name}: {each:.3f} s of processor")
        print(f"one in one command: {one:.2f} s; each further one: {found['each_further_run_s']:.2f} s")
    return int(found["per_run_s"] > LIMIT_S)


if __name__ == "__main__":
    sys.exit(main())
