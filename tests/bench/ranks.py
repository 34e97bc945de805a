"""Training on one rank and on two under ``torchrun``: ``python -m tests.bench.ranks --out FILE``.

For each number of tokens a rank, every world trains the same encoder for a while: tokens a second of all
ranks together, and the ratio to one rank's. On GPUs the ranks talk through NCCL, on processors through gloo.

Then, in each precision, two ranks train without dropout, and one process on the batches of both: the
difference of their weights, as a share of the way that the weights have gone.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import torch
import torch.distributed as dist

from supernet.bert import BertConfig, family_of
from supernet.data.masked_text import MaskedBatches
from supernet.space import get_space
from supernet.train import SinglePath, Trainer
from supernet.weights import SharedSlices
from tests.bench.pretraining import Bench
from tests.bench.timing import settle, trainer

TOKENS = {"cuda": (4_000, 32_000), "cpu": (512, 2_048)}
"""Tokens of a rank's batch."""
WARM_UP = 0.3
"""Share of the updates that are not timed, before the others."""
COMPARED = 20
"""Updates after which the weights of two ranks and of one process are compared."""


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
        for precision in ("fp32", "bf16"):
            away = difference(bench, precision, rank, world)
            if rank == 0:
                line = {"world": world, "precision": precision, "updates": COMPARED, "difference": away}
                print(json.dumps(line), flush=True)
        dist.destroy_process_group()


def difference(bench: Bench, precision: str, rank: int, world: int) -> float:
    """Return the distance of the ranks' weights from one process', as a share of the way from the start."""
    model = {**bench.tier.model, "dropout": 0.0, "attention_dropout": 0.0}
    space = get_space(bench.tier.space)
    family = family_of(space)(space, BertConfig(bench.tier.vocab, **model))
    recipe = replace(bench.recipe, precision=precision)
    tokens = TOKENS[bench.device.type][0]

    def begun() -> Trainer:
        return trainer(family, SharedSlices, SinglePath(), recipe, bench.device)

    def stream(number: int) -> MaskedBatches:
        return MaskedBatches(bench.text, tokens, 0, device=bench.device, rank=number, world=world)

    together, alone = begun(), begun()
    start = together.flat.detach().clone()
    own, all_of = iter(stream(rank)), [iter(stream(number)) for number in range(world)]
    alone.rank, alone.world = 0, 1
    for _ in range(COMPARED):
        together.update([next(own)], 0.5)
        alone.update([next(batches) for batches in all_of], 0.5)
    way = (alone.flat - start).norm()
    return float((together.flat - alone.flat).detach().norm() / way)


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
    compared = [row for row in rows if "difference" in row]
    rows = [row for row in rows if "difference" not in row]
    alone = {row["tokens_a_rank"]: row["tokens_a_second"] for row in rows if row["world"] == 1}
    for row in rows:
        row["speed_up"] = row["tokens_a_second"] / alone[row["tokens_a_rank"]] if alone else None
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else ""
    found = {"torch": torch.__version__, "gpu": gpu, "rows": rows, "against_one_process": compared}
    text = json.dumps(found, indent=1)
    print(text)
    if chosen.out:
        chosen.out.write_text(text + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
