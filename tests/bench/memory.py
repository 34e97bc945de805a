"""Cost of fresh pages, and the gain of keeping freed memory.

``python -m tests.bench.memory``: milliseconds of an update of a 4-layer encoder of width 256 on 2,048 and
4,096 tokens with a vocabulary of 8,192, page faults, the most memory held; and how long the smallest Vision
Transformer of width 256 takes over the largest, as the harness times them. With the C library's own habits
and with ``supernet.allocator.keep_freed``, which every run has; each arm a process of its own, in turns.
"""

from __future__ import annotations

import json
import resource
import statistics
import subprocess
import sys
import time

import numpy as np
import torch

from benchmarks.measurement import interleaved
from benchmarks.measurement.workload import Workload
from supernet import allocator
from supernet.families import image_family
from supernet.space import layered_space

TOKENS = (2048, 4096)
UPDATES, TIMED, ROUNDS = 5, 100, 3


def update_ms(tokens: int) -> tuple[float, float]:
    """Milliseconds and page faults of one update."""
    from torch import nn

    torch.manual_seed(0)
    net = nn.ModuleDict(
        {
            "embedding": nn.Embedding(8192, 256),
            "layers": nn.TransformerEncoder(nn.TransformerEncoderLayer(256, 4, 1024, batch_first=True), 4),
            "head": nn.Linear(256, 8192),
        }
    )
    optimiser = torch.optim.AdamW(net.parameters())
    words = torch.randint(0, 8192, (tokens // 128, 128))

    def update() -> None:
        states = net["layers"](net["embedding"](words))
        loss = nn.functional.cross_entropy(net["head"](states).flatten(0, 1), words.flatten())
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()

    update()
    faults, began = resource.getrusage(resource.RUSAGE_SELF).ru_minflt, time.perf_counter()
    for _ in range(UPDATES):
        update()
    seconds = time.perf_counter() - began
    faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - faults
    return 1e3 * seconds / UPDATES, faults / UPDATES


def latency_ratio() -> float:
    """The smallest Vision Transformer's median over the largest's."""
    space = layered_space("bench", layers=(2, 6), heads=(2, 4), ffn=(256, 1024), hidden=256, patch=4)
    family = image_family(space, 10, image=32, channels=3)
    workload = Workload.of({"source_len": 65, "steps": 0, "beam": 1, "image": 32, "channels": 3})
    both = [family.build(a).eval() for a in (space.smallest(), space.largest())]
    timed = [interleaved.TimedNetwork(module, workload, "cpu", "fp32") for module in both]
    with torch.inference_mode():
        for one in timed:
            one.warm_up()
        smallest, largest = np.median([[one.ms() for one in timed] for _ in range(TIMED)], axis=0)
    return float(smallest / largest)


def measured(keep: bool) -> dict[str, float]:
    """Return the figures of one arm."""
    torch.set_num_threads(2)
    if keep:
        allocator.keep_freed()
    found: dict[str, float] = {"latency_ratio": latency_ratio()}
    for tokens in TOKENS:
        found[f"update_ms_{tokens}"], found[f"faults_{tokens}"] = update_ms(tokens)
    found["most_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return found


def arm(name: str) -> dict[str, float]:
    """One process of ``measured``."""
    command = [sys.executable, "-m", "tests.bench.memory", name]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def main() -> int:
    """Print the figures as JSON."""
    rounds = [{name: arm(name) for name in ("own", "kept")} for _ in range(ROUNDS)]
    found = {
        name: {key: statistics.median(one[name][key] for one in rounds) for key in rounds[0][name]}
        for name in ("own", "kept")
    }
    faster = [f"update_ms_{tokens}" for tokens in TOKENS]
    found["times_faster"] = {key: found["own"][key] / found["kept"][key] for key in faster}
    print(json.dumps(found, indent=1))
    return 0


if __name__ == "__main__":
    if sys.argv[1:]:
        print(json.dumps(measured(sys.argv[1] == "kept")))
        raise SystemExit(0)
    raise SystemExit(main())
