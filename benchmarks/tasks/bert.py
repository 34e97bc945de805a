"""Masked language modelling with BERT-like encoders: generated English and Wikipedia.

One class for all; what differs is the text and the numbers in ``bert.toml``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from benchmarks.api import Measurement, UsageError
from benchmarks.stats import task_units
from benchmarks.tasks import Prepared, glue, is_ours, lexicon, text
from benchmarks.tasks.datasets import Say, datasets
from benchmarks.tasks.precision import autocast
from benchmarks.tasks.tiers import Tier, read_tier, tier_names

if TYPE_CHECKING:
    import numpy as np
    import torch

    from supernet.bert import Bert, BertFamily
    from supernet.data.masked_text import MaskedBatch, MaskedBatches, PackedText
    from supernet.finetune import Pause
    from supernet.space import SearchSpace

TABLES = Path(__file__).with_name("bert.toml")
EVALUATION_TOKENS = {"cpu": 4096, "cuda": 65536}
"""Tokens of a batch in evaluation."""
VERSION = 1
"""Of the masked-word score; raised whenever equal networks would get another figure."""
EVALUATION_SEED = 1
"""Of the masks of validation and test text: the same for every method, machine and run."""


def _head_channels(task: str, tier: str, device: str) -> int:
    """Of every head of a tier's networks, whatever their space."""
    return int(read_tier(TABLES, task, tier, device).settings["teacher"]["head_dim"])


