"""Imports of the fork server, so that no run pays for them: all heavy modules, none that acts.

Imported for its imports alone. A module missing here costs time, not correctness.
"""

import importlib
from contextlib import suppress

MODULES = (
    "torch",
    # The first optimiser of a process imports it, for seconds.
    "torch._dynamo",
    "torch.multiprocessing.reductions",
    "safetensors.torch",
    "benchmarks.tasks.datasets",
    "benchmarks.lab.lab",
    "benchmarks.measurement.latency",
    "benchmarks.stats.bleu",
    "benchmarks.hardware.profiles",
    "benchmarks.scoring.score",
    "benchmarks.tasks",
    "supernet.decode",
    "supernet.pipeline",
)

for module in MODULES:
    with suppress(ImportError):
        importlib.import_module(module)
