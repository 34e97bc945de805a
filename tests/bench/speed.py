"""Speed of the substrate, each figure a ratio inside one run: ``nox -s bench``.

Every line is first predicted from what the step must do (operations over the matrix rate and bytes
over the copy rate measured in this run, launches over the launch rate), then measured.
"""

from __future__ import annotations

import math
import statistics
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from benchmarks.tasks.mt import EVALUATION_TOKENS
from mos.mixture import Mixture
from supernet.cost import cost
from supernet.data.sentence_pairs import PairData, TokenBatches, packed_batches
from supernet.elastic import SuperNet
from supernet.seq2seq import Seq2SeqConfig, Seq2SeqFamily
from supernet.space import get_space
from supernet.train import Recipe, Sandwich, SinglePath
from supernet.weights import SharedSlices
from tests.bench.timing import Notes, Rates, clock, interleaved, options, over, rates, throughput, trainer

HAT_TOKENS = {("bf16", 4000): 111e3, ("bf16", 32000): 623e3}
"""Target tokens a second of the public HAT code on one H200, space1, as the issue states them."""

KERNELS = {"encoder": 75, "decoder": 125, "rest": 60}
"""Kernels of one forward-backward pass, counted once with the profiler: per layer, and besides."""

WARM_UP = {"cuda": 10.0, "cpu": 4.0}
"""Seconds before each measurement. In the first ones, a GPU captures the sub-layers of architectures."""
EVALUATED = 125
"""Architectures of one generation of HAT's search, evaluated one after the other."""


def pairs(count: int, mean: float, spread: float, vocab: int) -> PairData:
    """Sentences with log-normal lengths like those of the task."""
    rng = np.random.default_rng(0)
    lengths = rng.lognormal(math.log(mean), spread, count)
    # The two sides of a pair differ in length by about a fifth.
    sides = [np.clip(lengths * rng.lognormal(0, 0.15, count), 3, 175).astype(int) for _ in range(2)]
    return PairData(*([rng.integers(4, vocab, n) for n in side] for side in sides))


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


def other_training(notes: Notes, family: Seq2SeqFamily, data: PairData, seconds: float) -> None:
    """Speed of training that is not single-path: sandwich, in-place distillation, one architecture alone."""
    alone = family.restrict_to(family.space.largest())
    for what, of, sampling in (
        ("sandwich", family, Sandwich()),
        ("sandwich with distillation", family, Sandwich(distill=True)),
        ("largest network alone", alone, SinglePath()),
    ):
        for tokens in (4000, 32000):
            stream = iter(TokenBatches(data, tokens, 0, device=notes.device, packed=True))
            steps = trainer(of, SharedSlices, sampling, Recipe(precision="bf16"), notes.device)
            throughput(steps, stream, notes.device, 5.0)
            speed, each = throughput(steps, stream, notes.device, seconds)
            passes = sampling.passes
            notes.add(what=what, batch_tokens=tokens, passes=passes, tokens_per_s=speed, ms=each * 1e3)
            del steps


def evaluation(notes: Notes, family: Seq2SeqFamily) -> None:
    """Seconds of the validation losses of HAT's 30 generations of 125, on as many sentences as Multi30k's."""
    net = SuperNet(family, SharedSlices(family, torch.Generator().manual_seed(0), str(notes.device)))
    net.model.eval()
    data, rng = pairs(1014, 14, 0.35, 6632), np.random.default_rng(3)
    batches = packed_batches(data, EVALUATION_TOKENS["cuda"], device=notes.device)

    def losses() -> None:
        with torch.inference_mode():
            for _ in range(EVALUATED):
                model = net.activate(family.space.sample(rng))
                sum(F.cross_entropy(model(*b.inputs).float(), b.labels) for b in batches).item()  # type: ignore[union-attr]

    seconds = clock(notes.device, losses, 3)
    notes.add(what="evaluation of 3,750 candidates", precision="fp32", seconds=30 * seconds, allowed=180.0)


def main() -> None:
    args = options(__doc__)
    device = args.device
    cases: list[tuple[str, str, int]]
    if device.type == "cuda":
        space, config, data = "hat-space1", Seq2SeqConfig(8848, 6632, "none"), pairs(160_000, 20, 0.6, 6632)
        cases = [("bf16", "", 4000), ("bf16", "", 32000), ("fp32", "", 32000)]
        packed, mixes = True, [("bf16", 4000), ("bf16", 32000)]
    else:
        space, config, data = "multi30k-xs", Seq2SeqConfig(8000, 8000, "all"), pairs(4000, 14, 0.35, 8000)
        cases = [("fp32", "", 4096), ("bf16", "", 4096)]
        packed, mixes = False, [("fp32", 4096)]
    family = Seq2SeqFamily(get_space(space), config)
    notes = Notes(device, args.out and args.out / "speed.json")

    for precision, tokens in mixes:
        sources: dict[str, Any] = {
            "plain": SharedSlices,
            "mos-neuron": partial(Mixture, neuron_wise=True),
            "mos-layer": partial(Mixture, neuron_wise=False),
        }
        arms = {
            name: (
                trainer(family, source, Sandwich(), Recipe(precision=precision), device),
                iter(TokenBatches(data, tokens, 0, device=device, packed=packed)),
            )
            for name, source in sources.items()
        }
        times = interleaved(arms, device, args.seconds, WARM_UP[device.type] / 2)
        for name in ("mos-neuron", "mos-layer"):
            notes.add(
                what=f"{name} over plain sandwich step",
                space=space,
                precision=precision,
                batch_tokens=tokens,
                **over(times, name, "plain"),
                allowed=1.10,
            )
        del arms
    for precision, _, tokens in cases:
        rate = rates(device, precision)
        predicted, binds = predicted_seconds(family, data, tokens, rate, 2 if precision != "fp32" else 4)
        stream = iter(TokenBatches(data, tokens, 0, device=device, packed=packed))
        if device.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
        steps = trainer(family, SharedSlices, SinglePath(), Recipe(precision=precision), device)
        cold, _ = throughput(steps, stream, device, args.seconds)
        throughput(steps, stream, device, WARM_UP[device.type] - args.seconds)
        speed, each = throughput(steps, stream, device, args.seconds)
        throughput(steps, stream, device, WARM_UP[device.type])
        late, _ = throughput(steps, stream, device, args.seconds)
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
            "tokens_per_s_later": late,
            "predicted_ms": predicted * 1e3,
            "binds": binds,
            "ms": each * 1e3,
            "matrix_rate_tflops": rate.matrix / 1e12,
            "share_of_matrix_rate": 6 * macs * speed / t / rate.matrix,
        }
        if (precision, tokens) in HAT_TOKENS and device.type == "cuda":
            line["public_hat_tokens_per_s"] = HAT_TOKENS[precision, tokens]
            line["times_public_hat"] = speed / HAT_TOKENS[precision, tokens]
        if device.type == "cuda":
            line["reserved_gb"] = torch.cuda.max_memory_reserved() / 1e9
        notes.add(**line)
        del steps
    if device.type == "cuda":
        other_training(notes, family, data, args.seconds)
        evaluation(notes, family)


if __name__ == "__main__":
    main()
