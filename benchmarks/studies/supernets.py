"""Supernets that studies train: their kinds, and task, tier, data and device of a study."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from baselines.teacher import teacher_space
from benchmarks.api import UsageError
from benchmarks.lab.batches import derive_seed, recipe_of
from benchmarks.stats.bleu import DIGITS
from benchmarks.studies.trainings import Source, Tokens
from benchmarks.tasks import Prepared, corpus, get_task, text
from benchmarks.tasks.bert import BertTask
from benchmarks.tasks.datasets import Say
from benchmarks.tasks.mt import MTTask
from mos.mixture import Mixture
from supernet.data.sentence_pairs import PairData
from supernet.elastic import SuperNet
from supernet.model_family import ModelFamily
from supernet.space import Architecture, SearchSpace, get_space
from supernet.train import Sampling, Sandwich, SinglePath, Trainer
from supernet.weights import SharedSlices

if TYPE_CHECKING:
    from benchmarks.tasks.tiers import Tier

KINDS: dict[str, tuple[Source, Sampling]] = {
    "hat": (SharedSlices, SinglePath()),
    "sandwich": (SharedSlices, Sandwich()),
    "mos-layer": (partial(Mixture, neuron_wise=False), Sandwich()),
    "mos-neuron": (Mixture, Sandwich()),
    "mos-neuron-constant": (partial(Mixture, constant=True), Sandwich()),
    "mos-neuron-1": (partial(Mixture, experts=1), Sandwich()),
    "mos-neuron-4": (partial(Mixture, experts=4), Sandwich()),
}
"""Supernet -> source of its weights and rule of sampling; two experts where the name has no number."""


@dataclass(frozen=True)
class Setting(ABC):
    """Task, tier, data and device of all trainings of a study.

    Attributes:
        space_name: ``task``, or ``homogeneous`` for the encoders of plain shapes.
    """

    task: Any
    tier: Tier
    prepared: Prepared
    device: str
    space_name: str = "task"

    @classmethod
    def prepared_for(
        cls,
        name: str,
        tier_name: str,
        cache: Path,
        data_dir: Path | None,
        device: str,
        say: Say = lambda line: None,
        space: str = "task",
    ) -> Setting:
        """Return the setting of a study; its data is prepared once and read from ``cache`` from then on."""
        task: Any = get_task(name)
        kind, tier = kind_of(task), task.tier(tier_name, device)
        return kind(task, tier, task.prepare(tier, cache, data_dir, say), device, space)

    @property
    def space(self) -> SearchSpace:
        """Search space of the study."""
        name = self.tier.space
        if self.space_name == "homogeneous":
            name = self.tier.settings["autodistil"]["one"][0]
        return get_space(name)

    def family(self, only: Architecture | None = None) -> ModelFamily:
        """Return the family of the study's space, or of one architecture of it."""
        family: ModelFamily = self.task.family(self.tier, self.prepared, self.space)
        return family if only is None else family.restrict_to(only)

    def kind(self, name: str) -> tuple[Source, Sampling]:
        """Return a kind of supernet of ``KINDS`` as it is on this task."""
        return KINDS[name]

    def network(self, source: Source, seed: int, family: ModelFamily) -> SuperNet:
        """Return an untrained supernet, or network; its initial weights follow from ``seed`` alone."""
        return SuperNet(family, source(family, torch.Generator().manual_seed(seed), self.device))

    def fit(
        self,
        net: SuperNet,
        sampling: Sampling,
        tokens: float,
        seed: int,
        *,
        batches: str = "batches",
        rate: float = 1.0,
    ) -> tuple[SuperNet, int]:
        """Train on ``tokens`` tokens, counted once an update; return the trained network and the updates.

        Args:
            batches: names the order of the batches; one seed and name give all networks the same ones.
            rate: factor of the recipe's learning rate.
        """
        recipe = recipe_of(self.tier.recipe)
        recipe = replace(recipe, learning_rate=rate * recipe.learning_rate)
        stream = self.task.batches(
            self.task.training(self.prepared),
            recipe.batch_tokens,
            derive_seed(seed, self.task.name, batches),
            self.device,
        )
        trainer = Trainer(net, recipe, sampling, seed)
        return trainer.fit(Tokens(stream, tokens)), trainer.updates

    def score(self, net: SuperNet, architecture: Architecture) -> dict[str, float]:
        """Return the test scores of a sub-network, all test sets pooled, and the losses of both splits."""
        return self._scores(net.export(architecture).to(self.device))

    def parent_family(self) -> ModelFamily:
        """Return the family of the plain network that encoders start from."""
        family: ModelFamily = self.task.family(self.tier, self.prepared, parent_space(self.tier))
        return family

    @abstractmethod
    def _scores(self, module: nn.Module) -> dict[str, float]:
        """Return the scores of an exported network."""


