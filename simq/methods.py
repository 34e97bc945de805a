"""The searches as methods of the harness: one supernet, one budget, what differs is who proposes.

All take the supernet of ``joint-supernet`` and spend the evaluations on (architecture, policy) pairs. Nothing
is trained on afterwards.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np

from benchmarks.api import BudgetExhausted, Candidate, Lab, Method, Need, Option, Skip, TaskInfo, UsageError
from simq.archive import Archive
from simq.genome import GROUPINGS, JointSpace, Unit, units_of
from simq.lab_evaluator import TOGETHER, Measured, proposed
from simq.searchers.linas_published import EXCHANGE, LinasAsPublished
from simq.searchers.predictors import FOLDS
from simq.searchers.search import SEARCHERS
from simq.searchers.sequential import Searcher
from simq.shared_supernet import taken_over

GENERATIONS = 400
"""Of the public code's search on predictors between two batches."""
AIMS = (
    Option("objectives", str, "loss,latency", choices=TOGETHER, help="what is to be small"),
    Option("unit", str, "linear", choices=GROUPINGS, help="what has a precision of its own"),
)
POPULATION = Option("population", int, None, low=2, help="of a batch; a fifth of the evaluations by default")
INNER = Option(
    "inner", int, None, low=2, help="predictions between two batches; by default the tier's, 20000 at most"
)


