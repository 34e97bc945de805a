"""Latency of ResNet-50, ViT-B/16 and BERT-base in low precision on this machine's processor.

Weights are random, so there is no accuracy: what each precision costs in accuracy, studies on trained
networks say. A precision is compared with float32 in its own runtime, in turns, at batch 1.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.api import UsageError
from benchmarks.measurement.interleaved import MeasurementRejectedError
from benchmarks.records.study_files import StudyOutcome
from benchmarks.stats.quantiles import DISTURBED
from benchmarks.stats.rounding import six_digits
from benchmarks.studies.interval_text import ratio_verdict
from benchmarks.tasks.datasets import Say

if TYPE_CHECKING:
    from benchmarks.studies.deployed_sizes.networks import SizedNetwork
    from benchmarks.studies.deployed_sizes.runtimes import Runtime

SUMMARY = "low precision at the sizes that people deploy, on this processor: latency alone; needs no data"
READS = None
ROUNDS, SECONDS, THREADS = 32, 120, 2
"""Timed inferences of each precision, seconds after which fewer do, and threads."""
RULE = (
    "a precision is faster than float32 in its runtime where the 95 % interval of the ratio of their median"
    " latencies lies below 1, slower where it lies above; else undecided. The fastest of a network is the"
    " least median of all runtimes."
)


@dataclass(frozen=True)
class TimedPrecision:
    """One network in one precision of one runtime.

    Attributes:
        ms: median milliseconds.
        ratio, low, high: over float32's in the same runtime, with its 95 % interval.
        size: bytes of its file; 0 if it has none.
        others_cpu: processors that other programs took meanwhile.
        failed: why it is not timed; else empty.
    """

    network: str
    runtime: str
    precision: str
    ms: float = 0.0
    ratio: float = 0.0
    low: float = 0.0
    high: float = 0.0
    size: int = 0
    others_cpu: float = 0.0
    failed: str = ""

    @property
    def verdict(self) -> str:
        """Verdict of ``RULE``."""
        return ratio_verdict(self.low, self.high)


def run(folder: Path | None, say: Say = lambda line: None) -> StudyOutcome:
    """Time all networks on this machine.

    Raises:
        UsageError: this machine matches no declared CPU profile.
    """
    from benchmarks.hardware import profiles
    from benchmarks.studies.deployed_sizes.networks import NETWORKS

    name = profiles.matching()
    if name is None or profiles.get(name).device != "cpu":
        raise UsageError(
            "study deployed-sizes times on a declared CPU profile, and this machine is none:"
            " supernet-bench doctor lists the differences"
        )
    return study(name, NETWORKS, ROUNDS, SECONDS, say)


def study(
    profile: str, networks: Sequence[Callable[[], SizedNetwork]], rounds: int, seconds: float, say: Say
) -> StudyOutcome:
    """Time ``networks``; tests use smaller ones and fewer rounds."""
    from benchmarks.report.plots.style import render
    from benchmarks.studies.deployed_sizes import plot
    from benchmarks.studies.deployed_sizes.runtimes import runtimes

    installed, absent = runtimes()
    timed: list[TimedPrecision] = []
    for build in networks:
        network = build()
        for runtime in installed:
            say(f"{network.name} in {runtime.name}")
            timed += time_runtime(network, runtime, rounds, seconds)
    names = list(dict.fromkeys(t.network for t in timed))
    signature = f"lat:p50|clk:wall|n:{rounds}|b:1|thr:{THREADS}|prof:{profile}"
    load = max(t.others_cpu for t in timed)
    notes = [
        "Batch 1; sentences have 128 tokens, images 224 pixels a side. Weights are random: latency does not"
        " depend on their values, accuracy does, and is not measured. int8: ranges of each input; int8s:"
        " ranges from calibration; both with int8 tables of words in ONNX Runtime; w4: weights in 4 bits.",
        "Every timed network passed the gates of deployed figures: outputs near float32's, and as many"
        " low-precision kernels executed as it has such layers, by the runtimes' own profiles (not torch's).",
        f"Other programs took up to {load:g} processors while timing.",
        f"Signature: {signature}",
    ]
    if load > DISTURBED:
        notes.insert(0, "Disturbed: other programs were at work while this was timed.")
    if absent:
        notes.append(f"Not installed, so left out: python3 -m pip install {' '.join(absent)} adds them.")
    return StudyOutcome(
        title="Low precision at the sizes that people deploy",
        question="How much faster than float32 are ResNet-50, ViT-B/16 and BERT-base in each precision and"
        " runtime on this processor?",
        rule=RULE,
        columns=("network", "runtime", "precision", "ms", "/ fp32", "MB", "is"),
        rows=[_row(t, timed) for t in timed],
        notes=notes,
        facts={
            "study": "deployed-sizes", "profile": profile, "signature": signature, "rule": RULE,
            "timed": [_rounded(t) for t in timed],
        },
        pictures=render(lambda: plot.draw(names, timed)),
    )  # fmt: skip


def time_runtime(
    network: SizedNetwork, runtime: Runtime, rounds: int, seconds: float
) -> list[TimedPrecision]:
    """Time all precisions of a runtime in turns; those that fail a gate are named with the reason."""
    import torch

    from benchmarks.measurement.interleaved import TimedRequest, time_interleaved
    from benchmarks.stats.quantiles import ratio
    from benchmarks.studies.deployed_sizes.runtimes import PLAIN

    before = torch.get_num_threads()
    torch.set_num_threads(THREADS)
    try:
        built, failed = {}, []
        for precision, build in runtime.builders.items():
            try:
                built[precision] = build(network, THREADS)
            except (MeasurementRejectedError, ValueError) as error:
                reason = str(error)
                failed.append(TimedPrecision(network.name, runtime.name, precision, failed=reason))
        if PLAIN not in built:
            reason = f"{PLAIN} of this runtime failed, so there is nothing to compare with"
            return failed + [TimedPrecision(network.name, runtime.name, p, failed=reason) for p in built]
        sample = network.inputs(1)
        requests = [TimedRequest(partial(deployed.call, sample)) for deployed in built.values()]
        times, conditions = time_interleaved(requests, THREADS, min_n=rounds, max_seconds=seconds)
    finally:
        torch.set_num_threads(before)
    load = conditions.others_cpu
    return [
        TimedPrecision(
            *(network.name, runtime.name, precision, float(np.median(ours))),
            *ratio(ours, times[0]),
            *(deployed.size, load),
        )
        for (precision, deployed), ours in zip(built.items(), times, strict=True)
    ] + failed


def _row(timed: TimedPrecision, among: Sequence[TimedPrecision]) -> tuple[str, ...]:
    about = timed.network, timed.runtime, timed.precision
    if timed.failed:
        return *about, "-", "-", "-", timed.failed
    best = min(t.ms for t in among if t.network == timed.network and not t.failed)
    size = f"{timed.size / 1e6:.1f}" if timed.size else "-"
    plain = timed.precision == "fp32"
    compared = "1" if plain else f"{timed.ratio:.2f} [{timed.low:.2f}, {timed.high:.2f}]"
    words = ["" if plain else timed.verdict, "the fastest" if timed.ms == best else ""]
    return *about, f"{timed.ms:.1f}", compared, size, ", ".join(filter(None, words)) or "-"


def _rounded(timed: TimedPrecision) -> dict[str, object]:
    return {k: six_digits(v) if isinstance(v, float) else v for k, v in asdict(timed).items()}
