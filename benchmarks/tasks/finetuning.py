"""Fine-tuning as a measurement: one grid and one recipe for the networks of all methods.

The learning rate is chosen on a part of *train* with one fixed seed; then as many copies as there are
seeds are trained on all of train, and dev is looked at once. Nothing of it is charged to a method.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.stats import intervals
from benchmarks.stats.bleu import DIGITS
from benchmarks.tasks.glue import MOST_SIMILAR, GlueTask, Row, Splits

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from torch import Tensor

    from supernet.bert import Bert
    from supernet.finetune import Examples, Pause

VERSION = 1
"""Raised whenever the same table of settings would give other figures."""
DRAW_SEED, GRID_SEED = 0, 0
"""Of the rows of train that are taken and held out; of the copies that try the grid."""


@dataclass(frozen=True)
class Settings:
    """The table ``finetune`` of a tier."""

    tasks: Sequence[str]
    learning_rates: Sequence[float]
    """The grid, the same for every method."""
    epochs: int
    batch: int
    seeds: int
    """Copies of the chosen setting, with the seeds from 1 on."""
    train_most: int
    """Rows of train at most, drawn by a fixed seed."""
    held_out: float
    """Share of these rows on which the grid is judged."""
    warmup: float
    precision: str = "fp32"


Figure = dict[str, Any]


def measure(
    module: Bert,
    task: GlueTask,
    rows: Splits,
    pieces: Tokenizer,
    settings: Settings,
    device: str,
    pause: Pause | None = None,
) -> dict[str, Figure]:
    """Fine-tune an exported encoder on one task.

    Args:
        module: it is not changed.
        task: what ``rows`` are of.
        rows: of train and dev.
        pieces: the encoder's vocabulary.
        settings: the recipe.
        device: ``cpu`` or ``cuda``.
        pause: called between two steps.

    Returns:
        Metric -> ``value`` (mean over seeds), ``deviation`` of one seed, ``low`` and ``high`` (95 %
        t-interval of the mean over fine-tuning seeds), ``values`` (of each seed, in order),
        ``signature``, and where the task cannot rank networks of this size ``unfit`` (the reason).
    """
    from supernet.finetune import Copy, Recipe, Stack, mean_loss

    recipe = Recipe(settings.epochs, settings.batch, settings.warmup, precision=settings.precision)
    outputs = len(task.labels) or 1
    task = replace(task, length=min(task.length, module.config.max_positions))
    drawn = np.random.default_rng(DRAW_SEED).permutation(len(rows["train"]))[: settings.train_most]
    train = examples(task, [rows["train"][i] for i in drawn], pieces)
    dev = examples(task, rows["dev"], pieces)

    def said(copies: Sequence[Copy], on: Examples, about: Examples) -> Tensor:
        return Stack(module, outputs, copies, device).fit(on, recipe, pause).predict(about)

    held = max(1, round(settings.held_out * len(train)))
    tried = said(
        [Copy(rate, GRID_SEED) for rate in settings.learning_rates],
        train.at(slice(held, None)),
        train.at(slice(held)),
    )
    truth = train.labels[:held]
    # Held-out parts are small: of rates with the same score, the one with the lower loss.
    losses = np.nan_to_num(mean_loss(tried, truth.expand(len(tried), -1)).numpy(), nan=np.inf)
    scores = [figure(task.metrics[0], logits, truth.numpy()) for logits in tried.double().numpy()]
    best = max(range(len(tried)), key=lambda i: (scores[i], -losses[i]))
    rate = settings.learning_rates[best]
    found = said([Copy(rate, seed) for seed in range(1, settings.seeds + 1)], train, dev)
    grid = ",".join(f"{rate:g}" for rate in settings.learning_rates)
    recipe_text = (
        f"glue:{task.name}|split:dev|n:{len(dev)}|train:{len(train)}|lr:{rate:g}|grid:{grid}|held-out:{held}"
        f"|ep:{settings.epochs}|bs:{settings.batch}|warmup:{settings.warmup:g}|wd:{recipe.weight_decay:g}"
        f"|len:{task.length}|precision:{settings.precision}|seeds:{settings.seeds}"
        f"|ci:t95-over-fine-tuning-seeds|version:{VERSION}"
    )
    unfit = task.unfit(max([module.plan.out, *(op.width for op in module.plan.ops)]))
    labels = dev.labels.numpy()
    return {
        metric: over_seeds(
            [figure(metric, logits, labels) for logits in found.double().numpy()],
            f"metric:{metric}|{recipe_text}",
        )
        | ({"unfit": unfit} if unfit else {})
        for metric in task.metrics
    }


def over_seeds(values: Sequence[float], signature: str) -> Figure:
    """One metric's figure from those of each seed."""
    kept = [round(value, DIGITS) for value in values]
    interval = intervals.t_interval(kept)
    found: Figure = {"value": interval.mean, "low": interval.low, "high": interval.high}
    found["deviation"] = float(np.std(kept, ddof=1)) if len(kept) > 1 else None
    rounded = {name: None if x is None else round(x, DIGITS) for name, x in found.items()}
    return rounded | {"values": kept, "signature": signature}


