"""Speed of pre-training encoders, and what scoring costs beside it: ``nox -s bench``.

Each update is predicted from the operations that it dispatches (``roofline``), then measured; its
model FLOPs (six a multiply-accumulate of the exported sub-networks) are a share of the matrix rate of
the same run. What it is to reach stands in the lines: ``wanted``, ``allowed``.
"""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

import benchmarks.tasks
from baselines.shrinking import cells_of
from benchmarks.lab.batches import recipe_of
from benchmarks.tasks.tiers import Tier, read_tier
from mos.mixture import Mixture
from supernet import allocator
from supernet.bert import Bert, BertConfig, BertFamily, family_of
from supernet.data.masked_text import SHARE, SPECIAL, MaskedBatches, PackedText
from supernet.elastic import PRECISIONS, SuperNet
from supernet.space import Architecture, SearchSpace, get_space, homogeneous_space
from supernet.train import Sampling, Sandwich, SinglePath, StatelessSampling, Trainer
from supernet.train.distill import (
    BlockDistillation,
    RelationDistillation,
    mean_loss,
    score_block,
    teacher_states,
)
from supernet.weights import SharedSlices
from tests.bench.roofline import Roofline, launch_rate
from tests.bench.timing import (
    Notes,
    Rates,
    interleaved,
    matrix_rate,
    options,
    over,
    rates,
    settle,
    throughput,
    trainer,
)

TABLES = Path(benchmarks.tasks.__file__).with_name("bert.toml")
BATCHES = {"cuda": [8192, 16384, 262144], "cpu": [2048, 8192]}
MIXED = {"cuda": [16384], "cpu": [2048]}
"""Batches at which mixtures are compared."""
HELD_OUT = {"cuda": 16384, "cpu": 512}
"""Tokens on which architectures are scored."""
WARM_UP = 2.0
"""Times as long as what is measured after it."""
MFU = 0.25
"""Wanted of the largest network on an H200 at its best batch."""
MIXTURE = 1.25
"""Allowed of a mixture over plain sharing."""
SCORING = 0.1
"""Allowed of scoring, of the time of training on all of the tier's tokens."""
RELATION_HEADS = 8
"""A number that divides every width of the students and of the teacher: others make products whose
operands a GPU reads element by element."""


@dataclass(frozen=True)
class Largest(StatelessSampling):
    """The largest network alone, update after update."""

    passes: int = 1
    distill: bool = False

    def draw(self, space: SearchSpace, rng: np.random.Generator) -> list[Architecture]:
        return [space.largest()]


SAMPLING: dict[str, Sampling] = {
    "largest network alone": Largest(),
    "supernet, single path": SinglePath(),
    "supernet, sandwich": Sandwich(),
}


class Bench:
    """State shared by all parts: the tier, its family and text, the rates of this machine."""

    def __init__(self, device: torch.device, seconds: float) -> None:
        self.device, self.seconds, self.notes = device, seconds, Notes(device)
        self.tier: Tier = read_tier(TABLES, "bert-enwiki", "small", device.type)
        self.recipe = recipe_of(self.tier.recipe)
        self.length = int(self.tier.data["length"])
        rows = 2 * BATCHES[device.type][-1] // self.length
        rng = np.random.default_rng(0)
        often = 1 / np.arange(SPECIAL, self.tier.vocab)  # words as frequent as Zipf has it
        tokens = rng.choice(np.arange(SPECIAL, self.tier.vocab), rows * self.length, p=often / often.sum())
        self.text = PackedText([tokens], self.length, self.tier.vocab)
        measured = rates(device, self.recipe.precision)
        self.rates = Rates(measured.matrix, measured.copy, launch_rate(device))

    def family(self, space: SearchSpace) -> BertFamily:
        return family_of(space)(space, BertConfig(self.tier.vocab, **self.tier.model))

    def stream(self, tokens: int) -> Any:
        return iter(MaskedBatches(self.text, tokens, 0, device=self.device))

    def trainer(
        self, family: BertFamily, sampling: Sampling, source: Any = SharedSlices, **more: Any
    ) -> Trainer:
        return trainer(family, source, sampling, self.recipe, self.device, **more)

    def speed(self, steps: Trainer, tokens: int) -> tuple[float, float]:
        """``throughput`` once warm: on a GPU the first use of a shape loads kernels."""
        stream = self.stream(tokens)
        if self.device.type == "cuda":
            throughput(steps, stream, self.device, WARM_UP * self.seconds)
        return throughput(steps, stream, self.device, self.seconds)

    def flops(self, family: BertFamily, sampling: Sampling) -> float:
        """Model FLOPs a token of an average update."""
        rng = np.random.default_rng(1)
        predicted = max(1, round(SHARE * self.length))
        macs = [
            sum(sum(family.macs(a, self.length, predicted)) for a in sampling.draw(family.space, rng))
            for _ in range(256)
        ]
        return 6 * statistics.mean(macs) / self.length

    def once(self, work: Callable[[], Any]) -> float:
        """Seconds of the second of two calls."""
        work()
        settle(self.device)
        start = time.perf_counter()
        work()
        settle(self.device)
        return time.perf_counter() - start


