"""Evaluator of trained sub-networks: loss by the Lab, bytes counted, latency and energy predicted."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from benchmarks.api import Candidate, Lab
from simq.archive import Archive
from simq.genome import Array, Genes, Genomes, JointSpace
from simq.searchers.predictors import GaussianProcess
from simq.searchers.sequential import largest_genome
from supernet.quantization.rounding import stored_bytes
from supernet.space import Architecture

OBJECTIVES = ("loss", "latency", "bytes", "energy")
"""Objectives of a search: validation loss, predicted milliseconds, bytes of the deployed weights, and
predicted joules of one inference."""
OBJECTIVE_SETS = (
    "loss,latency",
    "loss,bytes",
    "loss,energy",
    "loss,latency,bytes",
    "loss,latency,energy",
    "loss,bytes,energy",
)
"""Sets of objectives that can be searched together."""


class LabEvaluator:
    """Evaluator whose latency and energy are predicted from probes of the device, shared equally.

    Args:
        net: the trained supernet.
        objectives: names of ``OBJECTIVES``, in the order of the columns.
    """

    def __init__(
        self, lab: Lab, net: Any, space: JointSpace, objectives: tuple[str, ...], rng: np.random.Generator
    ) -> None:
        self.lab, self.net, self.space, self.objectives = lab, net, space, objectives
        self.genes: Genes = space
        probes: dict[str, Callable[..., float]] = {}
        if "latency" in objectives or any(isinstance(limit, (int, float)) for limit in lab.limits):
            probes["latency"] = lab.probe
        if "energy" in objectives:
            probes["energy"] = lab.energy
        self._models = self._fit_predictors(probes, rng) if probes else {}
        self._predictions: dict[tuple[str, bytes], float] = {}
        self._shapes: dict[Architecture, tuple[int, Mapping[str, tuple[int, ...]]]] = {}

    def _fit_predictors(
        self, probes: dict[str, Callable[..., float]], rng: np.random.Generator
    ) -> dict[str, GaussianProcess]:
        """Fit predictors to probes of networks at both ends of the space and of random ones."""
        lab = self.lab
        count = min(int(lab.task.settings["predictor_probes"]), int(lab.budget.left("probes")) // len(probes))
        with lab.phase("latency"):
            ends = largest_genome(self.space)
            last = np.array([[len(x) - 1 for x in self.space.unit_precisions]], dtype=np.int64)
            low = ends.copy()
            low[:, self.space.architecture_genes :] = last
            genomes = np.vstack([ends, low, self.space.sample(max(count - 2, 0), rng)])[:count]
            measured: dict[str, list[float]] = {name: [] for name in probes}
            for i, genome in enumerate(genomes):
                architecture, policy = self.space.decode(genome)
                for name, probe in probes.items():
                    measured[name].append(probe(architecture, policy))
                lab.progress(i + 1, count, f"probes of {' and '.join(probes)}")
            lab.budget.charge("predictor_fits", len(probes))
            features = self.space.features(genomes)
            return {name: GaussianProcess(features, np.log(values)) for name, values in measured.items()}

    def predict(self, name: str, genomes: Genomes) -> Array:
        """Return milliseconds or joules ``[n]``; each point is predicted and charged once."""
        keys = self.space.keys(genomes)
        fresh = [i for i, key in enumerate(keys) if (name, key) not in self._predictions]
        if fresh:
            self.lab.budget.charge("predictor_calls", len(fresh))
            values = np.exp(self._models[name].mean(self.space.features(genomes[fresh])))
            self._predictions |= {(name, keys[i]): float(x) for i, x in zip(fresh, values, strict=True)}
        return np.array([self._predictions[name, key] for key in keys])

    def __call__(self, genomes: Genomes) -> Array:
        columns: dict[str, Array] = {}
        for name in self._models:  # of every measured point, so that limits can be checked at any time
            columns[name] = self.predict(name, genomes)
        pairs = [self.space.decode(genome) for genome in genomes]
        losses = [self.lab.evaluate(self.net, arch, policy=policy).loss for arch, policy in pairs]
        columns["loss"] = np.array(losses)
        columns |= {"bytes": self._bytes(genomes)} if "bytes" in self.objectives else {}
        return np.column_stack([columns[name] for name in self.objectives])

    def known(self, genomes: Genomes) -> Array:
        """Return bytes, and predicted latency and energy, ``[n, m]``; NaN for the loss."""
        rows = np.full((len(genomes), len(self.objectives)), np.nan)
        for column, name in enumerate(self.objectives):
            if name == "bytes":
                rows[:, column] = self._bytes(genomes)
            elif name in self._models:
                rows[:, column] = self.predict(name, genomes)
        return rows

    def _bytes(self, genomes: Genomes) -> Array:
        """Return the bytes ``[n]`` of the deployed weights; shapes of an architecture are cached."""
        sizes = []
        for genome in genomes:
            architecture, policy = self.space.decode(genome)
            if architecture not in self._shapes:
                self._shapes[architecture] = self.lab.bytes(architecture), self.lab.units(architecture)
            full, shapes = self._shapes[architecture]
            low = {name: precision for name, precision in policy.items() if precision != "fp32"}
            saved = (stored_bytes("fp32", shapes[n]) - stored_bytes(p, shapes[n]) for n, p in low.items())
            sizes.append(float(full - sum(saved)))
        return np.array(sizes)

    def report_progress(self, archive: Archive) -> None:
        """Report the number of evaluations and the best loss."""
        best = archive.rows[:, self.objectives.index("loss")].min()
        self.lab.progress(len(archive.rows), archive.evaluations, f"best {best:.4f}")

    def excess(self, genomes: Genomes, limit: Any) -> Array:
        """Return the excess of each point over a limit ``[n]``, in milliseconds or parameters.

        It is 0 for points that meet the limit, and for all points if the limit is None.
        """
        if limit is None:
            return np.zeros(len(genomes))
        if isinstance(limit, (int, float)):
            return np.maximum(self.predict("latency", genomes) - limit, 0)
        sizes = np.array([self.lab.size(self.space.decode(g)[0]) for g in genomes], dtype=float)
        return np.maximum(np.maximum(sizes - limit.high, limit.low - sizes), 0)


def best_within_limit(evaluator: LabEvaluator, archive: Archive, limit: Any) -> int:
    """Return the index of the measured network of least loss that meets a limit, or else of the nearest."""
    loss = archive.rows[:, evaluator.objectives.index("loss")]
    return int(np.lexsort((loss, evaluator.excess(archive.genomes, limit)))[0])


def propose_candidates(lab: Lab, net: Any, evaluator: LabEvaluator, archive: Archive) -> Iterable[Candidate]:
    """Yield the best measured network for each limit."""
    for limit in lab.limits if len(archive.rows) else ():
        index = best_within_limit(evaluator, archive, limit)
        architecture, policy = evaluator.space.decode(archive.genomes[index])
        yield lab.candidate(net, architecture, policy, origin="inherited", target=limit)
