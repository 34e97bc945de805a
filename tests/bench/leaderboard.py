"""Seconds and memory of a whole ``supernet-bench leaderboard`` over made-up records: ``nox -s bench``.

Loading, checking every hash, tables and site, of records as large as published ones, in a command of its own:
``python -m tests.bench.leaderboard --records 100000`` takes 7 GB of disk. The first rendering has no index of
known records and an empty cache folder; the second one follows it. Predicted for 100,000 records on two idle
cores: 2 ms of processor a record for the first, 100 s; 0.5 ms for the second, 30 s.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from tests.fake_records import many

ALLOWED = {10_000: 8.0, 100_000: 60.0}
"""Seconds of either rendering on two idle cores, as the project promises; memory: 1 GiB."""
RENDERINGS = ("first", "second")
SEEDS = 20


def resident(command: psutil.Process) -> int:
    """Bytes that a process and all below it hold now; what they share counts for each."""
    total = 0
    for process in [command, *command.children(recursive=True)]:
        try:
            total += process.memory_info().rss
        except psutil.NoSuchProcess:
            pass
    return total


def measure(results: Path, cache: Path) -> tuple[float, float, float]:
    """Return wall clock, processor seconds and peak bytes of all processes together."""
    command = [sys.executable, "-m", "benchmarks", "leaderboard", "--results", str(results)]
    env = os.environ | {"XDG_CACHE_HOME": str(cache)}
    before, began, peak = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter(), 0
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, env=env) as running:
        watched = psutil.Process(running.pid)
        while running.poll() is None:
            try:
                peak = max(peak, resident(watched))
            except psutil.NoSuchProcess:
                break
            time.sleep(0.05)
    if running.returncode:
        raise SystemExit(f"the command failed with {running.returncode}")
    wall, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, peak


def figures(count: int, rendering: str, wall: float, cpu: float, peak: float) -> dict[str, object]:
    """Return the figures of one command, and what it may take."""
    return {
        "records": count,
        "rendering": rendering,
        "wall_s": round(wall, 1),
        "cpu_s": round(cpu, 1),
        "peak_gib": round(peak / 2**30, 2),
        "allowed_s": ALLOWED.get(count),
        "allowed_gib": 1.0,
        "load_average": round(os.getloadavg()[0], 1),
    }


def main() -> None:
    """Print a line for each number of records and each rendering."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--records", type=int, nargs="+", default=[1_000, 10_000])
    options.add_argument("--out", type=Path, help="JSON file for the figures")
    options.add_argument("--one-table", action="store_true", help="all in one folder, not 1,000 in each")
    chosen = options.parse_args()
    rows = []
    for count in chosen.records:
        with tempfile.TemporaryDirectory(prefix="supernet-bench-") as folder:
            methods = -(-count // SEEDS) if chosen.one_table else 50
            many(Path(folder, "records"), count, methods=methods, seeds=SEEDS)
            for rendering in RENDERINGS:
                rows.append(figures(count, rendering, *measure(Path(folder), Path(folder, "cache"))))
                print(json.dumps(rows[-1]), flush=True)
    if chosen.out:
        # Rows of other numbers of records stay.
        known = json.loads(chosen.out.read_text()) if chosen.out.exists() else []
        rows += [row for row in known if row["records"] not in chosen.records]
        rows.sort(key=lambda row: int(str(row["records"])))
        chosen.out.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