class TranslationSetting(Setting):
    """Setting of a study of translation."""

    def _scores(self, module: nn.Module) -> dict[str, float]:
        """Return BLEU, chrF and losses.

        The figures of ``task.score``, without its intervals and other metrics: these take several times as
        long as translating does on a GPU.
        """
        from sacrebleu.metrics.bleu import BLEU
        from sacrebleu.metrics.chrf import CHRF

        task, tier, device = self.task, self.tier, self.device
        subwords = corpus.load_vocabulary(self.prepared.folder)
        pairs = [
            pair
            for test in corpus.read_tests(task.sealed(self.prepared)).values()
            for pair in zip(*test, strict=True)
        ]
        sources, references = ([pair[side] for pair in pairs] for side in (0, 1))
        most = int(tier.model["max_positions"]) - 1
        ids = [[s[:most] for s in subwords.encode(side, out_type=int)] for side in (sources, references)]
        outputs = task.translate(module, ids[0], tier, device, "fp32", subwords)
        arrays = [[np.array(sentence, dtype=np.int32) for sentence in side] for side in ids]
        return {
            "bleu": round(BLEU(tokenize=task.tokenizer).corpus_score(outputs, [references]).score, DIGITS),
            "chrf": round(CHRF().corpus_score(outputs, [references]).score, DIGITS),
            "test_loss": task.evaluate(module, PairData(*arrays), device).loss,
            "valid_loss": task.evaluate(module, task.validation(self.prepared), device).loss,
        }


class EncoderSetting(Setting):
    """Setting of a study of encoders, scored on masked words."""

    def kind(self, name: str) -> tuple[Source, Sampling]:
        """Return a kind of supernet of encoders."""
        return encoder_kind(name)

    def _scores(self, module: nn.Module) -> dict[str, float]:
        """Return the percentage of the test text's masked words that are predicted right, and losses."""
        task: BertTask = self.task
        pieces = text.load_vocabulary(self.prepared.folder)
        measured = [
            task.predictions(
                module, text.pack(self.prepared.folder, text.encode(pieces, documents)), self.device, "fp32"
            )
            for documents in text.read_tests(task.sealed(self.prepared)).values()
        ]
        losses, hits = (np.concatenate(column) for column in zip(*measured, strict=True))
        return {
            "accuracy": 100 * float(hits.mean()),
            "test_loss": float(losses.mean()),
            "valid_loss": task.evaluate(module, task.validation(self.prepared), self.device).loss,
        }


def kind_of(task: Any) -> type[Setting]:
    """Return the kind of setting of a task.

    Raises:
        UsageError: it is neither of translation nor of encoders.
    """
    if isinstance(task, BertTask):
        return EncoderSetting
    if isinstance(task, MTTask):
        return TranslationSetting
    raise UsageError(f"task {task.name}: studies train supernets of translation and of encoders alone")


def encoder_kind(name: str) -> tuple[Source, Sampling]:
    """Return a kind of ``KINDS`` for encoders: mixtures are routed layer by layer, as in their method."""
    source, sampling = KINDS[name]
    return (partial(source, encoding="fine") if name.startswith("mos-") else source), sampling


def parent_space(tier: Tier) -> SearchSpace:
    """Return the space of the plain network that encoders of a tier start from."""
    return teacher_space(tier.settings["teacher"])


def check_kinds(kinds: Iterable[str]) -> None:
    """Raise UsageError unless all are among ``KINDS``."""
    if unknown := set(kinds) - set(KINDS):
        raise UsageError(f"kinds {', '.join(sorted(unknown))}: choose of {', '.join(KINDS)}")
