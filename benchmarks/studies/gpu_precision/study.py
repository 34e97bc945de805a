"""Latency of ResNet-50, ViT-B/16, BERT-base and wide linear layers in low precision on this machine's GPU.

Weights are random, so there is no accuracy. A precision is compared with bfloat16, in turns, at batch 1 and
64: what people deploy on such GPUs is no longer float32. All are compiled and replayed as CUDA graphs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
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
    from torch import Tensor, nn

    from benchmarks.studies.deployed_sizes.networks import SizedNetwork

SUMMARY = (
    "low precision on this GPU: ResNet-50, ViT-B/16, BERT-base and layers by width; latency alone; no data"
)
READS = None
ROUNDS, SECONDS = 128, 20.0
"""Timed inferences of each precision, and seconds after which fewer do."""
PRECISIONS = ("bf16", "fp32", "int8", "fp8")
"""The first is what all others are compared with."""
BATCHES = (1, 64)
WIDTHS, TOKENS, DEPTH = (256, 512, 768, 1024, 2048, 4096), (128, 8192), 16
"""Widths of the linear layers, rows that they are given, and layers in a stack."""
RULE = (
    "a precision is faster than bfloat16 where the 95 % interval of the ratio of their median latencies lies"
    " below 1, slower where it lies above; else undecided."
)


@dataclass(frozen=True)
class TimedOnGpu:
    """One network at one batch in one precision.

    Attributes:
        network: its name.
        batch: samples, or rows of a stack of linear layers.
        precision: one of ``PRECISIONS``.
        ms: median milliseconds.
        ratio, low, high: over bfloat16's, with its 95 % interval.
        kernels: calls of low-precision kernels an inference.
        others_cpu: processors that other programs took meanwhile.
        failed: why it is not timed; else empty.
    """

    network: str
    batch: int
    precision: str
    ms: float = 0.0
    ratio: float = 0.0
    low: float = 0.0
    high: float = 0.0
    kernels: int = 0
    others_cpu: float = 0.0
    failed: str = ""

    @property
    def verdict(self) -> str:
        """Verdict of ``RULE``."""
        return ratio_verdict(self.low, self.high)


def run(folder: Path | None, say: Say = lambda line: None) -> StudyOutcome:
    """Time all networks on this machine's GPU.

    Raises:
        UsageError: this machine matches no declared GPU profile.
    """
    from benchmarks.hardware import profiles
    from benchmarks.studies.deployed_sizes.networks import NETWORKS

    name = profiles.matching()
    if name is None or profiles.get(name).device != "cuda":
        raise UsageError(
            "study gpu-precision times on a declared GPU profile, and this machine is none:"
            " supernet-bench doctor lists the differences"
        )
    return study(name, NETWORKS, WIDTHS, "cuda", ROUNDS, SECONDS, say)


def study(
    profile: str,
    networks: Sequence[Callable[[], SizedNetwork]],
    widths: Sequence[int],
    device: str,
    rounds: int,
    seconds: float,
    say: Say,
) -> StudyOutcome:
    """Time ``networks`` and stacks of ``widths``; tests use smaller ones on a processor."""
    import torch

    from benchmarks.report.plots.style import render
    from benchmarks.studies.gpu_precision import plot

    timed: list[TimedOnGpu] = []
    for build in networks:
        network = build()
        for batch in BATCHES:
            say(f"{network.name}, batch {batch}")
            timed += time_network(
                *(network.name, network.module, network.inputs(batch), device, rounds, seconds)
            )
    stacks: list[TimedOnGpu] = []
    for width in widths:
        for tokens in TOKENS:
            say(f"{DEPTH} linear layers of width {width}, {tokens} rows")
            module, rows = stack(width, tokens)
            stacks += time_network(f"linear {width}", module, rows, device, rounds, seconds)
    everything = timed + stacks
    load = max(t.others_cpu for t in everything)
    version = torch.__version__.partition("+")[0]
    signature = f"lat:p50|clk:wall|n:{rounds}|torch-{version}-inductor-graphs|prof:{profile}"
    notes = [
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
        " low-precision kernels dispatched, before compilation, as such layers were called.",
        f"Other programs took up to {load:g} processors while timing.",
        f"Signature: {signature}",
    ]
    if load > DISTURBED:
        notes.insert(0, "Disturbed: other programs were at work while this was timed.")
    return StudyOutcome(
        title="Low precision on a GPU",
        question="How much faster than bfloat16 are int8 and FP8 on this GPU at the sizes that people deploy,"
        " and from which width on?",
        rule=RULE,
        columns=("network", "batch", "precision", "ms", "/ bf16", "kernels", "is"),
        rows=[_row(t) for t in everything],
        notes=notes,
        facts={
            "study": "gpu-precision", "profile": profile, "signature": signature, "rule": RULE,
            "timed": [_rounded(t) for t in timed], "stacks": [_rounded(t) for t in stacks],
        },
        pictures=render(lambda: plot.draw(timed, stacks)),
    )  # fmt: skip


def stack(width: int, tokens: int) -> tuple[nn.Module, Tensor]:
    """Return ``DEPTH`` linear layers of ``width`` with outputs of the inputs' size, and rows for them."""
    import torch
    from torch import nn

    random = torch.Generator().manual_seed(width)
    layers = []
    for _ in range(DEPTH):
        layer = nn.Linear(width, width, bias=False, device="meta").to_empty(device="cpu")
        layer.weight.data.normal_(0, width**-0.5, generator=random)
        layers.append(layer)
    module = nn.Sequential(*layers).requires_grad_(False).eval()
    return module, torch.randn(tokens, width, generator=random)


