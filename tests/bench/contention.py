"""Slowdown of a training on two threads beside other programs, by the way its threads wait.

``python -m tests.bench.contention``: milliseconds of an update of the smoke tier's Vision Transformers, with
GNU OpenMP's own patience and with that of ``benchmarks.runs.executor``, on the machine as it is and beside
processes that keep all processors busy; and the latencies of its largest and smallest network as the harness
times them.
Each arm is a process of its own: the library reads its environment once.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from typing import Any

from benchmarks.runs.executor import SPINS

UPDATES, TIMED, ROUNDS = 40, 200, 3
BUSY = "while True: pass"


def measured() -> dict[str, float]:
    """Return the figures of one arm."""
    import numpy as np
    import torch

    from benchmarks.measurement import interleaved
    from benchmarks.measurement.workload import Workload
    from supernet.data.images import ImageBatch
    from supernet.elastic import SuperNet
    from supernet.families import image_family
    from supernet.space import get_space
    from supernet.train import Recipe, Sandwich, Trainer
    from supernet.weights import SharedSlices

    torch.set_num_threads(2)
    family = image_family(get_space("vit-smoke"), 10, image=8, channels=1)
    generator = torch.Generator().manual_seed(0)
    net = SuperNet(family, SharedSlices(family, generator))
    trainer = Trainer(net, Recipe(3e-3, batch_tokens=544), Sandwich(distill=True), 1)
    images = torch.randn(32, 1, 8, 8, generator=generator)
    labels = torch.randint(0, 10, (32,), generator=generator)
    batch = ImageBatch(images, labels, 544)
    net.model.train()
    trainer.update([batch], 0.1)
    began = time.perf_counter()
    for _ in range(UPDATES):
        trainer.update([batch], 0.1)
    found = {"update_ms": 1e3 * (time.perf_counter() - began) / UPDATES}

    workload = Workload.of({"source_len": 17, "steps": 0, "beam": 1, "image": 8, "channels": 1})
    both = [family.build(a).eval() for a in (family.space.largest(), family.space.smallest())]
    timed = [interleaved.TimedNetwork(module, workload, "cpu", "fp32") for module in both]
    with torch.inference_mode():
        for one in timed:
            one.warm_up()
        largest, smallest = np.median([[one.ms() for one in timed] for _ in range(TIMED)], axis=0)
    return found | {"largest_ms": float(largest), "ratio": float(smallest / largest)}


def arm(**environment: str) -> dict[str, float]:
    """One process of ``measured``."""
    kept = {k: v for k, v in os.environ.items() if k not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    kept.pop("OMP_NUM_THREADS", None)
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench.contention", "arm"],
        env=kept | environment,
        capture_output=True,
        text=True,
        check=True,
    )
    found: dict[str, float] = json.loads(done.stdout)
    return found


def both() -> dict[str, dict[str, float]]:
    """Medians of both arms, in turns."""
    arms: dict[str, dict[str, str]] = {"own": {}, "ours": {"GOMP_SPINCOUNT": str(SPINS)}}
    rounds = [{name: arm(**environment) for name, environment in arms.items()} for _ in range(ROUNDS)]
    return {
        name: {key: statistics.median(one[name][key] for one in rounds) for key in rounds[0][name]}
        for name in arms
    }


def main() -> int:
    """Print the figures as JSON."""
    found: dict[str, Any] = {"spins": SPINS, "alone": both()}
    others = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(os.cpu_count() or 1)]
    try:
        found["beside_others"] = both()
    finally:
        for other in others:
            other.kill()
    for place in ("alone", "beside_others"):
        found[place]["times_faster"] = found[place]["own"]["update_ms"] / found[place]["ours"]["update_ms"]
    print(json.dumps(found, indent=1))
    return 0


if __name__ == "__main__":
    if sys.argv[1:] == ["arm"]:
        print(json.dumps(measured()))
        raise SystemExit(0)
    raise SystemExit(main())