def training(bench: Bench) -> None:
    """Tokens a second and model-FLOPs utilisation per batch size."""
    family = bench.family(get_space(bench.tier.space))
    shares: dict[int, float] = {}
    for tokens, (name, sampling) in itertools.product(BATCHES[bench.device.type], SAMPLING.items()):
        steps = bench.trainer(family, sampling)
        stream = bench.stream(tokens)
        # Beside each case: clocks move with the load.
        matrix = matrix_rate(bench.device, bench.recipe.precision)
        repeat = 1 if sampling.passes > 1 or isinstance(sampling, Largest) else 4
        rng = np.random.default_rng(2)
        counted = Roofline(replace(bench.rates, matrix=matrix))
        # Operations of recordings are seen where nothing is recorded yet, launches where all is.
        for trial in (nullcontext(), counted):
            with trial:
                for _ in range(repeat):
                    steps.step(sampling.draw(family.space, rng), [next(stream)])
        steps.update([next(stream)], 0.5)
        launched = Roofline(counted.rates)
        with launched:
            for _ in range(repeat):
                steps.update([next(stream)], 0.5)
        predicted = max(counted.seconds, launched.host) / repeat
        speed, each = bench.speed(steps, tokens)
        share = bench.flops(family, sampling) * speed / matrix
        if isinstance(sampling, Largest):
            shares[tokens] = share
        bench.notes.add(
            what=f"pre-training, {name}",
            space=family.space.name,
            precision=bench.recipe.precision,
            batch_tokens=tokens,
            tokens_per_s=speed,
            ms=each * 1e3,
            predicted_ms=predicted * 1e3,
            binds="launches" if launched.host > counted.seconds else counted.larger,
            arithmetic_ms=counted.flops / matrix / repeat * 1e3,
            bytes_ms=counted.bytes / bench.rates.copy / repeat * 1e3,
            roofline_ms=counted.seconds / repeat * 1e3,
            roofline_by_bytes=counted.by_bytes / counted.seconds,
            operations=counted.launches // repeat,
            launches=launched.launches // repeat,
            launches_ms=launched.host / repeat * 1e3,
            matrix_rate_tflops=matrix / 1e12,
            copy_rate_tb_per_s=bench.rates.copy / 1e12,
            share_of_matrix_rate=share,
            share_if_as_predicted=share * each / predicted,
        )
    best = max(shares, key=lambda tokens: shares[tokens])
    bench.notes.add(
        what="pre-training, largest network at its best batch",
        space=family.space.name,
        precision=bench.recipe.precision,
        batch_tokens=best,
        share_of_matrix_rate=shares[best],
        wanted=MFU if bench.device.type == "cuda" else None,
    )


