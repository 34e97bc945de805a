"""Scaling, ``python -m tests.bench.scaling``: kills that lose nothing, a plan of 10,000 runs, a cluster.

Three measurements. Eight workers on one folder, 200 of them killed at random: each run has to end once, with
every step charged once. Seconds of processor for a plan of 10,000 runs. And the cost model of
docs/scaling.md against a simulated cluster of 64 workers that fail.

The simulation writes no leases: workers draw run lengths, fail at an exponential rate, lose what they did
since their last checkpoint, and a run whose worker failed waits for the lease.
"""

from __future__ import annotations

import argparse
import heapq
import json
import multiprocessing
import os
import random
import resource
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.engines.parallel_config import HOURS, MARGIN_S, SPARE
from benchmarks.runs.leases import LEASE_S, Leases

STEPS = 4
"""Steps of a made-up run, each of which is stored as it ends."""


def work(home: Path, count: int) -> None:
    """Make made-up runs beside other workers until all have ended."""
    rng = random.Random(os.getpid())
    with Leases(home, {"profile": "made-up"}) as leases:
        while True:
            leases.refresh()
            remaining = [f"run{n}" for n in range(count) if not leases.ended(f"run{n}")]
            if not remaining:
                return
            for run in rng.sample(remaining, min(4, len(remaining))):
                if leases.take(run):
                    make(home / "made" / run, rng)
                    leases.end(run, "done")


def make(place: Path, rng: random.Random) -> None:
    """Make one run from its last step on; each step leaves a line, and the end a record."""
    if place.with_suffix(".record").exists():
        return
    done = place.read_text().count("\n") if place.exists() else 0
    for step in range(done, STEPS):
        time.sleep(rng.uniform(0.001, 0.01))
        with place.open("a") as file:
            file.write(f"{step}\n")
    with place.with_suffix(".record").open("a") as file:
        file.write("x")


def kills(workers: int, count: int, kill: int, seed: int = 0) -> dict[str, float]:
    """Return what ``workers`` lost and repeated of ``count`` runs, with ``kill`` random kills of a worker."""
    context, rng, killed, began = (
        multiprocessing.get_context("fork"),
        random.Random(seed),
        0,
        time.monotonic(),
    )
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        (home / "made").mkdir()
        processes = [context.Process(target=work, args=(home, count)) for _ in range(workers)]
        for process in processes:
            process.start()
        while any(process.is_alive() for process in processes):
            time.sleep(rng.expovariate(1 / 0.05))
            victim = rng.randrange(workers)
            if killed < kill and processes[victim].is_alive():
                os.kill(processes[victim].pid or 0, signal.SIGKILL)
                processes[victim].join()
                killed += 1
                processes[victim] = context.Process(target=work, args=(home, count))
                processes[victim].start()
        steps = [path.read_text().split() for path in home.glob("made/*") if not path.suffix]
        records = [path.read_text() for path in home.glob("made/*.record")]
    return {
        "workers": workers,
        "runs": count,
        "kills": killed,
        "lost": count - len(records),
        "repeated_runs": sum(len(record) - 1 for record in records),
        "repeated_steps": sum(len(own) - STEPS for own in steps),
        "seconds": round(time.monotonic() - began, 1),
    }


def planning(count: int) -> dict[str, float]:
    """Return processor seconds of ``plan`` for one run and for ``count`` runs."""
    text = (
        "suite: mt\ntask: [mt-multi30k-en-de, mt-tatoeba-en-de]\ntier: small\nprofile: undeclared\n"
        "methods: [hat, {mos-neuron: {experts: [2, 3, 4, 5]}}]\n"
    )
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "study.yml"
        path.write_text(text)
        for name, seeds in (("few_s", 1), ("many_s", count // 10)):
            words = ["plan", "-C", str(path), "--seeds", str(seeds), "--results", folder]
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            subprocess.run([sys.executable, "-m", "benchmarks", *words], check=True, capture_output=True)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            found[name] = round(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, 2)
    return {"runs": count // 10 * 10, **found}


def model(runs: int, seconds: float, jobs: int, workers: int, failures_a_day: float, save_s: float) -> float:
    """Return the hours that ``workers`` of ``jobs`` runs at a time take, by the formula of docs/scaling.md.

    Args:
        seconds: of a run, mean.
        failures_a_day: of one worker.
        save_s: seconds between two checkpoints.
    """
    lost = failures_a_day / 86400 * jobs * (save_s / 2 + LEASE_S)
    slots = workers * jobs
    return (runs * seconds / slots + seconds) / (1 - lost / jobs) / 3600


def simulate(
    runs: int, seconds: float, jobs: int, workers: int, failures_a_day: float, save_s: float, seed: int
) -> float:
    """Return the hours that a simulated cluster takes for ``runs`` of log-normal length."""
    rng = random.Random(seed)
    waiting = [(0.0, seconds * rng.lognormvariate(-0.02, 0.2)) for _ in range(runs)]
    heapq.heapify(waiting)  # by the time at which it may be taken
    slots = [(0.0, worker) for worker in range(workers) for _ in range(jobs)]
    heapq.heapify(slots)
    rate = failures_a_day / 86400
    fails = [rng.expovariate(rate) if rate else float("inf") for _ in range(workers)]
    end = 0.0
    while waiting:
        free, worker = heapq.heappop(slots)
        ready, length = heapq.heappop(waiting)
        began = max(free, ready)
        while fails[worker] < began:
            fails[worker] += rng.expovariate(rate)
        if began + length > fails[worker]:
            at = fails[worker]
            kept = (at - began) // save_s * save_s
            heapq.heappush(waiting, (at + LEASE_S, length - kept))
            heapq.heappush(slots, (at + LEASE_S, worker))  # another machine takes its place
        else:
            end = max(end, began + length)
            heapq.heappush(slots, (began + length, worker))
    return end / 3600


def cluster() -> list[dict[str, float]]:
    """Return formula and simulation for 10,000 runs on 64 workers, with ever more failures."""
    rows = []
    for failures in (0.0, 1.0, 6.0):
        arguments = (10_000, 205.0, 8, 64, failures, 30.0)
        hours = [simulate(*arguments, seed) for seed in range(5)]
        rows.append(
            {
                "failures_a_day": failures,
                "model_h": round(model(*arguments), 2),
                "simulated_h": round(statistics.mean(hours), 2),
            }
        )
    return rows


def main() -> int:
    """Print the figures; 1 where a run was lost or repeated, or the model errs by more than a twentieth."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--kills", type=int, default=200, help="workers killed (default: 200)")
    options.add_argument("--out", type=Path, help="JSON file for the figures")
    chosen = options.parse_args()
    found = {
        "kills": kills(8, 12 * chosen.kills, chosen.kills),
        "plan": planning(10_000),
        "cluster": cluster(),
        "worker": {"hours": HOURS, "margin_s": MARGIN_S, "spare": SPARE, "lease_s": LEASE_S},
    }
    text = json.dumps(found, indent=1)
    print(text)
    if chosen.out:
        chosen.out.write_text(text + "\n")
    lost = any(found["kills"][name] for name in ("lost", "repeated_runs", "repeated_steps"))
    errs = any(abs(row["model_h"] / row["simulated_h"] - 1) > 0.05 for row in found["cluster"])
    return int(lost or errs)


if __name__ == "__main__":
    sys.exit(main())
