"""``supernet-bench study gpu-precision-measure``: the timings that study gpu-precision reads."""

from __future__ import annotations

import argparse
from pathlib import Path

NAME = "gpu-precision-measure"
SUMMARY = "time networks in low precision on this machine's GPU; goes on where it was stopped"
FOLDER = Path("results") / "gpu-precision"


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    command.add_argument(
        "--out", type=Path, default=FOLDER, metavar="DIR", help=f"folder of timings (default: {FOLDER})"
    )
    command.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Time the networks that the file of this machine's GPU lacks; return 0."""
    from benchmarks.studies.gpu_precision.measure import measure

    path = measure(options.out, lambda line: print(line, flush=True))
    print(f"written: {path}; supernet-bench study gpu-precision")
    return 0
