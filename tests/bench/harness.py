"""Overhead of the harness: no-op runs of the smoke tier, end to end, ``python -m tests.bench.harness``.

Predicted: a command pays once for importing torch (in the fork server) and drawing the report, some
seconds; a run pays for a fork, a few small files and a record, a quarter of a second.

Its memory over hundreds of runs, one in ten of which gives what the others do not: a result. Predicted:
it keeps a run's specification and state, some kilobytes, and nothing of its record.

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

import psutil

LIMIT_S = 1.5
"""A run, of ten in one command."""
LIMIT_MIB = 50
"""Growth of the command over 500 runs."""
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


def growth(count: int, results: Path) -> dict[str, float]:
    """Memory of the command over ``count`` runs in sequence, from the tenth one's end to the last one's."""
    words = ["run", "mt", "--methods", f"{METHOD}:OneInTen", "--seeds", str(count)]
    words += ["--profile", "undeclared", "--results", str(results)]
    began, resident = time.perf_counter(), dict[int, int]()
    with subprocess.Popen([sys.executable, "-m", "benchmarks", *words], stdout=subprocess.DEVNULL) as command:
        watched = psutil.Process(command.pid)
        while command.poll() is None:
            ended = sum(1 for _ in results.glob("mt-smoke/records/*/*/*/*.json"))
            try:
                if ended not in resident:
                    resident[ended] = watched.memory_info().rss
                    print(f"{ended} runs: {resident[ended] / 2**20:.1f} MiB", file=sys.stderr, flush=True)
            except psutil.Error:
                break
            time.sleep(0.2)
    first, last = (min(n for n in resident if n >= least) for least in (10, max(resident)))
    return {
        "runs": last,
        "growth_mib": round((resident[last] - resident[first]) / 2**20, 1),
        "parent_mib": round(resident[last] / 2**20, 1),
        "seconds": round(time.perf_counter() - began),
    }


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
    options.add_argument("--growth", type=int, metavar="RUNS", help="measure memory over so many runs, alone")
    options.add_argument("--json", action="store_true", help="print JSON, for scripts")
    chosen = options.parse_args()
    if chosen.growth:
        with tempfile.TemporaryDirectory() as folder:
            measured = growth(chosen.growth, Path(folder))
        print(json.dumps(measured | {"limit_mib": LIMIT_MIB}))
        return int(measured["growth_mib"] > LIMIT_MIB)
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
