"""Metrics, test item and loss unit of a task: declared by the task, stored with its records.

Tables take every name, unit and range from here; none is derived from the name of a task. No torch.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TypedDict

from benchmarks.stats.quantities import METRICS, Quantity, of_metric

ITEM, LOSS_UNIT = "sentence", "nats/token"
"""Item and loss unit of a task that declares none."""


class StoredQuantity(TypedDict, total=False):
    """JSON form of a metric's quantity; an end of the range is absent if it is infinite."""

    name: str
    unit: str
    low: float
    high: float
    higher_is_better: bool


class StoredUnits(TypedDict):
    """JSON form of ``TaskUnits``; ``metric`` decides."""

    metric: str
    metrics: dict[str, StoredQuantity]
    item: str
    loss_unit: str


@dataclass(frozen=True)
class TaskUnits:
    """Metrics of a task with their ranges, the noun for one test item, and the unit of the loss.

    Raises:
        ValueError: no metric, or less of the deciding metric is better.
    """

    metrics: Mapping[str, Quantity]
    """Name of each metric in a record -> its quantity; the first metric decides."""
    item: str = ITEM
    """Noun for one test item, such as ``image``; a latency is measured for one of them."""
    loss_unit: str = LOSS_UNIT
    """Unit of the validation loss."""

    def __post_init__(self) -> None:
        """Refuse units that no comparison could use."""
        if not self.metrics:
            raise ValueError("units need at least one metric")
        if not self.metrics[self.metric].higher_is_better:
            raise ValueError(
                f"metric {self.metric}: comparisons take more as better; score the complement of an error"
                " rate and declare higher_is_better=True"
            )

    @classmethod
    def default(cls, metric: str) -> TaskUnits:
        """Return the units of a task that declares its deciding metric only."""
        return cls({metric: of_metric(metric)})

    @property
    def metric(self) -> str:
        """Name of the deciding metric in a record."""
        return next(iter(self.metrics))

    @cached_property
    def kept(self) -> StoredUnits | None:
        """JSON form, not to be changed; None if ``from_dict`` makes other units of it."""
        stored = self.to_dict()
        return stored if TaskUnits.from_dict(stored) == self else None

    def to_dict(self) -> StoredUnits:
        """Return the JSON form."""
        return {
            "metric": self.metric,
            "metrics": {name: _stored(quantity) for name, quantity in self.metrics.items()},
            "item": self.item,
            "loss_unit": self.loss_unit,
        }

    @classmethod
    def from_dict(cls, stored: StoredUnits) -> TaskUnits:
        """Return the units that ``to_dict`` stored.

        Raises:
            ValueError: see ``TaskUnits``.
        """
        deciding = stored["metric"]
        names = [deciding, *(name for name in stored["metrics"] if name != deciding)]
        metrics = {name: Quantity(**stored["metrics"][name]) for name in names}
        return cls(metrics, stored["item"], stored["loss_unit"])


def _stored(quantity: Quantity) -> StoredQuantity:
    stored = StoredQuantity(
        name=quantity.name, unit=quantity.unit, higher_is_better=quantity.higher_is_better
    )
    if math.isfinite(quantity.low):
        stored["low"] = quantity.low
    if math.isfinite(quantity.high):
        stored["high"] = quantity.high
    return stored


def _of(*metrics: str) -> dict[str, Quantity]:
    return {metric: METRICS[metric] for metric in metrics}


TRANSLATION = TaskUnits(_of("bleu", "chrf", "bleu_tok_lc"))
"""Units of the translation tasks: corpus BLEU decides."""
MASKED_WORDS = TaskUnits(_of("mlm_accuracy"))
"""Units of masked language modelling: the percentage of masked tokens predicted right decides."""
IMAGES = TaskUnits(_of("accuracy"), "image", "nats/image")
"""Units of image classification and of visual question answering."""

BEFORE: Mapping[str, TaskUnits] = {
    "mt-synthetic-en-de": TRANSLATION,
    "mt-multi30k-en-de": TRANSLATION,
    "mt-tatoeba-en-de": TRANSLATION,
    "bert-synthetic-en": MASKED_WORDS,
    "bert-enwiki": MASKED_WORDS,
    "vision-digits": IMAGES,
    "vision-digits-resnet": IMAGES,
    "vision-cifar10": IMAGES,
    "vision-cifar10-resnet": IMAGES,
    "vl-easy-vqa": IMAGES,
    "vl-fashion-mosaics": IMAGES,
}
"""Units of the tasks that existed before records stated units, for those records."""


def of_record(stated: StoredUnits | None, task: str, metric: str | None) -> TaskUnits:
    """Return the units of a record's task.

    Args:
        stated: what the record states of its task's units; None in older records.
        task: the record's ``spec.task``.
        metric: the deciding metric among the record's scores; None if nothing was scored.
    """
    if stated is not None:
        return TaskUnits.from_dict(stated)
    return BEFORE.get(task) or TaskUnits.default(metric or "accuracy")