def figure(metric: str, said: NDArray[np.float64], labels: NDArray[Any]) -> float:
    """One metric, times 100.

    Args:
        metric: ``accuracy``, ``f1`` (of class 1), ``mcc``, ``spearman`` or ``pearson``.
        said: ``[N, outputs]``: of every class, or the number itself; what a diverged copy says is none
            and counts as 0.
        labels: ``[N]``.
    """
    finite = np.nan_to_num(said, nan=0.0, posinf=0.0, neginf=0.0)
    if metric in ("spearman", "pearson"):
        from scipy import stats as tests

        numbers = finite[:, 0]
        if np.ptp(numbers) == 0 or np.ptp(labels) == 0:
            return 0.0  # one answer to everything orders nothing
        correlation = tests.spearmanr if metric == "spearman" else tests.pearsonr
        return 100 * float(correlation(numbers, labels).statistic)
    from sklearn import metrics

    choice = finite.argmax(1)
    scorers = {
        "accuracy": metrics.accuracy_score,
        "f1": metrics.f1_score,
        "mcc": metrics.matthews_corrcoef,
    }
    return 100 * float(scorers[metric](labels, choice))


def examples(task: GlueTask, rows: Sequence[Row], pieces: Tokenizer) -> Examples:
    """Rows as token ids ``[CLS] a [SEP]`` or ``[CLS] a [SEP] b [SEP]``, padded to the task's length.

    What does not fit is cut off at the end; of a pair, from whichever is longer.
    """
    import torch

    from supernet.bert import CLS, PAD, SEP
    from supernet.finetune import Examples

    parts = [
        [one.ids for one in pieces.encode_batch([texts[i] for texts, _ in rows])]
        for i in range(len(task.columns))
    ]
    tokens = np.full((len(rows), task.length), PAD, dtype=np.int64)
    segments = np.zeros_like(tokens)
    for row, ids in enumerate(zip(*parts, strict=True)):
        at = 1
        tokens[row, 0] = CLS
        for segment, kept in enumerate(cut(ids, task.length - 1 - len(ids))):
            end = at + len(kept) + 1
            tokens[row, at:end] = [*kept, SEP]
            segments[row, at:end] = segment
            at = end
    if task.labels:
        numbers = torch.tensor([task.labels.index(label) for _, label in rows])
    else:
        numbers = torch.tensor([float(label) / MOST_SIMILAR for _, label in rows])
    return Examples(torch.from_numpy(tokens), torch.from_numpy(segments), numbers)


def cut(ids: Sequence[Sequence[int]], room: int) -> list[Sequence[int]]:
    """One sentence or two with at most ``room`` tokens, taken from the longer one first."""
    if len(ids) == 1:
        return [ids[0][:room]]
    first, second = ids
    end = min(len(second), max(room - len(first), room // 2))
    return [first[: room - end], second[:end]]
