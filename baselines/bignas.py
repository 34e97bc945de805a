"""BigNAS (Yu et al., ECCV 2020): one supernet whose sub-networks are deployed without retraining."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from benchmarks.api import Candidate, Lab, Method, Need, Option
from supernet.objective import soft_loss, token_loss
from supernet.pipeline import AnyLab, supernet_search
from supernet.predict import MINIMUM_SAMPLES
from supernet.search import Allowed, InfeasibleError, Score, draw
from supernet.space import Architecture, SearchSpace
from supernet.train import Batch, Labels, Sandwich


class BigNAS(Method):
    """Sandwich rule with in-place distillation, dropout for the largest network alone, coarse-to-fine search.

    Sections 3.1 and 3.2. All tokens train the supernet; winners keep their inherited weights. The recipe is
    that of every method, without the paper's schedule and its initialisation of residual blocks.

    At small budgets in-place distillation alone holds a supernet back, as sub-networks imitate a largest
    network that has learnt nothing yet: option ``labels`` gives them labels too.
    """

    name = "bignas"
    summary = "BigNAS: sandwich with in-place distillation, coarse-to-fine search, no retraining"
    options = (
        Option("random", int, 2, low=1, high=8, help="random sub-networks an update; the paper's: 2"),
        Option("coarse", float, 0.5, low=0.1, high=0.9, help="share of evaluations for the coarse search"),
        Option(
            "labels",
            float,
            0.0,
            low=0.0,
            high=1.0,
            help="share of sub-networks' loss that is of labels; the paper's: 0; 1: no distillation",
        ),
    )
    needs = (
        Need("probes", MINIMUM_SAMPLES, timed=True, why="the samples of its latency predictor"),
        Need("evaluations", 2, each=True, why="one for each stage of each target's search"),
    )

    def search(self, lab: Lab) -> Iterable[Candidate]:
        share = lab.options["coarse"]

        def find(
            lab: AnyLab, score: Score, allowed: Allowed, evaluations: int, known: dict[Architecture, float]
        ) -> Architecture:
            return coarse_to_fine(lab, score, allowed, evaluations, known, share)

        sampling = Sandwich(random=lab.options["random"], distill=True)
        smoothing = lab.recipe.label_smoothing
        objective = DistilledWithoutDropout(smoothing, distill=True, labels=lab.options["labels"])
        yield from supernet_search(lab, sampling=sampling, after="inherit", find=find, objective=objective)


@dataclass(frozen=True)
class DistilledWithoutDropout(Labels):
    """In-place distillation in which only the first, largest network is regularised (section 3.1).

    Attributes:
        labels: share of the other networks' loss that is of labels.
    """

    labels: float = 0.0
    teacher_cost: ClassVar[float] = 0.0

    def __call__(
        self, model: Any, batch: Batch, teacher_output: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        if teacher_output is None:
            return super().__call__(model, batch, None)
        model.eval()
        try:
            if not self.labels:
                return super().__call__(model, batch, teacher_output)
            logits = model(*batch.inputs)
            soft = soft_loss(logits, teacher_output)
            return soft.lerp(token_loss(logits, batch.labels, self.smoothing), self.labels), teacher_output
        finally:
            model.train()


def coarse_to_fine(
    lab: AnyLab,
    score: Score,
    allowed: Allowed,
    evaluations: int,
    known: dict[Architecture, float],
    coarse: float,
) -> Architecture:
    """Return the best allowed architecture: first among those alike in all layers, then among mutants of the
    best (section 3.2).

    Where no architecture that is alike in all layers is allowed, as in a narrow window of sizes, the first
    stage takes any.

    Args:
        coarse: share of ``evaluations`` for the first stage.

    Raises:
        InfeasibleError: no architecture drawn is allowed.
    """
    space, probability = lab.space, lab.task.settings["mutation_probability"]
    remaining = evaluations

    def scored(architectures: Iterable[Architecture], most: int) -> int:
        """Score new architectures, at most ``most``; return their number."""
        fresh = [a for a in dict.fromkeys(architectures) if a not in known][:most]
        for i, architecture in enumerate(fresh):
            known[architecture] = score(architecture)
            lab.progress(evaluations - remaining + i + 1, evaluations, "coarse to fine")
        return len(fresh)

    def best() -> Architecture:
        fits = [a for a, ok in zip(known, allowed(list(known)), strict=True) if ok]
        return min(fits, key=lambda a: (known[a], a.key()))

    first = max(1, int(coarse * evaluations))
    try:
        grid = draw(lambda rng: space.from_genes(alike(space, rng)), allowed, first, lab.rng)
    except InfeasibleError:
        grid = draw(space.sample, allowed, first, lab.rng)
    remaining -= scored(grid, first)
    for _ in range(evaluations):
        if remaining <= 0:
            break
        parent = best()
        mutants = draw(lambda rng, a=parent: space.mutate(a, probability, rng), allowed, 8, lab.rng)
        remaining -= scored(mutants, min(remaining, 8))
    return best()


def alike(space: SearchSpace, rng: Any) -> list[int]:
    """Draw a genotype in which every layer has the same option of each choice."""
    genes: list[int] = []
    for choice in space.choices:
        options = space.allowed[len(genes)]
        genes += [options[int(rng.integers(len(options)))]] * choice.repeat
    return genes
