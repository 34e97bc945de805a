"""Shares of a training update by kind of operator, on a processor, and what packing its batches costs there.

``python -m tests.bench.training_profile``. Padded and packed updates are timed in turns, a few each: a packed
one takes seconds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from functools import partial

import torch
from torch.profiler import ProfilerActivity, profile

from supernet.data.sentence_pairs import AnyPairs, TokenBatches
from supernet.seq2seq import Seq2SeqConfig, Seq2SeqFamily
from supernet.space import get_space
from supernet.train import Recipe, SinglePath, Trainer
from supernet.weights import SharedSlices
from tests.bench.speed import pairs
from tests.bench.timing import Notes, clock, options, over, trainer

UPDATES, ROUNDS, TOKENS = 12, 3, 4096
"""Updates in the profile, rounds of turns, and tokens of the longer side a batch."""
KINDS = {
    "matrix products": ("aten::mm", "aten::addmm", "aten::bmm", "aten::baddbmm"),
    "dropout masks": ("aten::bernoulli_",),
    "softmax over the vocabulary and its loss": (
        "aten::_log_softmax", "aten::exp", "aten::sub_", "TokenLoss", "TokenLossBackward",
        "autograd::engine::evaluate_function: TokenLossBackward",
    ),
}  # fmt: skip
"""Kind -> names of its operators in torch's profiler, whose own time counts."""


def _update(steps: Trainer, stream: Iterator[AnyPairs]) -> None:
    steps.update([next(stream)], 0.5)


def main() -> None:
    args = options(__doc__)
    device = torch.device("cpu")
    family = Seq2SeqFamily(get_space("multi30k-xs"), Seq2SeqConfig(8000, 8000, "all"))
    data, notes = pairs(4000, 14, 0.35, 8000), Notes(device, args.out and args.out / "training-profile.json")
    arms = {
        name: (
            trainer(family, SharedSlices, SinglePath(), Recipe(precision="fp32"), device),
            iter(TokenBatches(data, TOKENS, 0, packed=name == "packed")),
        )
        for name in ("padded", "packed")
    }
    times: dict[str, list[float]] = {name: [] for name in arms}
    for _ in range(ROUNDS):
        for name, (steps, stream) in arms.items():
            times[name].append(clock(device, partial(_update, steps, stream), 1))
    notes.add(what="packed over padded update", **over(times, "packed", "padded"))
    steps, stream = arms["padded"]
    some = [next(stream) for _ in range(UPDATES)]
    real = sum(int((side != 1).sum()) for batch in some for side in (batch.source, batch.target_out))
    places = sum(side.numel() for batch in some for side in (batch.source, batch.target_out))
    with profile(activities=[ProfilerActivity.CPU]) as profiled:
        for batch in some:
            steps.update([batch], 0.5)
    own: Counter[str] = Counter()
    for event in profiled.key_averages():
        own[event.key] += event.self_cpu_time_total
    shares = {kind: sum(own[name] for name in names) / own.total() for kind, names in KINDS.items()}
    for kind, share in shares.items():
        notes.add(what=kind, share=share)
    notes.add(what="everything else", share=1 - sum(shares.values()))
    notes.add(what="places that are padding", share=1 - real / places)


if __name__ == "__main__":
    main()
