"""Tasks whose numbers stand in a TOML file, one table a tier: the class that all of ours derive from."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Protocol, TypeVar
from weakref import WeakKeyDictionary

from benchmarks.api import Measurement
from benchmarks.stats.task_units import TaskUnits
from benchmarks.tasks import Family, Prepared, Split, is_ours
from benchmarks.tasks.datasets import Say, datasets
from benchmarks.tasks.prepared_data import RawData
from benchmarks.tasks.tiers import Table, Tier, read_tier, tier_names

if TYPE_CHECKING:
    import numpy as np
    import torch

    from supernet.space import SearchSpace


class EvaluationBatch(Protocol):
    """One batch of validation or test data."""

    @property
    def inputs(self) -> tuple[Any, ...]:
        """Arguments of the network."""


Raw = TypeVar("Raw")
Data = TypeVar("Data", bound=Split)
Batch = TypeVar("Batch", bound=EvaluationBatch)


class TieredTask(ABC, Generic[Raw, Data, Batch]):
    """A task with tiers read from ``tables``; a subclass adds its data, its networks and its score.

    Args:
        name: name of the task, and of its tables in ``tables``.
        read: returns the raw data for the tier's ``data`` settings and ``--data-dir``.
        dataset: name of the published dataset that it reads; None for generated data.
    """

    suite: ClassVar[str]
    units: ClassVar[TaskUnits]
    tables: ClassVar[Path]

    def __init__(
        self, name: str, read: Callable[[Table, Path | None, Say], Raw], dataset: str | None = None
    ) -> None:
        self.name, self.read, self.dataset = name, read, dataset
        self._batches: WeakKeyDictionary[Data, dict[str, list[Batch]]] = WeakKeyDictionary()

    @property
    def metric(self) -> str:
        """Name of the deciding metric in a record."""
        return self.units.metric

    def tiers(self) -> tuple[str, ...]:
        """Return the names of its tiers, smallest first."""
        return tier_names(self.tables, self.name)

    def tier(self, tier: str, device: str) -> Tier:
        """Return the settings of a tier on a kind of device (``cpu``, ``cuda``).

        Raises:
            UsageError: the task has no such tier.
        """
        return read_tier(self.tables, self.name, tier, device)

    def declared(self, tier: Tier) -> dict[str, str]:
        """Return the checksums that, with code and settings, determine the data of a tier."""
        return self._files()

    def _files(self) -> dict[str, str]:
        return datasets()[self.dataset].digests() if self.dataset else {}

    def prepare(self, tier: Tier, cache: Path, data_dir: Path | None, progress: Say) -> Prepared:
        """Prepare the data of a tier, or find it prepared.

        Raises:
            UsageError: data is missing or differs from its checksum.
        """
        raw = RawData(
            name=f"{self.name}-{tier.name}",
            reader=lambda: self.read(tier.data, data_dir, progress),
            declared=self._files(),
            settings=tier.data,
            reproducible=is_ours(self.read),
            cache=cache,
            say=progress,
        )
        return self.prepare_data(raw, tier)

    @abstractmethod
    def prepare_data(self, raw: RawData[Raw], tier: Tier) -> Prepared:
        """Return the prepared folders of raw data."""

    @abstractmethod
    def family(self, tier: Tier, prepared: Prepared, space: SearchSpace | None = None) -> Family:
        """Return the model family of a space, by default the tier's, over the prepared data."""

    @abstractmethod
    def training(self, prepared: Prepared) -> Data:
        """Return the training split."""

    @abstractmethod
    def validation(self, prepared: Prepared) -> Data:
        """Return the validation split."""

    @abstractmethod
    def evaluation_batches(self, split: Data, share: float, device: str) -> list[Batch]:
        """Return the first ``share`` of a split in batches, the same each time."""

    def validation_batches(self, split: Data, device: str, share: float = 1.0) -> list[Batch]:
        """Return the first ``share`` of a split in batches, at least one; cached with the split."""
        kept = self._batches.setdefault(split, {})
        key = f"{device} {share:g}"
        if key not in kept:
            kept[key] = self.evaluation_batches(split, share, device)
        return kept[key]

    def sealed(self, prepared: Prepared) -> Path:
        """Return the folder of the test split.

        Raises:
            ValueError: this process has no access to it.
        """
        if prepared.sealed is None:
            raise ValueError(f"{self.name}: the test split is sealed off from this process")
        return prepared.sealed


class PredictionTask(TieredTask[Raw, Data, Batch]):
    """A task with one prediction for each item, or several that count as one: classes, masked words."""

    @abstractmethod
    def judge(self, logits: torch.Tensor, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """Return loss and correctness of every item of a batch, both ``[items]``.

        Args:
            logits: float32 output of the network.
            batch: the batch that they belong to.
        """

    def predictions(
        self, module: torch.nn.Module, split: Data, device: str, precision: str
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return loss (float64) and correctness of every item of a split, both ``[items]``."""
        import torch

        losses, hits = [], []
        with evaluating(module, device, precision):
            for batch in self.validation_batches(split, device):
                loss, hit = self.judge(module(*batch.inputs).float(), batch)
                losses.append(loss.cpu())
                hits.append(hit.cpu())
        return torch.cat(losses).numpy(), torch.cat(hits).numpy()

    def evaluate(
        self, module: torch.nn.Module, split: Data, device: str, precision: str = "fp32"
    ) -> Measurement:
        """Return the mean loss of a split and the percentage predicted right.

        The batches are the same on every device and each time; sums are in double precision.
        """
        losses, hits = self.predictions(module, split, device, precision)
        return Measurement(float(losses.mean()), {self.metric: 100 * float(hits.mean())})


@contextmanager
def evaluating(module: torch.nn.Module, device: str, precision: str) -> Iterator[None]:
    """Switch a network to evaluation in ``precision``, without gradients; restore its mode at the end."""
    import torch

    training = module.training
    module.eval()
    try:
        with torch.no_grad(), autocast(device, precision):
            yield
    finally:
        module.train(training)


def autocast(device: str, precision: str) -> torch.autocast:
    """Return a context in which a network computes in ``precision``; ``fp32`` changes nothing."""
    import torch

    types: Mapping[str, torch.dtype] = {"bf16": torch.bfloat16, "fp16": torch.float16}
    if precision not in types:
        return torch.autocast(torch.device(device).type, enabled=False)
    return torch.autocast(torch.device(device).type, dtype=types[precision])
