"""Latency of ResNet-50, ViT-B/16, BERT-base and wide linear layers in low precision on GPUs.

Weights are random, so there is no accuracy. What people deploy on such GPUs is no longer float32, so that all
is compared with bfloat16. The timings come from ``supernet-bench study gpu-precision-measure``.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from pathlib import Path

from benchmarks.api import UsageError
from benchmarks.records.canonical import JsonView
from benchmarks.records.study_files import StudyOutcome, commit_text
from benchmarks.stats.quantiles import DISTURBED
from benchmarks.studies.gpu_precision.timings import DEPTH, PRECISIONS, GpuTimings, TimedOnGpu
from benchmarks.studies.interval_text import ratio_verdict
from benchmarks.tasks.datasets import Say

SUMMARY = (
    "low precision on a GPU: large networks and layers by width, latency alone; from gpu-precision-measure"
)
READS = "gpu-precision"
FOLDER = "gpu-precision"
"""Folder of the timings under the results folder."""
RULE = (
    "a precision is faster than bfloat16 where the 95 % interval of the ratio of their median latencies lies"
    " below 1, slower where it lies above; else undecided."
)
NOTES = (
    "Sentences have 128 tokens, images 224 pixels a side. Weights are random: latency does not depend on"
    " their values, accuracy does, and is not measured.",
    "int8 and fp8 (e4m3): linear layers with a scale for each output channel and, found at each call, one"
    " for each row of the input; attention, norms and all else in bfloat16. torch has neither for"
    " convolutions on a GPU.",
    f"'linear W': {DEPTH} layers of W to W, one after the other, rounding of each input included; batch"
    " counts rows.",
    "Compiled by Inductor and replayed as CUDA graphs, so that no launch is waited for. From a quiet GPU"
    " to a quiet GPU. TF32 is off.",
    "Every timed network passed the gates of deployed figures: outputs near float32's, and as many"
    " low-precision kernels dispatched, before compilation, as such layers were called. One build each:"
    " intervals are over inferences.",
)


def run(folder: Path | None, say: Say = lambda line: None) -> StudyOutcome:
    """Run the study over the timings in ``folder``.

    Raises:
        UsageError: the folder has no timings, or a file of it cannot be read.
    """
    from benchmarks.report.plots.style import render
    from benchmarks.studies.gpu_precision import plot

    gpus = read(folder or Path(FOLDER))
    notes = list(NOTES)
    for gpu in gpus:
        if (count := len({(timed.network, timed.batch) for timed in gpu.timed})) < gpu.planned:
            notes.insert(0, f"Interim: {count} of {gpu.planned} networks and stacks of {gpu.profile}.")
        load = max(timed.others_cpu for timed in gpu.timed)
        notes.append(
            f"{gpu.profile}: commit {gpu.commit}; other programs took up to {load:g} processors while timing."
            f" Signature: {gpu.signature}"
        )
        if load > DISTURBED:
            notes.insert(0, f"Disturbed: other programs were at work while {gpu.profile} was timed.")
    return StudyOutcome(
        title="Low precision on a GPU",
        question="How much faster than bfloat16 are int8 and FP8 on a GPU at the sizes that people deploy,"
        " and from which width on?",
        rule=RULE,
        columns=("machine", "network", "batch", "precision", "ms", "/ bf16", "kernels", "is"),
        rows=[(gpu.profile, *_cells(timed)) for gpu in gpus for timed in gpu.timed],
        notes=notes,
        facts={"study": "gpu-precision", "rule": RULE, "gpus": [asdict(gpu) for gpu in gpus]},
        pictures=render(lambda: plot.draw(gpus)),
    )


def read(folder: Path) -> list[GpuTimings]:
    """Return the timings of each file.

    Raises:
        UsageError: the folder has no timings, or a file of it cannot be read.
    """
    command = "supernet-bench study gpu-precision-measure"
    paths = sorted(folder.glob("*.json"))
    if not paths:
        raise UsageError(f"{folder} has no timings of precisions on a GPU: {command}")
    gpus = []
    for path in paths:
        try:
            gpus.append(_gpu(json.loads(path.read_text(encoding="utf-8"))))
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise UsageError(
                f"{path} has no timings of precisions on a GPU ({error!r}): move it away, then {command}"
            ) from error
    return gpus


def _gpu(facts: JsonView) -> GpuTimings:
    networks, stacks = (
        tuple(TimedOnGpu(**timed) for timed in facts[part]) for part in ("networks", "stacks")
    )
    if not networks and not stacks:
        raise ValueError("empty")
    profile = str(facts["profile"])
    n = min((timed.n for timed in networks + stacks if not timed.failed), default=0)
    signature = f"lat:p50|clk:wall|n:{n}|torch-{facts['torch']}-inductor-graphs|prof:{profile}"
    commit = commit_text(facts["written"])
    gpu = GpuTimings(profile, signature, commit, int(facts["planned"]), networks, stacks)
    for timed in gpu.timed:
        _cells(timed)
        if (
            timed.precision not in PRECISIONS
            or not timed.failed
            and not 0 < timed.low <= timed.high < math.inf
        ):
            raise ValueError(f"no timing of {timed.network} in {timed.precision}")
    if not all(timed.network.split()[-1].isdecimal() for timed in stacks):
        raise ValueError("a stack without its width")
    return gpu


def verdict(timed: TimedOnGpu) -> str:
    """Return the verdict of ``RULE``."""
    return ratio_verdict(timed.low, timed.high)


def _cells(timed: TimedOnGpu) -> tuple[str, ...]:
    about = timed.network, str(timed.batch), timed.precision
    if timed.failed:
        return *about, "-", "-", "-", timed.failed
    plain = timed.precision == PRECISIONS[0]
    compared = "1" if plain else f"{timed.ratio:.2f} [{timed.low:.2f}, {timed.high:.2f}]"
    return *about, f"{timed.ms:.3f}", compared, str(timed.kernels), "-" if plain else verdict(timed)
