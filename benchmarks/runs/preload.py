"""Imports of the fork server, so that no run pays for them: all heavy modules, none that acts.

Imported for its imports alone. A module missing here costs time, not correctness.

Ctrl-C in a terminal reaches the server, too, which ignores it: the command ends the server.
"""

import importlib
import signal
from contextlib import suppress

before = signal.signal(signal.SIGINT, signal.SIG_IGN)
signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})  # blocked by who started it, until here

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
signal.signal(signal.SIGINT, before)  # the server ignores it from here on, and its workers do not
