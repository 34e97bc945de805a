"""Joint searches of architecture and precision as methods of the harness (SimQ-NAS, arXiv 2312.13301).

All take the supernet of ``joint-supernet`` and spend the same evaluations on (architecture, policy) pairs;
they differ in the searcher. Nothing is trained afterwards.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np

from benchmarks.api import BudgetExhausted, Candidate, Lab, Method, Need, Option, Skip, TaskInfo, UsageError
from simq.archive import Archive
from simq.genome import GROUPINGS, JointSpace, PrecisionUnit, precision_units
from simq.lab_evaluator import OBJECTIVE_SETS, LabEvaluator, propose_candidates
from simq.searchers.linas_published import EXCHANGE, LinasAsPublished
from simq.searchers.predictors import FOLDS
from simq.searchers.search import SEARCHERS
from simq.searchers.sequential import Searcher
from simq.shared_supernet import affordable_networks, inherit_supernet
from supernet.quantization.calibration import METHODS
from supernet.quantization.precisions import INT8, deployed_precisions

GENERATIONS = 400
"""Generations of the public code's NSGA-II on predictions between two batches."""
AIMS = (
    Option("objectives", str, "loss,latency", choices=OBJECTIVE_SETS, help="objectives to minimise"),
    Option("unit", str, "linear", choices=GROUPINGS, help="units that have a precision of their own"),
    Option(
        "ranges", str, "min-max", choices=METHODS,
        help="rule of static INT8's activation ranges; others than min-max leave tokens for fewer networks",
    ),
)  # fmt: skip
POPULATION = Option(
    "population", int, None, low=2, help="points of a batch; a fifth of the evaluations by default"
)
INNER = Option(
    "inner", int, None, low=2, help="predictions between two batches; by default the tier's, 20000 at most"
)