def time_network(
    name: str, module: nn.Module, inputs: Tensor, device: str, rounds: int, seconds: float
) -> list[TimedOnGpu]:
    """Time a network in all precisions, in turns; those that fail a gate are named with the reason."""
    import torch

    from benchmarks.measurement.interleaved import TimedRequest, quiesced, time_interleaved
    from benchmarks.stats.quantiles import ratio
    from benchmarks.studies.gpu_precision.compiled import Compiled

    # Graphs of earlier networks go: there is a largest number of them for one function.
    torch._dynamo.reset()
    batch = len(inputs)
    built: dict[str, Compiled] = {}
    failed = []
    module, inputs = module.to(device), inputs.to(device)
    with quiesced(None):  # graphs keep the arithmetic under which they were recorded
        with torch.inference_mode():
            expected = module(inputs).float()
        for precision in PRECISIONS:
            try:
                built[precision] = Compiled.of(module, precision, inputs, expected)
            except (MeasurementRejectedError, ValueError, RuntimeError) as error:
                reason = str(error).strip().partition("\n")[0][:200]
                failed.append(TimedOnGpu(name, batch, precision, failed=reason))
    plain = PRECISIONS[0]
    if plain not in built:
        reason = f"{plain} failed, so there is nothing to compare with"
        return failed + [TimedOnGpu(name, batch, precision, failed=reason) for precision in built]
    requests = [TimedRequest(network.serve) for network in built.values()]
    times, conditions = time_interleaved(requests, None, min_n=rounds, max_seconds=seconds)
    return [
        TimedOnGpu(
            *(name, batch, precision, float(np.median(ours)), *ratio(ours, times[0])),
            *(network.kernels, conditions.others_cpu),
        )
        for (precision, network), ours in zip(built.items(), times, strict=True)
    ] + failed


def _row(timed: TimedOnGpu) -> tuple[str, ...]:
    about = timed.network, str(timed.batch), timed.precision
    if timed.failed:
        return *about, "-", "-", "-", timed.failed
    plain = timed.precision == PRECISIONS[0]
    compared = "1" if plain else f"{timed.ratio:.2f} [{timed.low:.2f}, {timed.high:.2f}]"
    return *about, f"{timed.ms:.3f}", compared, str(timed.kernels), "-" if plain else timed.verdict


def _rounded(timed: TimedOnGpu) -> dict[str, object]:
    return {k: six_digits(v) if isinstance(v, float) else v for k, v in asdict(timed).items()}
