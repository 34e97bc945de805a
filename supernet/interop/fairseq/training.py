"""One pass of ``fairseq-train`` over given sentence pairs, under one of our recipes."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from supernet.data.sentence_pairs import AnyPairs
from supernet.interop.fairseq import checkpoint, command
from supernet.interop.fairseq.databin import SPECIAL, write_dictionary, write_sentences
from supernet.seq2seq import Seq2SeqFamily
from supernet.train import Recipe

LANGUAGES = ("s", "t")
UPDATES = re.compile(r"num_updates\D+(\d+)")
EVERY = 0.5
"""Seconds between two updates of the progress."""


def pairs_of(batches: Iterable[AnyPairs]) -> tuple[list[list[int]], list[list[int]]]:
    """Return sources and targets of batches of ``supernet.data.sentence_pairs``, without special tokens."""
    sides: tuple[list[list[int]], list[list[int]]] = ([], [])
    for batch in batches:
        for side, sentences in zip(sides, batch.sentences(), strict=True):
            side += sentences
    return sides


def count_batches(lengths: Sequence[Sequence[int]], max_tokens: int) -> int:
    """Return the number of fairseq's batches of pairs of these lengths (end tokens counted).

    fairseq sorts by source, then target length, and fills each batch, padded to the longest pair.
    """
    source, target = (np.asarray(side) for side in lengths)
    sizes = np.maximum(source, target)[np.lexsort((target, source))]
    batches = longest = inside = 0
    for size in sizes[sizes <= max_tokens].tolist():
        longest, inside = max(longest, size), inside + 1
        if inside == 1 or longest * inside > max_tokens:
            batches, longest, inside = batches + 1, size, 1
    return batches


def train(
    folder: Path,
    family: Seq2SeqFamily,
    pairs: tuple[list[list[int]], list[list[int]]],
    recipe: Recipe,
    seed: int,
    device: str,
    progress: Callable[[float, float, str], None],
) -> dict[str, Tensor]:
    """Train the one architecture of ``family`` (``fairseq.standard_space``) on every pair once.

    Args:
        folder: for data, checkpoints and the log; made.

    Returns:
        its weights, averaged over the last checkpoints where the recipe asks for it.

    Raises:
        LookupError: fairseq is not installed.
        command.Failed: it ended with an error.
    """
    data, saved = folder / "data-bin", folder / "checkpoints"
    for subfolder in (data, saved):
        subfolder.mkdir(parents=True, exist_ok=True)
        for file in subfolder.iterdir():  # of an attempt that was broken off
            file.unlink()
    config = family.config
    for language, side, vocab in zip(
        LANGUAGES, pairs, (config.source_vocab, config.target_vocab), strict=True
    ):
        write_sentences(data / f"train.{'-'.join(LANGUAGES)}.{language}", side, vocab)
        symbols = [*SPECIAL, *map(str, range(len(SPECIAL), vocab))]
        write_dictionary(data / f"dict.{language}.txt", symbols, [1] * vocab)
    lengths = [[len(sentence) + 1 for sentence in side] for side in pairs]
    updates = -(-count_batches(lengths, recipe.batch_tokens) // recipe.accumulate)
    given = [str(data), "--save-dir", str(saved), "--seed", str(seed % 2**31)]
    given += options(family, recipe, updates, device)
    log = folder / "log.txt"
    with command.running("fairseq-train", given, log) as process:
        while process.poll() is None:
            progress(at(log), updates, "fairseq-train")
            try:
                process.wait(EVERY)
            except subprocess.TimeoutExpired:
                continue
    return averaged(saved, recipe.average_checkpoints)


def at(log: Path) -> int:
    """Return the number of updates, from the end of the log."""
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - 4096))
        counts = UPDATES.findall(file.read().decode(errors="replace"))
    return int(counts[-1]) if counts else 0


def options(family: Seq2SeqFamily, recipe: Recipe, updates: int, device: str) -> list[str]:
    """Return the command line of ``fairseq-train`` for a family of one architecture and a recipe."""
    sides = checkpoint.uniform(family.largest, family.qkv_dim)
    spec = family.spec()
    words: list[str] = ["--source-lang", LANGUAGES[0], "--target-lang", LANGUAGES[1]]
    for name, value in checkpoint.arguments(spec, sides).items():
        if name == "criterion" or value is False:
            continue
        words += [f"--{name.replace('_', '-')}", *([] if value is True else [str(value)])]
    warmup = max(1, round(recipe.warmup * updates))
    schedule = ["--lr-scheduler", recipe.schedule.replace("-", "_"), "--warmup-updates", str(warmup)]
    if recipe.schedule == "cosine":
        schedule += ["--lr-period-updates", str(max(1, updates - warmup))]
    words += [*schedule, "--lr", repr(recipe.learning_rate), "--optimizer", "adam"]
    words += ["--adam-betas", f"({recipe.betas[0]}, {recipe.betas[1]})", "--clip-norm", str(recipe.clip_norm)]
    words += ["--weight-decay", str(recipe.weight_decay), "--criterion", "label_smoothed_cross_entropy"]
    words += ["--label-smoothing", str(recipe.label_smoothing), "--max-tokens", str(recipe.batch_tokens)]
    words += ["--update-freq", str(recipe.accumulate), "--required-batch-size-multiple", "1"]
    words += ["--max-epoch", "1", "--disable-validation", "--valid-subset", "train", "--num-workers", "0"]
    words += ["--no-epoch-checkpoints", "--no-save-optimizer-state", "--no-progress-bar"]
    words += ["--log-format", "json", "--log-interval", str(max(1, min(100, updates // 20)))]
    if recipe.average_checkpoints:
        step = max(1, int(updates * recipe.average_span / recipe.average_checkpoints))
        words += ["--save-interval-updates", str(step), "--keep-interval-updates"]
        words += [str(recipe.average_checkpoints)]
    precision = {"fp32": [], "bf16": ["--bf16"], "fp16": ["--fp16"]}[recipe.precision]
    return words + precision + (["--cpu"] if device == "cpu" else [])


def averaged(folder: Path, most: int) -> dict[str, Tensor]:
    """Return the weights of the last checkpoint, or the mean of the last ``most`` intermediate ones."""
    on_the_way = sorted(folder.glob("checkpoint_*_*.pt"), key=lambda path: int(path.stem.rpartition("_")[2]))
    chosen = on_the_way[-most:] if most else []
    checkpoints = [checkpoint.network(path).weights for path in chosen or [folder / "checkpoint_last.pt"]]
    return {name: torch.stack([weights[name] for weights in checkpoints]).mean(0) for name in checkpoints[0]}