class JointSearch(Method):
    """Base class: a searcher of ``simq.searchers.search`` over architectures and precisions.

    Without the option ``inner``, the predictions between two batches are a population times the tier's
    ``joint_generations`` (400 by default), at most 20,000.
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
    """Name in ``SEARCHERS``."""
    minimum_population: ClassVar[int] = 4
    """Smallest default population."""
    uniform: ClassVar[str] = ""
    """The only precision; empty: all that ``deployed_precisions`` leaves of the task's runtime."""

    def supports(self, task: TaskInfo) -> Skip | None:
        return super().supports(task) or missing_precision(self.uniform, task)

    def search(self, lab: Lab) -> Iterable[Candidate]:
        objectives = tuple(lab.options["objectives"].split(","))
        net = inherit_supernet(lab)
        net.ranges = lab.options["ranges"]
        space = self.space(lab, net.family)
        if space.size() == 1:
            raise UsageError(
                f"{self.name}: there is nothing to search, for space {net.space.name} has one architecture"
                f" and each layer one precision: {', '.join(space.alphabet)}"
            )
        lab.say(f"{len(space.levels)} genes, 10^{space.log10_size:.1f} networks")
        rng = np.random.default_rng(int(lab.rng.integers(2**63)))
        evaluator = LabEvaluator(lab, net, space, objectives, rng)
        with lab.phase("search"):
            count = min(self.evaluations(lab), affordable_networks(lab, net))
            if count < 2:
                raise UsageError(
                    f"{self.name}: the tokens left by its supernet are enough for statistics and ranges of"
                    f" {count} networks, and two are needed: ranges=min-max takes the fewest"
                )
            archive = Archive(evaluator, count, evaluator.report_progress)
            try:
                self.make(lab, archive.evaluations).search(archive, rng)
            except BudgetExhausted as spent:
                lab.say(f"the search ends: {spent}")  # the points measured until then count
        yield from self.propose(lab, net, evaluator, archive)

    def evaluations(self, lab: Lab) -> int:
        """Return the evaluations of the search."""
        return int(lab.budget.left("evaluations"))

    def propose(self, lab: Lab, net: Any, evaluator: LabEvaluator, archive: Archive) -> Iterable[Candidate]:
        """Return the candidates of the finished search."""
        return propose_candidates(lab, net, evaluator, archive)

    def space(self, lab: Lab, family: Any) -> JointSpace:
        """Return the joint space of this method on this task."""
        alphabet = deployed_precisions(family.deployed_int8, lab.precisions)
        if self.uniform:
            allowed = INT8 if self.uniform == "int8" else (self.uniform,)
            alphabet = tuple(name for name in alphabet if name in allowed)
        if not alphabet:
            raise UsageError(f"{self.name}: this task's runtime has {', '.join(lab.precisions)}")
        return JointSpace(
            family.space,
            units_with_precisions(precision_units(family, lab.options["unit"]), alphabet),
            alphabet,
        )

    def option_value(self, lab: Lab, name: str) -> int | None:
        """Return the size that an option gives; None if it is computed or this method lacks the option."""
        if name not in {option.name for option in self.options}:
            return None
        value: int | None = lab.options[name]
        return value

    def make(self, lab: Lab, evaluations: int) -> Searcher:
        """Return the searcher with sizes from the options; its predictor fits and calls are charged."""

        def charge_fits(count: int) -> None:
            lab.budget.charge("predictor_fits", count)

        def charge_calls(count: int) -> None:
            lab.budget.charge("predictor_calls", count)

        population, inner = (self.option_value(lab, name) for name in ("population", "inner"))
        population = population or max(self.minimum_population, evaluations // 5)
        generations = int(lab.task.settings.get("joint_generations", GENERATIONS))
        inner = inner or min(20_000, generations * population)
        if inner < population:
            raise UsageError(f"--option {self.name}.inner={inner}: at least the population of {population}")
        return SEARCHERS[self.searcher].make(population, inner, charge_fits, charge_calls)


def units_with_precisions(units: Iterable[PrecisionUnit], alphabet: Iterable[str]) -> list[PrecisionUnit]:
    """Return the units that support a precision of the alphabet; the others stay fp32 and have no gene."""
    return [u for u in units if u.precisions is None or set(u.precisions) & set(alphabet)]


def missing_precision(precision: str, task: TaskInfo) -> Skip | None:
    """Return the reason if a task's networks are served by a runtime without this precision, else None."""
    precisions = task.settings.get("precisions", (precision,))
    if not precision or not {*(INT8 if precision == "int8" else (precision,))}.isdisjoint(precisions):
        return None
    return Skip(f"the runtime of {task.name} {task.tier} has {', '.join(precisions)}, and no {precision}")


class LinasMethod(JointSearch):
    """LINAS corrected (``simq.searchers.linas``)."""

    name = "linas"
    summary = "SimQ-NAS' LINAS with its faults corrected, over architecture and precisions together"


class LinasAsPublishedMethod(JointSearch):
    """LINAS as its public code has it (``simq.searchers.linas_published``)."""

    name = "linas-as-published"
    version = "3"
    summary = "LINAS as its public code has it, faults included"
    searcher = "linas-as-published"
    minimum_population = FOLDS
    options = (
        *AIMS,
        Option(
            "population",
            int,
            None,
            low=FOLDS,
            help="points of a batch; a fifth of the evaluations by default",
        ),
        INNER,
        Option("exchange", float, 1.0, choices=EXCHANGE, help="0.5 is what pymoo did up to 0.6.0.1"),
    )

    def make(self, lab: Lab, evaluations: int) -> Searcher:
        searcher = super().make(lab, evaluations)
        assert isinstance(searcher, LinasAsPublished)
        return replace(searcher, exchange=lab.options["exchange"])


class NSGA2Joint(JointSearch):
    """Control: NSGA-II on measurements alone (``simq.searchers.nsga2``)."""

    name = "nsga2-joint"
    version = "3"
    summary = "control: NSGA-II over architecture and precisions, without predictors"
    options = (*AIMS, POPULATION)
    searcher = "nsga2-joint"


class RandomJoint(JointSearch):
    """Control: uniformly random genomes."""

    name = "random-joint"
    version = "3"
    summary = "control: random architectures with random precisions"
    options = AIMS
    searcher = "random-joint"


class BayesJoint(JointSearch):
    """Bayesian optimisation by hypervolume improvement (``simq.searchers.bayes``)."""

    name = "bayes-joint"
    summary = "Bayesian optimisation of hypervolume over architecture and precisions"
    searcher = "bayes-joint"


class SensitivityILPMethod(JointSearch):
    """Integer programme over sensitivities (``simq.searchers.sensitivity``)."""

    name = "sensitivity-ilp"
    summary = "one evaluation an option, then the integer programme's optimum at each limit (HAWQ-V3)"
    options = AIMS
    searcher = "sensitivity-ilp"


class PrunedJoint(JointSearch):
    """Space pruning with a proxy (``simq.searchers.sensitivity``)."""

    name = "pruned-joint"
    summary = "precisions of outlying sensitivity leave the space, a proxy begins the search (AMQ)"
    searcher = "pruned-joint"


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
    """Control: architectures alone, every layer in the INT8 in which its runtime deploys the family."""

    name = "uniform-int8"
    summary = "control: architectures alone, every layer in INT8"
    uniform = "int8"


class UniformW4(JointSearch):
    """Control: architectures alone, weights in four bits where shapes allow."""

    name = "uniform-w4"
    summary = "control: architectures alone, every layer that can be in W4"
    uniform = "w4"