class JointSearch(Method):
    """A searcher of ``simq.searchers.search`` over architectures and precisions.

    Without the option ``inner``, predictions between two batches are the tier's ``joint_generations``, else
    400, of a population, 20,000 at most.
    """

    version = "4"
    suite = "simq"
    follows = "joint-supernet"
    inherits = True
    options = (*AIMS, POPULATION, INNER)
    needs = (
        Need("probes", 2, why="the ends of the space, for its predictor of latency"),
        Need("evaluations", 2, why="two networks to choose from"),
    )
    searcher: ClassVar[str] = "linas"
    """A name of ``SEARCHERS``."""
    smallest: ClassVar[int] = 4
    """Population that is searched with at least, where none is given."""
    uniform: ClassVar[str] = ""
    """The only precision there is; empty: those of the task's runtime."""

    def supports(self, task: TaskInfo) -> Skip | None:
        return super().supports(task) or unable(self.uniform, task)

    def search(self, lab: Lab) -> Iterable[Candidate]:
        objectives = tuple(lab.options["objectives"].split(","))
        net = taken_over(lab)
        space = self.space(lab, net.family)
        if space.size() == 1:
            raise UsageError(
                f"{self.name}: there is nothing to search, for space {net.space.name} has one architecture"
                f" and each layer one precision: {', '.join(space.alphabet)}"
            )
        lab.say(f"{len(space.levels)} genes, 10^{space.log10_size:.1f} networks")
        rng = np.random.default_rng(int(lab.rng.integers(2**63)))
        evaluator = Measured(lab, net, space, objectives, rng)
        with lab.phase("search"):
            archive = Archive(evaluator, self.evaluations(lab), evaluator.told)
            try:
                self.make(lab, archive.evaluations).search(archive, rng)
            except BudgetExhausted as spent:
                lab.say(f"the search ends: {spent}")  # what was measured until then counts
        yield from self.propose(lab, net, evaluator, archive)

    def evaluations(self, lab: Lab) -> int:
        """Of the search."""
        return int(lab.budget.left("evaluations"))

    def propose(self, lab: Lab, net: Any, evaluator: Measured, archive: Archive) -> Iterable[Candidate]:
        """What comes of it."""
        return proposed(lab, net, evaluator, archive)

    def space(self, lab: Lab, family: Any) -> JointSpace:
        """Of this method on this task."""
        alphabet = (self.uniform,) if self.uniform else lab.precisions
        if not set(alphabet) <= set(lab.precisions):
            raise UsageError(f"{self.name}: this task's runtime has {', '.join(lab.precisions)}")
        return JointSpace(family.space, able(units_of(family, lab.options["unit"]), alphabet), alphabet)

    def chosen(self, lab: Lab, name: str) -> int | None:
        """Return the size that an option gives; None where it is computed, or is no option here."""
        if name not in {option.name for option in self.options}:
            return None
        given: int | None = lab.options[name]
        return given

    def make(self, lab: Lab, evaluations: int) -> Searcher:
        """The searcher, its sizes as the options say; what it asks of predictors is charged."""

        def fitted(count: int) -> None:
            lab.budget.charge("predictor_fits", count)

        def called(count: int) -> None:
            lab.budget.charge("predictor_calls", count)

        population, inner = (self.chosen(lab, name) for name in ("population", "inner"))
        population = population or max(self.smallest, evaluations // 5)
        generations = int(lab.task.settings.get("joint_generations", GENERATIONS))
        inner = inner or min(20_000, generations * population)
        if inner < population:
            raise UsageError(f"--option {self.name}.inner={inner}: at least the population of {population}")
        return SEARCHERS[self.searcher].make(population, inner, fitted, called)


def able(units: Iterable[Unit], alphabet: Iterable[str]) -> list[Unit]:
    """Those that can have a precision of the alphabet; the others stay fp32 and have no gene."""
    return [u for u in units if u.precisions is None or set(u.precisions) & set(alphabet)]


def unable(precision: str, task: TaskInfo) -> Skip | None:
    """The reason where a task's networks are served by a runtime without this precision."""
    there = task.settings.get("precisions", (precision,))
    if not precision or precision in there:
        return None
    return Skip(f"the runtime of {task.name} {task.tier} has {', '.join(there)}, and no {precision}")


class LinasMethod(JointSearch):
    """LINAS corrected; see ``simq.searchers.linas``."""

    name = "linas"
    summary = "SimQ-NAS' LINAS with its faults corrected, over architecture and precisions together"


class LinasAsPublishedMethod(JointSearch):
    """LINAS as its public code has it."""

    name = "linas-as-published"
    version = "3"
    summary = "LINAS as its public code has it, faults included"
    searcher = "linas-as-published"
    smallest = FOLDS
    options = (
        *AIMS,
        Option("population", int, None, low=FOLDS, help="of a batch; a fifth of the evaluations by default"),
        INNER,
        Option("exchange", float, 1.0, choices=EXCHANGE, help="0.5 is what pymoo did up to 0.6.0.1"),
    )

    def make(self, lab: Lab, evaluations: int) -> Searcher:
        found = super().make(lab, evaluations)
        assert isinstance(found, LinasAsPublished)
        return replace(found, exchange=lab.options["exchange"])


class NSGA2Joint(JointSearch):
    """NSGA-II on measurements alone."""

    name = "nsga2-joint"
    version = "3"
    summary = "control: NSGA-II over architecture and precisions, without predictors"
    options = (*AIMS, POPULATION)
    searcher = "nsga2-joint"


class RandomJoint(JointSearch):
    """Uniform genomes."""

    name = "random-joint"
    version = "3"
    summary = "control: random architectures with random precisions"
    options = AIMS
    searcher = "random-joint"


class BayesJoint(JointSearch):
    """Bayesian optimisation by hypervolume improvement; see ``simq.searchers.bayes``."""

    name = "bayes-joint"
    summary = "Bayesian optimisation of hypervolume over architecture and precisions"
    searcher = "bayes-joint"


class ArchThenQuant(JointSearch):
    """Ablation: architectures in fp32, then precisions of the best."""

    name = "arch-then-quant"
    summary = "ablation: architectures first, precisions of the best afterwards, equal evaluations in all"
    searcher = "arch-then-quant"


class QuantThenArch(JointSearch):
    """Ablation: precisions of the largest network, then architectures."""

    name = "quant-then-arch"
    summary = "ablation: precisions of the largest network first, architectures afterwards"
    searcher = "quant-then-arch"


class UniformFp32(JointSearch):
    """Control: architectures alone, all in fp32."""

    name = "uniform-fp32"
    summary = "control: architectures alone, every layer in fp32"
    uniform = "fp32"


class UniformBf16(JointSearch):
    """Control: architectures alone, every layer that can be in bf16."""

    name = "uniform-bf16"
    summary = "control: architectures alone, every layer in bf16"
    uniform = "bf16"


class UniformInt8(JointSearch):
    """Control: architectures alone, every layer in INT8."""

    name = "uniform-int8"
    summary = "control: architectures alone, every layer in INT8"
    uniform = "int8"


class UniformW4(JointSearch):
    """Control: architectures alone, weights in four bits where shapes allow."""

    name = "uniform-w4"
    summary = "control: architectures alone, every layer that can be in W4"
    uniform = "w4"
