"""The searches as methods of the harness: one supernet, one budget, what differs is who proposes.

Each trains the supernet on all tokens under the sandwich rule with in-place distillation and spends the
evaluations on (architecture, policy) pairs. Nothing is trained on afterwards.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np

from benchmarks.api import BudgetExhausted, Candidate, Lab, Method, UsageError
from simq.evaluator import Archive
from simq.genome import GROUPINGS, Array, Genes, Genomes, JointSpace, Unit, units_of
from simq.predictors import GaussianProcess
from simq.published import EXCHANGE, LinasAsPublished
from simq.search import SEARCHERS
from simq.sequential import Searcher, largest
from supernet.pipeline import train
from supernet.train import Sandwich

OBJECTIVES = ("loss", "latency", "bytes")
"""What can be searched for: validation loss, predicted milliseconds, bytes of the weights as deployed."""
GENERATIONS = 400
"""Of the public code's search on predictors between two batches."""


class JointSearch(Method):
    """A searcher of ``simq.search`` over architectures and precisions.

    Options: ``objectives`` (``loss,latency``; two or three of loss, latency, bytes), ``unit`` (``linear``: a
    precision for each linear or convolution; ``block``, ``layer``), ``population`` (of a batch; a fifth of
    the evaluations), ``inner`` (predictions between two batches; 400 generations, 20,000 at most).
    """

    searcher: ClassVar[str] = "linas"
    """A name of ``SEARCHERS``."""
    uniform: ClassVar[str] = ""
    """The only precision there is; empty: those of the task's runtime."""

    def search(self, lab: Lab) -> Iterable[Candidate]:
        objectives = chosen(str(lab.options.get("objectives", "loss,latency")))
        with lab.phase("supernet"):
            net = train(lab, lab.supernet(), Sandwich(distill=True), 1.0, "supernet")
        space = self.space(lab, net.family)
        lab.say(f"{len(space.levels)} genes, 10^{space.log10_size:.1f} networks")
        rng = np.random.default_rng(int(lab.rng.integers(2**63)))
        evaluator = Measured(lab, net, space, objectives, rng)
        with lab.phase("search"):
            archive = Archive(evaluator, int(lab.budget.left("evaluations")), evaluator.told)
            try:
                self.make(lab, archive.evaluations).search(archive, rng)
            except BudgetExhausted as spent:
                lab.say(f"the search ends: {spent}")  # what was measured until then counts
        yield from proposed(lab, net, evaluator, archive)

    def space(self, lab: Lab, family: Any) -> JointSpace:
        """Of this method on this task."""
        grouping = str(lab.options.get("unit", "linear"))
        if grouping not in GROUPINGS:
            raise UsageError(f"--option {self.name}.unit={grouping}: choose one of {', '.join(GROUPINGS)}")
        alphabet = (self.uniform,) if self.uniform else lab.precisions
        if not set(alphabet) <= set(lab.precisions):
            raise UsageError(f"{self.name}: this task's runtime has {', '.join(lab.precisions)}")
        return JointSpace(family.space, able(units_of(family, grouping), alphabet), alphabet)

    def make(self, lab: Lab, evaluations: int) -> Searcher:
        """The searcher, its sizes as the options say; what it asks of predictors is charged."""

        def fitted(count: int) -> None:
            lab.budget.charge("predictor_fits", count)

        def called(count: int) -> None:
            lab.budget.charge("predictor_calls", count)

        population = int(lab.options.get("population", max(4, evaluations // 5)))
        inner = int(lab.options.get("inner", min(20_000, GENERATIONS * population)))
        if population < 2 or inner < population:
            raise UsageError(f"{self.name}: population of at least 2 and inner of at least as many")
        return SEARCHERS[self.searcher].make(population, inner, fitted, called)


def chosen(text: str) -> tuple[str, ...]:
    """The objectives that an option names, in its order."""
    names = tuple(text.replace(" ", "").split(","))
    if not set(names) <= set(OBJECTIVES) or len(set(names)) != len(names) or "loss" not in names:
        raise UsageError(f"objectives={text}: loss and one or two of {', '.join(OBJECTIVES[1:])}")
    if len(names) < 2:
        raise UsageError(f"objectives={text}: two or three of {', '.join(OBJECTIVES)}")
    return names


def able(units: Iterable[Unit], alphabet: Iterable[str]) -> list[Unit]:
    """Those that can have a precision of the alphabet; the others stay fp32 and have no gene."""
    return [u for u in units if u.precisions is None or set(u.precisions) & set(alphabet)]


class Measured:
    """Trained sub-networks as an evaluator: loss by the Lab, bytes counted, latency predicted from probes."""

    def __init__(
        self, lab: Lab, net: Any, space: JointSpace, objectives: tuple[str, ...], rng: np.random.Generator
    ) -> None:
        self.lab, self.net, self.space, self.objectives = lab, net, space, objectives
        self.genes: Genes = space
        self._latency: GaussianProcess | None = None
        self._told: dict[bytes, float] = {}
        limited = any(isinstance(limit, (int, float)) for limit in lab.limits)
        if "latency" in objectives or limited:
            self._latency = self._probed(rng)

    def _probed(self, rng: np.random.Generator) -> GaussianProcess:
        """A predictor of milliseconds, from networks at both ends and random ones."""
        lab = self.lab
        count = min(int(lab.task.settings["predictor_probes"]), int(lab.budget.left("probes")))
        with lab.phase("latency"):
            ends = largest(self.space)
            letters = np.array([[len(x) - 1 for x in self.space.letters]], dtype=np.int64)
            low = ends.copy()
            low[:, self.space.architecture_genes :] = letters
            genomes = np.vstack([ends, low, self.space.sample(max(count - 2, 0), rng)])[:count]
            measured = []
            for i, genome in enumerate(genomes):
                architecture, policy = self.space.decode(genome)
                measured.append(lab.probe(architecture, policy))
                lab.progress(i + 1, count, "latency probes")
            lab.budget.charge("predictor_fits")
            return GaussianProcess(self.space.features(genomes), np.log(measured))

    def latency(self, genomes: Genomes) -> Array:
        """Predicted milliseconds ``[n]``; a point is predicted, and charged, once."""
        assert self._latency is not None
        keys = self.space.keys(genomes)
        fresh = [i for i, key in enumerate(keys) if key not in self._told]
        if fresh:
            self.lab.budget.charge("predictor_calls", len(fresh))
            found = np.exp(self._latency.mean(self.space.features(genomes[fresh])))
            self._told |= {keys[i]: float(ms) for i, ms in zip(fresh, found, strict=True)}
        return np.array([self._told[key] for key in keys])

    def __call__(self, genomes: Genomes) -> Array:
        columns: dict[str, Array] = {}
        if self._latency is not None:
            self.latency(genomes)  # of every measured point, so that limits can be asked for at any time
        pairs = [self.space.decode(genome) for genome in genomes]
        for name in self.objectives:
            if name == "loss":
                found = [self.lab.evaluate(self.net, arch, policy=policy).loss for arch, policy in pairs]
                columns[name] = np.array(found)
            elif name == "bytes":
                columns[name] = np.array([float(self.lab.bytes(a, policy)) for a, policy in pairs])
            else:
                columns[name] = self.latency(genomes)
        return np.column_stack([columns[name] for name in self.objectives])

    def told(self, archive: Archive) -> None:
        """Progress."""
        best = archive.rows[:, self.objectives.index("loss")].min()
        self.lab.progress(len(archive.rows), archive.evaluations, f"best {best:.4f}")


def proposed(lab: Lab, net: Any, evaluator: Measured, archive: Archive) -> Iterable[Candidate]:
    """For each limit the measured network of least loss that meets it, or the nearest where none does."""
    if not len(archive.rows):
        return
    loss = archive.rows[:, evaluator.objectives.index("loss")]
    for limit in lab.limits:
        if isinstance(limit, (int, float)):
            over = np.maximum(evaluator.latency(archive.genomes) - limit, 0)
        else:
            sizes = np.array([lab.size(evaluator.space.decode(g)[0]) for g in archive.genomes], dtype=float)
            over = np.maximum(np.maximum(sizes - limit.high, limit.low - sizes), 0)
        best = int(np.lexsort((loss, over))[0])
        architecture, policy = evaluator.space.decode(archive.genomes[best])
        yield lab.candidate(net, architecture, policy, origin="inherited", limit_ms=limit)


class LinasMethod(JointSearch):
    """LINAS corrected; see ``simq.linas``. Options of ``JointSearch``."""

    name = "linas"
    suite = "simq"
    summary = "SimQ-NAS' LINAS with its faults corrected, over architecture and precisions together"


class LinasAsPublishedMethod(JointSearch):
    """LINAS as its public code has it. Options of ``JointSearch``, and ``exchange`` (1.0; 0.5 is what pymoo
    did up to 0.6.0.1)."""

    name = "linas-as-published"
    suite = "simq"
    summary = "LINAS as its public code has it, faults included"
    searcher = "linas-as-published"

    def make(self, lab: Lab, evaluations: int) -> Searcher:
        exchange = float(lab.options.get("exchange", 1.0))
        if exchange not in EXCHANGE:
            raise UsageError(f"--option {self.name}.exchange={exchange:g}: choose one of {EXCHANGE}")
        found = super().make(lab, evaluations)
        assert isinstance(found, LinasAsPublished)
        return replace(found, exchange=exchange, thin=False)


class NSGA2Joint(JointSearch):
    """NSGA-II on measurements alone. Options of ``JointSearch``."""

    name = "nsga2-joint"
    suite = "simq"
    summary = "control: NSGA-II over architecture and precisions, without predictors"
    searcher = "nsga2-joint"


class RandomJoint(JointSearch):
    """Uniform genomes. Options of ``JointSearch``."""

    name = "random-joint"
    suite = "simq"
    summary = "control: random architectures with random precisions"
    searcher = "random-joint"


class BayesJoint(JointSearch):
    """Bayesian optimisation by hypervolume improvement; see ``simq.bayes``. Options of ``JointSearch``."""

    name = "bayes-joint"
    suite = "simq"
    summary = "Bayesian optimisation of hypervolume over architecture and precisions"
    searcher = "bayes-joint"


class ArchThenQuant(JointSearch):
    """Ablation: architectures in fp32, then precisions of the best. Options of ``JointSearch``."""

    name = "arch-then-quant"
    suite = "simq"
    summary = "ablation: architectures first, precisions of the best afterwards, equal evaluations in all"
    searcher = "arch-then-quant"


class QuantThenArch(JointSearch):
    """Ablation: precisions of the largest network, then architectures. Options of ``JointSearch``."""

    name = "quant-then-arch"
    suite = "simq"
    summary = "ablation: precisions of the largest network first, architectures afterwards"
    searcher = "quant-then-arch"


class UniformFp32(JointSearch):
    """Control: architectures alone, all in fp32. Options of ``JointSearch``."""

    name = "uniform-fp32"
    suite = "simq"
    summary = "control: architectures alone, every layer in fp32"
    uniform = "fp32"


class UniformBf16(JointSearch):
    """Control: architectures alone, every layer that can be in bf16. Options of ``JointSearch``."""

    name = "uniform-bf16"
    suite = "simq"
    summary = "control: architectures alone, every layer in bf16"
    uniform = "bf16"


class UniformInt8(JointSearch):
    """Control: architectures alone, every layer in INT8. Options of ``JointSearch``."""

    name = "uniform-int8"
    suite = "simq"
    summary = "control: architectures alone, every layer in INT8"
    uniform = "int8"


class UniformW4(JointSearch):
    """Control: architectures alone, weights in four bits where shapes allow. Options of ``JointSearch``."""

    name = "uniform-w4"
    suite = "simq"
    summary = "control: architectures alone, every layer that can be in W4"
    uniform = "w4"
