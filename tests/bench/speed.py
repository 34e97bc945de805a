"""Speed of the substrate, each figure a ratio inside one run: ``nox -s bench``.

Every line is first predicted from what the step must do (operations over the matrix rate and bytes
over the copy rate measured in this run, launches over the launch rate), then measured.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mos.mixture import Mixture
from supernet.batches import Batch, PairData, TokenBatches
from supernet.cost import cost
from supernet.elastic import PRECISIONS, SuperNet
from supernet.seq2seq import Seq2SeqConfig, Seq2SeqFamily
from supernet.space import get_space
from supernet.train import Recipe, Sandwich, SinglePath, Trainer
from supernet.weights import SharedSlices

HAT_TOKENS = {("bf16", 4000): 111e3, ("bf16", 32000): 623e3}
"""Target tokens a second of the public HAT code on one H200, space1, as the issue states them."""

KERNELS = {"encoder": 75, "decoder": 125, "rest": 60}
"""Kernels of one forward-backward pass, counted once with the profiler: per layer, and besides."""

WARM_UP = {"cuda": 25.0, "cpu": 4.0}
"""Seconds before each measurement. Every shape's first use loads kernels, and shapes rarely repeat: on an
H200 the first five seconds run at 60 to 70 % of what follows."""
ROUNDS = 7
"""Of the arms of a comparison, one after the other."""


@dataclass
class Rates:
    """What the device does: multiply-adds x 2 a second, bytes a second, launches a second."""

    matrix: float
    copy: float
    launch: float


def clock(device: torch.device, work: Callable[[], Any], repeat: int) -> float:
    """Median seconds of ``work`` over ``repeat`` timed calls after two untimed ones."""
    for _ in range(2):
        work()
    times = []
    for _ in range(repeat):
        settle(device)
        start = time.perf_counter()
        work()
        settle(device)
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def settle(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def rates(device: torch.device, precision: str) -> Rates:
    """Measured in this run, on random data."""
    n = 8192 if device.type == "cuda" else 1024
    dtype = PRECISIONS[precision]
    a, b = (torch.randn(n, n, device=device, dtype=dtype) for _ in range(2))
    matrix = 2 * n**3 / clock(device, lambda: a @ b, 10)
    size = 2**30 if device.type == "cuda" else 2**25
    x, y = (torch.ones(size, device=device, dtype=torch.uint8) for _ in range(2))
    copy = 2 * size / clock(device, lambda: y.copy_(x), 10)
    tiny = torch.zeros(8, device=device)

    def many() -> None:
        for _ in range(1000):
            tiny.add_(1)

    return Rates(matrix, copy, 1000 / clock(device, many, 5))


def pairs(count: int, mean: float, spread: float, vocab: int) -> PairData:
    """Sentences with log-normal lengths like those of the task."""
    rng = np.random.default_rng(0)
    lengths = rng.lognormal(math.log(mean), spread, count)
    # The two sides of a pair differ in length by about a fifth.
    sides = [np.clip(lengths * rng.lognormal(0, 0.15, count), 3, 175).astype(int) for _ in range(2)]
    return PairData(*([rng.integers(4, vocab, n) for n in side] for side in sides))


def trainer(
    family: Seq2SeqFamily, source: Any, sampling: Any, precision: str, device: torch.device
) -> Trainer:
    net = SuperNet(family, source(family, torch.Generator().manual_seed(0), str(device)))
    net.precision(precision)
    net.model.train()
    return Trainer(net, Recipe(precision=precision), sampling, 0)


def throughput(
    steps: Trainer, stream: Iterator[Batch], device: torch.device, seconds: float
) -> tuple[float, float]:
    """Target tokens a second (each counted once an update) and seconds an update."""
    settle(device)
    start, tokens, updates = time.perf_counter(), 0, 0
    while time.perf_counter() - start < seconds or updates < 4:
        for _ in range(4):
            batch = next(stream)
            steps.update([batch], 0.5)
            tokens += batch.tokens
            updates += 1
        settle(device)
    spent = time.perf_counter() - start
    return tokens / spent, spent / updates


def predicted_seconds(
    family: Seq2SeqFamily, data: PairData, tokens: int, rate: Rates, width: int
) -> tuple[float, str]:
    """Seconds of a single-path update over an average architecture, and what binds it.

    Operations: six per multiply-add pair of the forward pass. Bytes: about 16 activations of the
    model width a layer and token forward, twice that backward, the logits in float32 six times,
    and 28 bytes a parameter for gradients and Adam. Launches: ``KERNELS``.
    """
    rng = np.random.default_rng(1)
    some = [family.space.sample(rng) for _ in range(32)]
    s, t = (int(x.mean()) + 1 for x in (data.source_length, data.target_length))
    sentences = tokens / max(s, t)
    macs = statistics.mean(cost(family, a, source_len=s, target_len=t).macs for a in some) * sentences
    layers = statistics.mean(a["encoder_layers"] + 1.6 * a["decoder_layers"] for a in some)
    wide = family.largest["encoder_embed_dim"]
    parameters = sum(math.prod(x.shape) for x in family.slots().values())
    moved = tokens * (layers * 48 * wide * width + 6 * 4 * family.config.target_vocab) + 28 * parameters
    depth = statistics.mean(a["decoder_layers"] for a in some)
    kernels = KERNELS["encoder"] * some[0]["encoder_layers"] + KERNELS["decoder"] * depth + KERNELS["rest"]
    terms = {
        "arithmetic": 6 * macs / rate.matrix,
        "bytes": moved / rate.copy,
        "launches": kernels / rate.launch,
    }
    device_side = terms["arithmetic"] + terms["bytes"]
    binds = (
        "launches"
        if terms["launches"] > device_side
        else max(("arithmetic", "bytes"), key=lambda k: terms[k])
    )
    return max(device_side, terms["launches"]), binds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--seconds", type=float, default=4.0, help="of each measurement")
    parser.add_argument("--out", type=Path, help="folder for speed.json and speed.md")
    args = parser.parse_args()
    device = torch.device(args.device)
    if device.type == "cpu":
        torch.set_num_threads(len(__import__("os").sched_getaffinity(0)))
    cases: list[tuple[str, str, int]]
    if device.type == "cuda":
        space, config, data = "hat-space1", Seq2SeqConfig(8848, 6632, "none"), pairs(160_000, 20, 0.6, 6632)
        cases = [("bf16", "", 4000), ("bf16", "", 32000), ("fp32", "", 32000)]
        multiple, mixes = 8, [("bf16", 4000), ("bf16", 32000)]
    else:
        space, config, data = "multi30k-xs", Seq2SeqConfig(8000, 8000, "all"), pairs(4000, 14, 0.35, 8000)
        cases = [("fp32", "", 4096), ("bf16", "", 4096)]
        multiple, mixes = 1, [("fp32", 4096)]
    family = Seq2SeqFamily(get_space(space), config)
    lines: list[dict[str, Any]] = []

    def note(**line: Any) -> None:
        lines.append(line)
        print(
            " ".join(f"{k}={v:.4g}" if isinstance(v, float) else f"{k}={v}" for k, v in line.items()),
            flush=True,
        )

    for precision, _, tokens in cases:
        rate = rates(device, precision)
        predicted, binds = predicted_seconds(family, data, tokens, rate, 2 if precision != "fp32" else 4)
        stream = iter(TokenBatches(data, tokens, 0, device=device, multiple=multiple))
        steps = trainer(family, SharedSlices, SinglePath(), precision, device)
        cold, _ = throughput(steps, stream, device, args.seconds)
        throughput(steps, stream, device, WARM_UP[device.type])
        speed, each = throughput(steps, stream, device, args.seconds)
        rng = np.random.default_rng(1)
        s, t = int(data.source_length.mean()) + 1, int(data.target_length.mean()) + 1
        macs = statistics.mean(
            cost(family, family.space.sample(rng), source_len=s, target_len=t).macs for _ in range(64)
        )
        line = {
            "what": "supernet training, single path",
            "space": space,
            "precision": precision,
            "batch_tokens": tokens,
            "tokens_per_s": speed,
            "tokens_per_s_at_first": cold,
            "predicted_ms": predicted * 1e3,
            "binds": binds,
            "ms": each * 1e3,
            "matrix_rate_tflops": rate.matrix / 1e12,
            "share_of_matrix_rate": 6 * macs * speed / t / rate.matrix,
        }
        if (precision, tokens) in HAT_TOKENS and device.type == "cuda":
            line["public_hat_tokens_per_s"] = HAT_TOKENS[precision, tokens]
            line["times_public_hat"] = speed / HAT_TOKENS[precision, tokens]
        note(**line)
        del steps
    for precision, tokens in mixes:
        arms: dict[str, Any] = {
            "plain": SharedSlices,
            "mos-neuron": partial(Mixture, neuron_wise=True),
            "mos-layer": partial(Mixture, neuron_wise=False),
        }
        made = {name: trainer(family, source, Sandwich(), precision, device) for name, source in arms.items()}
        streams = {
            name: iter(TokenBatches(data, tokens, 0, device=device, multiple=multiple)) for name in arms
        }
        times: dict[str, list[float]] = {name: [] for name in arms}
        for name in arms:
            throughput(made[name], streams[name], device, WARM_UP[device.type])
        for _ in range(ROUNDS):
            # Interleaved rounds: a machine that drifts moves all arms alike.
            for name in arms:
                times[name].append(throughput(made[name], streams[name], device, args.seconds)[1])
        plain = statistics.median(times["plain"])
        for name in ("mos-neuron", "mos-layer"):
            ratios = sorted(a / b for a, b in zip(times[name], times["plain"], strict=True))
            note(
                what=f"{name} over plain sandwich step",
                space=space,
                precision=precision,
                batch_tokens=tokens,
                plain_ms=plain * 1e3,
                ms=statistics.median(times[name]) * 1e3,
                ratio=statistics.median(ratios),
                ratio_low=ratios[0],
                ratio_high=ratios[-1],
                allowed=1.25,
            )
        del made
    if args.out:
        args.out.mkdir(parents=True, exist_ok=True)
        about = {
            "device": torch.cuda.get_device_name() if device.type == "cuda" else "cpu",
            "torch": torch.__version__,
            "threads": torch.get_num_threads(),
            "lines": lines,
        }
        (args.out / "speed.json").write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