def mixtures(bench: Bench) -> None:
    """Mixtures over plain sharing under the same sampling rule, in turns."""
    family = bench.family(get_space(bench.tier.space))
    sources = {
        "plain": SharedSlices,
        "mos-neuron": partial(Mixture, neuron_wise=True),
        "mos-layer": partial(Mixture, neuron_wise=False),
    }
    for tokens in MIXED[bench.device.type]:
        arms = {
            name: (bench.trainer(family, Sandwich(), source), bench.stream(tokens))
            for name, source in sources.items()
        }
        times = interleaved(arms, bench.device, bench.seconds, WARM_UP * bench.seconds)
        for name in ("mos-neuron", "mos-layer"):
            bench.notes.add(
                what=f"{name} over plain sandwich step",
                space=family.space.name,
                precision=bench.recipe.precision,
                batch_tokens=tokens,
                **over(times, name, "plain"),
                allowed=MIXTURE,
            )


def teacher(bench: Bench, precision: str) -> Bert:
    """Build a teacher of random weights: six layers as wide as NAS-BERT's hub."""
    space = homogeneous_space("teacher", width=(256,), heads=(4,), ffn_tenths=(40,), layers=(6,), head_dim=64)
    family = bench.family(space)
    net = SuperNet(family, SharedSlices(family, torch.Generator().manual_seed(0), str(bench.device)))
    made = net.export(space.largest()).to(PRECISIONS[precision])
    assert isinstance(made, Bert)
    return made


def scoring(bench: Bench) -> None:
    """NAS-BERT's and AutoDistil's rankings beside the training that comes before them."""
    device, precision = bench.device, bench.recipe.precision
    held_out = next(bench.stream(HELD_OUT[device.type]))
    exact = teacher(bench, "fp32")

    def note(what: str, steps: Trainer, count: int, spent: float, times: int) -> None:
        """``spent`` seconds for ``count`` architectures, ``times`` of that in a search."""
        steps.net.precision(precision)
        steps.net.model.train()
        speed, _ = bench.speed(steps, bench.recipe.batch_tokens)
        whole = bench.tier.budget["tokens"] / (speed * steps.sampling.passes)
        bench.notes.add(
            what=what,
            space=steps.net.space.name,
            precision="fp32",
            held_out_tokens=held_out.tokens,
            architectures=count,
            s_per_1000=spent / count * 1e3,
            s_in_a_search=spent * times,
            training_precision=precision,
            training_tokens_per_s=speed * steps.sampling.passes,
            training_s=whole,
            share_of_training=spent * times / whole,
            allowed=SCORING,
        )

    family: Any = bench.family(get_space("nas-bert-s"))
    blocks = family.space.constants["blocks"]
    steps = bench.trainer(
        family, SinglePath(), objective=BlockDistillation(teacher(bench, precision), family)
    )
    steps.net.precision("fp32")
    states = teacher_states(exact, held_out.original, blocks)
    cells = list(cells_of(family.space, 0))
    found = score_block(steps.net, 0, [(states[0], states[1])], cells)
    spent = bench.once(lambda: score_block(steps.net, 0, [(states[0], states[1])], cells))
    note("all architectures of a block scored, of every block", steps, len(found), spent, blocks)

    family = bench.family(get_space("autodistil-s-base"))
    every = list(family.space)
    goal = RelationDistillation(exact, RELATION_HEADS)
    steps = bench.trainer(family, Sandwich(), objective=replace(goal, teacher=teacher(bench, precision)))
    steps.net.precision("fp32")

    def ranking() -> None:
        teacher_outputs = [None]
        for a in every:
            mean_loss(steps.net.activate(a).eval(), goal, [held_out], teacher_outputs)

    spent = bench.once(ranking)
    note("all students ranked by their relations", steps, len(every), spent, 1)


def main() -> None:
    args = options(__doc__)
    allocator.keep_freed()
    bench = Bench(args.device, args.seconds)
    for part in (training, mixtures, scoring):
        part(bench)
        if args.out:
            bench.notes.write(args.out / "pretraining.json")


if __name__ == "__main__":
    main()
