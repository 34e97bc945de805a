"""Supernets of translation that studies train: their kinds, and task, tier, data and device of a study."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
import torch

from benchmarks.api import UsageError
from benchmarks.lab.batches import derive_seed, recipe_of
from benchmarks.stats.bleu import DIGITS
from benchmarks.studies.trainings import Source, Tokens
from benchmarks.tasks import Prepared, corpus, get_task
from benchmarks.tasks.datasets import Say
from mos.mixture import Mixture
from supernet.data.sentence_pairs import PairData
from supernet.elastic import SuperNet
from supernet.seq2seq import Seq2SeqFamily
from supernet.space import Architecture, SearchSpace
from supernet.train import Sampling, Sandwich, SinglePath, Trainer
from supernet.weights import SharedSlices

if TYPE_CHECKING:
    from benchmarks.tasks.mt import MTTask
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
class Setting:
    """Task, tier, data and device of all trainings of a study."""

    task: MTTask
    tier: Tier
    prepared: Prepared
    device: str

    @classmethod
    def prepared_for(
        cls,
        name: str,
        tier_name: str,
        cache: Path,
        data_dir: Path | None,
        device: str,
        say: Say = lambda line: None,
    ) -> Setting:
        """Return the setting of a study; its data is prepared once and read from ``cache`` from then on."""
        task = cast("MTTask", get_task(name))
        tier = task.tier(tier_name, device)
        return cls(task, tier, task.prepare(tier, cache, data_dir, say), device)

    def family(self, only: Architecture | None = None) -> Seq2SeqFamily:
        """Return the family of the tier's space, or of one architecture of it."""
        family = self.task.family(self.tier, self.prepared)
        return family if only is None else family.restrict_to(only)

    @property
    def space(self) -> SearchSpace:
        """Search space of the tier."""
        return self.family().space

    def network(self, source: Source, seed: int, only: Architecture | None = None) -> SuperNet:
        """Return an untrained supernet, or network; its initial weights follow from ``seed`` alone."""
        family = self.family(only)
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
        """Train on ``tokens`` target tokens, counted once; return the trained network and the updates.

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
        """Return BLEU and chrF of all test sets pooled, and the losses of both splits.

        The figures of ``task.score``, without its intervals and other metrics: these take several times as
        long as translating does on a GPU.
        """
        from sacrebleu.metrics.bleu import BLEU
        from sacrebleu.metrics.chrf import CHRF

        task, tier, device = self.task, self.tier, self.device
        module = net.export(architecture).to(device)
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


def check_kinds(kinds: Iterable[str]) -> None:
    """Raise UsageError unless all are among ``KINDS``."""
    if unknown := set(kinds) - set(KINDS):
        raise UsageError(f"kinds {', '.join(sorted(unknown))}: choose of {', '.join(KINDS)}")
