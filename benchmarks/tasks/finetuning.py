"""Fine-tuning as a measurement: one grid and one recipe for the networks of all methods.

The learning rate is chosen on a held-out part of *train* with one fixed seed. One copy for each seed is then
trained on all of train and evaluated once on dev. No method is charged for it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NotRequired, TypedDict

import numpy as np
from numpy.typing import NDArray

from benchmarks.stats import intervals
from benchmarks.stats.bleu import DIGITS
from benchmarks.tasks.glue import MOST_SIMILAR, GlueTask, Row, Splits

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from torch import Tensor

    from supernet.bert import Bert
    from supernet.train.finetune import Examples, Pause

VERSION = 1
"""Version of the measurement; raised whenever equal settings would give other scores."""
DRAW_SEED, GRID_SEED = 0, 0
"""Seed that draws and holds out rows of train; seed of the copies that try the grid."""


@dataclass(frozen=True)
class Settings:
    """Settings of fine-tuning: the table ``finetune`` of a tier."""

    tasks: Sequence[str]
    learning_rates: Sequence[float]
    """Grid of learning rates, the same for every method."""
    epochs: int | Mapping[str, int]
    """Epochs, of all tasks or of each by name."""
    batch: int
    seeds: int
    """Number of copies trained at the chosen learning rate, with seeds from 1 on."""
    train_most: int
    """Most rows of train, drawn by a fixed seed."""
    held_out: float
    """Share of these rows on which the grid is judged."""
    warmup: float
    precision: str = "fp32"
    lengths: Sequence[int] = ()
    """Tokens at which rows are divided into classes; a batch is of one class and as long as that."""

    def epochs_of(self, task: str) -> int:
        """Return the epochs of a task."""
        return self.epochs if isinstance(self.epochs, int) else self.epochs[task]


class FinetunedScore(TypedDict):
    """One metric over the fine-tuning seeds, as a record keeps it."""

    value: float | None
    """Mean over seeds."""
    low: float | None
    """95 % t-interval of the mean."""
    high: float | None
    deviation: float | None
    """Standard deviation of one seed; None for a single seed."""
    values: list[float]
    """Score of each seed, in order."""
    signature: str
    unfit: NotRequired[str]
    """Reason why the task cannot rank networks of this size."""


def measure(
    module: Bert,
    task: GlueTask,
    rows: Splits,
    pieces: Tokenizer,
    settings: Settings,
    device: str,
    pause: Pause | None = None,
) -> dict[str, FinetunedScore]:
    """Fine-tune an exported encoder on one task.

    Args:
        module: the encoder; it is not changed.
        task: the task that ``rows`` belong to.
        rows: rows of train and dev.
        pieces: the encoder's vocabulary.
        settings: the recipe.
        device: ``cpu`` or ``cuda``.
        pause: called between two steps.

    Returns:
        Metric -> its score over the fine-tuning seeds.
    """
    from supernet.train.finetune import Copy, FineTuneRecipe, Stack, mean_loss

    epochs = settings.epochs_of(task.name)
    recipe = FineTuneRecipe(
        epochs, settings.batch, settings.warmup, precision=settings.precision, lengths=tuple(settings.lengths)
    )
    outputs = len(task.labels) or 1
    task = replace(task, length=min(task.length, module.config.max_positions))
    drawn = np.random.default_rng(DRAW_SEED).permutation(len(rows["train"]))[: settings.train_most]
    train = examples(task, [rows["train"][i] for i in drawn], pieces)
    dev = examples(task, rows["dev"], pieces)

    def predict(copies: Sequence[Copy], fitted_on: Examples, evaluated_on: Examples) -> Tensor:
        stack = Stack(module, outputs, copies, device).fit(fitted_on, recipe, pause)
        return stack.predict(evaluated_on, lengths=recipe.lengths)

    held = max(1, round(settings.held_out * len(train)))
    tried = predict(
        [Copy(rate, GRID_SEED) for rate in settings.learning_rates],
        train.at(slice(held, None)),
        train.at(slice(held)),
    )
    truth = train.labels[:held]
    # Held-out parts are small, so that scores tie: the lower loss then decides.
    losses = np.nan_to_num(mean_loss(tried, truth.expand(len(tried), -1)).numpy(), nan=np.inf)
    scores = [compute_metric(task.metrics[0], logits, truth.numpy()) for logits in tried.double().numpy()]
    best = max(range(len(tried)), key=lambda i: (scores[i], -losses[i]))
    rate = settings.learning_rates[best]
    predicted = predict([Copy(rate, seed) for seed in range(1, settings.seeds + 1)], train, dev)
    grid = ",".join(f"{rate:g}" for rate in settings.learning_rates)
    classes = "".join(f",{tokens}" for tokens in recipe.lengths)
    recipe_text = (
        f"glue:{task.name}|split:dev|n:{len(dev)}|train:{len(train)}|lr:{rate:g}|grid:{grid}|held-out:{held}"
        f"|ep:{epochs}|bs:{settings.batch}|warmup:{settings.warmup:g}|wd:{recipe.weight_decay:g}"
        f"|len:{task.length}{classes}|precision:{settings.precision}|seeds:{settings.seeds}"
        f"|ci:t95-over-fine-tuning-seeds|version:{VERSION}"
    )
    unfit = task.unfit(max([module.plan.out, *(op.width for op in module.plan.ops)]))
    labels = dev.labels.numpy()
    scores_by_metric: dict[str, FinetunedScore] = {}
    for metric in task.metrics:
        values = [compute_metric(metric, logits, labels) for logits in predicted.double().numpy()]
        score = summarize_seeds(values, f"metric:{metric}|{recipe_text}")
        if unfit:
            score["unfit"] = unfit
        scores_by_metric[metric] = score
    return scores_by_metric


def summarize_seeds(values: Sequence[float], signature: str) -> FinetunedScore:
    """Return the score of one metric over seeds, rounded to ``DIGITS`` decimals."""
    kept = [round(value, DIGITS) for value in values]
    interval = intervals.t_interval(kept)
    deviation = float(np.std(kept, ddof=1)) if len(kept) > 1 else None
    value, low, high, deviation = (
        None if x is None else round(x, DIGITS)
        for x in (interval.mean, interval.low, interval.high, deviation)
    )
    return {
        "value": value, "low": low, "high": high, "deviation": deviation, "values": kept,
        "signature": signature,
    }  # fmt: skip


def compute_metric(metric: str, logits: NDArray[np.float64], labels: NDArray[np.generic]) -> float:
    """Return one metric, times 100.

    Args:
        metric: ``accuracy``, ``f1`` (of class 1), ``mcc``, ``spearman`` or ``pearson``.
        logits: ``[N, outputs]``, one output for each class or the predicted number. Outputs of a diverged
            copy, which are not finite, count as 0.
        labels: ``[N]``.
    """
    finite = np.nan_to_num(logits, nan=0.0, posinf=0.0, neginf=0.0)
    if metric in ("spearman", "pearson"):
        from scipy import stats as tests

        numbers = finite[:, 0]
        if np.ptp(numbers) == 0 or np.ptp(labels) == 0:
            return 0.0  # a constant has no rank correlation
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
    """Encode rows as token ids ``[CLS] a [SEP]`` or ``[CLS] a [SEP] b [SEP]``, padded to the task's length.

    Sentences that do not fit are cut at their end; of a pair, the longer one first.
    """
    import torch

    from supernet.bert import CLS, PAD, SEP
    from supernet.train.finetune import Examples

    parts = [
        [encoding.ids for encoding in pieces.encode_batch([texts[i] for texts, _ in rows])]
        for i in range(len(task.columns))
    ]
    tokens = np.full((len(rows), task.length), PAD, dtype=np.int64)
    segments = np.zeros_like(tokens)
    for row, ids in enumerate(zip(*parts, strict=True)):
        at = 1
        tokens[row, 0] = CLS
        for segment, kept in enumerate(truncate(ids, task.length - 1 - len(ids))):
            end = at + len(kept) + 1
            tokens[row, at:end] = [*kept, SEP]
            segments[row, at:end] = segment
            at = end
    if task.labels:
        numbers = torch.tensor([task.labels.index(label) for _, label in rows])
    else:
        numbers = torch.tensor([float(label) / MOST_SIMILAR for _, label in rows])
    return Examples(torch.from_numpy(tokens), torch.from_numpy(segments), numbers)


def truncate(ids: Sequence[Sequence[int]], room: int) -> list[Sequence[int]]:
    """Cut one sentence or two to at most ``room`` tokens in all, the longer one first."""
    if len(ids) == 1:
        return [ids[0][:room]]
    first, second = ids
    end = min(len(second), max(room - len(first), room // 2))
    return [first[: room - end], second[:end]]
