"""Training on one rank and on two under ``torchrun``: ``python -m tests.bench.ranks --out FILE``.

For each number of tokens a rank, every world trains the same encoder for a while: tokens a second of all
ranks together, and the ratio to one rank's. On GPUs the ranks talk through NCCL, on processors through gloo.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import torch
import torch.distributed as dist

from supernet.space import get_space
from supernet.train import SinglePath
from tests.bench.pretraining import Bench
from tests.bench.timing import settle

TOKENS = {"cuda": (4_000, 32_000), "cpu": (512, 2_048)}
"""Tokens of a rank's batch."""
WARM_UP = 0.3
"""Share of the updates that are not timed, before the others."""


def inside(updates: int) -> None:
    """Train as one rank of the group that ``torchrun`` has set up; rank 0 prints a line a batch size."""
    rank, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    device = torch.device("cuda", rank) if torch.cuda.is_available() else torch.device("cpu")
    if device.type == "cuda":
        torch.cuda.set_device(device)
    if world > 1:
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    bench = Bench(device, 1.0)
    for tokens in TOKENS[device.type]:
        steps = bench.trainer(bench.family(get_space(bench.tier.space)), SinglePath())
        stream = bench.stream(tokens)
        spent = []
        for count in (max(1, round(WARM_UP * updates)), updates):
            settle(device)
            began, trained = time.perf_counter(), 0
            for _ in range(count):
                batch = next(stream)
                steps.update([batch], 0.5)
                trained += batch.tokens
            settle(device)
            spent.append((trained, time.perf_counter() - began))
        trained, seconds = spent[-1]
        facts = torch.tensor([float(trained)], device=device)
        slowest = torch.tensor([seconds], device=device)
        if world > 1:
            dist.all_reduce(facts)
            dist.all_reduce(slowest, dist.ReduceOp.MAX)
        if rank == 0:
            rate = facts.item() / slowest.item()
            line = {"world": world, "tokens_a_rank": tokens, "updates": updates, "tokens_a_second": rate}
            print(json.dumps(line), flush=True)
    if world > 1:
        dist.destroy_process_group()


def main() -> int:
    """Print the figures of one and of two ranks as JSON, with the speed-up of two."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--updates", type=int, default=200, help="timed updates (default: 200)")
    options.add_argument("--worlds", type=int, nargs="+", default=[1, 2], help="ranks (default: 1 2)")
    options.add_argument("--out", type=Path, help="JSON file for the figures")
    options.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    chosen = options.parse_args()
    if chosen.inside:
        inside(chosen.updates)
        return 0
    rows = []
    for world in chosen.worlds:
        words = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(world)]
        words += ["-m", "tests.bench.ranks", "--inside", "--updates", str(chosen.updates)]
        done = subprocess.run([sys.executable, *words], stdout=subprocess.PIPE, text=True, check=True)
        rows += [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    alone = {row["tokens_a_rank"]: row["tokens_a_second"] for row in rows if row["world"] == 1}
    for row in rows:
        row["speed_up"] = row["tokens_a_second"] / alone[row["tokens_a_rank"]] if alone else None
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else ""
    text = json.dumps({"torch": torch.__version__, "gpu": gpu, "rows": rows}, indent=1)
    print(text)
    if chosen.out:
        chosen.out.write_text(text + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