class BertTask:
    """One task of masked language modelling.

    Args:
        name: of the task, and of its tables in ``bert.toml``.
        read: gives the raw documents for the tier's ``data`` settings.
        dataset: the published dataset that it reads, if any.
    """

    suite = "bert"
    units = task_units.MASKED_WORDS
    metric = units.metric

    def __init__(
        self,
        name: str,
        read: Callable[[Mapping[str, Any], Path | None, Say], text.Texts],
        dataset: str | None = None,
    ) -> None:
        self.name, self.read, self.dataset = name, read, dataset
        self.start: Path | None = None
        self._batches: WeakKeyDictionary[PackedText, dict[str, list[MaskedBatch]]] = WeakKeyDictionary()

    def tiers(self) -> tuple[str, ...]:
        """The tiers it has, smallest first."""
        return tier_names(TABLES, self.name)

    def tier(self, tier: str, device: str) -> Tier:
        """The settings of a tier on a kind of device (``cpu``, ``cuda``).

        Raises:
            UsageError: the task has no such tier, or its networks cannot start from the model.
        """
        found = read_tier(TABLES, self.name, tier, device)
        if self.start is None:
            return found
        from supernet.interop.huggingface.warm_start import digest, head_channels

        theirs = head_channels(self.start)
        heads = {name: _head_channels(self.name, name, device) for name in self.tiers()}
        if theirs != heads[tier]:
            fitting = [name for name, ours in heads.items() if ours == theirs]
            hint = f"take one that fits: --tier {' or '.join(fitting)}" if fitting else "no tier fits"
            raise UsageError(
                f"--start-from {self.start}: its heads have {theirs} channels, those of tier {tier} have"
                f" {heads[tier]}\n{hint}"
            )

        # Runs that start from other weights are other runs, which nothing compares with these.
        sha256 = hashlib.sha256(f"{found.sha256} {digest(self.start)}".encode()).hexdigest()
        return replace(found, sha256=sha256)

    def starting(self, folder: Path) -> BertTask:
        """The same task, where every network starts from a pre-trained model and speaks its vocabulary.

        Raises:
            UsageError: the folder is no such model.
        """
        from supernet.interop.huggingface import warm_start

        try:
            words = warm_start.pieces(folder)
            size = warm_start.configuration(folder).get("vocab_size")
        except ValueError as error:
            raise UsageError(f"--start-from: {error}") from None
        if size != len(words):
            raise UsageError(
                f"--start-from {folder}: the model has {size} word pieces, its vocabulary {len(words)}\n"
                "take the vocabulary that it was trained with"
            )
        try:
            warm_start.check_whole(folder)
        except ValueError as error:
            raise UsageError(f"--start-from: {error}") from None
        task = BertTask(self.name, self.read, self.dataset)
        task.start = folder.absolute()
        return task

    def declared(self, tier: Tier) -> dict[str, str]:
        """Return the checksums that fix the data of a tier, as far as its code and settings do not."""
        return {
            **lexicon(),
            **(datasets()[self.dataset].digests() if self.dataset else {}),
            **(datasets()[glue.DATASET].digests() if tier.finetune.get("tasks") else {}),
        }

    def prepare(self, tier: Tier, cache: Path, data_dir: Path | None, progress: Say) -> Prepared:
        """The text of a tier and what its networks are fine-tuned on, made once and then found.

        Raises:
            UsageError: the data is missing or not what it should be.
        """
        names = tier.finetune.get("tasks", ())
        glue.check(names)
        digests: dict[str, str] = {}
        for name in names:
            digests |= glue.prepare(name, cache / "sealed", data_dir, progress)
        prepared = text.prepare(
            f"{self.name}-{tier.name}",
            lambda: self.read(tier.data, data_dir, progress),
            declared=datasets()[self.dataset].digests() if self.dataset else {},
            settings=tier.data,
            vocab=tier.vocab,
            ours=is_ours(self.read),
            cache=cache,
            say=progress,
            pieces=self._pieces(),
        )
        if self.start is not None:
            from supernet.interop.huggingface.warm_start import digest

            digests["start"] = digest(self.start)
        return replace(prepared, digests={**prepared.digests, **digests}, start=self.start)

    def _pieces(self) -> list[str]:
        """The vocabulary of the model that is started from; none of its own."""
        if self.start is None:
            return []
        from supernet.interop.huggingface.warm_start import pieces

        return pieces(self.start)

    def family(self, tier: Tier, prepared: Prepared, space: SearchSpace | None = None) -> BertFamily:
        """All sub-networks of a space, by default the tier's, over the prepared vocabulary."""
        from supernet.bert import BertConfig, family_of
        from supernet.space import get_space

        space = space or get_space(tier.space)
        return family_of(space)(space, BertConfig(prepared.source_vocab, **tier.model))

    def training(self, prepared: Prepared) -> PackedText:
        """The training text in rows."""
        return text.read_packed(prepared.folder, "train")

    def validation(self, prepared: Prepared) -> PackedText:
        """The validation text in rows."""
        return text.read_packed(prepared.folder, "valid")

    def batches(self, rows: PackedText, max_tokens: int, seed: int, device: str) -> MaskedBatches:
        """Training batches without end, masked anew each time, as the seed decides."""
        from supernet.data.masked_text import MaskedBatches

        return MaskedBatches(rows, max_tokens, seed, device=device)

    def evaluate(
        self, module: torch.nn.Module, rows: PackedText, device: str, precision: str = "fp32"
    ) -> Measurement:
        """Loss in nats per predicted token over all rows, and the percentage predicted right.

        The same masks on every device and each time; sums are in double precision.
        """
        losses, hits = self.predictions(module, rows, device, precision)
        return Measurement(float(losses.mean()), {"mlm_accuracy": 100 * float(hits.mean())})

    def validation_batches(self, rows: PackedText, device: str, share: float = 1.0) -> list[MaskedBatch]:
        """The first ``share`` of the rows in batches, masked the same each time."""
        import torch

        from supernet.data.masked_text import evaluation_batches

        kept = self._batches.setdefault(rows, {})
        key = f"{device} {share:g}"
        if key not in kept:
            size = EVALUATION_TOKENS[torch.device(device).type]
            some = rows.first(max(1, round(share * len(rows)))) if share < 1 else rows
            kept[key] = evaluation_batches(some, size, EVALUATION_SEED, device=device)
        return kept[key]

    def predictions(
        self, module: torch.nn.Module, rows: PackedText, device: str, precision: str
    ) -> tuple[np.ndarray, np.ndarray]:
        """Of every row, mean loss and share of right predictions: both ``[rows]``, float64."""
        import torch
        import torch.nn.functional as F

        training = module.training
        module.eval()
        losses, hits = [], []
        try:
            with torch.no_grad(), autocast(device, precision):
                for batch in self.validation_batches(rows, device):
                    logits = module(*batch.inputs).float()
                    loss = F.cross_entropy(logits, batch.labels, reduction="none")
                    losses.append(loss.double().view(len(batch.shown), -1).mean(1).cpu())
                    right = logits.argmax(-1) == batch.labels
                    hits.append(right.double().view(len(batch.shown), -1).mean(1).cpu())
        finally:
            module.train(training)
        return torch.cat(losses).numpy(), torch.cat(hits).numpy()

    def score(
        self, module: torch.nn.Module, prepared: Prepared, tier: Tier, device: str, precision: str = "fp32"
    ) -> dict[str, Any]:
        """Predict masked tokens of the sealed test text, for the scoring process.

        Returns:
            ``test``: set -> metric -> value, low, high (bootstrap over rows), signature; ``test_loss`` of
            the last set.
        """
        if prepared.sealed is None:
            raise ValueError(f"{self.name}: the test split is sealed off from this process")
        from benchmarks.stats import bleu

        pieces = text.load_vocabulary(prepared.folder)
        scores: dict[str, Any] = {}
        loss = 0.0
        for name, documents in text.read_tests(prepared.sealed).items():
            rows = text.packed(prepared.folder, text.encode(pieces, documents))
            losses, hits = self.predictions(module, rows, device, precision)
            length, size = rows.rows.shape[1], len(rows)
            recipe = f"mask:15%|mask-seed:{EVALUATION_SEED}|len:{length}|vocab:{rows.vocab}|rows:{size}"
            recipe += f"|version:{VERSION}"
            scores[name] = {"mlm_accuracy": bleu.mean(100 * hits, f"mlm-acc|{recipe}").to_dict()}
            loss = float(losses.mean())
        return {"test": scores, "test_loss": loss}

    def finetune(
        self, module: Bert, prepared: Prepared, tier: Tier, name: str, device: str, pause: Pause | None = None
    ) -> dict[str, Any]:
        """Fine-tune an exported encoder on one of ``tier.finetune``'s tasks, for the scoring process.

        Args:
            module: it is not changed.
            prepared: with the sealed test split.
            tier: of the run.
            name: of the task of fine-tuning.
            device: where to run.
            pause: called between two steps with what waits for the device.

        Returns:
            Metric -> figure, as ``benchmarks.tasks.finetuning.measure`` describes it.
        """
        if prepared.sealed is None:
            raise ValueError(f"{self.name}: the test split is sealed off from this process")
        from benchmarks.tasks import finetuning

        rows = glue.read(name, prepared.sealed.parent)
        pieces = text.load_vocabulary(prepared.folder)
        settings = finetuning.Settings(**tier.finetune)
        return finetuning.measure(module, glue.TASKS[name], rows, pieces, settings, device, pause)


synthetic = BertTask("bert-synthetic-en", text.synthetic)
enwiki = BertTask("bert-enwiki", text.enwiki, "enwiki2015")
