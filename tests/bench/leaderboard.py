"""Seconds and memory of a whole ``supernet-bench leaderboard`` over made-up records: ``nox -s bench``.

Loading, checking every hash, tables, plots and site, in a process of its own.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.fake_records import many

ALLOWED = {10_000: 8.0, 100_000: 60.0}
"""Seconds on two cores, as the project promises; memory: 1 GiB."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, nargs="+", default=[1_000, 10_000])
    args = parser.parse_args()
    for count in args.records:
        folder = Path(tempfile.mkdtemp(prefix="supernet-bench-"))
        try:
            many(folder / "records", count)
            began = time.perf_counter()
            command = [sys.executable, "-m", "benchmarks", "leaderboard", "--results", str(folder)]
            subprocess.run(
                command, check=True, stdout=subprocess.DEVNULL, env={**os.environ, "MPLBACKEND": "Agg"}
            )
            seconds = time.perf_counter() - began
        finally:
            shutil.rmtree(folder)
        # The largest child so far: counts rise, so it is this one.
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
        allowed = f" (allowed {ALLOWED[count]:g} s, 1 GiB)" if count in ALLOWED else ""
        each = 1e3 * seconds / count
        print(f"{count:,} records: {seconds:.1f} s, {each:.2f} ms each, {peak:.2f} GiB{allowed}", flush=True)


if __name__ == "__main__":
    main()
